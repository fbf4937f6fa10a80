/*
 * For the tests of the sender's rules, through a server's read session: one session, opened with a
 * window, and what it sends. After cmocka.h.
 */
#ifndef PROTO_SENDER_FIXTURE_H
#define PROTO_SENDER_FIXTURE_H

#include "proto/session_fixture.h"

#define T0    (5000 * MS)
#define WHOLE 100000 /* blocks of 512 bytes: more than any test needs */

static struct tftp_session s;

/* A read with this window, OACK acknowledged after `rtt`; the time is then T0 + rtt. */
static inline nsec opened(unsigned window, uint64_t size, nsec rtt)
{
    struct fixture_options o = {.blksize = 512, .windowsize = window};

    assert_int_equal(fixture_serve(&s, TFTP_RRQ, &o, size, NULL, T0), 0);
    assert_int_equal(fixture_take(&s, T0).opcode, TFTP_OACK);
    fixture_ack(&s, 0, T0 + rtt);
    assert_int_equal(s.state, TFTP_STATE_SENDING);
    return T0 + rtt;
}

static inline void assert_sends(uint64_t first, uint32_t blocks, nsec now)
{
    struct fixture_taken t = fixture_take(&s, now);

    assert_int_equal(t.controls, 0);
    assert_int_equal(t.blocks, blocks);
    if (blocks > 0)
        assert_int_equal(t.first, first);
}

static inline nsec at_deadline(void)
{
    nsec now = tftp_session_deadline(&s);

    assert_true(now != NSEC_NEVER);
    tftp_session_on_timer(&s, now);
    return now;
}

#endif
