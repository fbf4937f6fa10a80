/*
 * For the tests of the receiver's rules, through a server's write session: one session, opened with
 * a window, what it takes, and what it acknowledges. After cmocka.h.
 */
#ifndef PROTO_RECEIVER_FIXTURE_H
#define PROTO_RECEIVER_FIXTURE_H

#include "proto/session_fixture.h"

#define T0 (5000 * MS)

static struct tftp_session s;

/* A write with this window (0: no options), first answer sent. */
static inline void opened(unsigned window)
{
    struct fixture_options o = {.blksize = window > 0 ? 512 : 0, .windowsize = window};
    struct fixture_taken t;

    assert_int_equal(fixture_serve(&s, TFTP_WRQ, &o, 0, NULL, T0), 0);
    t = fixture_take(&s, T0);
    assert_int_equal(t.controls, 1);
    assert_int_equal(t.opcode, window > 0 ? TFTP_OACK : TFTP_ACK);
    if (window == 0)
        assert_int_equal(t.arg, 0);
}

/* DATA `block` arrives, is taken, and is stored if an ACK is due. */
static inline void takes(uint64_t block, size_t len, nsec now)
{
    struct tftp_in in = fixture_data(&s, block, len, now);

    assert_true(in.accepted);
    assert_int_equal(in.offset, (block - 1) * 512);
    assert_int_equal(in.data.n, len);
    assert_int_equal(in.last, len < 512);
    if (in.flush)
        tftp_session_stored(&s, in.offset + len, now);
}

static inline void refuses(uint64_t block, size_t len, nsec now)
{
    assert_false(fixture_data(&s, block, len, now).accepted);
}

static inline void assert_acks(int block, nsec now)
{
    struct fixture_taken t = fixture_take(&s, now);

    if (block < 0) {
        assert_int_equal(t.controls, 0);
        return;
    }
    assert_int_equal(t.controls, 1);
    assert_int_equal(t.opcode, TFTP_ACK);
    assert_int_equal(t.arg, block);
}

#endif
