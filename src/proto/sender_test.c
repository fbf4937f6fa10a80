/*
 * The sender's rules one by one, through a server's read session: what each ACK and each
 * timeout makes it send, and what not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/sender_fixture.h"

/* RFC 1123 section 4.2.3.1: a sender MUST never resend DATA on a duplicate ACK. */
static void sorcerers_apprentice_is_dead(void **state)
{
    nsec now = opened(1, 512 * WHOLE, MS), deadline;

    (void)state;
    assert_sends(1, 1, now);
    fixture_ack(&s, 1, now + MS);
    assert_sends(2, 1, now + MS);
    deadline = tftp_session_deadline(&s);
    for (nsec t = 1; t < 90; t++) {
        fixture_ack(&s, 1, now + MS + t * MS);
        assert_sends(0, 0, now + MS + t * MS);
        assert_int_equal(tftp_session_deadline(&s), deadline);
    }
    assert_int_equal(s.counts.duplicates, 89);
    /* One DATA 3 for two ACKs of block 2 (the first was delayed, not lost). */
    tftp_session_on_timer(&s, deadline);
    assert_sends(2, 1, deadline);
    fixture_ack(&s, 2, deadline + MS);
    assert_sends(3, 1, deadline + MS);
    fixture_ack(&s, 2, deadline + 2 * MS);
    assert_sends(0, 0, deadline + 2 * MS);
    assert_int_equal(s.counts.blocks_resent, 1);
}

static void senseless_acks_are_ignored(void **state)
{
    static const uint16_t senseless[] = {4, 5, 100, 32768, 65535};
    nsec now = opened(1, 512 * WHOLE, MS), deadline;

    (void)state;
    assert_sends(1, 1, now);
    fixture_ack(&s, 1, now + MS);
    assert_sends(2, 1, now + MS);
    fixture_ack(&s, 2, now + 2 * MS);
    assert_sends(3, 1, now + 2 * MS);
    deadline = tftp_session_deadline(&s);
    for (size_t i = 0; i < ARRAY_LEN(senseless); i++)
        fixture_ack(&s, senseless[i], now + 10 * MS);
    fixture_ack(&s, 0, now + 10 * MS); /* long past */
    fixture_ack(&s, 1, now + 10 * MS);
    assert_int_equal(s.counts.ignored, ARRAY_LEN(senseless) + 2);
    assert_int_equal(tftp_session_deadline(&s), deadline);
    assert_sends(0, 0, now + 10 * MS);
    fixture_ack(&s, 3, now + 11 * MS);
    assert_sends(4, 1, now + 11 * MS);
}

static void bytes_after_an_ack_do_no_harm(void **state)
{
    static const uint8_t longer[] = {0, TFTP_ACK, 0, 1, 9, 9, 9};
    nsec now = opened(1, 512 * WHOLE, MS);

    (void)state;
    assert_sends(1, 1, now);
    fixture_packet(&s, longer, sizeof(longer), now + MS);
    assert_sends(2, 1, now + MS);
}

/* RFC 7440 section 4, an undisturbed transfer: a window of DATA, an ACK of its last block. */
static void windows_in_order(void **state)
{
    nsec now = opened(4, 512 * 9 + 10, MS);

    (void)state;
    assert_sends(1, 4, now);
    assert_sends(0, 0, now);
    fixture_ack(&s, 4, now += MS);
    assert_sends(5, 4, now);
    fixture_ack(&s, 8, now += MS);
    assert_sends(9, 2, now); /* the last block ends the last window */
    fixture_ack(&s, 10, now += MS);
    assert_int_equal(s.state, TFTP_STATE_DONE);
    assert_int_equal(s.outcome, TFTP_OUTCOME_OK);
    assert_int_equal(s.counts.bytes_acked, 512 * 9 + 10);
    assert_int_equal(s.counts.blocks_sent, 10);
    assert_int_equal(tftp_session_deadline(&s), NSEC_NEVER);
}

/* RFC 7440 section 4, a block lost inside a window: the receiver acknowledges the last block in
 * order, the sender starts the window anew behind it. */
static void gap_in_a_window(void **state)
{
    nsec now = opened(4, 512 * WHOLE, 100 * MS), sent;

    (void)state;
    assert_sends(1, 4, now);
    fixture_ack(&s, 4, now += 100 * MS);
    assert_sends(5, 4, now); /* 6 is lost, 7 is discarded, ACK 5 */
    sent = now;
    fixture_ack(&s, 5, now += 100 * MS);
    assert_sends(9, 1, now); /* the window has moved; it might have been an early ACK */
    assert_int_equal(s.counts.resent_gap, 0);
    now = at_deadline();
    assert_true(now >= sent + s.rto.srtt);
    assert_int_equal(s.counts.resent_gap, 1);
    assert_sends(6, 2, now);
    now = at_deadline(); /* in bursts now, never more than the window */
    assert_sends(8, 2, now);
    assert_sends(0, 0, now + 2000 * MS);
    fixture_ack(&s, 9, now + 100 * MS);
    assert_sends(10, 2, now + 100 * MS);
    assert_int_equal(s.counts.blocks_resent, 4);
}

/* RFC 7440 section 4: the first block of a window is lost; every block behind it draws the same
 * ACK, and they all mean one thing. */
static void many_reports_of_one_gap(void **state)
{
    nsec now = opened(4, 512 * WHOLE, MS), sent;

    (void)state;
    assert_sends(1, 4, now);
    fixture_ack(&s, 4, now += MS);
    assert_sends(5, 4, now);
    sent = now;
    for (unsigned i = 1; i <= 3; i++) {
        fixture_ack(&s, 4, now + i * MS);
        assert_sends(0, 0, now + i * MS);
    }
    assert_int_equal(tftp_session_deadline(&s), sent + 20 * MS); /* never sooner */
    now = at_deadline();
    assert_sends(5, 2, now);
    /* ... and again: nothing but the timer repairs the same block twice. */
    for (unsigned i = 1; i <= 50; i++)
        fixture_ack(&s, 4, now + i * MS);
    assert_int_equal(s.counts.resent_gap, 1);
    assert_int_equal(s.counts.resent_timeout, 0);
    assert_sends(0, 0, now + 50 * MS);
    now = at_deadline();
    assert_int_equal(s.counts.resent_timeout, 1);
    assert_sends(5, 2, now);
}

/* RFC 7440 section 4: an ACK from the middle of a window; the next window starts behind it. */
static void early_ack_moves_the_window(void **state)
{
    nsec now = opened(8, 512 * WHOLE, MS);

    (void)state;
    assert_sends(1, 8, now);
    fixture_ack(&s, 3, now += MS);
    assert_sends(9, 3, now);
    fixture_ack(&s, 11, now += MS); /* all of it */
    assert_sends(12, 8, now);
    assert_int_equal(s.counts.blocks_resent, 0);
    assert_int_equal(s.counts.resent_gap, 0);
}

/* An ACK that comes sooner than the block could have travelled tells nothing about it. */
static void no_hint_before_a_round_trip(void **state)
{
    nsec now = opened(4, 512 * WHOLE, 40 * MS), deadline;

    (void)state;
    assert_sends(1, 4, now);
    deadline = tftp_session_deadline(&s);
    fixture_ack(&s, 0, now + MS); /* the answer to an OACK that was doubled on the way */
    assert_int_equal(tftp_session_deadline(&s), deadline);
    fixture_ack(&s, 4, now + 40 * MS);
    assert_sends(5, 4, now + 40 * MS);
    assert_int_equal(s.counts.blocks_resent, 0);
}

/* The answers to an OACK that went out twice are not the report of a gap. */
static void answers_to_a_repeated_oack_are_no_hint(void **state)
{
    struct fixture_options o = {.blksize = 512, .windowsize = 4};
    nsec now = T0;

    (void)state;
    assert_int_equal(fixture_serve(&s, TFTP_RRQ, &o, 512 * WHOLE, NULL, now), 0);
    fixture_take(&s, now);
    tftp_session_on_repeat(&s, FIXTURE_REQUEST_LEN, now += 80 * MS);
    assert_int_equal(fixture_take(&s, now).opcode, TFTP_OACK);
    fixture_ack(&s, 0, now += MS);
    assert_sends(1, 4, now);
    fixture_ack(&s, 0, now += 80 * MS);
    assert_sends(0, 0, now);
    fixture_ack(&s, 4, now += 19 * MS);
    assert_sends(5, 4, now);
    assert_int_equal(s.counts.blocks_resent, 0);
}

/* RFC 1350 section 2, RFC 7440 section 4: after a timeout all that is not acknowledged is sent
 * again; RFC 1123 section 4.2.3.2: with at least exponential backoff. */
static void timeouts_back_off(void **state)
{
    nsec now = opened(1, 512 * WHOLE, MS), heard = now, last = now, gap = 0;
    unsigned tries = 0;

    (void)state;
    assert_sends(1, 1, now);
    while (!tftp_session_ended(&s)) {
        now = at_deadline();
        if (tftp_session_ended(&s))
            break;
        assert_sends(1, 1, now);
        if (++tries > 1)
            assert_true(now - last == nsec_min(2 * gap, 10 * NSEC_PER_SEC));
        gap = now - last;
        last = now;
    }
    assert_int_equal(s.outcome, TFTP_OUTCOME_TIMEOUT);
    assert_in_range(now - heard, 60 * NSEC_PER_SEC, 71 * NSEC_PER_SEC);
    assert_in_range(tries, 6, 14);
    assert_int_equal(fixture_take(&s, now).opcode, TFTP_ERROR); /* one, the peer is proven */
    assert_int_equal(fixture_take(&s, now).controls, 0);
}

/* A client with `hold` buffers that says nothing before it has the whole window. Blocks of which
 * more come at a time than it can hold are lost. Returns when the window is complete. */
static nsec silent_until_whole(unsigned window, unsigned hold)
{
    nsec begun = opened(window, 512 * WHOLE, MS), now = begun, last = 0;
    uint64_t have = 0;
    unsigned held = 0;

    while (have < window) {
        struct fixture_taken t = fixture_take(&s, now);

        if (now - last >= MS)
            held = 0;
        last = now;
        for (uint64_t block = t.first; block < t.first + t.blocks && held < hold; block++) {
            held++;
            have += block == have + 1;
        }
        assert_false(tftp_session_ended(&s));
        if (have < window)
            now = at_deadline();
    }
    return now - begun;
}

/* U-Boot's 4 buffers, GRUB's 50, and windows they never had the room for. */
static void small_buffers_get_a_window(void **state)
{
    (void)state;
    assert_true(silent_until_whole(16, 4) < NSEC_PER_SEC);
    assert_true(silent_until_whole(64, 50) < NSEC_PER_SEC);
    assert_true(silent_until_whole(64, 8) < NSEC_PER_SEC);
}

/* A silent peer does not get the whole window each time. */
static void silence_costs_few_windows(void **state)
{
    nsec now = opened(64, 512 * WHOLE, MS);

    (void)state;
    fixture_take(&s, now);
    while (!tftp_session_ended(&s)) {
        now = at_deadline();
        if (!tftp_session_ended(&s))
            fixture_take(&s, now);
    }
    assert_int_equal(s.outcome, TFTP_OUTCOME_TIMEOUT);
    assert_in_range(s.counts.blocks_sent, 64, 6 * 64);
}

/* Nor when the client has asked for a timeout of a second, which makes many of them: at 1,500 bytes
 * the packets stay below the cost of an ACK to each of 28,232 ports. */
static void short_timeouts_cost_few_windows(void **state)
{
    nsec now = opened(64, 512 * WHOLE, MS);

    (void)state;
    tftp_rto_cap(&s.rto, NSEC_PER_SEC);
    fixture_take(&s, now);
    while (!tftp_session_ended(&s)) {
        now = at_deadline();
        if (!tftp_session_ended(&s))
            fixture_take(&s, now);
    }
    assert_int_equal(s.outcome, TFTP_OUTCOME_TIMEOUT);
    assert_in_range(s.counts.resent_timeout, 55, 70);
    assert_in_range(s.counts.blocks_sent, 64, 600);
}

/* A machine that slept ten seconds sends once what it would have sent ten times. */
static void a_late_timer_sends_once(void **state)
{
    nsec now = opened(8, 512 * WHOLE, MS);

    (void)state;
    assert_sends(1, 8, now);
    now += 10 * NSEC_PER_SEC;
    tftp_session_on_timer(&s, now);
    assert_sends(1, 4, now);
    tftp_session_on_timer(&s, now);
    assert_sends(0, 0, now);
    assert_int_equal(s.counts.resent_timeout, 1);
    assert_true(tftp_session_deadline(&s) > now);
    /* Asleep for longer than its patience it has not listened, and asks before it judges. */
    tftp_session_on_timer(&s, now + 100 * NSEC_PER_SEC);
    assert_int_equal(s.state, TFTP_STATE_SENDING);
    assert_sends(1, 2, now + 100 * NSEC_PER_SEC);
}

/* What is not at hand is not late: no timer, no patience, no repetition. */
static void a_slow_disk_costs_nothing(void **state)
{
    nsec now = opened(4, 512 * WHOLE, MS);
    struct tftp_out out;

    (void)state;
    assert_int_equal(tftp_session_deadline(&s), NSEC_NEVER);
    now += 500 * NSEC_PER_SEC;
    tftp_session_on_timer(&s, now);
    assert_int_equal(s.state, TFTP_STATE_SENDING);
    assert_true(tftp_session_next(&s, now, &out));
    assert_int_equal(out.count, 4);
    tftp_session_sent(&s, 1, now); /* one block is there, three are still read */
    assert_true(tftp_session_next(&s, now, &out));
    assert_int_equal(out.block, 2);
    assert_int_equal(out.offset, 512);
    assert_int_equal(out.count, 3);
    /* The peer acknowledges whole windows, so its silence means nothing yet. */
    assert_int_equal(tftp_session_deadline(&s), NSEC_NEVER);
    now += 50 * NSEC_PER_SEC;
    tftp_session_on_timer(&s, now);
    assert_sends(2, 3, now);
    for (unsigned i = 0; i < 3; i++) { /* nor is its patience used up by ours */
        now = at_deadline();
        assert_int_equal(s.state, TFTP_STATE_SENDING);
        fixture_take(&s, now);
    }
    now += 30 * NSEC_PER_SEC;
    tftp_session_on_timer(&s, now);
    assert_int_equal(s.state, TFTP_STATE_SENDING);
}

/* A report of a gap in what did go out is heard while the rest is read. */
static void a_slow_disk_does_not_hinder_repair(void **state)
{
    nsec now = opened(4, 512 * WHOLE, MS);

    (void)state;
    assert_sends(1, 4, now);
    fixture_ack(&s, 4, now += MS);
    tftp_session_sent(&s, 3, now); /* 5 is lost, 8 is still read */
    fixture_ack(&s, 4, now + MS);
    now = at_deadline();
    assert_int_equal(s.counts.resent_gap, 1);
    assert_sends(5, 2, now);
}

/* RFC 1350 section 6: the lost ACK of the last block stays lost with most clients. */
static void lost_final_ack_is_no_failure(void **state)
{
    nsec now = opened(1, 700, MS), last;
    unsigned tries = 0;

    (void)state;
    assert_sends(1, 1, now);
    fixture_ack(&s, 1, now += MS);
    assert_sends(2, 1, now);
    last = now;
    while (!tftp_session_ended(&s)) {
        now = at_deadline();
        if (!tftp_session_ended(&s)) {
            assert_sends(2, 1, now);
            tries++;
        }
    }
    assert_int_equal(s.state, TFTP_STATE_DONE);
    assert_int_equal(s.outcome, TFTP_OUTCOME_OK);
    assert_in_range(tries, 5, 7);
    assert_in_range(now - last, 3 * NSEC_PER_SEC, 20 * NSEC_PER_SEC);
    assert_int_equal(fixture_take(&s, now).controls, 0);
}

/* RFC 1350 section 6: less than a block ends the transfer, if need be nothing at all. */
static void sizes_end_right(void **state)
{
    static const struct {
        uint64_t size, blocks;
    } cases[] = {{0, 1}, {1, 1}, {511, 1}, {512, 2}, {513, 2}, {1024, 3}, {1025, 3}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        nsec now = opened(64, cases[i].size, MS);
        struct fixture_taken t = fixture_take(&s, now);

        assert_int_equal(t.blocks, cases[i].blocks);
        assert_int_equal(t.bytes, cases[i].size);
        fixture_ack(&s, cases[i].blocks, now + MS);
        assert_int_equal(s.outcome, TFTP_OUTCOME_OK);
        assert_int_equal(s.counts.bytes_acked, cases[i].size);
    }
}

static void size_may_come_late(void **state)
{
    nsec now = opened(4, TFTP_SIZE_UNKNOWN, MS);
    struct tftp_out out;

    (void)state;
    assert_true(tftp_session_next(&s, now, &out));
    assert_int_equal(out.count, 4);
    assert_int_equal(out.bytes, 4 * 512);
    tftp_session_sent(&s, 2, now); /* two are at hand */
    tftp_session_set_size(&s, 1024 + 7);
    assert_true(tftp_session_next(&s, now, &out));
    assert_int_equal(out.block, 3);
    assert_int_equal(out.count, 1);
    assert_int_equal(out.bytes, 7);
    tftp_session_sent(&s, 1, now);
    fixture_ack(&s, 3, now + MS);
    assert_int_equal(s.outcome, TFTP_OUTCOME_OK);
}

/* Offsets have 64 bits; block numbers on the wire wrap inside windows. */
static void four_gigabytes_and_more(void **state)
{
    struct fixture_options o = {.blksize = 65464, .windowsize = 64};
    uint64_t size = UINT64_C(5) << 30, expect = 0;
    nsec now = T0;

    (void)state;
    fixture_serve(&s, TFTP_RRQ, &o, size, NULL, now);
    fixture_take(&s, now);
    fixture_ack(&s, 0, ++now);
    while (!tftp_session_ended(&s)) {
        struct tftp_out out;

        assert_true(tftp_session_next(&s, now, &out));
        assert_int_equal(out.offset, expect);
        expect += out.bytes;
        tftp_session_sent(&s, out.count, now);
        fixture_ack(&s, out.block + out.count - 1, ++now);
    }
    assert_int_equal(expect, size);
    assert_true(size / 65464 > 65536);
}

/* A round trip longer than the timeout is learned all the same: the doubled interval stays
 * until a block has been answered that went out once. */
static void long_round_trips_are_learned(void **state)
{
    nsec now = opened(1, 512 * WHOLE, MS), rtt = 1500 * MS;

    (void)state;
    for (uint64_t block = 1; block <= 20; block++) {
        nsec answer = now + rtt;

        assert_sends(block, 1, now);
        while (tftp_session_deadline(&s) < answer) {
            now = at_deadline();
            fixture_take(&s, now);
        }
        now = answer;
        fixture_ack(&s, block, now);
    }
    assert_in_range(s.counts.blocks_resent, 1, 10);
    assert_true(s.rto.interval > rtt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sorcerers_apprentice_is_dead),
        cmocka_unit_test(senseless_acks_are_ignored),
        cmocka_unit_test(bytes_after_an_ack_do_no_harm),
        cmocka_unit_test(windows_in_order),
        cmocka_unit_test(gap_in_a_window),
        cmocka_unit_test(many_reports_of_one_gap),
        cmocka_unit_test(early_ack_moves_the_window),
        cmocka_unit_test(no_hint_before_a_round_trip),
        cmocka_unit_test(answers_to_a_repeated_oack_are_no_hint),
        cmocka_unit_test(timeouts_back_off),
        cmocka_unit_test(small_buffers_get_a_window),
        cmocka_unit_test(silence_costs_few_windows),
        cmocka_unit_test(short_timeouts_cost_few_windows),
        cmocka_unit_test(a_late_timer_sends_once),
        cmocka_unit_test(a_slow_disk_costs_nothing),
        cmocka_unit_test(a_slow_disk_does_not_hinder_repair),
        cmocka_unit_test(lost_final_ack_is_no_failure),
        cmocka_unit_test(sizes_end_right),
        cmocka_unit_test(size_may_come_late),
        cmocka_unit_test(four_gigabytes_and_more),
        cmocka_unit_test(long_round_trips_are_learned),
    };

    return cmocka_run_group_tests_name("sender", tests, NULL, NULL);
}
