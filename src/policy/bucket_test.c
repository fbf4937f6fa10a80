#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "policy/bucket.h"

#define START (1234 * NSEC_PER_SEC)

static const struct bucket_size ten = {10, NSEC_PER_SEC};

static void takes_what_it_holds(void **state)
{
    struct bucket b = {0};
    (void)state;

    for (int i = 0; i < 10; i++)
        assert_true(bucket_take(&b, &ten, 1, START));
    assert_false(bucket_take(&b, &ten, 1, START));
    /* One comes back each tenth of a second, not sooner. */
    assert_false(bucket_take(&b, &ten, 1, START + 99 * NSEC_PER_MSEC));
    assert_true(bucket_take(&b, &ten, 1, START + 100 * NSEC_PER_MSEC));
    assert_false(bucket_take(&b, &ten, 1, START + 100 * NSEC_PER_MSEC));
}

static void never_more_than_full(void **state)
{
    struct bucket b = {0};
    (void)state;

    assert_true(bucket_take(&b, &ten, 10, START));
    assert_true(bucket_take(&b, &ten, 10, START + 3600 * NSEC_PER_SEC));
    assert_false(bucket_take(&b, &ten, 1, START + 3600 * NSEC_PER_SEC));
    assert_false(bucket_take(&b, &ten, 11, START + 7200 * NSEC_PER_SEC)); /* can never hold that */
}

/* What did not fit leaves the bucket as it was. */
static void refusal_costs_nothing(void **state)
{
    struct bucket b = {0};
    (void)state;

    assert_true(bucket_take(&b, &ten, 6, START));
    assert_false(bucket_take(&b, &ten, 5, START));
    assert_false(bucket_holds(&b, &ten, 5, START));
    assert_true(bucket_holds(&b, &ten, 4, START));
    assert_true(bucket_take(&b, &ten, 4, START));
}

static void gives_back(void **state)
{
    struct bucket b = {0};
    (void)state;

    assert_true(bucket_take(&b, &ten, 10, START));
    bucket_return(&b, &ten, 3);
    assert_true(bucket_take(&b, &ten, 3, START));
    assert_false(bucket_take(&b, &ten, 1, START));
    /* More than was taken does not make it larger, however early the clock. */
    bucket_return(&b, &ten, UINT64_MAX);
    bucket_return(&b, &ten, 10);
    assert_true(bucket_take(&b, &ten, 10, START));
    assert_false(bucket_take(&b, &ten, 1, START));
    struct bucket early = {0};
    bucket_return(&early, &ten, 10);
    assert_true(bucket_take(&early, &ten, 10, 5));
    assert_false(bucket_take(&early, &ten, 1, 5));
}

static void no_limit(void **state)
{
    const struct bucket_size none = {0, NSEC_PER_SEC};
    struct bucket b = {0};
    (void)state;

    for (int i = 0; i < 1000; i++)
        assert_true(bucket_take(&b, &none, UINT64_MAX, START));
    bucket_return(&b, &none, 1);
    assert_true(bucket_holds(&b, &none, 1, START));
    assert_int_equal(b.full_at, 0);
}

/* Sizes at the ends of what the configuration allows: nothing overflows. */
static void large_numbers(void **state)
{
    const struct bucket_size day = {INT64_MAX, 86400 * NSEC_PER_SEC};
    struct bucket b = {0};
    (void)state;

    assert_true(bucket_take(&b, &day, INT64_MAX, START));
    assert_false(bucket_take(&b, &day, INT64_MAX / 2, START + 3600 * NSEC_PER_SEC));
    assert_true(bucket_take(&b, &day, INT64_MAX / 2, START + 43201 * NSEC_PER_SEC));
}

/* Whatever is asked for when: in no stretch of time is more let through than its start holds and
 * what comes back in it. */
static void holds_in_every_window(void **state)
{
    static nsec at[4000];
    static uint64_t taken[4000];
    (void)state;

    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct prng p;
        prng_seed(&p, seed);
        const struct bucket_size size = {1 + prng_below(&p, 1000), 1 + prng_below(&p, 1000000)};
        struct bucket b = {0};
        nsec now = START;
        size_t n = 0;

        for (int i = 0; i < 4000; i++) {
            now += prng_below(&p, 2 * size.per / size.tokens + 2);
            uint64_t want = 1 + prng_below(&p, MIN(size.tokens, 8));
            if (bucket_take(&b, &size, want, now)) {
                at[n] = now;
                taken[n++] = want;
            }
        }
        assert_true(n > 100);
        for (size_t from = 0; from < n; from += 7) {
            uint64_t sum = 0;
            for (size_t to = from; to < n && to < from + 500; to++) {
                sum += taken[to];
                double may =
                    (double)size.tokens *
                    (1 + (double)(at[to] - at[from] + 2 * (to - from + 1)) / (double)size.per);
                assert_true((double)sum <= may + 1e-6);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_what_it_holds),
        cmocka_unit_test(never_more_than_full),
        cmocka_unit_test(refusal_costs_nothing),
        cmocka_unit_test(gives_back),
        cmocka_unit_test(no_limit),
        cmocka_unit_test(large_numbers),
        cmocka_unit_test(holds_in_every_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
