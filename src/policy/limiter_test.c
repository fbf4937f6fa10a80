#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "policy/limiter.h"

#define START (99 * NSEC_PER_SEC)

static const struct bucket_size hundred = {100, 10 * NSEC_PER_SEC};

static int set_up(void **state)
{
    struct limiter *l = calloc(1, sizeof(*l));
    *state = l;
    if (!l)
        return -1;
    l->key = 0x1234567890ABCDEF;
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static uint32_t host(const struct limiter *l, const char *text)
{
    struct addr a;
    assert_int_equal(addr_parse(&a, text, 0), 0);
    return limiter_host(l, &a);
}

/* What counts as one address. */
static void hosts(void **state)
{
    const struct limiter *l = *state;

    assert_int_equal(host(l, "10.0.0.1:1000"), host(l, "10.0.0.1:2000"));
    assert_int_not_equal(host(l, "10.0.0.1"), host(l, "10.0.0.2"));
    assert_int_equal(host(l, "[::ffff:10.0.0.1]:5"), host(l, "10.0.0.1"));
    assert_int_equal(host(l, "2001:db8:1:2::1"), host(l, "2001:db8:1:2:ffff::9"));
    assert_int_not_equal(host(l, "2001:db8:1:2::1"), host(l, "2001:db8:1:3::1"));
}

static void each_address_has_its_own(void **state)
{
    struct limiter *l = *state;
    uint32_t a = host(l, "192.0.2.1"), b = host(l, "192.0.2.2");

    assert_true(limiter_take(l, a, LIMIT_REQUESTS, &hundred, 100, START));
    assert_false(limiter_take(l, a, LIMIT_REQUESTS, &hundred, 1, START));
    assert_true(limiter_take(l, a, LIMIT_UNPROVEN, &hundred, 100, START));
    assert_true(limiter_take(l, b, LIMIT_REQUESTS, &hundred, 100, START));
    limiter_return(l, a, LIMIT_REQUESTS, &hundred, 40);
    assert_true(limiter_take(l, a, LIMIT_REQUESTS, &hundred, 40, START));
    assert_false(limiter_take(l, a, LIMIT_REQUESTS, &hundred, 1, START));
    assert_true(limiter_take(l, a, LIMIT_REQUESTS, &hundred, 1, START + 100 * NSEC_PER_MSEC));
}

/* 10,000 addresses that have spent all they had hold nearly nobody else back. */
static void a_flood_spends_only_its_own(void **state)
{
    struct limiter *l = *state;
    unsigned refused = 0;
    char text[32];

    for (unsigned i = 0; i < 10000; i++) {
        snprintf(text, sizeof(text), "10.1.%u.%u", i / 256, i % 256);
        assert_true(limiter_take(l, host(l, text), LIMIT_REQUESTS, &hundred, 100, START) || i > 0);
    }
    for (unsigned i = 0; i < 10000; i++) {
        snprintf(text, sizeof(text), "10.2.%u.%u", i / 256, i % 256);
        refused += !limiter_take(l, host(l, text), LIMIT_REQUESTS, &hundred, 1, START);
    }
    /* Both places taken: 1 - exp(-10000/32768) each, so about 6.9 in 100. */
    assert_in_range(refused, 1, 900);
}

static void transfers_of_one_address(void **state)
{
    struct limiter *l = *state;
    uint32_t a = host(l, "192.0.2.1"), b = host(l, "192.0.2.2");

    assert_true(limiter_enter(l, a, 2));
    assert_true(limiter_enter(l, a, 2));
    assert_false(limiter_enter(l, a, 2));
    assert_false(limiter_enter(l, a, 2));
    assert_true(limiter_enter(l, b, 2));
    assert_true(limiter_enter(l, a, 0));
    limiter_leave(l, a);
    assert_false(limiter_enter(l, a, 2));
    limiter_leave(l, a);
    assert_true(limiter_enter(l, a, 2));
    limiter_leave(l, a);
    limiter_leave(l, a);
    limiter_leave(l, b);
    for (unsigned row = 0; row < LIMITER_ROWS; row++)
        for (unsigned i = 0; i < LIMITER_SLOTS; i++)
            assert_int_equal(l->slot[row][i].transfers, 0);
}

static void uploads(void **state)
{
    struct limiter *l = *state;

    assert_true(limiter_upload_enter(l, 1));
    assert_false(limiter_upload_enter(l, 1));
    assert_true(limiter_upload_enter(l, 0));
    limiter_upload_leave(l);
    limiter_upload_leave(l);
    assert_int_equal(l->uploads, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hosts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_address_has_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flood_spends_only_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(transfers_of_one_address, set_up, tear_down),
        cmocka_unit_test_setup_teardown(uploads, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
