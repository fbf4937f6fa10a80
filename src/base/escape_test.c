#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/escape.h"
#include "base/util.h"

static void forms(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *text;
    } rows[] = {
        {"", 0, ""},
        {NULL, 0, ""},
        {"plain name-1.0", 14, "plain name-1.0"},
        {"a\"b\\c", 5, "a\\\"b\\\\c"},
        {"\0\n\r\x1b\x7f\x1f", 6, "\\x00\\x0a\\x0d\\x1b\\x7f\\x1f"},
        {"\x80\xc0\xae\xff ~", 6, "\\x80\\xc0\\xae\\xff ~"},
        {"%n%s", 4, "%n%s"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char buf[64];
        assert_ptr_equal(escape_bytes(view_of(rows[i].bytes, rows[i].n), buf, sizeof(buf)), buf);
        assert_string_equal(buf, rows[i].text);
    }
}

/* Every size against every length: never beyond the end, always terminated, cut only at a whole
 * escape, and only when it does not fit. */
static void cuts(void **state)
{
    (void)state;
    uint8_t bytes[40];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = i % 3 == 0 ? 0x01 : i % 3 == 1 ? 'x' : '"';

    for (size_t n = 0; n <= sizeof(bytes); n++) {
        char whole[200];
        escape_bytes(view_of(bytes, n), whole, sizeof(whole));
        for (size_t size = 8; size < 120; size++) {
            char buf[128];
            memset(buf, '#', sizeof(buf));
            escape_bytes(view_of(bytes, n), buf, size);
            assert_int_equal(buf[size], '#');
            size_t len = strnlen(buf, size);
            assert_true(len < size);
            if (strlen(whole) < size) {
                assert_string_equal(buf, whole);
                continue;
            }
            assert_true(len >= 3 && strcmp(buf + len - 3, "...") == 0);
            assert_true(len + 4 >= size - 3); /* no more is given up than one escape needs */
            size_t kept = 0, k = 0;
            while (kept < len - 3)
                kept += bytes[k] == 0x01 ? 4 : bytes[k] == 'x' ? 1 : 2, k++;
            assert_int_equal(kept, len - 3);
            assert_memory_equal(buf, whole, kept);
        }
    }
}

static void exact_fit(void **state)
{
    (void)state;
    char buf[8];
    assert_string_equal(escape_bytes(view_of("1234567", 7), buf, 8), "1234567");
    assert_string_equal(escape_bytes(view_of("12345678", 8), buf, 8), "1234...");
    assert_string_equal(escape_bytes(view_of("\1\1", 2), buf, 8), "\\x01...");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms),
        cmocka_unit_test(cuts),
        cmocka_unit_test(exact_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
