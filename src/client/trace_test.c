#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/prng.h"
#include "base/util.h"
#include "client/trace.h"

static void packets(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *text;
    } rows[] = {
        {"\0\1f\0octet\0blksize\0008\0", 20, "RRQ f octet blksize=8"},
        {"\0\2f\0netascii\0", 13, "WRQ f netascii"},
        {"\0\3\0\7abc", 7, "DATA 7, 3 bytes"},
        {"\0\4\xff\xff", 4, "ACK 65535"},
        {"\0\5\0\1no\33", 7, "ERROR 1 no\\x1b"},
        {"\0\6tsize\0005\0", 10, "OACK tsize=5"},
        {"\0\11", 2, "2 bytes that are no TFTP packet"},
        {"", 0, "0 bytes that are no TFTP packet"},
    };
    char buf[200];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_string_equal(client_packet_text(view_of(rows[i].bytes, rows[i].n), buf, sizeof(buf)),
                            rows[i].text);
}

/* Whatever comes, the text is printable and ends within its buffer. */
static void anything(void **state)
{
    struct prng p;
    uint8_t bytes[600];
    char buf[120];

    (void)state;
    prng_seed(&p, 7);
    for (unsigned i = 0; i < 20000; i++) {
        size_t n = prng_below(&p, sizeof(bytes));
        for (size_t k = 0; k < n; k++)
            bytes[k] = (uint8_t)(prng_chance(&p, 300000) ? 0 : prng_next(&p));
        if (n > 1) {
            bytes[0] = 0;
            bytes[1] = (uint8_t)prng_below(&p, 8);
        }
        client_packet_text(view_of(bytes, n), buf, sizeof(buf));
        for (const char *c = buf; *c; c++)
            assert_in_range(*c, 0x20, 0x7e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packets),
        cmocka_unit_test(anything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
