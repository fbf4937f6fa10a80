/*
 * A server's session and a client's over a virtual network that loses, doubles, delays and
 * reorders by a seed, with virtual disks on both sides. Time jumps to the next event. Whatever
 * happens, content is right where it arrives, and both sides come to an end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "proto/session_fixture.h"

#define PACKETS_MAX 4096
#define PACKET_MAX  1040
#define T0          (1000 * MS)

struct packet {
    nsec at;
    uint64_t order;
    unsigned to; /* 0: server, 1: client */
    size_t len;
    uint8_t bytes[PACKET_MAX];
};

struct side {
    struct tftp_session s;
    uint64_t got;    /* bytes taken */
    uint64_t stored; /* bytes that `disk_at` will have stored */
    nsec disk_at;    /* the virtual disk is done; NSEC_NEVER when idle */
    bool last;
};

/* One seed makes one of these, and one history. */
struct world {
    struct prng prng;
    enum tftp_opcode op;
    struct fixture_options options;
    uint64_t size;
    uint32_t loss, twice, late; /* per million */
    nsec delay, jitter, disk;
    nsec dead_from; /* the network is gone from here on */
    bool size_late;
    nsec now;
    uint64_t order;
    struct side side[2];
    unsigned count;
};

/* The queue: packets stay where they are, `heap` holds indices, the next event first. */
static struct packet packets[PACKETS_MAX];
static unsigned heap[PACKETS_MAX], spare[PACKETS_MAX];
static struct world w;

static uint8_t pattern(uint64_t offset)
{
    return (uint8_t)(offset * 31 + (offset >> 8) * 7 + (offset >> 16));
}

static bool before(unsigned a, unsigned b)
{
    const struct packet *p = &packets[a], *q = &packets[b];

    return p->at != q->at ? p->at < q->at : p->order < q->order;
}

static void heap_up(unsigned i)
{
    for (; i > 0 && before(heap[i], heap[(i - 1) / 2]); i = (i - 1) / 2) {
        unsigned t = heap[i];

        heap[i] = heap[(i - 1) / 2];
        heap[(i - 1) / 2] = t;
    }
}

static unsigned heap_take(void)
{
    unsigned top = heap[0], i = 0;

    heap[0] = heap[--w.count];
    for (;;) {
        unsigned child = 2 * i + 1, t;

        if (child >= w.count)
            break;
        if (child + 1 < w.count && before(heap[child + 1], heap[child]))
            child++;
        if (!before(heap[child], heap[i]))
            break;
        t = heap[i];
        heap[i] = heap[child];
        heap[child] = t;
        i = child;
    }
    spare[w.count] = top;
    return top;
}

static void carry(unsigned to, const uint8_t *bytes, size_t len)
{
    unsigned copies = 1 + prng_chance(&w.prng, w.twice);

    assert_true(len <= PACKET_MAX);
    if (w.now >= w.dead_from || prng_chance(&w.prng, w.loss))
        return;
    while (copies-- > 0 && w.count < PACKETS_MAX) {
        unsigned slot = spare[w.count];
        struct packet *p = &packets[slot];

        p->at = w.now + w.delay + (w.jitter > 0 ? prng_below(&w.prng, w.jitter) : 0);
        if (prng_chance(&w.prng, w.late))
            p->at += 5 * w.delay;
        p->order = w.order++;
        p->to = to;
        p->len = len;
        memcpy(p->bytes, bytes, len);
        heap[w.count] = slot;
        heap_up(w.count++);
    }
}

static void send_data(struct side *x, unsigned to, const struct tftp_out *out)
{
    static uint8_t bytes[PACKET_MAX];
    uint32_t count = out->count;

    if (prng_chance(&w.prng, 100000)) /* not all of it is at hand */
        count = 1 + (uint32_t)prng_below(&w.prng, count);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t offset = out->offset + (uint64_t)i * x->s.params.blksize;
        size_t len = MIN(x->s.params.blksize, out->offset + out->bytes - offset);

        tftp_build_data_header(bytes, sizeof(bytes),
                               tftp_block_wire(out->block + i, x->s.params.rollover));
        for (size_t k = 0; k < len; k++)
            bytes[4 + k] = pattern(offset + k);
        carry(to, bytes, 4 + len);
    }
    tftp_session_sent(&x->s, count, w.now);
}

static void take_output(unsigned me)
{
    struct side *x = &w.side[me];
    struct tftp_out out;

    /* The size becomes known when the end is near, as with a conversion on the way. */
    if (w.size_late && x->s.sending && x->s.state != TFTP_STATE_REQUESTING &&
        x->s.sender.size == TFTP_SIZE_UNKNOWN)
        tftp_session_set_size(&x->s, w.size);
    while (tftp_session_next(&x->s, w.now, &out)) {
        if (out.kind == TFTP_OUT_CONTROL) {
            carry(!me, out.control.p, out.control.n);
            tftp_session_sent(&x->s, 0, w.now);
        } else {
            send_data(x, !me, &out);
        }
    }
}

static void disk_done(struct side *x)
{
    x->disk_at = NSEC_NEVER;
    tftp_session_stored(&x->s, x->stored, w.now);
    if (x->last)
        tftp_session_published(&x->s, w.now);
}

static void flush(struct side *x)
{
    x->stored = x->got;
    if (x->disk_at == NSEC_NEVER)
        x->disk_at = w.now + (w.disk > 0 ? prng_below(&w.prng, w.disk) : 0);
}

static void fire(struct side *x)
{
    if (tftp_session_on_timer(&x->s, w.now))
        flush(x);
}

static void deliver(const struct packet *p)
{
    struct side *x = &w.side[p->to];
    struct tftp_in in;

    if (p->to == 0 && (p->bytes[1] == TFTP_RRQ || p->bytes[1] == TFTP_WRQ)) {
        tftp_session_on_repeat(&x->s, p->len, w.now);
        return;
    }
    tftp_session_on_packet(&x->s, view_of(p->bytes, p->len), w.now, &in);
    if (in.accepted) {
        assert_int_equal(in.offset, x->got);
        for (size_t k = 0; k < in.data.n; k++)
            assert_int_equal(in.data.p[k], pattern(in.offset + k));
        x->got += in.data.n;
        x->last = in.last;
        assert_true(x->got <= w.size);
    }
    if (in.flush)
        flush(x);
}

/* One event of the history. */
static void turn(void)
{
    nsec at = w.count > 0 ? packets[heap[0]].at : NSEC_NEVER;
    nsec disk = nsec_min(w.side[0].disk_at, w.side[1].disk_at);
    nsec timer[2] = {tftp_session_deadline(&w.side[0].s), tftp_session_deadline(&w.side[1].s)};
    nsec next = nsec_min(nsec_min(at, disk), nsec_min(timer[0], timer[1]));

    assert_true(next != NSEC_NEVER); /* else somebody waits for ever */
    w.now = MAX(w.now, next);
    if (disk <= w.now)
        disk_done(&w.side[w.side[0].disk_at <= w.now ? 0 : 1]);
    else if (at <= w.now)
        deliver(&packets[heap_take()]);
    else
        fire(&w.side[timer[0] <= w.now ? 0 : 1]);
    take_output(0);
    take_output(1);
}

static bool both_ended(void)
{
    return tftp_session_ended(&w.side[0].s) && tftp_session_ended(&w.side[1].s);
}

/* The client asks until the server has heard it; then both run to their end. */
static void run(void)
{
    uint64_t given = w.size_late ? TFTP_SIZE_UNKNOWN : w.size;
    uint64_t turns = 0, enough = 2000000 + 400 * (w.size / 8);

    w.now = T0;
    for (unsigned i = 0; i < PACKETS_MAX; i++)
        spare[i] = i;
    w.side[0].disk_at = w.side[1].disk_at = NSEC_NEVER;
    assert_int_equal(fixture_request(&w.side[1].s, w.op, &w.options, given, NULL, w.now), 0);
    assert_int_equal(
        fixture_serve(&w.side[0].s, w.op, &w.options, w.op == TFTP_RRQ ? given : 0, NULL, w.now),
        0);
    fixture_take(&w.side[1].s, w.now); /* this one has arrived */
    take_output(0);
    while (!both_ended()) {
        turn();
        assert_true(++turns < enough);
    }
}

static struct side *sender_side(void)
{
    return &w.side[w.op == TFTP_RRQ ? 0 : 1];
}

static struct side *receiver_side(void)
{
    return &w.side[w.op == TFTP_RRQ ? 1 : 0];
}

static void assert_arrived(void)
{
    assert_int_equal(receiver_side()->s.outcome, TFTP_OUTCOME_OK);
    assert_int_equal(receiver_side()->got, w.size);
    assert_int_equal(receiver_side()->s.counts.bytes_acked, w.size);
}

static void draw(uint64_t seed)
{
    static const uint64_t sizes[] = {0, 1, 511, 512, 513, 1024, 1535, 1536, 5120, 30000, 65536};
    static const unsigned windows[] = {0, 1, 2, 3, 4, 8, 16, 32, 64};
    static const unsigned blksizes[] = {0, 8, 100, 512, 1024};

    memset(&w, 0, sizeof(w));
    prng_seed(&w.prng, seed);
    w.op = prng_chance(&w.prng, 500000) ? TFTP_RRQ : TFTP_WRQ;
    w.size = sizes[prng_below(&w.prng, ARRAY_LEN(sizes))];
    w.options.windowsize = windows[prng_below(&w.prng, ARRAY_LEN(windows))];
    w.options.blksize = blksizes[prng_below(&w.prng, ARRAY_LEN(blksizes))];
    w.options.rollover = (enum tftp_rollover)prng_below(&w.prng, 2);
    w.size_late = prng_chance(&w.prng, 300000);
    w.options.tsize = !w.size_late && prng_chance(&w.prng, 500000);
    w.delay = prng_below(&w.prng, 20 * MS);
    w.jitter = prng_chance(&w.prng, 500000) ? prng_below(&w.prng, 2 * w.delay + 1) : 0;
    w.disk = prng_chance(&w.prng, 300000) ? 5 * MS : 0;
    w.dead_from = NSEC_NEVER;
}

/* Without faults every block goes out once. */
static void undisturbed(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 1500; seed++) {
        draw(seed);
        w.jitter = 0;
        run();
        assert_arrived();
        assert_int_equal(sender_side()->s.outcome, TFTP_OUTCOME_OK);
        assert_int_equal(sender_side()->s.counts.blocks_resent, 0);
        assert_int_equal(sender_side()->s.counts.bytes_acked, w.size);
    }
}

static void lossy_networks(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        draw(seed);
        w.loss = (uint32_t)prng_below(&w.prng, 100000);
        w.twice = (uint32_t)prng_below(&w.prng, 100000);
        w.late = (uint32_t)prng_below(&w.prng, 50000);
        run();
        /* A transfer may fail in a storm, but only by a timeout, and what claims to be complete
         * is. The sender may miss the final ACK; the receiver may not miss a byte. */
        if (receiver_side()->s.outcome == TFTP_OUTCOME_OK)
            assert_arrived();
        else
            assert_int_not_equal(sender_side()->s.outcome, TFTP_OUTCOME_OK);
        if (w.loss < 50000)
            assert_int_equal(receiver_side()->s.outcome, TFTP_OUTCOME_OK);
    }
}

/* RFC 1350 section 7: when the other side is gone, timeouts tell. */
static void the_network_dies(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 1500; seed++) {
        draw(seed);
        w.loss = (uint32_t)prng_below(&w.prng, 20000);
        w.dead_from = T0 + prng_below(&w.prng, 500 * MS);
        run();
        assert_true(w.now < w.dead_from + 100 * NSEC_PER_SEC);
        if (receiver_side()->s.outcome == TFTP_OUTCOME_OK)
            assert_arrived();
    }
}

/* RFC 1123 section 4.2.3.1: everything doubled, both ways, and nothing multiplies. */
static void everything_twice(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 500; seed++) {
        uint64_t blocks;

        draw(seed);
        w.twice = 1000000;
        w.jitter = 0;
        run();
        assert_arrived();
        blocks = w.size / sender_side()->s.params.blksize + 1;
        if (sender_side()->s.params.windowsize == 1)
            assert_int_equal(sender_side()->s.counts.blocks_sent, blocks);
        else
            assert_in_range(sender_side()->s.counts.blocks_sent, blocks,
                            blocks + sender_side()->s.params.windowsize);
    }
}

/* More than 65536 blocks, both rollovers, both directions, with losses at the wrap. */
static void rollover(void **state)
{
    static const unsigned windows[] = {1, 7, 64};

    (void)state;
    for (unsigned i = 0; i < 2 * 2 * ARRAY_LEN(windows); i++) {
        draw(i);
        w.op = i % 2 ? TFTP_RRQ : TFTP_WRQ;
        w.options = (struct fixture_options){
            .blksize = 8,
            .windowsize = windows[i / 4],
            .rollover = i / 2 % 2 ? TFTP_ROLLOVER_1 : TFTP_ROLLOVER_0,
        };
        w.size = 65536 * 8 * 2 + 100;
        w.size_late = false;
        w.delay = MS;
        w.jitter = 0;
        w.disk = 0;
        w.loss = 200;
        run();
        assert_arrived();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(undisturbed),      cmocka_unit_test(lossy_networks),
        cmocka_unit_test(the_network_dies), cmocka_unit_test(everything_twice),
        cmocka_unit_test(rollover),
    };

    return cmocka_run_group_tests_name("session_pair", tests, NULL, NULL);
}
