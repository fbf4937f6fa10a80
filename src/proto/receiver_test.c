/*
 * The receiver's rules one by one, through a server's write session: what is taken, what is
 * acknowledged and when.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/receiver_fixture.h"

/* RFC 1350 section 2: each DATA is acknowledged before the next is sent. */
static void lockstep(void **state)
{
    (void)state;
    opened(0);
    takes(1, 512, T0 + MS);
    assert_acks(1, T0 + MS);
    takes(2, 512, T0 + 2 * MS);
    assert_acks(2, T0 + 2 * MS);
    takes(3, 0, T0 + 3 * MS);
    assert_int_equal(s.state, TFTP_STATE_PUBLISHING);
    assert_acks(-1, T0 + 3 * MS); /* not before the file is there */
    assert_int_equal(tftp_session_deadline(&s), NSEC_NEVER);
    tftp_session_published(&s, T0 + 4 * MS);
    assert_acks(3, T0 + 4 * MS);
    assert_int_equal(s.state, TFTP_STATE_DALLYING);
    assert_int_equal(s.counts.bytes_acked, 1024);
    tftp_session_on_timer(&s, tftp_session_deadline(&s));
    assert_int_equal(s.state, TFTP_STATE_DONE);
    assert_int_equal(s.outcome, TFTP_OUTCOME_OK);
}

/* RFC 7440 section 4: an ACK for each window, counted from the ACK before. */
static void an_ack_for_each_window(void **state)
{
    (void)state;
    opened(4);
    for (uint64_t block = 1; block <= 12; block++) {
        takes(block, 512, T0 + block * MS);
        assert_acks(block % 4 == 0 ? (int)block : -1, T0 + block * MS);
    }
    takes(13, 512, T0 + 13 * MS);
    takes(14, 5, T0 + 14 * MS);
    tftp_session_published(&s, T0 + 20 * MS);
    assert_acks(14, T0 + 20 * MS);
}

static void old_blocks_are_answered_once(void **state)
{
    (void)state;
    opened(4);
    for (uint64_t block = 1; block <= 4; block++)
        takes(block, 512, T0 + MS);
    assert_acks(4, T0 + MS);
    for (uint64_t block = 1; block <= 4; block++) /* doubled on the way */
        refuses(block, 512, T0 + 2 * MS);
    assert_acks(-1, T0 + 2 * MS);
    for (uint64_t block = 1; block <= 4; block++) /* the ACK was lost */
        refuses(block, 512, T0 + 90 * MS);
    assert_acks(4, T0 + 90 * MS);
    for (uint64_t block = 1; block <= 4; block++) { /* and again */
        refuses(block, 512, T0 + (190 + block * 30) * MS);
        assert_acks(block == 1 ? 4 : -1, T0 + (190 + block * 30) * MS);
    }
    assert_int_equal(s.counts.duplicates, 12);
}

static void blocks_out_of_place(void **state)
{
    (void)state;
    opened(0);
    refuses(0, 512, T0 + 30 * MS);
    refuses(2, 512, T0 + 30 * MS);
    assert_acks(-1, T0 + 30 * MS); /* neither can come before block 1 */
    takes(1, 512, T0 + 60 * MS);
    assert_acks(1, T0 + 60 * MS);
    refuses(3, 512, T0 + 61 * MS);
    assert_acks(1, T0 + 61 * MS);
    refuses(3, 512, T0 + 62 * MS);
    refuses(4, 512, T0 + 62 * MS);
    refuses(40000, 512, T0 + 62 * MS);
    assert_acks(-1, T0 + 62 * MS);
    takes(2, 512, T0 + 63 * MS);
    assert_acks(2, T0 + 63 * MS);
    assert_int_equal(s.counts.bytes_acked, 1024);
}

/* RFC 2347, RFC 7440 section 4: the first block of the first window is lost. */
static void first_block_lost(void **state)
{
    (void)state;
    opened(4);
    refuses(2, 512, T0 + MS);
    assert_true(s.proven);
    assert_acks(0, T0 + MS);
    takes(1, 512, T0 + 30 * MS);
    assert_acks(-1, T0 + 30 * MS);
}

/* atftp goes on to DATA 2 when its DATA 1 was lost behind an OACK; the ACK of the gap recalls it.
 */
static void client_that_leaves_block_1_behind(void **state)
{
    (void)state;
    opened(1);
    refuses(2, 512, T0 + 5000 * MS);
    assert_acks(0, T0 + 5000 * MS);
    takes(1, 512, T0 + 5030 * MS);
    assert_acks(1, T0 + 5030 * MS);
    opened(1);
    refuses(7, 512, T0 + 5000 * MS);
    assert_acks(-1, T0 + 5000 * MS);
}

/* ... and so it does, as curl, when ACK 0 comes again; but not an OACK, and a client that has not
 * seen the OACK goes on as if it had not asked: only where that is the same. */
static void ack_0_stands_for_an_oack_of_defaults(void **state)
{
    (void)state;
    opened(1);
    assert_int_equal(tftp_session_deadline(&s), T0 + 1000 * MS);
    tftp_session_on_timer(&s, T0 + 1000 * MS);
    assert_acks(0, T0 + 1000 * MS);
    opened(2);
    assert_in_range(tftp_session_deadline(&s), T0 + 20000 * MS, T0 + 60000 * MS);
    tftp_session_on_timer(&s, tftp_session_deadline(&s));
    assert_acks(-1, T0 + 60000 * MS);
}

static void too_long_a_block_ends_it(void **state)
{
    struct fixture_taken t;

    (void)state;
    opened(0);
    takes(1, 512, T0 + MS);
    assert_acks(1, T0 + MS);
    refuses(2, 513, T0 + 2 * MS);
    assert_int_equal(s.state, TFTP_STATE_FAILED);
    assert_int_equal(s.outcome, TFTP_OUTCOME_ERROR);
    t = fixture_take(&s, T0 + 2 * MS);
    assert_int_equal(t.opcode, TFTP_ERROR);
    assert_int_equal(t.arg, TFTP_ERR_ILLEGAL);
    refuses(2, 512, T0 + 3 * MS);
    assert_acks(-1, T0 + 3 * MS);
}

/* Only what is stored is acknowledged, and while our disk is slow nobody is late. */
static void acks_wait_for_the_disk(void **state)
{
    struct tftp_in in;

    (void)state;
    opened(2);
    assert_false(fixture_data(&s, 1, 512, T0 + MS).flush);
    in = fixture_data(&s, 2, 512, T0 + MS);
    assert_true(in.flush);
    assert_int_equal(tftp_session_deadline(&s), NSEC_NEVER);
    refuses(1, 512, T0 + 500 * MS);
    refuses(2, 512, T0 + 500 * MS);
    tftp_session_on_timer(&s, T0 + 900 * NSEC_PER_SEC);
    assert_acks(-1, T0 + 900 * NSEC_PER_SEC);
    tftp_session_stored(&s, 1023, T0 + 900 * NSEC_PER_SEC);
    assert_acks(-1, T0 + 900 * NSEC_PER_SEC);
    tftp_session_stored(&s, 1024, T0 + 900 * NSEC_PER_SEC);
    assert_acks(2, T0 + 900 * NSEC_PER_SEC);
    assert_true(tftp_session_deadline(&s) < T0 + 902 * NSEC_PER_SEC);
    assert_int_equal(s.state, TFTP_STATE_RECEIVING);
}

/* RFC 1123 section 4.2.3.2: the timer backs off; at the end the writer is gone. */
static void silence_ends_it(void **state)
{
    nsec now = T0 + MS, last = 0, gap = 0;
    unsigned tries = 0;

    (void)state;
    opened(0);
    takes(1, 512, now);
    assert_acks(1, now);
    last = now;
    for (;;) {
        now = tftp_session_deadline(&s);
        tftp_session_on_timer(&s, now);
        if (tftp_session_ended(&s))
            break;
        assert_acks(1, now);
        if (++tries > 1)
            assert_true(now - last >= nsec_min(2 * gap, 10 * NSEC_PER_SEC));
        gap = now - last;
        last = now;
    }
    assert_int_equal(s.outcome, TFTP_OUTCOME_TIMEOUT);
    assert_in_range(now - T0, 60 * NSEC_PER_SEC, 71 * NSEC_PER_SEC);
    assert_in_range(tries, 6, 14);
}

/* The timer tells how far we are when a window stops in the middle. */
static void half_a_window_is_acknowledged_by_timer(void **state)
{
    (void)state;
    opened(8);
    takes(1, 512, T0 + MS);
    takes(2, 512, T0 + MS);
    tftp_session_stored(&s, 1024, T0 + MS);
    assert_acks(-1, T0 + MS);
    tftp_session_on_timer(&s, tftp_session_deadline(&s));
    assert_acks(2, T0 + 400 * MS);
    for (uint64_t block = 3; block <= 10; block++)
        takes(block, 512, T0 + 401 * MS);
    assert_acks(10, T0 + 401 * MS);
}

/* ... also when it has not been stored: nobody but the timer asks for that. */
static void half_a_window_is_stored_by_timer(void **state)
{
    (void)state;
    opened(8);
    takes(1, 512, T0 + MS);
    takes(2, 512, T0 + MS);
    assert_true(tftp_session_on_timer(&s, tftp_session_deadline(&s)));
    assert_acks(-1, T0 + 400 * MS);
    tftp_session_stored(&s, 1024, T0 + 401 * MS);
    assert_acks(2, T0 + 401 * MS);
    assert_false(tftp_session_on_timer(&s, tftp_session_deadline(&s)));
    assert_acks(2, T0 + 1000 * MS);
}

/* RFC 1350 section 6: the final ACK is repeated for a while, the file is not touched again. */
static void dallying(void **state)
{
    unsigned acks = 0;

    (void)state;
    opened(0);
    takes(1, 100, T0 + MS);
    refuses(1, 100, T0 + 500 * MS); /* still publishing: silence */
    assert_acks(-1, T0 + 500 * MS);
    tftp_session_published(&s, T0 + 600 * MS);
    assert_acks(1, T0 + 600 * MS);
    refuses(1, 100, T0 + 601 * MS); /* crossed our ACK */
    assert_acks(-1, T0 + 601 * MS);
    for (nsec t = 700; t < 3500; t += 50) {
        refuses(1, t % 2 ? 100 : 77, T0 + t * MS);
        acks += fixture_take(&s, T0 + t * MS).controls;
    }
    assert_int_equal(acks, 10);
    assert_int_equal(tftp_session_deadline(&s), T0 + 3600 * MS);
    tftp_session_fail(&s, TFTP_ERR_UNDEFINED, "Shutdown", T0 + 3500 * MS);
    assert_int_equal(s.outcome, TFTP_OUTCOME_OK);
    assert_acks(-1, T0 + 3500 * MS);
}

/* Both rollovers, every offset: RFC 1350 has no word for it, so both are offered. */
static void block_numbers_wrap(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        enum tftp_rollover rollover = i == 0 ? TFTP_ROLLOVER_0 : TFTP_ROLLOVER_1;
        struct fixture_options o = {.blksize = 8, .windowsize = 16, .rollover = rollover};
        nsec now = T0;

        fixture_serve(&s, TFTP_WRQ, &o, 0, NULL, now);
        fixture_take(&s, now);
        for (uint64_t block = 1; block <= 140000; block++) {
            uint16_t wire = tftp_block_wire(block, rollover);
            struct tftp_in in = fixture_data(&s, wire, 8, ++now);

            assert_true(in.accepted);
            assert_int_equal(in.offset, (block - 1) * 8);
            if (in.flush)
                tftp_session_stored(&s, block * 8, now);
            if (block % 16 == 0)
                assert_acks(wire, now);
        }
    }
}

/* A peer that doubles its timeouts, on a line that loses much. */
static void dallying_goes_by_repetitions(void **state)
{
    (void)state;
    opened(0);
    takes(1, 100, T0);
    tftp_session_published(&s, T0);
    assert_acks(1, T0);
    assert_int_equal(tftp_session_deadline(&s), T0 + 3000 * MS);
    refuses(1, 100, T0 + 2900 * MS);
    assert_acks(1, T0 + 2900 * MS);
    assert_int_equal(tftp_session_deadline(&s), T0 + 26100 * MS);
    refuses(1, 100, T0 + 12600 * MS);
    assert_acks(1, T0 + 12600 * MS);
    assert_int_equal(tftp_session_deadline(&s), T0 + 42600 * MS);
    (void)tftp_session_on_timer(&s, T0 + 42600 * MS);
    assert_true(tftp_session_ended(&s));
    assert_int_equal(s.outcome, TFTP_OUTCOME_OK);
}

/* All bytes have come, the last step is the disk's: who asked for a file has it, whatever is said
 * now; who sends one may take it back. */
static void an_error_while_publishing(void **state)
{
    const struct fixture_options plain = {0};

    (void)state;
    assert_int_equal(fixture_request(&s, TFTP_RRQ, &plain, TFTP_SIZE_UNKNOWN, NULL, T0), 0);
    (void)fixture_take(&s, T0);
    takes(1, 100, T0 + MS);
    assert_int_equal(s.state, TFTP_STATE_PUBLISHING);
    fixture_error(&s, TFTP_ERR_OPTION, T0 + 2 * MS);
    assert_int_equal(s.state, TFTP_STATE_PUBLISHING);
    tftp_session_published(&s, T0 + 3 * MS);
    assert_acks(1, T0 + 3 * MS);

    opened(0);
    takes(1, 100, T0);
    fixture_error(&s, TFTP_ERR_UNDEFINED, T0 + MS);
    assert_true(tftp_session_ended(&s));
    assert_int_equal(s.outcome, TFTP_OUTCOME_CLOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lockstep),
        cmocka_unit_test(an_ack_for_each_window),
        cmocka_unit_test(old_blocks_are_answered_once),
        cmocka_unit_test(blocks_out_of_place),
        cmocka_unit_test(first_block_lost),
        cmocka_unit_test(client_that_leaves_block_1_behind),
        cmocka_unit_test(ack_0_stands_for_an_oack_of_defaults),
        cmocka_unit_test(too_long_a_block_ends_it),
        cmocka_unit_test(acks_wait_for_the_disk),
        cmocka_unit_test(silence_ends_it),
        cmocka_unit_test(half_a_window_is_acknowledged_by_timer),
        cmocka_unit_test(half_a_window_is_stored_by_timer),
        cmocka_unit_test(an_error_while_publishing),
        cmocka_unit_test(dallying),
        cmocka_unit_test(dallying_goes_by_repetitions),
        cmocka_unit_test(block_numbers_wrap),
    };

    return cmocka_run_group_tests_name("receiver", tests, NULL, NULL);
}
