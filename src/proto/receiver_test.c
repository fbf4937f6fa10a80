/*
 * The receiver's rules one by one, through a server's write session: what is taken, what is
 * acknowledged and when.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/session_fixture.h"

#define T0 (5000 * MS)

static struct tftp_session s;

/* A write with this window (0: no options), first answer sent. */
static void opened(unsigned window)
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
static void takes(uint64_t block, size_t len, nsec now)
{
    struct tftp_in in = fixture_data(&s, block, len, now);

    assert_true(in.accepted);
    assert_int_equal(in.offset, (block - 1) * 512);
    assert_int_equal(in.data.n, len);
    assert_int_equal(in.last, len < 512);
    if (in.flush)
        tftp_session_stored(&s, in.offset + len, now);
}

static void refuses(uint64_t block, size_t len, nsec now)
{
    assert_false(fixture_data(&s, block, len, now).accepted);
}

static void assert_acks(int block, nsec now)
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

/* RFC 7440 section 4: a lost block is reported once, and the window counts from the report. */
static void a_gap_is_reported_once(void **state)
{
    struct tftp_in in;

    (void)state;
    opened(4);
    for (uint64_t block = 1; block <= 4; block++)
        takes(block, 512, T0 + MS);
    assert_acks(4, T0 + MS);
    takes(5, 512, T0 + 2 * MS);
    in = fixture_data(&s, 7, 512, T0 + 2 * MS); /* 6 is lost */
    assert_false(in.accepted);
    assert_true(in.flush);
    assert_acks(-1, T0 + 2 * MS); /* block 5 is not stored yet */
    tftp_session_stored(&s, 5 * 512, T0 + 3 * MS);
    assert_acks(5, T0 + 3 * MS);
    refuses(8, 512, T0 + 3 * MS);
    assert_acks(-1, T0 + 3 * MS);
    for (uint64_t block = 6; block <= 9; block++) {
        assert_acks(-1, T0 + 50 * MS);
        takes(block, 512, T0 + 50 * MS);
    }
    assert_acks(9, T0 + 50 * MS);
}

/* The block that was sent again is lost again: reported when the sender starts over. */
static void a_gap_that_stays_is_reported_again(void **state)
{
    (void)state;
    opened(8);
    takes(1, 512, T0 + MS);
    tftp_session_stored(&s, 512, T0 + MS);
    for (uint64_t block = 3; block <= 8; block++)
        refuses(block, 512, T0 + MS);
    assert_acks(1, T0 + MS);
    refuses(3, 512, T0 + 40 * MS);
    assert_acks(1, T0 + 40 * MS);
    refuses(4, 512, T0 + 41 * MS);
    refuses(3, 512, T0 + 41 * MS); /* doubled on the way */
    assert_acks(-1, T0 + 41 * MS);
}

#define USEC NSEC_PER_USEC

/* Window of 16; a window of blocks so far apart, then one after a millisecond. The next is
 * block 18. */
static nsec trained(nsec spacing)
{
    nsec now = T0 + 2 * MS;

    opened(16);
    for (uint64_t block = 1; block <= 16; block++)
        takes(block, 512, now += spacing);
    assert_acks(16, now);
    takes(17, 512, now += MS);
    tftp_session_stored(&s, 17 * 512, now);
    assert_acks(-1, now);
    return now;
}

/* Our report was lost: the sender goes on behind the gap, but after a pause, as it does not within
 * a train. A few times. */
static void an_unheard_report_is_repeated(void **state)
{
    nsec now = trained(10 * USEC);
    unsigned acks = 0;

    (void)state;
    refuses(19, 512, now += 10 * USEC);
    assert_acks(17, now);
    refuses(20, 512, now += 90 * USEC);
    assert_acks(-1, now);
    refuses(21, 512, now += 1850 * USEC); /* it may be on its way */
    assert_acks(-1, now);
    refuses(22, 512, now += 110 * USEC);
    assert_acks(17, now);
    refuses(23, 512, now += 10 * USEC);
    assert_acks(-1, now);
    for (uint64_t block = 24; block <= 33; block++) {
        refuses(block, 512, now += 3 * MS);
        acks += fixture_take(&s, now).controls;
    }
    assert_int_equal(acks, 2);
    takes(18, 512, now += MS);
    takes(19, 512, now += MS);
    tftp_session_stored(&s, 19 * 512, now);
    refuses(21, 512, now += MS); /* another gap */
    assert_acks(19, now);
    refuses(22, 512, now += 3 * MS);
    assert_acks(19, now);
}

/* On a slow line the packets of a train are as far apart as the pauses elsewhere. */
static void a_slow_line_makes_no_pauses(void **state)
{
    nsec now = trained(1200 * USEC);

    (void)state;
    refuses(19, 512, now += 1200 * USEC);
    assert_acks(17, now);
    for (uint64_t block = 20; block <= 33; block++) {
        refuses(block, 512, now += 1200 * USEC);
        assert_acks(-1, now);
    }
    refuses(34, 512, now += 4800 * USEC);
    assert_acks(17, now);
}

/* What comes in one call may have waited for it: on its own it says nothing of the line. */
static void one_call_is_no_train(void **state)
{
    nsec now = T0 + 2 * MS;

    (void)state;
    opened(16);
    for (uint64_t block = 1; block <= 16; block++)
        takes(block, 512, now);
    assert_acks(16, now);
    takes(17, 512, now += MS);
    tftp_session_stored(&s, 17 * 512, now);
    refuses(19, 512, now += MS);
    assert_acks(17, now);
    refuses(20, 512, now += 50 * MS);
    assert_acks(-1, now);
}

/* Who starts over for each report has heard them all: after two such gaps each is reported once,
 * and what comes twice is answered in the timer's time only. */
static void who_starts_over_each_time_has_heard(void **state)
{
    nsec now = trained(10 * USEC);

    (void)state;
    for (uint64_t block = 18; block <= 26; block += 4) {
        int repeated = block < 26 ? (int)block - 1 : -1;

        refuses(block + 1, 512, now += MS);
        assert_acks((int)block - 1, now);
        refuses(block + 2, 512, now += 3 * MS);
        assert_acks(repeated, now);
        for (uint64_t i = block; i < block + 4; i++)
            takes(i, 512, now += 10 * USEC);
        refuses(block, 512, now += 30 * MS);
        assert_acks(-1, now);
        tftp_session_stored(&s, (block + 3) * 512, now);
    }
    refuses(18, 512, now += 400 * MS);
    assert_acks(29, now);
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
        cmocka_unit_test(a_gap_is_reported_once),
        cmocka_unit_test(a_gap_that_stays_is_reported_again),
        cmocka_unit_test(an_unheard_report_is_repeated),
        cmocka_unit_test(a_slow_line_makes_no_pauses),
        cmocka_unit_test(one_call_is_no_train),
        cmocka_unit_test(who_starts_over_each_time_has_heard),
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
