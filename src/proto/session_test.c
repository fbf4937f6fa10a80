/*
 * The phases around the flow of DATA, as a server has them: what an unproven peer gets, and how
 * transfers end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "proto/session_fixture.h"

#define T0 (5000 * MS)

static struct tftp_session s;

static const struct fixture_options plain = {0};
static const struct fixture_options windowed = {.blksize = 1024, .windowsize = 4, .tsize = true};

/* An address that never answers gets one DATA, and no word at the end. */
static void unproven_peer_gets_one_data(void **state)
{
    struct fixture_taken t;
    nsec now = T0;

    (void)state;
    fixture_serve(&s, TFTP_RRQ, &plain, 1 << 20, NULL, T0);
    t = fixture_take(&s, T0);
    assert_int_equal(t.blocks, 1);
    t = fixture_run_out(&s, &now);
    assert_int_equal(t.blocks + t.controls, 0);
    assert_int_equal(s.outcome, TFTP_OUTCOME_TIMEOUT);
    assert_in_range(now - T0, 10 * NSEC_PER_SEC, 60 * NSEC_PER_SEC);
}

static void one_retry_by_configuration(void **state)
{
    struct tftp_manners manners = tftp_manners_default;
    nsec now = T0;

    (void)state;
    manners.unproven_retries = 1;
    fixture_serve(&s, TFTP_RRQ, &plain, 1 << 20, &manners, T0);
    fixture_take(&s, T0);
    assert_int_equal(fixture_run_out(&s, &now).blocks, 1);
    assert_int_equal(s.counts.blocks_sent, 2);
}

/* OACK and ACK 0 are repeated by the timer while all replies stay below three requests. */
static void unproven_peer_gets_few_control_bytes(void **state)
{
    (void)state;
    for (enum tftp_opcode op = TFTP_RRQ; op <= TFTP_WRQ; op++) {
        nsec now = T0;
        struct tftp_out out;
        size_t len;
        unsigned controls;

        fixture_serve(&s, op, &windowed, 1 << 20, NULL, T0);
        assert_true(tftp_session_next(&s, T0, &out));
        len = out.control.n;
        controls = fixture_take(&s, T0).controls;
        controls += fixture_run_out(&s, &now).controls;
        /* A second OACK would move an upload on by a block: its client has to ask. */
        if (op == TFTP_WRQ)
            assert_int_equal(controls, 1);
        else
            assert_in_range(controls * len, len + 1, 3 * FIXTURE_REQUEST_LEN);
        assert_int_equal(s.counts.control_resent, controls - 1);
        assert_int_equal(s.counts.blocks_sent, 0);
    }
}

/* A repeated request pays for another first reply, three in all. */
static void repeats_get_three_replies(void **state)
{
    const struct fixture_options *kinds[] = {&plain, &windowed};

    (void)state;
    for (enum tftp_opcode op = TFTP_RRQ; op <= TFTP_WRQ; op++)
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
            unsigned replies = 0;

            fixture_serve(&s, op, kinds[i], 1 << 20, NULL, T0);
            for (nsec t = 0; t < 10; t++) {
                struct fixture_taken taken = fixture_take(&s, T0 + t * 20 * MS);

                replies += taken.blocks + taken.controls;
                tftp_session_on_repeat(&s, FIXTURE_REQUEST_LEN, T0 + (t + 1) * 20 * MS);
            }
            assert_int_equal(replies, 3);
        }
}

static void repeats_after_proof_are_ignored(void **state)
{
    static const uint8_t rrq[] = "\0\1f\0octet";

    (void)state;
    fixture_serve(&s, TFTP_RRQ, &plain, 1 << 20, NULL, T0);
    fixture_take(&s, T0);
    /* to the transfer's own port it counts the same */
    fixture_packet(&s, rrq, sizeof(rrq), T0 + 30 * MS);
    assert_int_equal(fixture_take(&s, T0 + 30 * MS).first, 1);
    fixture_ack(&s, 1, T0 + 32 * MS);
    assert_int_equal(fixture_take(&s, T0 + 32 * MS).first, 2);
    tftp_session_on_repeat(&s, FIXTURE_REQUEST_LEN, T0 + 60 * MS);
    fixture_packet(&s, rrq, sizeof(rrq), T0 + 60 * MS);
    assert_int_equal(fixture_take(&s, T0 + 60 * MS).blocks, 0);
}

/* A request that the network doubled is answered once, and the other answers are left for when the
 * client asks again. */
static void a_doubled_request_is_answered_once(void **state)
{
    const struct fixture_options *kinds[] = {&plain, &windowed};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        unsigned replies = 0;

        fixture_serve(&s, TFTP_RRQ, kinds[i], 1 << 20, NULL, T0);
        for (nsec t = 0; t < 3; t++)
            for (nsec copy = 0; copy < 5; copy++) {
                nsec now = T0 + t * 200 * MS + copy * MS;
                struct fixture_taken taken = fixture_take(&s, now);

                replies += taken.blocks + taken.controls;
                assert_int_equal(replies, t + 1);
                tftp_session_on_repeat(&s, FIXTURE_REQUEST_LEN, now + (copy == 4 ? 195 * MS : 0));
            }
    }
}

/* RFC 2347: an OACK is answered by ACK 0 for a read, by DATA 1 for a write. */
static void oack_is_confirmed(void **state)
{
    (void)state;
    fixture_serve(&s, TFTP_RRQ, &windowed, 5000, NULL, T0);
    assert_int_equal(fixture_take(&s, T0).opcode, TFTP_OACK);
    fixture_ack(&s, 1, T0 + MS); /* no such block has been sent */
    assert_int_equal(s.state, TFTP_STATE_OPENING);
    assert_int_equal(s.params.blksize, 1024);
    fixture_ack(&s, 0, T0 + MS);
    assert_int_equal(s.state, TFTP_STATE_SENDING);
    assert_true(s.proven);
    assert_int_equal(s.rto.srtt, MS);
    assert_int_equal(fixture_take(&s, T0 + MS).blocks, 4);

    fixture_serve(&s, TFTP_WRQ, &windowed, 5000, NULL, T0);
    assert_int_equal(fixture_take(&s, T0).opcode, TFTP_OACK);
    fixture_ack(&s, 0, T0 + MS);
    assert_int_equal(s.state, TFTP_STATE_OPENING);
    assert_true(fixture_data(&s, 1, 1024, T0 + MS).accepted);
    assert_int_equal(s.state, TFTP_STATE_RECEIVING);
    assert_int_equal(s.params.tsize, 5000);
}

/* RFC 2349 section 2: a negotiated timeout bounds the interval, or is it. */
static void timeout_option(void **state)
{
    struct fixture_options o = {.timeout_s = 1};
    struct tftp_manners manners = tftp_manners_default;

    (void)state;
    for (int exact = 0; exact < 2; exact++) {
        nsec now = T0, last;

        manners.timeout_exact = exact;
        fixture_serve(&s, TFTP_RRQ, &o, 1 << 20, &manners, T0);
        fixture_take(&s, T0);
        fixture_ack(&s, 0, T0 + MS);
        fixture_take(&s, T0 + MS);
        now = tftp_session_deadline(&s);
        assert_int_equal(now - T0, exact ? 1001 * MS : 101 * MS);
        for (int i = 0; i < 6; i++) {
            last = now;
            tftp_session_on_timer(&s, now);
            assert_int_equal(fixture_take(&s, now).blocks, 1);
            now = tftp_session_deadline(&s);
        }
        assert_int_equal(now - last, (exact ? 10000 : 1000) * MS);
    }
}

static void served(uint64_t size, nsec *now)
{
    fixture_serve(&s, TFTP_RRQ, &windowed, size, NULL, T0);
    fixture_take(&s, T0);
    *now = T0 + MS;
}

/* RFC 1350 section 7: an ERROR ends it, is not acknowledged and not answered. */
static void errors_of_the_peer(void **state)
{
    static const unsigned codes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 999, 65535};
    nsec now;

    (void)state;
    served(5000, &now); /* EDK2 asks for the size first, and says so */
    fixture_error(&s, 8, now);
    fixture_assert_ended(&s, TFTP_OUTCOME_PROBE, 8);
    served(5000, &now);
    fixture_error(&s, 0, now);
    fixture_assert_ended(&s, TFTP_OUTCOME_PROBE, 0);
    served(5000, &now);
    fixture_error(&s, 3, now);
    fixture_assert_ended(&s, TFTP_OUTCOME_ABORTED, 3);
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        served(50000, &now);
        fixture_ack(&s, 0, now);
        fixture_take(&s, now);
        fixture_ack(&s, 4, now);
        fixture_take(&s, now);
        fixture_error(&s, codes[i], now);
        fixture_assert_ended(&s, TFTP_OUTCOME_ABORTED, codes[i]);
    }
    served(50000, &now);
    fixture_ack(&s, 0, now);
    fixture_take(&s, now);
    fixture_ack(&s, 4, now);
    fixture_error(&s, 0, now);
    fixture_assert_ended(&s, TFTP_OUTCOME_CLOSED, 0);
}

/* GRUB says "closed" when it has all bytes and only the empty block is not acknowledged. */
static void closed_at_the_end_is_success(void **state)
{
    nsec now;

    (void)state;
    served(0, &now);
    fixture_ack(&s, 0, now);
    fixture_take(&s, now);
    fixture_error(&s, 0, now);
    fixture_assert_ended(&s, TFTP_OUTCOME_OK, 0);

    served(2048, &now);
    fixture_ack(&s, 0, now);
    assert_int_equal(fixture_take(&s, now).blocks, 3);
    fixture_ack(&s, 2, now);
    fixture_error(&s, 0, now);
    fixture_assert_ended(&s, TFTP_OUTCOME_OK, 0);

    served(2049, &now); /* a byte was missing */
    fixture_ack(&s, 0, now);
    fixture_take(&s, now);
    fixture_ack(&s, 2, now);
    fixture_error(&s, 0, now);
    fixture_assert_ended(&s, TFTP_OUTCOME_CLOSED, 0);
}

static void junk_changes_nothing(void **state)
{
    static const uint8_t junk[][6] = {
        {0},
        {0, 4, 0},
        {0, 9, 0, 1, 2, 3},
        {0, 3, 0, 1, 2, 3},
        {0, 6, 'x', 0, '1', 0},
        {0, 2, 'f', 0, 'o', 0},
    };
    static const size_t lengths[] = {1, 3, 6, 6, 6, 6};
    nsec now, deadline;

    (void)state;
    served(50000, &now);
    fixture_ack(&s, 0, now);
    fixture_take(&s, now);
    deadline = tftp_session_deadline(&s);
    fixture_packet(&s, NULL, 0, now);
    for (size_t i = 0; i < ARRAY_LEN(junk); i++)
        assert_false(fixture_packet(&s, junk[i], lengths[i], now).accepted);
    assert_int_equal(s.counts.ignored, 7);
    assert_int_equal(tftp_session_deadline(&s), deadline);
    assert_int_equal(fixture_take(&s, now).blocks, 0);
    fixture_ack(&s, 4, now);
    assert_int_equal(fixture_take(&s, now).first, 5);
}

static void unreachable_ends_it(void **state)
{
    nsec now;

    (void)state;
    served(5000, &now);
    tftp_session_on_unreachable(&s, now);
    fixture_assert_ended(&s, TFTP_OUTCOME_CLOSED, 0);
    served(5000, &now);
    fixture_ack(&s, 0, now);
    fixture_take(&s, now);
    fixture_ack(&s, 4, now); /* block 5 is the last: its ACK was lost, the client is gone */
    fixture_take(&s, now);
    tftp_session_on_unreachable(&s, now);
    fixture_assert_ended(&s, TFTP_OUTCOME_OK, 0);
}

static void our_side_gives_up(void **state)
{
    struct fixture_taken t;
    nsec now;

    (void)state;
    served(5000, &now);
    tftp_session_fail(&s, TFTP_ERR_ACCESS, "No", now);
    tftp_session_fail(&s, TFTP_ERR_DISK_FULL, "Too late", now);
    t = fixture_take(&s, now);
    assert_int_equal(t.controls, 1);
    assert_int_equal(t.opcode, TFTP_ERROR);
    assert_int_equal(t.arg, TFTP_ERR_ACCESS);
    assert_int_equal(s.error, TFTP_ERR_ACCESS);
    assert_string_equal(s.error_text, "No");
    assert_int_equal(s.outcome, TFTP_OUTCOME_ERROR);
    fixture_ack(&s, 0, now);
    assert_int_equal(fixture_take(&s, now).controls, 0);
}

static void bad_options_are_refused(void **state)
{
    struct fixture_request q;
    struct fixture_taken t;

    (void)state;
    fixture_ask(&q, TFTP_RRQ, &windowed, 0);
    q.request.options[q.request.option_count++] = q.request.options[1];
    assert_int_equal(
        tftp_session_serve(&s, &q.request, 60, &fixture_limits, &tftp_manners_default, 5000, T0),
        -EINVAL);
    t = fixture_take(&s, T0);
    assert_int_equal(t.opcode, TFTP_ERROR);
    assert_int_equal(t.arg, TFTP_ERR_OPTION);
    assert_int_equal(s.state, TFTP_STATE_FAILED);
}

static void names_and_size(void **state)
{
    (void)state;
    assert_string_equal(tftp_state_name(TFTP_STATE_DALLYING), "dallying");
    assert_string_equal(tftp_outcome_name(TFTP_OUTCOME_PROBE), "probe");
    assert_in_range(sizeof(struct tftp_session), 1, 1056);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unproven_peer_gets_one_data),
        cmocka_unit_test(one_retry_by_configuration),
        cmocka_unit_test(unproven_peer_gets_few_control_bytes),
        cmocka_unit_test(repeats_get_three_replies),
        cmocka_unit_test(repeats_after_proof_are_ignored),
        cmocka_unit_test(a_doubled_request_is_answered_once),
        cmocka_unit_test(oack_is_confirmed),
        cmocka_unit_test(timeout_option),
        cmocka_unit_test(errors_of_the_peer),
        cmocka_unit_test(closed_at_the_end_is_success),
        cmocka_unit_test(junk_changes_nothing),
        cmocka_unit_test(unreachable_ends_it),
        cmocka_unit_test(our_side_gives_up),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(names_and_size),
    };

    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
