#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/util.h"
#include "client/progress.h"
#include "proto/negotiate.h"

static void amounts(void **state)
{
    static const struct {
        double bytes;
        const char *text;
    } rows[] = {
        {0, "0 B"},        {1023, "1023 B"},        {1024, "1.0 KiB"},
        {1536, "1.5 KiB"}, {200 * 1024, "200 KiB"}, {1 << 20, "1.0 MiB"},
        {5e9, "4.7 GiB"},  {1.1e12, "1.0 TiB"},     {5e18, "4547474 TiB"},
    };
    char buf[32];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_string_equal(progress_bytes(buf, sizeof(buf), rows[i].bytes), rows[i].text);
}

static void lines(void **state)
{
    char buf[256];

    (void)state;
    progress_text(buf, sizeof(buf), 60, 512 * 1024, 1024 * 1024, 256 * 1024, 0);
    assert_string_equal(buf, "[===========>          ]  50%  512 KiB  256 KiB/s  ETA 0:02");
    progress_text(buf, sizeof(buf), 60, 1 << 20, 1 << 20, 1 << 20, 3);
    assert_non_null(strstr(buf, "100%"));
    assert_non_null(strstr(buf, "3 resent"));
    progress_text(buf, sizeof(buf), 60, 100, TFTP_SIZE_UNKNOWN, 10, 0);
    assert_string_equal(buf, "100 B  10 B/s");
    progress_text(buf, sizeof(buf), 60, 0, 0, 0, 0); /* an empty file */
    assert_non_null(strstr(buf, "100%"));
    progress_text(buf, sizeof(buf), 60, 0, 1000, 0, 0);
    assert_non_null(strstr(buf, "ETA -:--"));
    progress_text(buf, sizeof(buf), 60, 0, UINT64_MAX - 1, 1, 0);
    assert_non_null(strstr(buf, "ETA 99:59:59"));
}

/* However narrow the screen or large the numbers: the text ends within its buffer. */
static void bounds(void **state)
{
    char buf[256];

    (void)state;
    for (unsigned width = 0; width < 300; width++)
        for (uint64_t bytes = 1; bytes < UINT64_MAX / 8; bytes *= 7)
            assert_true(strlen(progress_text(buf, sizeof(buf), width, bytes, bytes * 3,
                                             (double)bytes, bytes)) < sizeof(buf));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(amounts),
        cmocka_unit_test(lines),
        cmocka_unit_test(bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
