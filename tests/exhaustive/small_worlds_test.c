/*
 * Small spaces are enumerated, not sampled: two sessions that move a file of four blocks while
 * every pattern of deliver, drop and double happens to the first packets on the wire; every wire
 * number with both rollovers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/block.h"
#include "proto/session.h"

#define BLOCKS         4
#define FILE_BYTES     (3 * 512 + 100)
#define QUEUE          256
#define DELAY          (1 * NSEC_PER_MSEC)
#define SENDS_MAX      400 /* of one pattern, in all: whatever is more has run away */
#define PATTERN_MAX    12
#define DOUBT_DROPS    5
#define PATIENCE_DROPS 7

enum fate { DELIVER, DROP, TWICE, FATES };

struct message {
    nsec at;
    bool to_server;
    size_t len;
    uint8_t bytes[TFTP_HEADER_LEN + 512 + 8];
};

struct small_world {
    struct tftp_session side[2]; /* client, server */
    struct message queue[QUEUE]; /* in order of arrival: every packet takes as long */
    unsigned head, tail;
    nsec now;
    uint64_t pattern; /* the fate of each packet, in base FATES */
    unsigned left;    /* packets whose fate is not settled */
    unsigned sends, data_sends;
    uint64_t taken; /* by the receiving side */
    bool whole;
    uint8_t file[FILE_BYTES];
};

static void post(struct small_world *w, bool to_server, const uint8_t *p, size_t n,
                 const uint8_t *q, size_t m)
{
    enum fate fate = DELIVER;
    unsigned copies;

    if (w->left > 0) {
        fate = (enum fate)(w->pattern % FATES);
        w->pattern /= FATES;
        w->left--;
    }
    copies = fate == DROP ? 0 : fate == TWICE ? 2 : 1;
    assert_true(++w->sends < SENDS_MAX);
    while (copies-- > 0) {
        struct message *d = &w->queue[w->tail++ % QUEUE];

        assert_true(w->tail - w->head < QUEUE);
        d->at = w->now + DELAY;
        d->to_server = to_server;
        d->len = n + m;
        memcpy(d->bytes, p, n);
        if (m > 0)
            memcpy(d->bytes + n, q, m);
    }
}

static void pump(struct small_world *w, unsigned i)
{
    struct tftp_session *s = &w->side[i];
    struct tftp_out out;

    while (tftp_session_next(s, w->now, &out)) {
        if (out.kind == TFTP_OUT_CONTROL) {
            post(w, i == 0, out.control.p, out.control.n, NULL, 0);
            tftp_session_sent(s, 0, w->now);
            continue;
        }
        for (uint32_t b = 0; b < out.count; b++) {
            uint8_t header[TFTP_HEADER_LEN];
            uint64_t offset = (out.block + b - 1) * 512;
            size_t n = (size_t)MIN(UINT64_C(512), FILE_BYTES - offset);

            tftp_build_data_header(header, sizeof(header), (uint16_t)(out.block + b));
            w->data_sends++;
            post(w, i == 0, header, sizeof(header), w->file + offset, n);
        }
        tftp_session_sent(s, out.count, w->now);
    }
}

static const struct tftp_limits limits = {
    .blksize_max = 512,
    .windowsize_max = 8,
    .window_bytes_max = 1u << 20,
    .timeout_max_s = 255,
    .options_enabled = true,
};

static void serve(struct small_world *w, struct view request)
{
    struct tftp_request parsed;

    assert_int_equal(tftp_request_parse(&parsed, request), 0);
    assert_int_equal(tftp_session_serve(&w->side[1], &parsed, request.n, &limits,
                                        &tftp_manners_default, FILE_BYTES, w->now),
                     0);
}

static void arrive(struct small_world *w, const struct message *d)
{
    struct tftp_session *s = &w->side[d->to_server];
    int opcode = tftp_packet_opcode(view_of(d->bytes, d->len));
    struct tftp_in in;

    if (d->to_server && (opcode == TFTP_RRQ || opcode == TFTP_WRQ)) {
        /* Three first replies in vain, and it is forgotten: the next request starts anew. */
        if (s->outcome == TFTP_OUTCOME_TIMEOUT)
            serve(w, view_of(d->bytes, d->len));
        else
            tftp_session_on_repeat(s, d->len, w->now);
        return;
    }
    tftp_session_on_packet(s, view_of(d->bytes, d->len), w->now, &in);
    if (in.accepted) {
        assert_int_equal(in.offset, w->taken);
        assert_memory_equal(in.data.p, w->file + w->taken, in.data.n);
        w->taken += in.data.n;
        tftp_session_stored(s, w->taken, w->now);
    }
    if (in.accepted && in.last) {
        assert_int_equal(w->taken, FILE_BYTES);
        w->whole = true;
        tftp_session_published(s, w->now);
    }
}

static void begin(struct small_world *w, enum tftp_opcode op, unsigned window)
{
    char digit[2] = {(char)('0' + window), 0};
    struct tftp_request r = {
        .op = op,
        .mode = TFTP_OCTET,
        .filename = view_of("f", 1),
        .option_count = window > 1,
    };

    r.options[0] = (struct tftp_option){view_of("windowsize", 10), view_of(digit, 1)};
    assert_int_equal(tftp_session_request(&w->side[0], &r, &limits, &tftp_manners_default,
                                          op == TFTP_WRQ ? FILE_BYTES : TFTP_SIZE_UNKNOWN, w->now),
                     0);
    /* The server's session exists from the first request on; that one always arrives. */
    tftp_session_sent(&w->side[0], 0, w->now);
    serve(w, view_of(w->side[0].control, w->side[0].control_len));
}

static void run(struct small_world *w, enum tftp_opcode op, unsigned window, uint64_t pattern,
                unsigned length)
{
    memset(w, 0, offsetof(struct small_world, file));
    w->now = 1000 * NSEC_PER_SEC;
    w->pattern = pattern;
    w->left = length;
    begin(w, op, window);
    pump(w, 1);
    while (!tftp_session_ended(&w->side[0]) || !tftp_session_ended(&w->side[1])) {
        nsec at = w->head < w->tail ? w->queue[w->head % QUEUE].at : NSEC_NEVER;
        nsec timer[2];

        for (unsigned i = 0; i < 2; i++)
            timer[i] =
                tftp_session_ended(&w->side[i]) ? NSEC_NEVER : tftp_session_deadline(&w->side[i]);
        nsec next = nsec_min(at, nsec_min(timer[0], timer[1]));
        assert_true(next != NSEC_NEVER);
        w->now = MAX(w->now, next);
        if (at == next) {
            const struct message *d = &w->queue[w->head++ % QUEUE];
            bool server = d->to_server;

            arrive(w, d);
            pump(w, server);
            continue;
        }
        unsigned i = timer[0] == next ? 0 : 1;
        tftp_session_on_timer(&w->side[i], w->now);
        pump(w, i);
    }
}

static unsigned drops_of(uint64_t pattern)
{
    unsigned drops = 0;

    for (; pattern > 0; pattern /= FATES)
        drops += pattern % FATES == DROP;
    return drops;
}

/*
 * Content is whole, both sides say so, and no more was sent than the losses cost. After some losses
 * in a row waits are so long that the receiver is gone when the last window comes again; then the
 * sender alone is in doubt. Even more outlast the patience of both. Nobody ever says without reason
 * that all is well.
 */
static bool ends_well(const struct small_world *w, unsigned drops, unsigned most)
{
    const struct tftp_session *sender = &w->side[w->side[0].sending ? 0 : 1];
    const struct tftp_session *receiver = &w->side[w->side[0].sending ? 1 : 0];

    if (w->data_sends > most || (receiver->outcome == TFTP_OUTCOME_OK && !w->whole))
        return false;
    if (sender->outcome == TFTP_OUTCOME_OK)
        return w->whole && receiver->outcome == TFTP_OUTCOME_OK;
    if (sender->outcome != TFTP_OUTCOME_TIMEOUT)
        return false;
    return drops >= (receiver->outcome == TFTP_OUTCOME_OK ? DOUBT_DROPS : PATIENCE_DROPS);
}

static void every_pattern(enum tftp_opcode op, unsigned window)
{
    static struct small_world w;
    const char *length_text = getenv("RINGTFTP_PATTERN");
    unsigned unset = getenv("RINGTFTP_SANITIZED") ? 9 : PATTERN_MAX; /* slow under sanitizers */
    unsigned length = length_text ? (unsigned)strtoul(length_text, NULL, 10) : unset;
    uint64_t patterns = 1;

    length = MIN(length, (unsigned)PATTERN_MAX);
    for (unsigned i = 0; i < length; i++)
        patterns *= FATES;
    for (size_t i = 0; i < FILE_BYTES; i++)
        w.file[i] = (uint8_t)(i * 31 + (i >> 8));
    for (uint64_t pattern = 0; pattern < patterns; pattern++) {
        run(&w, op, window, pattern, length);
        if (!ends_well(&w, drops_of(pattern), BLOCKS + length * (window + 1)))
            fail_msg(
                "opcode %d window %u pattern %llu of %u packets: client %s, server %s, %u DATA", op,
                window, (unsigned long long)pattern, length, tftp_outcome_name(w.side[0].outcome),
                tftp_outcome_name(w.side[1].outcome), w.data_sends);
    }
}

static void reads_in_lock_step(void **state)
{
    (void)state;
    every_pattern(TFTP_RRQ, 1);
}

static void reads_with_a_window(void **state)
{
    (void)state;
    every_pattern(TFTP_RRQ, 2);
}

static void writes_in_lock_step(void **state)
{
    (void)state;
    every_pattern(TFTP_WRQ, 1);
}

static void writes_with_a_window(void **state)
{
    (void)state;
    every_pattern(TFTP_WRQ, 2);
}

/* Every index of two turns of the numbers, both rollovers: it is found again from as far ahead and
 * behind as a window reaches, and its neighbours have other numbers. */
static void every_index_is_found_again(void **state)
{
    (void)state;
    for (int r = TFTP_ROLLOVER_0; r <= TFTP_ROLLOVER_1; r++)
        for (uint64_t b = 1; b <= 2 * UINT64_C(65536) + 2; b++) {
            enum tftp_rollover rollover = (enum tftp_rollover)r;
            uint16_t wire = tftp_block_wire(b, rollover);
            uint64_t from = b > 32767 ? b - 32767 : 0;

            assert_true(tftp_block_resolve(wire, b, b, rollover) == b);
            assert_true(tftp_block_resolve(wire, from, b, rollover) == b);
            assert_true(tftp_block_resolve(wire, b, b + 32767, rollover) == b);
            assert_true(tftp_block_wire(b + 1, rollover) != wire);
            assert_true(wire != 0 || rollover == TFTP_ROLLOVER_0);
        }
}

/* Every wire number, seen from around every rollover: the index that is found has that number, is
 * in range, and is the only one. */
static void every_wire_number(void **state)
{
    static const uint64_t bases[] = {1, 32767, 65520, 65535, 65536, 131060, 131071, 4294967290u};

    (void)state;
    for (int r = TFTP_ROLLOVER_0; r <= TFTP_ROLLOVER_1; r++)
        for (size_t i = 0; i < ARRAY_LEN(bases); i++) {
            static uint64_t index[65536];
            uint64_t from = bases[i], to = from + 32766;

            memset(index, 0xff, sizeof(index));
            for (uint64_t b = from; b <= to; b++) {
                uint16_t wire = tftp_block_wire(b, (enum tftp_rollover)r);
                assert_true(index[wire] == TFTP_BLOCK_NONE);
                index[wire] = b;
            }
            for (unsigned wire = 0; wire <= UINT16_MAX; wire++)
                assert_true(tftp_block_resolve((uint16_t)wire, from, to, (enum tftp_rollover)r) ==
                            index[wire]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_in_lock_step),  cmocka_unit_test(reads_with_a_window),
        cmocka_unit_test(writes_in_lock_step), cmocka_unit_test(writes_with_a_window),
        cmocka_unit_test(every_wire_number),   cmocka_unit_test(every_index_is_found_again),
    };

    return cmocka_run_group_tests_name("small worlds", tests, NULL, NULL);
}
