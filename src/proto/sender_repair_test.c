/*
 * The sender's restarts for a gap: which were in vain, which reports are of the same loss, and what
 * an answer to a repeated block is good for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/sender_fixture.h"

/* A restart that was in vain says nothing about the network. */
static void a_restart_in_vain_is_forgotten(void **state)
{
    nsec now = opened(8, 512 * WHOLE, 40 * MS);

    (void)state;
    for (uint64_t block = 1; block < 80; block += 8) {
        assert_sends(block, 8, now);
        fixture_ack(&s, block + 7, now += 40 * MS);
    }
    assert_sends(81, 8, now);
    fixture_ack(&s, 82, now += 40 * MS);
    assert_sends(89, 2, now);
    now = at_deadline();
    assert_int_equal(s.counts.resent_gap, 1);
    assert_sends(83, 4, now);
    fixture_ack(&s, 88, now + MS); /* it was under way */
    assert_sends(91, 6, now + MS);
    fixture_ack(&s, 96, now + 41 * MS);
    assert_sends(97, 8, now + 41 * MS); /* nothing was lost, no smaller bursts */
    /* Once bitten: the same impression again, and the sender waits for what follows. */
    fixture_ack(&s, 98, now += 81 * MS);
    assert_sends(105, 2, now);
    assert_true(tftp_session_deadline(&s) > now + 40 * MS);
    fixture_ack(&s, 104, now += 40 * MS);
    assert_sends(107, 6, now);
    assert_int_equal(s.counts.resent_gap, 1);
}

/* A client that answers what it has already, block by block: once the first answer shows that, the
 * others report no gap. */
static void answers_to_a_restart_in_vain_are_no_hint(void **state)
{
    nsec now = opened(8, 512 * WHOLE, 40 * MS), restarted;

    (void)state;
    for (uint64_t block = 1; block < 80; block += 8) {
        assert_sends(block, 8, now);
        fixture_ack(&s, block + 7, now += (block & 8 ? 30 : 50) * MS);
    }
    assert_sends(81, 8, now);
    fixture_ack(&s, 82, now += 50 * MS);
    assert_sends(89, 2, now);
    restarted = at_deadline();
    assert_sends(83, 4, restarted);
    assert_sends(87, 4, now = at_deadline());
    assert_true(now > restarted);
    fixture_ack(&s, 90, now += tftp_rto_shortest(&s.rto, 4) - MS); /* too soon after block 90 */
    assert_true(now > restarted + tftp_rto_shortest(&s.rto, 4));
    assert_sends(91, 8, now);
    fixture_ack(&s, 90, now + s.rto.srtt / 2 + MS);
    now = at_deadline();
    assert_int_equal(s.counts.resent_gap, 1);
    assert_int_equal(s.counts.resent_timeout, 1);
}

/* A report that was on its way when the block went out again does not say that it is lost again. */
static void a_report_on_its_way_is_no_second_one(void **state)
{
    nsec now = opened(8, 512 * WHOLE, 40 * MS), restarted;

    (void)state;
    assert_sends(1, 8, now);
    fixture_ack(&s, 8, now += 40 * MS);
    assert_sends(9, 8, now);
    fixture_ack(&s, 9, now += 40 * MS); /* 10 is lost */
    assert_sends(17, 1, now);
    restarted = at_deadline();
    assert_int_equal(s.counts.resent_gap, 1);
    assert_sends(10, 4, restarted);
    fixture_ack(&s, 9, restarted + 5 * MS);
    now = at_deadline();
    assert_true(now < restarted + 40 * MS);
    assert_sends(14, 4, now);
    fixture_ack(&s, 9, restarted + 41 * MS);
    assert_int_equal(s.counts.resent_timeout, 0);
    (void)at_deadline(); /* ... but this one does: nothing before the timer */
    assert_int_equal(s.counts.resent_timeout, 1);
}

/* Machines side by side: an answer may come in a third of the time it took before. */
static void a_quick_answer_is_one(void **state)
{
    nsec usec = NSEC_PER_USEC, now = opened(8, 512 * WHOLE, 80 * usec);

    (void)state;
    assert_sends(1, 8, now);
    fixture_ack(&s, 8, now += 80 * usec);
    assert_sends(9, 8, now);
    fixture_ack(&s, 10, now += 80 * usec); /* 11 is lost */
    assert_sends(17, 2, now);
    assert_sends(11, 4, now = at_deadline());
    fixture_ack(&s, 12, now += 30 * usec);
    assert_int_equal(s.sender.doubts, 0);
    assert_sends(15, 4, at_deadline());
}

/* Where nearly everything goes out twice there is no sample, and timeouts would only grow. */
static void an_answer_to_a_restart_ends_a_backoff(void **state)
{
    nsec now = opened(8, 512 * WHOLE, MS);

    (void)state;
    assert_sends(1, 8, now);
    fixture_ack(&s, 8, now += MS);
    assert_sends(9, 8, now);
    assert_sends(9, 4, now = at_deadline());
    assert_int_equal(s.rto.interval, 200 * MS);
    fixture_ack(&s, 12, now += MS); /* perhaps to the first ones */
    assert_int_equal(s.rto.interval, 200 * MS);
    assert_sends(13, 4, now);
    fixture_ack(&s, 12, now += MS); /* 13 is lost */
    now = at_deadline();
    assert_int_equal(s.counts.resent_gap, 1);
    assert_sends(13, 2, now);
    fixture_ack(&s, 13, now += MS);
    assert_int_equal(s.rto.interval, 100 * MS);
}

/* Sends what it may, by the timers too, up to `until`. */
static nsec goes_on(nsec now, nsec until)
{
    fixture_take(&s, now);
    while (tftp_session_deadline(&s) <= until)
        fixture_take(&s, at_deadline());
    return until;
}

/* The network was congested, and has healed: answers come in a third of the least that is known, so
 * a restart seems to have been in vain. A client that lacks all the same what was left out shows
 * that it was not. */
static void a_verdict_is_proved_wrong(void **state)
{
    nsec now = opened(8, 512 * WHOLE, 40 * MS);

    (void)state;
    assert_sends(1, 8, now);
    fixture_ack(&s, 8, now += 40 * MS);
    now = goes_on(now, now + 4000 * MS); /* nothing gets through, and timeouts grow */
    fixture_ack(&s, 9, now);
    now = goes_on(now, now + 200 * MS);
    fixture_ack(&s, 9, now); /* 10 is lost, and all that followed */
    assert_sends(10, 1, now = at_deadline());
    assert_int_equal(s.counts.resent_gap, 1);
    fixture_ack(&s, 10, now += 13 * MS);
    assert_sends(18, 1, now); /* 11 to 17 are taken for under way */
    now = goes_on(now, now + 1000 * MS);
    fixture_ack(&s, 10, now);
    uint64_t resent = s.counts.blocks_resent;
    assert_sends(11, 1, now = at_deadline());
    assert_int_equal(s.counts.resent_gap, 2);
    fixture_ack(&s, 11, now += 13 * MS);
    (void)goes_on(now, now + 80 * MS);
    assert_int_equal(s.counts.blocks_resent, resent + 8); /* 11 to 18 */
    assert_int_equal(s.rto.interval, 100 * MS);
}

/* The timer sends a block again, and it is lost once more: what follows it would go out in vain.
 * But the second time the peer may be one that says the same whatever comes, until its window is
 * full. */
static void nothing_follows_a_block_that_the_timer_lost(void **state)
{
    nsec now = opened(8, 512 * WHOLE, 40 * MS);

    (void)state;
    assert_sends(1, 8, now);
    fixture_ack(&s, 8, now += 40 * MS);
    assert_sends(9, 8, now);
    fixture_ack(&s, 8, now += 40 * MS);
    assert_sends(9, 4, now = at_deadline());
    fixture_ack(&s, 8, now + 40 * MS);
    now = at_deadline();
    assert_int_equal(s.counts.resent_timeout, 1);
    fixture_take(&s, now);
    fixture_ack(&s, 8, now + 40 * MS);
    now = at_deadline();
    assert_int_equal(s.counts.resent_timeout, 2);
    fixture_take(&s, now);
    fixture_ack(&s, 8, now + 40 * MS);
    fixture_take(&s, at_deadline());
    assert_int_equal(s.counts.resent_timeout, 2);
    assert_int_equal(s.counts.resent_gap, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restart_in_vain_is_forgotten),
        cmocka_unit_test(answers_to_a_restart_in_vain_are_no_hint),
        cmocka_unit_test(a_report_on_its_way_is_no_second_one),
        cmocka_unit_test(a_quick_answer_is_one),
        cmocka_unit_test(an_answer_to_a_restart_ends_a_backoff),
        cmocka_unit_test(a_verdict_is_proved_wrong),
        cmocka_unit_test(nothing_follows_a_block_that_the_timer_lost),
    };

    return cmocka_run_group_tests_name("sender_repair", tests, NULL, NULL);
}
