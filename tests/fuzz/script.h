/*
 * Packet scripts: a session under a script of bytes. Each step is a length byte, a pause byte, and
 * that many bytes of a datagram; the output is taken after each, and what it may say is checked.
 */
#ifndef FUZZ_SCRIPT_H
#define FUZZ_SCRIPT_H

#include <string.h>

#include "fuzz.h"
#include "proto/session.h"

#define SCRIPT_T0 (1000 * NSEC_PER_SEC)

struct script {
    struct tftp_session s;
    nsec now;
    uint64_t taken, size;
    unsigned outputs;
};

static inline void script_take_output(struct script *x)
{
    struct tftp_out out;

    while (tftp_session_next(&x->s, x->now, &out)) {
        FUZZ_CHECK(++x->outputs < 100000);
        if (out.kind == TFTP_OUT_CONTROL) {
            FUZZ_CHECK(out.control.n >= TFTP_HEADER_LEN && out.control.n <= TFTP_REQUEST_MAX + 24);
            FUZZ_CHECK(out.control.p[1] != TFTP_ERROR || out.control.n <= 64);
        } else {
            FUZZ_CHECK(x->s.sending && out.count > 0 && out.count <= x->s.params.windowsize);
            FUZZ_CHECK(out.offset == (out.block - 1) * x->s.params.blksize);
            FUZZ_CHECK(out.offset + out.bytes <= x->size);
        }
        tftp_session_sent(&x->s, out.count, x->now);
    }
}

static inline void script_step(struct script *x, struct view datagram)
{
    struct tftp_in in;

    tftp_session_on_packet(&x->s, datagram, x->now, &in);
    if (in.accepted) {
        FUZZ_CHECK(!x->s.sending && in.offset == x->taken && in.data.n <= x->s.params.blksize);
        FUZZ_CHECK(in.data.n == 0 ||
                   (in.data.p >= datagram.p && in.data.p + in.data.n <= datagram.p + datagram.n));
        x->taken += in.data.n;
        tftp_session_stored(&x->s, x->taken, x->now);
        if (in.last)
            tftp_session_published(&x->s, x->now);
    }
}

/* The session was begun; runs it over the bytes. Afterwards it comes to an end by itself. */
static inline void script_run(struct script *x, const uint8_t *p, size_t n)
{
    script_take_output(x);
    while (n >= 2) {
        size_t len = p[0] < n - 2 ? p[0] : n - 2;

        x->now += (nsec)p[1] * p[1] * NSEC_PER_MSEC;
        if (tftp_session_deadline(&x->s) <= x->now)
            tftp_session_on_timer(&x->s, x->now);
        script_take_output(x);
        script_step(x, view_of(p + 2, len));
        script_take_output(x);
        p += 2 + len;
        n -= 2 + len;
    }
    for (unsigned i = 0; !tftp_session_ended(&x->s); i++) {
        nsec at = tftp_session_deadline(&x->s);
        FUZZ_CHECK(i < 100000 && at != NSEC_NEVER);
        x->now = at > x->now ? at : x->now;
        tftp_session_on_timer(&x->s, x->now);
        script_take_output(x);
    }
    FUZZ_CHECK(x->now < SCRIPT_T0 + 100000 * NSEC_PER_SEC);
}

#endif
