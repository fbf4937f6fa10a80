/*
 * The timeout and what it is made of, by given round trips.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/rto.h"

#define MS NSEC_PER_MSEC

/* RFC 6298 section 2 and Karn: samples only of what went out once. */
static void round_trips(void **state)
{
    struct tftp_rto r;

    (void)state;
    tftp_rto_init(&r, 200 * MS, 100 * MS, 10000 * MS);
    assert_int_equal(r.interval, 200 * MS);
    tftp_rto_back_off(&r);
    assert_int_equal(r.interval, 400 * MS);
    tftp_rto_sample(&r, 80 * MS, 1); /* srtt 80, rttvar 40 */
    assert_int_equal(r.interval, 240 * MS);
    tftp_rto_sample(&r, 160 * MS, 1); /* srtt 90, rttvar 50 */
    assert_int_equal(r.interval, 290 * MS);
    for (int i = 0; i < 100; i++)
        tftp_rto_sample(&r, MS, 1);
    assert_int_equal(r.interval, 100 * MS);
    for (int i = 0; i < 100; i++)
        tftp_rto_back_off(&r);
    assert_int_equal(r.interval, 10000 * MS);
    tftp_rto_settle(&r, 500 * MS, 1);
    assert_int_equal(r.interval, 500 * MS);
    tftp_rto_cap(&r, 300 * MS);
    assert_int_equal(r.interval, 300 * MS);
    tftp_rto_init(&r, 200 * MS, 100 * MS, 10000 * MS);
    tftp_rto_fix(&r, 3000 * MS);
    tftp_rto_sample(&r, MS, 1);
    assert_int_equal(r.interval, 3000 * MS);
    tftp_rto_back_off(&r);
    assert_int_equal(r.interval, 6000 * MS);
}

/* What is known of the shortest one: an answer that may have waited is no sample, unless it came
 * sooner than the mean. */
static void the_shortest_round_trip(void **state)
{
    struct tftp_rto r;

    (void)state;
    tftp_rto_init(&r, 200 * MS, 100 * MS, 10000 * MS);
    tftp_rto_settle(&r, 90 * MS,
                    1); /* better than nothing: the first shorter one takes its place */
    assert_int_equal(r.srtt, 90 * MS);
    assert_int_equal(r.least, 90 * MS);
    tftp_rto_sample(&r, 80 * MS, 1);
    assert_int_equal(r.least, 80 * MS);
    tftp_rto_settle(&r, 90 * MS, 1);
    assert_int_equal(r.srtt, 80 * MS);
    assert_int_equal(r.least, 80 * MS);
    tftp_rto_settle(&r, 8 * MS, 1);
    assert_int_equal(r.srtt, 71 * MS);
    assert_int_equal(r.least, 8 * MS);
    assert_int_equal(tftp_rto_shortest(&r, 1), 4 * MS);
    tftp_rto_sample(&r, 200 * MS, 1);
    assert_int_equal(r.least, 8 * MS);
}

/* The peer may have had other work during the opening: the first shorter one takes its place. */
static void the_opening_is_no_rule(void **state)
{
    struct tftp_rto r;

    (void)state;
    tftp_rto_init(&r, 200 * MS, 100 * MS, 10000 * MS);
    tftp_rto_sample_opening(&r, 80 * MS);
    assert_int_equal(r.srtt, 80 * MS);
    tftp_rto_settle(&r, 90 * MS, 1); /* may have waited */
    tftp_rto_settle(&r, 8 * MS, 1);
    assert_int_equal(r.srtt, 8 * MS);
    assert_int_equal(r.rttvar, 4 * MS);
    tftp_rto_settle(&r, 4 * MS, 1);
    assert_int_equal(r.srtt, 7500 * NSEC_PER_USEC);
    tftp_rto_sample_opening(&r, 8 * MS);
    tftp_rto_sample(&r, 80 * MS, 1);
    tftp_rto_sample(&r, 8 * MS, 1);
    assert_true(r.srtt > 12 * MS);
}

/* The answer to the 46th packet of a train says little about that to the 12th. */
static void trains_take_their_time(void **state)
{
    struct tftp_rto r;

    (void)state;
    tftp_rto_init(&r, 200 * MS, 100 * MS, 10000 * MS);
    tftp_rto_sample(&r, 690 * NSEC_PER_USEC, 46);
    assert_int_equal(tftp_rto_shortest(&r, 46), 345 * NSEC_PER_USEC);
    assert_int_equal(tftp_rto_shortest(&r, 64), 345 * NSEC_PER_USEC);
    assert_int_equal(tftp_rto_shortest(&r, 12), 90 * NSEC_PER_USEC);
    tftp_rto_init(&r, 200 * MS, 100 * MS, 10000 * MS);
    tftp_rto_sample(&r, 25 * MS, 16);
    assert_int_equal(tftp_rto_shortest(&r, 1), 11600 * NSEC_PER_USEC);
}

/* An answer to what went out twice ends a backoff, no more. */
static void a_repetition_is_no_sample(void **state)
{
    struct tftp_rto r;

    (void)state;
    tftp_rto_init(&r, 200 * MS, 100 * MS, 10000 * MS);
    tftp_rto_back_off(&r);
    tftp_rto_end_back_off(&r, MS);
    assert_int_equal(r.interval, 400 * MS);
    tftp_rto_sample(&r, 80 * MS, 1);
    for (int i = 0; i < 3; i++)
        tftp_rto_back_off(&r);
    tftp_rto_end_back_off(&r, 300 * MS);
    assert_int_equal(r.interval, 300 * MS);
    tftp_rto_end_back_off(&r, MS);
    assert_int_equal(r.interval, 240 * MS);
    assert_int_equal(r.srtt, 80 * MS);
    assert_int_equal(r.least, 80 * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(the_shortest_round_trip),
        cmocka_unit_test(the_opening_is_no_rule),
        cmocka_unit_test(trains_take_their_time),
        cmocka_unit_test(a_repetition_is_no_sample),
    };

    return cmocka_run_group_tests_name("rto", tests, NULL, NULL);
}
