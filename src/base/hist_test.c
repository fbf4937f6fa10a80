#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/hist.h"
#include "base/prng.h"
#include "base/util.h"

static struct hist h, other; /* too large for the stack */

static int reset(void **state)
{
    (void)state;
    h = other = (struct hist){0};
    return 0;
}

/* The bounds cut all 64-bit values into intervals no wider than a 32nd of their values. */
static void bounds(void **state)
{
    (void)state;
    uint64_t low = 0;
    unsigned buckets = 0;
    for (;;) {
        uint64_t high = hist_bound(low);
        assert_true(high >= low);
        assert_true(hist_bound(high) == high);
        assert_true(high - low <= low / 32);
        assert_true(hist_bound(low + (high - low) / 2) == high);
        buckets++;
        if (high == UINT64_MAX)
            break;
        low = high + 1;
    }
    assert_int_equal(buckets, HIST_BUCKETS);
}

static void empty(void **state)
{
    (void)state;
    assert_int_equal(hist_quantile(&h, 0.5), 0);
    hist_merge(&h, &other);
    assert_int_equal(h.count, 0);
}

static void small_values_are_exact(void **state)
{
    (void)state;
    for (uint64_t v = 1; v <= 20; v++)
        hist_add(&h, v);
    assert_int_equal(hist_quantile(&h, 0), 1);
    assert_int_equal(hist_quantile(&h, 0.05), 1);
    assert_int_equal(hist_quantile(&h, 0.5), 10);
    assert_int_equal(hist_quantile(&h, 0.51), 11);
    assert_int_equal(hist_quantile(&h, 1), 20);
    assert_int_equal(h.count, 20);
    assert_int_equal(h.sum, 210);
    assert_int_equal(h.max, 20);
}

static void extremes(void **state)
{
    (void)state;
    hist_add(&h, 0);
    hist_add(&h, UINT64_MAX);
    assert_int_equal(hist_quantile(&h, 0.5), 0);
    assert_true(hist_quantile(&h, 0.51) == UINT64_MAX);
    assert_true(h.max == UINT64_MAX);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Against the sorted values themselves, over nine decades, in two parts that are merged. */
static void against_sorted(void **state)
{
    (void)state;
    enum { N = 10000 };
    static uint64_t values[N];
    struct prng p;
    prng_seed(&p, 5);
    uint64_t sum = 0;
    for (int i = 0; i < N; i++) {
        values[i] = prng_next(&p) >> prng_below(&p, 60);
        hist_add(i % 3 ? &h : &other, values[i]);
        sum += values[i];
    }
    hist_merge(&h, &other);
    qsort(values, N, sizeof(values[0]), compare);
    assert_int_equal(h.count, N);
    assert_true(h.sum == sum);
    assert_true(h.max == values[N - 1]);
    static const unsigned per_mille[] = {1, 10, 250, 500, 750, 900, 990, 999, 1000};
    for (size_t i = 0; i < ARRAY_LEN(per_mille); i++) {
        uint64_t exact = values[(size_t)per_mille[i] * N / 1000 - 1];
        /* Half a value lower, so that rounding of q cannot ask for the next one. */
        double q = (per_mille[i] * (N / 1000.0) - 0.5) / N;
        assert_true(hist_quantile(&h, q) == hist_bound(exact));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(bounds, reset),
        cmocka_unit_test_setup(empty, reset),
        cmocka_unit_test_setup(small_values_are_exact, reset),
        cmocka_unit_test_setup(extremes, reset),
        cmocka_unit_test_setup(against_sorted, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
