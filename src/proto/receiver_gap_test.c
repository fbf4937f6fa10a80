/*
 * What the receiver says of a gap, and how often: once, again to a sender that has not heard, and
 * no more to one that has.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/receiver_fixture.h"

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

/* Window of 16; a window of blocks so far apart, then one, which answers the ACK. The next
 * is block 18. */
static nsec answered(nsec spacing, nsec answer)
{
    nsec now = T0 + 2 * MS;

    opened(16);
    for (uint64_t block = 1; block <= 16; block++)
        takes(block, 512, now += spacing);
    assert_acks(16, now);
    takes(17, 512, now += answer);
    tftp_session_stored(&s, 17 * 512, now);
    assert_acks(-1, now);
    return now;
}

static nsec trained(nsec spacing)
{
    return answered(spacing, MS);
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

/* Who sends block by block shows by an answer how long a packet takes at most. What is lost of a
 * train makes no pause of it. */
static void an_answer_tells_of_pauses(void **state)
{
    nsec now = answered(180 * USEC, 60 * USEC);

    (void)state;
    refuses(19, 512, now += 180 * USEC);
    assert_acks(17, now);
    refuses(21, 512, now += 200 * USEC);
    assert_acks(-1, now);
    refuses(22, 512, now += 180 * USEC);
    assert_acks(17, now);
}

/* A block that was overtaken is no answer to the report of its gap. */
static void an_overtaken_block_is_no_answer(void **state)
{
    nsec now = trained(1200 * USEC);

    (void)state;
    refuses(19, 512, now += 1200 * USEC);
    assert_acks(17, now);
    takes(18, 512, now += 10 * USEC);
    takes(19, 512, now += 1200 * USEC);
    refuses(21, 512, now += 1200 * USEC);
    tftp_session_stored(&s, 19 * 512, now);
    assert_acks(19, now);
    for (uint64_t block = 22; block <= 34; block++) {
        refuses(block, 512, now += 1200 * USEC);
        assert_acks(-1, now);
    }
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
    refuses(18, 512, now += MS);
    assert_acks(16, now);
    refuses(19, 512, now += 50 * MS);
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

/* The first of a window is lost, and reported twice; then all of it comes. */
static nsec reported_twice(uint64_t block, nsec now)
{
    refuses(block + 1, 512, now += MS);
    assert_acks((int)block - 1, now);
    refuses(block + 2, 512, now += 3 * MS);
    assert_acks((int)block - 1, now);
    for (uint64_t i = block; i < block + 16; i++)
        takes(i, 512, now += 10 * USEC);
    assert_acks((int)block + 15, now);
    return now;
}

/* ... which need not be as slow as our own: it lacks our ACK. */
static void who_starts_over_may_have_a_quick_timer(void **state)
{
    nsec now = trained(10 * USEC);

    (void)state;
    s.rto.min = NSEC_PER_SEC;
    now = reported_twice(18, now);
    refuses(18, 512, now += 30 * MS);
    assert_acks(-1, now);
    refuses(18, 512, now += 70 * MS);
    assert_acks(33, now);
}

/* A sender whose timer repeats a window has not misheard, whatever was reported twice of it. */
static void a_timer_has_not_misheard(void **state)
{
    nsec now = trained(10 * USEC);

    (void)state;
    for (uint64_t block = 18; block <= 82; block += 16) {
        now = reported_twice(block, now);
        refuses(block, 512, now += 100 * MS);
        assert_acks((int)block + 15, now);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gap_is_reported_once),
        cmocka_unit_test(a_gap_that_stays_is_reported_again),
        cmocka_unit_test(an_unheard_report_is_repeated),
        cmocka_unit_test(a_slow_line_makes_no_pauses),
        cmocka_unit_test(an_answer_tells_of_pauses),
        cmocka_unit_test(an_overtaken_block_is_no_answer),
        cmocka_unit_test(one_call_is_no_train),
        cmocka_unit_test(who_starts_over_each_time_has_heard),
        cmocka_unit_test(who_starts_over_may_have_a_quick_timer),
        cmocka_unit_test(a_timer_has_not_misheard),
    };

    return cmocka_run_group_tests_name("receiver_gap", tests, NULL, NULL);
}
