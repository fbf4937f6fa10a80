/*
 * The phases around the flow of DATA, as a client has them: how it asks, which answers it takes,
 * and when it knows how the transfer ended.
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

static void asked(enum tftp_opcode op, const struct fixture_options *o, uint64_t size)
{
    struct fixture_taken t;

    assert_int_equal(fixture_request(&s, op, o, size, NULL, T0), 0);
    t = fixture_take(&s, T0);
    assert_int_equal(t.controls, 1);
    assert_int_equal(t.opcode, op);
}

/* RFC 1123 section 4.2.3.2: a request is repeated with backoff, then given up. */
static void unanswered_request(void **state)
{
    nsec now = T0;
    struct fixture_taken t;

    (void)state;
    asked(TFTP_RRQ, &windowed, 0);
    t = fixture_run_out(&s, &now);
    assert_in_range(t.controls, 5, 14);
    assert_int_equal(s.counts.control_resent, t.controls);
    assert_int_equal(s.outcome, TFTP_OUTCOME_TIMEOUT);
    assert_in_range(now - T0, 60 * NSEC_PER_SEC, 71 * NSEC_PER_SEC);
}

#define OACK "\0\6"

/* RFC 2347: the client answers the OACK of a read with ACK 0, of a write with DATA 1. */
static void client_takes_an_oack(void **state)
{
    static const char oack[] = OACK "tsize\0"
                                    "3000\0blksize\0"
                                    "1000\0windowsize\0"
                                    "3";
    static const char oack_put[] = OACK "blksize\0"
                                        "1000\0windowsize\0"
                                        "3";
    struct fixture_taken t;

    (void)state;
    asked(TFTP_RRQ, &windowed, 0);
    fixture_packet(&s, oack, sizeof(oack), T0 + MS);
    t = fixture_take(&s, T0 + MS);
    assert_int_equal(t.opcode, TFTP_ACK);
    assert_int_equal(t.arg, 0);
    assert_int_equal(s.params.blksize, 1000);
    assert_int_equal(s.params.tsize, 3000);
    fixture_packet(&s, oack, sizeof(oack), T0 + 2 * MS); /* doubled on the way */
    assert_int_equal(fixture_take(&s, T0 + 2 * MS).controls, 0);
    fixture_packet(&s, oack, sizeof(oack), T0 + 60 * MS); /* our ACK 0 was lost */
    assert_int_equal(fixture_take(&s, T0 + 60 * MS).controls, 1);
    assert_true(fixture_data(&s, 1, 1000, T0 + 61 * MS).accepted);
    fixture_packet(&s, oack, sizeof(oack), T0 + 200 * MS);
    assert_int_equal(fixture_take(&s, T0 + 200 * MS).controls, 0);

    asked(TFTP_WRQ, &windowed, 3500);
    fixture_packet(&s, oack_put, sizeof(oack_put), T0 + MS);
    t = fixture_take(&s, T0 + MS);
    assert_int_equal(t.controls, 0);
    assert_int_equal(t.blocks, 3);
    assert_int_equal(t.bytes, 3000);
    fixture_ack(&s, 3, T0 + 2 * MS);
    assert_int_equal(fixture_take(&s, T0 + 2 * MS).bytes, 500);
    fixture_ack(&s, 4, T0 + 3 * MS);
    assert_int_equal(s.outcome, TFTP_OUTCOME_OK);
}

/* RFC 2347: an option that was not asked for, or larger than asked, ends the transfer. */
static void client_refuses_a_bad_oack(void **state)
{
    static const char more[] = OACK "windowsize\0"
                                    "5";
    static const char other[] = OACK "timeout\0"
                                     "5";
    static const struct view bad[] = {
        {(const uint8_t *)more, sizeof(more)},
        {(const uint8_t *)other, sizeof(other)},
        {(const uint8_t *)more, sizeof(more) - 1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct fixture_taken t;

        asked(TFTP_RRQ, &windowed, 0);
        fixture_packet(&s, bad[i].p, bad[i].n, T0 + MS);
        assert_int_equal(s.outcome, TFTP_OUTCOME_ERROR);
        t = fixture_take(&s, T0 + MS);
        assert_int_equal(t.opcode, TFTP_ERROR);
        assert_int_equal(t.arg, TFTP_ERR_OPTION);
    }
}

/* A server without options: RFC 1350 as it was. */
static void client_without_oack(void **state)
{
    (void)state;
    asked(TFTP_RRQ, &windowed, 0);
    fixture_data(&s, 2, 512, T0 + MS); /* of nothing */
    assert_int_equal(s.state, TFTP_STATE_REQUESTING);
    assert_true(fixture_data(&s, 1, 512, T0 + MS).accepted);
    assert_int_equal(s.params.blksize, 512);
    assert_int_equal(s.params.windowsize, 1);
    tftp_session_stored(&s, 512, T0 + MS);
    assert_int_equal(fixture_take(&s, T0 + MS).arg, 1);

    asked(TFTP_WRQ, &windowed, 700);
    fixture_ack(&s, 1, T0 + MS);
    assert_int_equal(s.state, TFTP_STATE_REQUESTING);
    fixture_ack(&s, 0, T0 + MS);
    assert_int_equal(fixture_take(&s, T0 + MS).bytes, 512);
}

static void client_refuses_the_wrong_answer(void **state)
{
    struct fixture_taken t;

    (void)state;
    asked(TFTP_RRQ, &windowed, 0);
    fixture_ack(&s, 0, T0 + MS);
    t = fixture_take(&s, T0 + MS);
    assert_int_equal(t.opcode, TFTP_ERROR);
    assert_int_equal(t.arg, TFTP_ERR_ILLEGAL);
    assert_int_equal(t.blocks, 0);

    asked(TFTP_WRQ, &windowed, 700);
    assert_false(fixture_data(&s, 1, 512, T0 + MS).accepted);
    t = fixture_take(&s, T0 + MS);
    assert_int_equal(t.opcode, TFTP_ERROR);
    assert_int_equal(t.blocks, 0);
}

static void client_is_refused(void **state)
{
    (void)state;
    asked(TFTP_RRQ, &windowed, 0);
    fixture_error(&s, 1, T0 + MS);
    fixture_assert_ended(&s, TFTP_OUTCOME_ABORTED, 1);
    asked(TFTP_WRQ, &windowed, 0);
    fixture_error(&s, 2, T0 + MS);
    fixture_assert_ended(&s, TFTP_OUTCOME_ABORTED, 2);
    asked(TFTP_RRQ, &windowed, 0);
    tftp_session_fail(&s, TFTP_ERR_UNDEFINED, "Interrupted", T0 + MS);
    fixture_assert_ended(&s, TFTP_OUTCOME_ERROR, 0); /* there is nobody to tell */
}

/* An upload whose last ACK does not come is not known to have arrived. */
static void client_is_not_sure_of_an_unconfirmed_upload(void **state)
{
    nsec now = T0;

    (void)state;
    asked(TFTP_WRQ, &plain, 100);
    fixture_ack(&s, 0, T0 + MS);
    fixture_take(&s, T0 + MS);
    fixture_run_out(&s, &now);
    assert_int_equal(s.outcome, TFTP_OUTCOME_TIMEOUT);
}

/* The size of an upload may become known before the server answers. */
static void size_known_while_asking(void **state)
{
    (void)state;
    asked(TFTP_WRQ, &plain, TFTP_SIZE_UNKNOWN);
    tftp_session_set_size(&s, 100);
    fixture_ack(&s, 0, T0 + MS);
    assert_int_equal(fixture_take(&s, T0 + MS).bytes, 100);
    fixture_ack(&s, 1, T0 + 2 * MS);
    assert_int_equal(s.outcome, TFTP_OUTCOME_OK);
}

static void too_long_a_request(void **state)
{
    struct fixture_request q;
    static char name[600];

    (void)state;
    memset(name, 'n', sizeof(name));
    fixture_ask(&q, TFTP_RRQ, &windowed, 0);
    q.request.filename = view_of(name, sizeof(name));
    assert_int_equal(
        tftp_session_request(&s, &q.request, &fixture_limits, &tftp_manners_default, 0, T0),
        -EMSGSIZE);
}

/* A server that says ERROR in place of the final ACK has not stored the upload, whatever its size.
 */
static void an_error_at_the_end_of_an_upload_is_one(void **state)
{
    nsec now = T0;

    (void)state;
    assert_int_equal(fixture_request(&s, TFTP_WRQ, &plain, 512, NULL, now), 0);
    fixture_take(&s, now);
    fixture_ack(&s, 0, now += MS);
    fixture_take(&s, now);
    fixture_ack(&s, 1, now += MS);
    assert_int_equal(fixture_take(&s, now).bytes, 0); /* the empty last block */
    fixture_error(&s, 0, now + MS);
    assert_int_equal(s.state, TFTP_STATE_FAILED);
    assert_int_equal(s.outcome, TFTP_OUTCOME_CLOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_at_the_end_of_an_upload_is_one),
        cmocka_unit_test(unanswered_request),
        cmocka_unit_test(client_takes_an_oack),
        cmocka_unit_test(client_refuses_a_bad_oack),
        cmocka_unit_test(client_without_oack),
        cmocka_unit_test(client_refuses_the_wrong_answer),
        cmocka_unit_test(client_is_refused),
        cmocka_unit_test(client_is_not_sure_of_an_unconfirmed_upload),
        cmocka_unit_test(size_known_while_asking),
        cmocka_unit_test(too_long_a_request),
    };

    return cmocka_run_group_tests_name("session of a client", tests, NULL, NULL);
}
