/* The open loop's schedule: the asked rate, whatever the shape. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench/arrivals.h"
#include "bench/plan.h"

/* Arrivals in [from, to) after the start. */
static unsigned count(struct bench_arrivals a, nsec from, nsec to)
{
    unsigned n = 0;

    for (; a.next < a.start + to; bench_arrivals_advance(&a))
        n += a.next >= a.start + from;
    return n;
}

static void test_even(void **state)
{
    struct bench_arrivals a;
    nsec before;

    (void)state;
    bench_arrivals_init(&a, 1000, false, 5 * NSEC_PER_SEC, 0, 1);
    assert_true(a.next == a.start + NSEC_PER_MSEC);
    before = a.next;
    bench_arrivals_advance(&a);
    assert_true(a.next - before == NSEC_PER_MSEC);
    assert_in_range(count(a, 0, 10 * NSEC_PER_SEC), 9990, 10000);
}

static void test_random(void **state)
{
    struct bench_arrivals a;

    (void)state;
    bench_arrivals_init(&a, 1000, true, NSEC_PER_SEC, 0, 7);
    assert_in_range(count(a, 0, 100 * NSEC_PER_SEC), 98500, 101500);
}

static void test_ramp(void **state)
{
    struct bench_arrivals a;

    (void)state;
    bench_arrivals_init(&a, 1000, false, NSEC_PER_SEC, 10 * NSEC_PER_SEC, 7);
    assert_in_range(count(a, 0, 10 * NSEC_PER_SEC), 4850, 5150);
    assert_in_range(count(a, 0, 5 * NSEC_PER_SEC), 1200, 1300);
    assert_in_range(count(a, 10 * NSEC_PER_SEC, 11 * NSEC_PER_SEC), 995, 1005);
}

/* By weight, all of them, nothing else. */
static void test_draws(void **state)
{
    static struct bench_plan plan;
    struct bench_file files[] = {{.weight = 1}, {.weight = 4}, {.weight = 10}};
    unsigned seen[3] = {0}, classes[2] = {0};
    struct prng prng;

    (void)state;
    plan.corpus = (struct bench_corpus){files, 3, 3, 10};
    plan.class_count = 2;
    plan.classes[0].weight = 3;
    plan.classes[1].weight = 4;
    prng_seed(&prng, 3);
    for (unsigned i = 0; i < 100000; i++) {
        seen[bench_draw_file(&plan, &prng) - files]++;
        classes[bench_draw_class(&plan, &prng) - plan.classes]++;
    }
    assert_in_range(seen[0], 9500, 10500);
    assert_in_range(seen[1], 29000, 31000);
    assert_in_range(seen[2], 59000, 61000);
    assert_in_range(classes[1], 24000, 26000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_ramp),
        cmocka_unit_test(test_draws),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
