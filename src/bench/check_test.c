/* Content checks: the right bytes pass however they are cut, any wrong one is seen. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/prng.h"
#include "bench/check.h"

static uint8_t content[5000];

/* Hands over `n` bytes in pieces of `piece`; true when all was right. */
static bool feed(struct bench_file *f, const uint8_t *bytes, size_t n, size_t piece)
{
    struct bench_check c;
    bool right = true;

    bench_check_init(&c, f, true);
    for (size_t at = 0; at < n; at += piece)
        right &= bench_check_add(&c, view_of(bytes + at, MIN(piece, n - at)));
    return bench_check_final(&c) && right;
}

static int setup(void **state)
{
    struct prng p;

    (void)state;
    prng_seed(&p, 1);
    for (size_t i = 0; i < sizeof(content); i++)
        content[i] = (uint8_t)prng_next(&p);
    return 0;
}

static void test_copy(void **state)
{
    struct bench_file f = {.known = true, .bytes = content, .size = 4000};
    uint8_t other[4000];

    (void)state;
    memcpy(other, content, sizeof(other));
    assert_true(feed(&f, other, 4000, 512));
    assert_false(feed(&f, other, 3999, 512));
    assert_false(feed(&f, content, 4001, 512));
    other[3999] ^= 1;
    assert_false(feed(&f, other, 4000, 512));
    f.size = 0;
    assert_true(feed(&f, other, 0, 512));
    assert_false(feed(&f, other, 1, 512));
}

/* Without a copy the first download is the measure. */
static void test_digest(void **state)
{
    static const size_t pieces[] = {1, 3, 7, 8, 9, 511, 512, 1428, 5000};
    struct bench_file f = {0};
    uint8_t other[sizeof(content)];

    (void)state;
    assert_true(feed(&f, content, sizeof(content), 512));
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
        assert_true(feed(&f, content, sizeof(content), pieces[i]));
    assert_false(feed(&f, content, sizeof(content) - 1, 512));
    memcpy(other, content, sizeof(other));
    for (size_t i = 0; i < sizeof(other); i += 13) {
        other[i] ^= 0x10;
        assert_false(feed(&f, other, sizeof(other), 512));
        other[i] ^= 0x10;
    }
    memset(other, 0, sizeof(other)); /* lengths of nothing but zeros differ too */
    f = (struct bench_file){0};
    assert_true(feed(&f, other, 9, 512));
    assert_false(feed(&f, other, 10, 512));
}

static void test_sha256(void **state)
{
    /* FIPS 180-2 appendix B */
    static const char abc[] = "abc";
    static const uint8_t want[32] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
                                     0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                                     0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
                                     0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    static const char two[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    static const uint8_t want_two[32] = {0x24, 0x8d, 0x6a, 0x61, 0xd2, 0x06, 0x38, 0xb8,
                                         0xe5, 0xc0, 0x26, 0x93, 0x0c, 0x3e, 0x60, 0x39,
                                         0xa3, 0x3c, 0xe4, 0x59, 0x64, 0xff, 0x21, 0x67,
                                         0xf6, 0xec, 0xed, 0xd4, 0x19, 0xdb, 0x06, 0xc1};
    struct bench_file f = {.hashed = true};

    (void)state;
    memcpy(f.sha256, want, sizeof(want));
    assert_true(feed(&f, (const uint8_t *)abc, 3, 1));
    assert_false(feed(&f, (const uint8_t *)abc, 2, 1));
    memcpy(f.sha256, want_two, sizeof(want_two));
    assert_true(feed(&f, (const uint8_t *)two, 56, 56));
    assert_true(feed(&f, (const uint8_t *)two, 56, 5));
}

static void test_inactive(void **state)
{
    struct bench_file f = {.known = true, .bytes = content, .size = 1};
    struct bench_check c;

    (void)state;
    bench_check_init(&c, &f, false);
    assert_true(bench_check_add(&c, view_of(content + 5, 100)));
    assert_true(bench_check_final(&c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_inactive),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
