#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "base/util.h"

/* One seed, one history: printed seeds must replay on every machine and after every release. */
static void known_history(void **state)
{
    (void)state;
    static const uint64_t expected[4] = {UINT64_C(0x15780B2E0C2EC716), UINT64_C(0x6104D9866D113A7E),
                                         UINT64_C(0xAE17533239E499A1),
                                         UINT64_C(0xECB8AD4703B360A1)};
    struct prng p;
    prng_seed(&p, 42);
    for (size_t i = 0; i < ARRAY_LEN(expected); i++)
        assert_true(prng_next(&p) == expected[i]);
}

static void seeds_differ(void **state)
{
    (void)state;
    struct prng a, b;
    prng_seed(&a, 1);
    prng_seed(&b, 2);
    unsigned equal_bits = 0;
    for (int i = 0; i < 100; i++)
        equal_bits += (unsigned)__builtin_popcountll(~(prng_next(&a) ^ prng_next(&b)));
    assert_in_range(equal_bits, 3000, 3400);

    prng_seed(&a, 0);
    assert_true(a.s[0] | a.s[1] | a.s[2] | a.s[3]);
}

static void below_is_uniform(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 7);
    unsigned count[10] = {0};
    for (int i = 0; i < 100000; i++)
        count[prng_below(&p, ARRAY_LEN(count))]++;
    for (size_t i = 0; i < ARRAY_LEN(count); i++)
        assert_in_range(count[i], 9500, 10500);

    /* 2^64 has no third: without drawing again, every third value would come twice as often. */
    uint64_t n = UINT64_C(3) << 62;
    unsigned thirds = 0;
    for (int i = 0; i < 30000; i++) {
        uint64_t v = prng_below(&p, n);
        assert_true(v < n);
        thirds += v % 3 == 0;
    }
    assert_in_range(thirds, 9500, 10500);
    for (int i = 0; i < 100; i++)
        assert_int_equal(prng_below(&p, 1), 0);
}

static void chance(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 9);
    unsigned hits = 0;
    for (int i = 0; i < 100000; i++) {
        hits += prng_chance(&p, 100000);
        assert_false(prng_chance(&p, 0));
        assert_true(prng_chance(&p, 1000000));
    }
    assert_in_range(hits, 9500, 10500);
}

/* A bijection has no collisions, and one changed bit changes about half of the result. */
static void mix(void **state)
{
    (void)state;
    unsigned changed = 0;
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t d = prng_mix(12345) ^ prng_mix(12345 ^ UINT64_C(1) << bit);
        assert_true(d);
        changed += (unsigned)__builtin_popcountll(d);
    }
    assert_in_range(changed, 64 * 28, 64 * 36);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_history),
        cmocka_unit_test(seeds_differ),
        cmocka_unit_test(below_is_uniform),
        cmocka_unit_test(chance),
        cmocka_unit_test(mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
