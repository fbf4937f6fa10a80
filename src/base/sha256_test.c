#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/sha256.h"
#include "base/util.h"

static const char *hex(struct sha256 *s)
{
    static char text[65];
    uint8_t sum[32];

    sha256_end(s, sum);
    for (unsigned i = 0; i < 32; i++)
        snprintf(text + 2 * i, 3, "%02x", sum[i]);
    return text;
}

/* The examples of FIPS 180-4 and, of a million letters, of its predecessor. */
static void known_sums(void **state)
{
    static const struct {
        const char *text, *sum;
    } rows[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    struct sha256 s;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        sha256_init(&s);
        sha256_add(&s, rows[i].text, strlen(rows[i].text));
        assert_string_equal(hex(&s), rows[i].sum);
    }
    sha256_init(&s);
    for (unsigned i = 0; i < 1000000; i++)
        sha256_add(&s, "a", 1);
    assert_string_equal(hex(&s),
                        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* Wherever the input is cut, and whatever its length to the next block. */
static void pieces(void **state)
{
    uint8_t data[300];
    struct sha256 s;
    char whole[65];

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7);
    for (size_t len = 0; len <= sizeof(data); len++) {
        sha256_init(&s);
        sha256_add(&s, data, len);
        memcpy(whole, hex(&s), sizeof(whole));
        for (size_t cut = 0; cut <= len; cut += 13) {
            sha256_init(&s);
            sha256_add(&s, data, cut);
            sha256_add(&s, data + cut, len - cut);
            assert_string_equal(hex(&s), whole);
        }
    }
}

static void texts(void **state)
{
    static const char good[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934CA495991B7852B855";
    static const char digits[] = "09afAF", others[] = "/:`g@G ";
    uint8_t sum[32], want[32];
    struct sha256 s;
    char bad[65];

    (void)state;
    sha256_init(&s);
    sha256_end(&s, want);
    assert_true(sha256_parse(sum, good));
    assert_memory_equal(sum, want, sizeof(want));
    assert_false(sha256_parse(sum, "") || sha256_parse(sum, &good[1]));
    for (unsigned i = 0; i < 64; i++) {
        memcpy(bad, good, sizeof(bad));
        for (const char *c = digits; *c; c++) {
            bad[i] = *c;
            assert_true(sha256_parse(sum, bad));
        }
        for (const char *c = others; *c; c++) {
            bad[i] = *c;
            assert_false(sha256_parse(sum, bad));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_sums),
        cmocka_unit_test(pieces),
        cmocka_unit_test(texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
