/*
 * Every value that an option of 16 bits can be asked for with, and those around: what the server
 * grants and what a client takes are one line of arithmetic each, said here a second time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "base/wire.h"
#include "proto/negotiate.h"

#define VALUES    66000 /* beyond all that has 16 bits */
#define TEXT_MAX  32
#define NO_ANSWER UINT64_MAX

/* At a boundary itself, one below, and in the middle. */
static const struct tftp_limits limits[] = {
    {65464, 65535, UINT32_MAX, 255, true, TFTP_ROLLOVER_0},
    {65463, 65534, UINT32_MAX, 254, true, TFTP_ROLLOVER_0},
    {1428, 64, 65536, 10, true, TFTP_ROLLOVER_1},
    {8, 1, 8, 1, true, TFTP_ROLLOVER_0},
};

static void ask(struct tftp_request *r, enum tftp_opcode op, const char *name, const char *value)
{
    *r = (struct tftp_request){.op = op, .mode = TFTP_OCTET, .filename = view_of("f", 1)};
    r->options[0].name = view_of(name, strlen(name));
    r->options[0].value = view_of(value, strlen(value));
    r->option_count = 1;
}

/* The number that the server answers with, after all it says has been looked at. */
static uint64_t granted(enum tftp_opcode op, const char *name, uint64_t value,
                        const struct tftp_limits *l, uint64_t size, struct tftp_params *params)
{
    struct tftp_option options[TFTP_OPTIONS_MAX];
    uint8_t oack[TFTP_REQUEST_MAX];
    char text[TEXT_MAX];
    struct tftp_request r;
    uint64_t number;
    size_t len;

    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    ask(&r, op, name, text);
    int err = tftp_negotiate(params, &r, l, size, oack, sizeof(oack), &len);
    if (err == -EFBIG)
        return NO_ANSWER - 1;
    assert_int_equal(err, 0);
    if (len == 0)
        return NO_ANSWER;
    assert_int_equal(tftp_oack_parse(options, view_of(oack, len)), 1);
    assert_true(tftp_is_word(options[0].name, name));
    assert_int_equal(tftp_parse_decimal(options[0].value, &number), 0);
    return number;
}

static void check(const char *name, uint64_t value, const struct tftp_limits *l, uint64_t expected,
                  struct tftp_params *params)
{
    uint64_t read = granted(TFTP_RRQ, name, value, l, 9, params);

    if (read != expected || granted(TFTP_WRQ, name, value, l, 9, params) != expected)
        fail_msg("%s=%llu: %llu, not %llu", name, (unsigned long long)value,
                 (unsigned long long)read, (unsigned long long)expected);
}

/* RFC 2348 section 2: 8 to 65464, and no more than asked. */
static void every_blksize(void **state)
{
    struct tftp_params params;
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(limits); i++)
        for (uint64_t v = 0; v < VALUES; v++) {
            uint64_t expected = v < 8 ? NO_ANSWER : MIN(v, limits[i].blksize_max);
            check("blksize", v, &limits[i], expected, &params);
            assert_int_equal(params.blksize, v < 8 ? 512 : expected);
        }
}

/* RFC 7440 section 3: 1 to 65535, and no more than asked; here also no more than so many bytes,
 * but one block at least. */
static void every_windowsize(void **state)
{
    struct tftp_params params;
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(limits); i++)
        for (uint64_t v = 0; v < VALUES; v++) {
            uint64_t most = MIN(limits[i].windowsize_max, MAX(1, limits[i].window_bytes_max / 512));
            uint64_t expected = v < 1 ? NO_ANSWER : MIN(v, most);
            check("windowsize", v, &limits[i], expected, &params);
            assert_int_equal(params.windowsize, v < 1 ? 1 : expected);
        }
}

/* RFC 2349 section 2: 1 to 255, the same or nothing. */
static void every_timeout(void **state)
{
    struct tftp_params params;
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(limits); i++)
        for (uint64_t v = 0; v < VALUES; v++) {
            bool fits = v >= 1 && v <= limits[i].timeout_max_s;
            check("timeout", v, &limits[i], fits ? v : NO_ANSWER, &params);
            assert_int_equal(params.timeout_s, fits ? v : 0);
        }
}

/* RFC 2349 section 3: what is read has its size, whatever was said; what is written has the size
 * that was said, unless no file can have it. */
static void sizes_around_every_power_of_two(void **state)
{
    struct tftp_params params;
    (void)state;

    for (unsigned power = 0; power < 64; power++)
        for (uint64_t v = (UINT64_C(1) << power) - 1, end = v + 3; v != end; v++) {
            assert_true(granted(TFTP_RRQ, "tsize", 0, &limits[0], v, &params) == v);
            assert_true(granted(TFTP_RRQ, "tsize", v, &limits[0], 9, &params) == 9);
            assert_true(granted(TFTP_WRQ, "tsize", v, &limits[0], 9, &params) ==
                        (v > INT64_MAX ? NO_ANSWER - 1 : v));
        }
}

static bool taken(const char *name, uint64_t asked, uint64_t answered)
{
    char asked_text[TEXT_MAX], text[TEXT_MAX];
    uint8_t bytes[64];
    struct writer w = writer_of(bytes, sizeof(bytes));
    struct tftp_params params;
    struct tftp_request r;

    snprintf(asked_text, sizeof(asked_text), "%llu", (unsigned long long)asked);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)answered);
    ask(&r, TFTP_RRQ, name, asked_text);
    writer_be16(&w, TFTP_OACK);
    writer_cstr(&w, view_of(name, strlen(name)));
    writer_cstr(&w, view_of(text, strlen(text)));
    int err = tftp_accept_oack(&params, &r, TFTP_ROLLOVER_0, view_of(bytes, writer_len(&w)));
    assert_true(err == 0 || err == -EPROTO);
    return err == 0;
}

/* No larger than asked, no smaller than it can be; a timeout is the one that was asked for. */
static void every_answer_to_a_client(void **state)
{
    static const uint64_t asked[] = {0, 1, 7, 8, 9, 255, 256, 512, 65464, 65465, 65535, 65536};
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(asked); i++)
        for (uint64_t v = 0; v < VALUES; v++) {
            assert_true(taken("blksize", asked[i], v) == (v >= 8 && v <= MIN(asked[i], 65464)));
            assert_true(taken("windowsize", asked[i], v) == (v >= 1 && v <= MIN(asked[i], 65535)));
            assert_true(taken("timeout", asked[i], v) == (v >= 1 && v <= 255 && v == asked[i]));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_blksize),
        cmocka_unit_test(every_windowsize),
        cmocka_unit_test(every_timeout),
        cmocka_unit_test(sizes_around_every_power_of_two),
        cmocka_unit_test(every_answer_to_a_client),
    };

    return cmocka_run_group_tests_name("every value", tests, NULL, NULL);
}
