/*
 * Packet scripts: a session under a script of bytes. Each step is a kind, a pause, and what the
 * kind asks for; all output is taken after each step, and what it may say is checked. Numbers in
 * the script are relative to where the session stands, so that a fuzzer gets deep into it; raw
 * datagrams are a kind of their own.
 *
 * After the script, the owner gives and stores everything that is due, the peer stays silent, and
 * the session has to come to an end by itself.
 */
#ifndef FUZZ_SCRIPT_H
#define FUZZ_SCRIPT_H

#include <string.h>

#include "fuzz.h"
#include "proto/session.h"

#define SCRIPT_T0       (1000 * NSEC_PER_SEC)
#define SCRIPT_PAYLOAD  70000 /* more than any block */
#define SCRIPT_NO_LIMIT UINT32_MAX

struct script {
    struct tftp_session s;
    nsec now;
    uint64_t size;  /* of what is sent */
    uint64_t taken; /* bytes received in order */
    uint64_t block; /* the newest block sent */
    size_t request_len;
    uint32_t at_hand; /* blocks that the owner can give now */
    unsigned outputs;
    bool lagging;  /* what was received is not stored yet */
    bool complete; /* the last block was received */
};

static const struct tftp_limits script_limits = {
    .blksize_max = TFTP_BLKSIZE_MAX,
    .windowsize_max = 64,
    .window_bytes_max = 1u << 22,
    .timeout_max_s = 255,
    .options_enabled = true,
};

static inline void script_take_output(struct script *x)
{
    struct tftp_out out;

    while (tftp_session_next(&x->s, x->now, &out)) {
        uint32_t n = 0;

        FUZZ_CHECK(++x->outputs < 200000);
        if (out.kind == TFTP_OUT_CONTROL) {
            FUZZ_CHECK(out.control.n >= TFTP_HEADER_LEN && out.control.n <= TFTP_REQUEST_MAX + 24);
            FUZZ_CHECK(out.control.p[1] != TFTP_ERROR || out.control.n <= 64);
        } else {
            FUZZ_CHECK(x->s.sending && out.count > 0 && out.count <= x->s.params.windowsize);
            FUZZ_CHECK(out.offset == (out.block - 1) * x->s.params.blksize);
            FUZZ_CHECK(out.offset + out.bytes <= x->size);
            n = out.count < x->at_hand ? out.count : x->at_hand;
            if (n == 0)
                return;
            if (x->at_hand != SCRIPT_NO_LIMIT)
                x->at_hand -= n;
            if (out.block + n - 1 > x->block)
                x->block = out.block + n - 1;
        }
        tftp_session_sent(&x->s, n, x->now);
    }
}

static inline void script_store(struct script *x)
{
    x->lagging = false;
    tftp_session_stored(&x->s, x->taken, x->now);
    if (x->complete)
        tftp_session_published(&x->s, x->now);
    x->complete = false;
}

static inline void script_packet(struct script *x, struct view datagram)
{
    struct tftp_in in;

    tftp_session_on_packet(&x->s, datagram, x->now, &in);
    if (in.accepted) {
        FUZZ_CHECK(!x->s.sending && in.offset == x->taken && in.data.n <= x->s.params.blksize);
        FUZZ_CHECK(in.last == (in.data.n < x->s.params.blksize));
        FUZZ_CHECK(in.data.n == 0 ||
                   (in.data.p >= datagram.p && in.data.p + in.data.n <= datagram.p + datagram.n));
        x->taken += in.data.n;
        x->complete = in.last;
    }
    if ((in.accepted || in.flush) && !x->lagging)
        script_store(x);
}

static inline void script_ack(struct script *x, int8_t from_newest)
{
    uint16_t block = (uint16_t)(x->block + (uint64_t)from_newest);
    uint8_t raw[TFTP_HEADER_LEN];

    tftp_build_ack(raw, sizeof(raw), block);
    script_packet(x, view_of(raw, sizeof(raw)));
}

/* The block that is due, or one near it; full, short by `less`, or, for 255, too long. */
static inline void script_data(struct script *x, int8_t from_due, uint8_t less)
{
    static uint8_t raw[SCRIPT_PAYLOAD];
    size_t blksize = x->s.params.blksize;
    uint64_t due = x->taken / blksize + 1;
    size_t n = less == 255 ? blksize + 1 : blksize - (less < blksize ? less : blksize);

    tftp_build_data_header(raw, sizeof(raw), (uint16_t)(due + (uint64_t)from_due));
    script_packet(x, view_of(raw, TFTP_HEADER_LEN + n));
}

/* One step; returns how many bytes of the script it used beyond kind and pause. */
static inline size_t script_step(struct script *x, uint8_t kind, const uint8_t *p, size_t n)
{
    uint8_t a = n > 0 ? p[0] : 0, b = n > 1 ? p[1] : 0;

    switch (kind % 8) {
    case 0: {
        size_t len = n > 0 && a < n - 1 ? a : n > 0 ? n - 1 : 0;
        script_packet(x, view_of(n > 0 ? p + 1 : p, len));
        return n > 0 ? len + 1 : 0;
    }
    case 1:
        script_ack(x, (int8_t)a);
        return n > 0;
    case 2:
        script_data(x, (int8_t)a, b);
        return n < 2 ? n : 2;
    case 3:
        if (x->s.server)
            tftp_session_on_repeat(&x->s, x->request_len, x->now);
        return 0;
    case 4:
        tftp_session_on_unreachable(&x->s, x->now);
        return 0;
    case 5:
        x->at_hand = a == 255 ? SCRIPT_NO_LIMIT : a;
        return n > 0;
    case 6:
        x->lagging = !x->lagging;
        if (!x->lagging)
            script_store(x);
        return 0;
    default:
        tftp_session_fail(&x->s, (enum tftp_error)(a % 9), "scripted", x->now);
        return n > 0;
    }
}

/* The session was begun; runs it over the bytes. */
static inline void script_run(struct script *x, const uint8_t *p, size_t n)
{
    x->at_hand = SCRIPT_NO_LIMIT;
    script_take_output(x);
    while (n >= 2) {
        x->now += (nsec)p[1] * p[1] * NSEC_PER_MSEC;
        if (tftp_session_deadline(&x->s) <= x->now)
            tftp_session_on_timer(&x->s, x->now);
        script_take_output(x);
        size_t used = 2 + script_step(x, p[0], p + 2, n - 2);
        script_take_output(x);
        p += used;
        n -= used;
    }
    x->at_hand = SCRIPT_NO_LIMIT;
    script_store(x);
    script_take_output(x);
    for (unsigned i = 0; !tftp_session_ended(&x->s); i++) {
        nsec at = tftp_session_deadline(&x->s);
        FUZZ_CHECK(i < 100000 && at != NSEC_NEVER);
        x->now = at > x->now ? at : x->now;
        tftp_session_on_timer(&x->s, x->now);
        script_take_output(x);
    }
    FUZZ_CHECK(x->now < SCRIPT_T0 + 1000000 * NSEC_PER_SEC);
    FUZZ_CHECK(x->s.outcome != TFTP_OUTCOME_NONE);
}

/* A request whose options are chosen by the bits of `which`; for both sides. */
static inline void script_request(struct tftp_request *r, enum tftp_opcode op, uint8_t which)
{
    static const struct {
        const char *name, *value;
    } choices[] = {
        {"blksize", "8"},     {"blksize", "1428"}, {"windowsize", "3"},
        {"windowsize", "64"}, {"tsize", "0"},      {"timeout", "2"},
    };
    static const uint8_t sets[][3] = {{9, 9, 9}, {0, 9, 9}, {1, 9, 9}, {2, 9, 9}, {0, 2, 9},
                                      {1, 2, 4}, {1, 3, 5}, {0, 3, 9}, {4, 9, 9}, {3, 9, 9}};
    const uint8_t *set = sets[which % ARRAY_LEN(sets)];

    *r = (struct tftp_request){.op = op, .mode = TFTP_OCTET, .filename = view_of("f", 1)};
    for (unsigned i = 0; i < 3 && set[i] < ARRAY_LEN(choices); i++) {
        const char *name = choices[set[i]].name, *value = choices[set[i]].value;
        r->options[r->option_count++] =
            (struct tftp_option){view_of(name, strlen(name)), view_of(value, strlen(value))};
    }
}

/* What is sent: empty, ends in the middle of a block, on a block, on a window, or long. */
static inline uint64_t script_size(uint8_t which)
{
    static const uint64_t sizes[] = {0, 1, 511, 512, 1428, 5000, 70000, 8 * 66000};

    return sizes[which % ARRAY_LEN(sizes)];
}

#endif
