#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "base/wire.h"

static void reads(void **state)
{
    (void)state;
    static const uint8_t packet[] = {0x00, 0x01, 'a', 'b', 0, 0, 0xFF, 0xFE, 'r'};
    struct reader r = reader_of(packet, sizeof(packet));
    assert_int_equal(reader_left(&r), 9);
    assert_int_equal(reader_be16(&r), 1);
    struct view name = reader_cstr(&r);
    assert_ptr_equal(name.p, packet + 2);
    assert_int_equal(name.n, 2);
    assert_int_equal(reader_cstr(&r).n, 0);
    assert_int_equal(reader_be16(&r), 0xFFFE);
    struct view rest = reader_rest(&r);
    assert_ptr_equal(rest.p, packet + 8);
    assert_int_equal(rest.n, 1);
    assert_int_equal(reader_left(&r), 0);
    assert_int_equal(reader_rest(&r).n, 0);
    assert_false(r.overrun);
}

/* Each operation on each prefix of a packet, in memory of exactly that size: the sanitizer sees
 * a byte too many. */
static void every_prefix(void **state)
{
    (void)state;
    static const uint8_t packet[] = {0x00, 0x02, 'n', 0, 'm', 'o', 0, 9};
    for (size_t n = 0; n <= sizeof(packet); n++) {
        uint8_t *copy = malloc(n + (n == 0));
        assert_non_null(copy);
        memcpy(copy, packet, n);
        struct reader r = reader_of(copy, n);
        uint16_t op = reader_be16(&r);
        struct view name = reader_cstr(&r);
        struct view mode = reader_cstr(&r);
        assert_int_equal(op, n >= 2 ? 2 : 0);
        assert_int_equal(name.n, n >= 4 ? 1 : 0);
        assert_int_equal(mode.n, n >= 7 ? 2 : 0);
        assert_int_equal(r.overrun, n < 7);
        assert_true(mode.p >= copy && mode.p + mode.n <= copy + n);
        free(copy);
    }
}

/* After the first overrun nothing is read, although later reads would fit. */
static void reader_error_sticks(void **state)
{
    (void)state;
    static const uint8_t packet[] = {'a', 'b', 'c'};
    struct reader r = reader_of(packet, sizeof(packet));
    struct view v = reader_cstr(&r);
    assert_true(r.overrun);
    assert_ptr_equal(v.p, packet);
    assert_int_equal(v.n, 0);
    assert_int_equal(reader_be16(&r), 0);
    assert_int_equal(reader_rest(&r).n, 0);
    assert_int_equal(reader_cstr(&r).n, 0);
    assert_ptr_equal(r.p, packet);
}

static void writes(void **state)
{
    (void)state;
    uint8_t buf[64];
    struct writer w = writer_of(buf, sizeof(buf));
    writer_be16(&w, 6);
    writer_cstr(&w, view_of("tsize", 5));
    writer_decimal_cstr(&w, 0);
    writer_decimal_cstr(&w, UINT64_MAX);
    writer_bytes(&w, "xy", 2);
    writer_bytes(&w, NULL, 0);
    writer_cstr(&w, view_of(NULL, 0));
    static const char expected[] = "\0\6tsize\0"
                                   "0\0"
                                   "18446744073709551615\0xy";
    assert_false(w.overrun);
    assert_int_equal(writer_len(&w), sizeof(expected));
    assert_memory_equal(buf, expected, sizeof(expected));
}

static void write_all(struct writer *w)
{
    writer_be16(w, 0x0102);
    writer_cstr(w, view_of("abc", 3));
    writer_decimal_cstr(w, 1428);
    writer_bytes(w, "zz", 2);
}

/* In every size: only whole pieces, a prefix of the full text, nothing beyond the end. */
static void every_size(void **state)
{
    (void)state;
    enum { FULL = 13 };
    static const size_t whole[] = {0, 2, 6, 11, 13};
    uint8_t full[FULL];
    struct writer all = writer_of(full, FULL);
    write_all(&all);
    assert_int_equal(writer_len(&all), FULL);

    for (size_t n = 0; n <= FULL; n++) {
        uint8_t *buf = malloc(n + (n == 0));
        assert_non_null(buf);
        struct writer w = writer_of(buf, n);
        write_all(&w);
        assert_int_equal(w.overrun, n < FULL);
        size_t expected = 0;
        for (size_t i = 0; i < ARRAY_LEN(whole) && whole[i] <= n; i++)
            expected = whole[i];
        assert_int_equal(writer_len(&w), expected);
        assert_memory_equal(buf, full, expected);
        free(buf);
    }
}

static void writer_error_sticks(void **state)
{
    (void)state;
    uint8_t buf[4];
    struct writer w = writer_of(buf, sizeof(buf));
    writer_bytes(&w, "12345", 5);
    assert_true(w.overrun);
    writer_be16(&w, 1);
    writer_cstr(&w, view_of("", 0));
    writer_bytes(&w, "1", 1);
    assert_int_equal(writer_len(&w), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),
        cmocka_unit_test(every_prefix),
        cmocka_unit_test(writes),
        cmocka_unit_test(every_size),
        cmocka_unit_test(reader_error_sticks),
        cmocka_unit_test(writer_error_sticks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
