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
    tftp_rto_sample(&r, 80 * MS); /* srtt 80, rttvar 40 */
    assert_int_equal(r.interval, 240 * MS);
    tftp_rto_sample(&r, 160 * MS); /* srtt 90, rttvar 50 */
    assert_int_equal(r.interval, 290 * MS);
    for (int i = 0; i < 100; i++)
        tftp_rto_sample(&r, MS);
    assert_int_equal(r.interval, 100 * MS);
    for (int i = 0; i < 100; i++)
        tftp_rto_back_off(&r);
    assert_int_equal(r.interval, 10000 * MS);
    tftp_rto_settle(&r, 500 * MS);
    assert_int_equal(r.interval, 500 * MS);
    tftp_rto_cap(&r, 300 * MS);
    assert_int_equal(r.interval, 300 * MS);
    tftp_rto_init(&r, 200 * MS, 100 * MS, 10000 * MS);
    tftp_rto_fix(&r, 3000 * MS);
    tftp_rto_sample(&r, MS);
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
    tftp_rto_settle(&r, MS); /* nothing to compare it with */
    assert_int_equal(r.least, NSEC_NEVER);
    tftp_rto_sample(&r, 80 * MS);
    assert_int_equal(r.least, 80 * MS);
    tftp_rto_settle(&r, 90 * MS);
    assert_int_equal(r.srtt, 80 * MS);
    assert_int_equal(r.least, 80 * MS);
    tftp_rto_settle(&r, 8 * MS);
    assert_int_equal(r.srtt, 71 * MS);
    assert_int_equal(r.least, 8 * MS);
    assert_int_equal(tftp_rto_shortest(&r), 4 * MS);
    tftp_rto_sample(&r, 200 * MS);
    assert_int_equal(r.least, 8 * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(the_shortest_round_trip),
    };

    return cmocka_run_group_tests_name("rto", tests, NULL, NULL);
}
