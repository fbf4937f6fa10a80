/*
 * For the tests of the session: starts one with plain parameters, feeds it packets by name,
 * takes its output.
 */
#ifndef PROTO_SESSION_FIXTURE_H
#define PROTO_SESSION_FIXTURE_H

#include <string.h>

#include "base/util.h"
#include "proto/session.h"

#define MS NSEC_PER_MSEC

static const struct tftp_limits fixture_limits = {
    .blksize_max = 65464,
    .windowsize_max = 65535,
    .window_bytes_max = 1u << 30,
    .timeout_max_s = 255,
    .options_enabled = true,
    .rollover = TFTP_ROLLOVER_0,
};

struct fixture_options {
    unsigned blksize, windowsize, timeout_s; /* 0: not asked for */
    bool tsize;
    enum tftp_rollover rollover;
};

/* Writes the decimal form of `v` to text[12]. */
static inline struct view fixture_number(char *text, unsigned v)
{
    char digits[12];
    size_t n = 0;

    do
        digits[n++] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    for (size_t i = 0; i < n; i++)
        text[i] = digits[n - 1 - i];
    return view_of(text, n);
}

struct fixture_request {
    struct tftp_request request;
    char values[4][12];
};

static inline void fixture_option(struct fixture_request *q, const char *name, unsigned value)
{
    struct tftp_option *o = &q->request.options[q->request.option_count];

    o->name = view_of(name, strlen(name));
    o->value = fixture_number(q->values[q->request.option_count], value);
    q->request.option_count++;
}

static inline void fixture_ask(struct fixture_request *q, enum tftp_opcode op,
                               const struct fixture_options *o, uint64_t size)
{
    memset(q, 0, sizeof(*q));
    q->request.op = op;
    q->request.mode = TFTP_OCTET;
    q->request.filename = view_of("f", 1);
    if (o->tsize)
        fixture_option(q, "tsize", op == TFTP_WRQ ? (unsigned)size : 0);
    if (o->blksize != 0)
        fixture_option(q, "blksize", o->blksize);
    if (o->windowsize != 0)
        fixture_option(q, "windowsize", o->windowsize);
    if (o->timeout_s != 0)
        fixture_option(q, "timeout", o->timeout_s);
}

#define FIXTURE_REQUEST_LEN 50

/* A server's session that answers such a request. */
static inline int fixture_serve(struct tftp_session *s, enum tftp_opcode op,
                                const struct fixture_options *o, uint64_t size,
                                const struct tftp_manners *manners, nsec now)
{
    struct fixture_request q;
    struct tftp_limits limits = fixture_limits;

    limits.rollover = o->rollover;
    fixture_ask(&q, op, o, size);
    return tftp_session_serve(s, &q.request, FIXTURE_REQUEST_LEN, &limits,
                              manners != NULL ? manners : &tftp_manners_default, size, now);
}

/* A client's session that makes such a request. */
static inline int fixture_request(struct tftp_session *s, enum tftp_opcode op,
                                  const struct fixture_options *o, uint64_t size,
                                  const struct tftp_manners *manners, nsec now)
{
    struct fixture_request q;
    struct tftp_limits limits = fixture_limits;

    limits.rollover = o->rollover;
    fixture_ask(&q, op, o, size);
    return tftp_session_request(s, &q.request, &limits,
                                manners != NULL ? manners : &tftp_manners_default, size, now);
}

static inline struct tftp_in fixture_packet(struct tftp_session *s, const void *p, size_t n,
                                            nsec now)
{
    struct tftp_in in;

    tftp_session_on_packet(s, view_of(p, n), now, &in);
    return in;
}

static inline void fixture_ack(struct tftp_session *s, uint64_t block, nsec now)
{
    uint8_t p[4] = {0, TFTP_ACK, (uint8_t)(block >> 8), (uint8_t)block};

    fixture_packet(s, p, sizeof(p), now);
}

static inline struct tftp_in fixture_data(struct tftp_session *s, uint64_t block, size_t len,
                                          nsec now)
{
    static uint8_t p[4 + 65536];

    p[0] = 0;
    p[1] = TFTP_DATA;
    p[2] = (uint8_t)(block >> 8);
    p[3] = (uint8_t)block;
    return fixture_packet(s, p, 4 + len, now);
}

static inline void fixture_error(struct tftp_session *s, unsigned code, nsec now)
{
    uint8_t p[] = {0, TFTP_ERROR, (uint8_t)(code >> 8), (uint8_t)code, 'x', 0};

    fixture_packet(s, p, sizeof(p), now);
}

/* Takes all output there is now. DATA: first block and number of blocks taken. */
struct fixture_taken {
    uint64_t first;
    uint32_t blocks;
    uint64_t bytes;
    unsigned controls;
    int opcode;   /* of the last control packet */
    uint16_t arg; /* its block number or error code */
};

static inline struct fixture_taken fixture_take(struct tftp_session *s, nsec now)
{
    struct fixture_taken t = {0};
    struct tftp_out out;

    while (tftp_session_next(s, now, &out)) {
        if (out.kind == TFTP_OUT_CONTROL) {
            t.controls++;
            t.opcode = out.control.p[1];
            t.arg = (uint16_t)(out.control.p[2] << 8 | out.control.p[3]);
            tftp_session_sent(s, 0, now);
            continue;
        }
        if (t.blocks == 0)
            t.first = out.block;
        t.blocks += out.count;
        t.bytes += out.bytes;
        tftp_session_sent(s, out.count, now);
    }
    return t;
}

/* Runs the timers until it ends; counts what goes out. */
static inline struct fixture_taken fixture_run_out(struct tftp_session *s, nsec *now)
{
    struct fixture_taken sum = {0};

    while (!tftp_session_ended(s)) {
        struct fixture_taken t;

        *now = tftp_session_deadline(s);
        assert_true(*now != NSEC_NEVER);
        tftp_session_on_timer(s, *now);
        t = fixture_take(s, *now);
        sum.blocks += t.blocks;
        sum.controls += t.controls;
        sum.opcode = t.opcode;
    }
    return sum;
}

/* As it should, and for good. */
static inline void fixture_assert_ended(struct tftp_session *s, enum tftp_outcome outcome,
                                        unsigned code)
{
    struct tftp_out out;

    assert_int_equal(s->outcome, outcome);
    assert_int_equal(s->state, outcome == TFTP_OUTCOME_OK ? TFTP_STATE_DONE : TFTP_STATE_FAILED);
    assert_int_equal(s->peer_error, code);
    assert_false(tftp_session_next(s, 60 * NSEC_PER_SEC, &out)); /* never answered */
    assert_int_equal(tftp_session_deadline(s), NSEC_NEVER);
}

#endif
