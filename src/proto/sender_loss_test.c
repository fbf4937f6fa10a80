/*
 * What random loss costs: a server's session sends a file to models of clients over a line that
 * loses packets both ways, by a seed, and every packet that is sent is counted.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "proto/session_fixture.h"

#define BLOCKS     7344
#define SEEDS      10
#define REPEAT     (4 * NSEC_PER_SEC)
#define BLKSIZE    512
#define T0         (1000 * MS)
#define LINE_SLOTS 4096

/* Our own; acknowledges each unexpected block; once for each gap, and old blocks likewise. */
enum kind { RULE, EDK2, UBOOT };

/* Packets under way in one direction; none overtakes another. */
struct line {
    struct {
        nsec at;
        uint16_t block;
    } slot[LINE_SLOTS];
    unsigned head, tail;
    nsec free_at;
};

struct client {
    enum kind kind;
    uint64_t have, next_ack, reported;
    nsec repeat_at;
    uint16_t last;
    struct tftp_session s; /* of RULE */
};

static struct world {
    struct prng prng;
    uint32_t loss;  /* per million, each way */
    uint64_t stray; /* this block is lost once; 0: none is */
    bool twice;     /* the OACK goes out twice, so that it is no measure */
    nsec delay, per_packet, now;
    unsigned window;
    struct line down, up;
    struct tftp_session server;
    struct client client;
} w;

/* A lost packet takes its time on the line all the same. */
static void put(struct line *l, uint16_t block, nsec per_packet, bool lost)
{
    l->free_at = MAX(l->free_at, w.now) + per_packet;
    if (prng_chance(&w.prng, w.loss) || lost)
        return;
    l->slot[l->tail].at = l->free_at + w.delay;
    l->slot[l->tail].block = block;
    l->tail = (l->tail + 1) % LINE_SLOTS;
    assert_int_not_equal(l->head, l->tail);
}

static nsec due(const struct line *l)
{
    return l->head == l->tail ? NSEC_NEVER : l->slot[l->head].at;
}

static uint16_t get(struct line *l)
{
    uint16_t block = l->slot[l->head].block;

    l->head = (l->head + 1) % LINE_SLOTS;
    return block;
}

static void ack(uint64_t block)
{
    w.client.last = (uint16_t)block;
    put(&w.up, (uint16_t)block, 0, false);
}

static void model_takes(struct client *c, uint64_t block)
{
    if (block != c->have + 1) {
        if (c->kind == UBOOT && c->reported == c->have + 1)
            return;
        c->reported = c->have + 1;
        c->next_ack = c->have + w.window;
        ack(c->have);
        return;
    }
    c->have++;
    c->repeat_at = w.now + REPEAT;
    if (c->have == c->next_ack || c->have == BLOCKS) {
        c->next_ack = c->have + w.window;
        ack(c->have);
    }
}

static void client_speaks(struct client *c)
{
    struct tftp_out out;

    while (tftp_session_next(&c->s, w.now, &out)) {
        if (out.control.p[1] == TFTP_ACK)
            ack((uint64_t)(out.control.p[2] << 8 | out.control.p[3]));
        tftp_session_sent(&c->s, 0, w.now);
    }
}

static void client_takes(struct client *c, uint64_t block)
{
    struct tftp_in in;

    if (c->kind != RULE) {
        model_takes(c, block);
        return;
    }
    in = fixture_data(&c->s, block, block == BLOCKS ? 7 : BLKSIZE, w.now);
    if (in.accepted)
        tftp_session_stored(&c->s, in.offset + in.data.n, w.now);
    if (in.last)
        tftp_session_published(&c->s, w.now);
    client_speaks(c);
}

static void server_speaks(void)
{
    struct tftp_out out;

    while (tftp_session_next(&w.server, w.now, &out)) {
        for (uint32_t i = 0; i < out.count; i++) {
            uint64_t block = out.block + i;
            bool lost = block == w.stray;

            w.stray = lost ? 0 : w.stray;
            put(&w.down, (uint16_t)block, w.per_packet, lost);
        }
        tftp_session_sent(&w.server, out.count, w.now);
    }
}

static nsec client_deadline(const struct client *c)
{
    return c->kind == RULE ? tftp_session_deadline(&c->s) : c->repeat_at;
}

/* Both have agreed on options, and the server has heard that after `opening`. */
static void begin(uint64_t seed, enum kind kind, nsec opening)
{
    struct fixture_options o = {.blksize = BLKSIZE, .windowsize = w.window};
    uint64_t size = BLKSIZE * (BLOCKS - 1) + 7;
    struct tftp_out out;

    prng_seed(&w.prng, seed);
    w.down = w.up = (struct line){.head = 0};
    w.client = (struct client){.kind = kind, .next_ack = w.window};
    w.now = T0;
    assert_int_equal(fixture_serve(&w.server, TFTP_RRQ, &o, size, NULL, T0), 0);
    fixture_request(&w.client.s, TFTP_RRQ, &o, TFTP_SIZE_UNKNOWN, NULL, T0);
    fixture_take(&w.client.s, T0);
    assert_true(tftp_session_next(&w.server, T0, &out));
    w.now += opening - w.delay;
    fixture_packet(&w.client.s, out.control.p, out.control.n, w.now);
    fixture_take(&w.client.s, w.now);
    w.client.repeat_at = w.now + REPEAT;
    tftp_session_sent(&w.server, 0, T0);
    if (w.twice) {
        tftp_session_on_repeat(&w.server, FIXTURE_REQUEST_LEN, w.now += 80 * MS);
        assert_int_equal(fixture_take(&w.server, w.now).opcode, TFTP_OACK);
    }
    w.now += w.delay;
    fixture_ack(&w.server, 0, w.now);
    server_speaks();
}

static void client_repeats(struct client *c)
{
    if (c->kind == RULE) {
        tftp_session_on_timer(&c->s, w.now);
        client_speaks(c);
    } else {
        ack(c->last);
        c->repeat_at = w.now + REPEAT;
    }
}

static void run(uint64_t seed, enum kind kind, nsec opening)
{
    begin(seed, kind, opening);
    while (!tftp_session_ended(&w.server)) {
        nsec timer = tftp_session_deadline(&w.server);
        nsec repeat = client_deadline(&w.client);
        nsec packet = nsec_min(due(&w.down), due(&w.up));

        w.now = MAX(w.now, nsec_min(packet, nsec_min(timer, repeat)));
        assert_true(w.now != NSEC_NEVER);
        if (due(&w.down) <= w.now)
            client_takes(&w.client, get(&w.down));
        else if (due(&w.up) <= w.now)
            fixture_ack(&w.server, get(&w.up), w.now);
        else if (timer <= w.now)
            tftp_session_on_timer(&w.server, w.now);
        else
            client_repeats(&w.client);
        server_speaks();
    }
    assert_int_equal(w.server.outcome, TFTP_OUTCOME_OK);
}

struct way {
    nsec trip, opening, per_packet;
    bool twice;
};

#define GIGABIT (12 * NSEC_PER_USEC) /* 1,500 bytes */

static void set_out(unsigned percent, unsigned window, const struct way *way)
{
    memset(&w, 0, sizeof(w));
    w.loss = percent * 10000;
    w.window = window;
    w.delay = way->trip / 2;
    w.per_packet = way->per_packet;
    w.twice = way->twice;
}

/* Packets sent for a thousand blocks, and the blocks a second. */
static unsigned cost(enum kind kind, unsigned percent, unsigned window, const struct way *way,
                     unsigned *rate)
{
    uint64_t sent = 0;
    nsec took = 0;

    set_out(percent, window, way);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run(seed, kind, way->opening);
        sent += w.server.counts.blocks_sent;
        took += w.now - T0;
    }
    *rate = (unsigned)(BLOCKS * SEEDS * NSEC_PER_SEC / took);
    return (unsigned)(1000 * sent / (BLOCKS * SEEDS));
}

struct expected {
    unsigned percent, window;
    unsigned most;    /* packets for a thousand blocks */
    unsigned slowest; /* blocks a second */
};

static void check(enum kind kind, const struct way *way, const struct expected *e, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned rate, sent = cost(kind, e[i].percent, e[i].window, way, &rate);

        print_message("client %d, %llu us, %llu at first, %llu a packet, %u %%, windowsize %2u: "
                      "%u.%03u, %u blocks/s\n",
                      kind, (unsigned long long)(way->trip / NSEC_PER_USEC),
                      (unsigned long long)(way->opening / NSEC_PER_USEC),
                      (unsigned long long)(way->per_packet / NSEC_PER_USEC), e[i].percent,
                      e[i].window, sent / 1000, sent % 1000, rate);
        assert_in_range(sent, 1000, e[i].most);
        assert_in_range(rate, e[i].slowest, UINT_MAX);
    }
}

static const struct way near = {100 * NSEC_PER_USEC, 100 * NSEC_PER_USEC, GIGABIT, false};
static const struct way farther = {MS, MS, GIGABIT, false};

/* 1 + 3 x the loss; a little more where a window of 64 goes out whole before anything is known
 * (docs/design/2026-11-25-loss.md). */
static void three_times_the_loss(void **state)
{
    static const struct expected here[] = {
        {1, 4, 1030, 1200}, {1, 16, 1030, 2300}, {1, 64, 1040, 2800},
        {5, 4, 1150, 200},  {5, 16, 1150, 480},  {5, 64, 1150, 600},
    };
    static const struct expected there[] = {
        {1, 16, 1030, 950}, {1, 64, 1040, 1000}, {5, 16, 1150, 300}, {5, 64, 1150, 350}};

    (void)state;
    for (int kind = RULE; kind <= EDK2; kind++) {
        check((enum kind)kind, &near, here, ARRAY_LEN(here));
        check((enum kind)kind, &farther, there, ARRAY_LEN(there));
    }
}

/* Who reports a gap once and is silent until his window is full. */
static void one_report_is_little(void **state)
{
    static const struct expected bound[] = {
        {1, 16, 1030, 1900}, {1, 64, 1050, 2600}, {5, 16, 1210, 290}, {5, 64, 1480, 450}};

    (void)state;
    check(UBOOT, &near, bound, ARRAY_LEN(bound));
}

/* A client that was busy when it was granted its options: the mean begins far from the truth. */
static void a_slow_opening(void **state)
{
    static const struct way way = {100 * NSEC_PER_USEC, 8 * MS, GIGABIT, false};
    static const struct expected bound[] = {
        {1, 16, 1030, 2300}, {1, 64, 1045, 2500}, {5, 16, 1150, 450}, {5, 64, 1150, 500}};

    (void)state;
    for (int kind = RULE; kind <= EDK2; kind++)
        check((enum kind)kind, &way, bound, ARRAY_LEN(bound));
}

/* The OACK, or the request, had to be repeated: nothing is known of the round trip. */
static void a_lost_opening(void **state)
{
    static const struct way way = {100 * NSEC_PER_USEC, 100 * NSEC_PER_USEC, GIGABIT, true};
    static const struct expected bound[] = {
        {1, 16, 1030, 2300}, {1, 64, 1045, 2500}, {5, 16, 1150, 450}, {5, 64, 1165, 550}};

    (void)state;
    for (int kind = RULE; kind <= EDK2; kind++)
        check((enum kind)kind, &way, bound, ARRAY_LEN(bound));
}

/* Pauses that are shorter than the round trip. */
static void a_long_way(void **state)
{
    static const struct way way = {10 * MS, 10 * MS, GIGABIT, false};
    static const struct expected bound[] = {
        {1, 16, 1055, 140}, {1, 64, 1065, 140}, {5, 16, 1190, 75}, {5, 64, 1230, 60}};

    (void)state;
    for (int kind = RULE; kind <= EDK2; kind++)
        check((enum kind)kind, &way, bound, ARRAY_LEN(bound));
}

/* 10 and 1 Mbit/s: a window takes longer than the round trip, up to three quarters of a second. */
static void slow_lines(void **state)
{
    static const struct way ten = {100 * NSEC_PER_USEC, 1300 * NSEC_PER_USEC, 100 * GIGABIT, false};
    static const struct way one = {MS, 13 * MS, 1000 * GIGABIT, false};
    static const struct expected of_ten[] = {
        {1, 16, 1035, 470}, {1, 64, 1065, 380}, {5, 16, 1150, 240}, {5, 64, 1330, 180}};
    static const struct expected of_one[] = {{1, 16, 1130, 65}, {1, 64, 1500, 38}};

    (void)state;
    for (int kind = RULE; kind <= EDK2; kind++) {
        check((enum kind)kind, &ten, of_ten, ARRAY_LEN(of_ten));
        check((enum kind)kind, &one, of_one, ARRAY_LEN(of_one));
    }
}

/* One loss of a whole transfer costs the rest of its window once, and little time after that. */
static void a_stray_loss(void **state)
{
    static const struct {
        unsigned window;
        uint64_t block;
        unsigned slowest; /* blocks a second */
    } rows[] = {
        {16, 10, 10700}, {16, 200, 10700}, {16, 4000, 11200},
        {64, 10, 21500}, {64, 200, 21500}, {64, 4000, 25000},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        unsigned rate;

        set_out(0, rows[i].window, &farther);
        w.stray = rows[i].block;
        run(1, RULE, farther.opening);
        rate = (unsigned)(BLOCKS * NSEC_PER_SEC / (w.now - T0));
        print_message("windowsize %u, block %llu is lost: %u blocks/s\n", rows[i].window,
                      (unsigned long long)rows[i].block, rate);
        assert_in_range(w.server.counts.blocks_resent, 1, rows[i].window);
        assert_in_range(rate, rows[i].slowest, UINT_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_times_the_loss), cmocka_unit_test(one_report_is_little),
        cmocka_unit_test(a_slow_opening),       cmocka_unit_test(a_lost_opening),
        cmocka_unit_test(a_long_way),           cmocka_unit_test(slow_lines),
        cmocka_unit_test(a_stray_loss),
    };

    return cmocka_run_group_tests_name("sender_loss", tests, NULL, NULL);
}
