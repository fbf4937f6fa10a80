#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/negotiate.h"
#include "proto/negotiate_test.h"

#define NO_SIZE TFTP_SIZE_UNKNOWN

static const struct tftp_limits wide = {
    .blksize_max = 65464,
    .windowsize_max = 65535,
    .window_bytes_max = UINT32_MAX,
    .timeout_max_s = 255,
    .options_enabled = true,
};

static const struct tftp_limits narrow = {
    .blksize_max = 1428,
    .windowsize_max = 64,
    .window_bytes_max = 65536,
    .timeout_max_s = 10,
    .options_enabled = true,
};

/* An OACK as "name=value,name=value"; "" when none is sent. */
static void oack_to_text(const uint8_t *oack, size_t len, char *text, size_t size)
{
    struct tftp_option options[TFTP_OPTIONS_MAX];
    size_t at = 0;
    int count;

    text[0] = 0;
    if (len == 0)
        return;
    assert_int_equal(tftp_packet_opcode(view_of(oack, len)), TFTP_OACK);
    count = tftp_oack_parse(options, view_of(oack, len));
    assert_true(count > 0);
    for (int i = 0; i < count; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%.*s=%.*s", i ? "," : "",
                               (int)options[i].name.n, (const char *)options[i].name.p,
                               (int)options[i].value.n, (const char *)options[i].value.p);
}

/* The number that an answer in words gives an option, or what holds without one. */
static unsigned long promised(const char *answered, const char *name, unsigned long without)
{
    struct tftp_option options[TFTP_OPTIONS_MAX];
    unsigned count = options_from_text(answered, options);

    for (unsigned i = 0; i < count; i++) {
        if (tftp_is_word(options[i].name, name))
            return strtoul((const char *)options[i].value.p, NULL, 10);
    }
    return without;
}

struct deal {
    const char *what;
    enum tftp_opcode op;
    const struct tftp_limits *limits;
    uint64_t size;
    const char *asked;
    const char *answered;
};

/* What is asked and what the OACK says; what it does not name holds as without options. */
static const struct deal deals[] = {
    /* RFC 2347 section 3: unknown options are left out and cause no ERROR. */
    {"nothing asked", TFTP_RRQ, &wide, 9, "", ""},
    {"only unknown options", TFTP_RRQ, &wide, 9, "foo=1,bar=2", ""},
    {"unknown among known", TFTP_RRQ, &wide, 9, "foo=1,blksize=600,bar=", "blksize=600"},
    {"names that only look alike", TFTP_RRQ, &wide, 9, "blksizeFOO=9,foo_blksize_bar=9,blk=9", ""},
    {"options of other people", TFTP_RRQ, &wide, 9, "utimeout=9,rollover=0,multicast=,blksize2=600",
     ""},
    {"an unknown one twice", TFTP_RRQ, &wide, 9, "foo=1,foo=2,blksize=8", "blksize=8"},

    /* RFC 2347 section 2: letter case does not count. The spelling is the client's. */
    {"capitals", TFTP_RRQ, &wide, 9, "BLKSIZE=600", "BLKSIZE=600"},
    {"mixed case", TFTP_RRQ, &wide, 9, "bLkSiZe=600,TSize=0", "bLkSiZe=600,TSize=9"},
    {"the request's order", TFTP_RRQ, &wide, 9, "windowsize=4,tsize=0,timeout=3,blksize=600",
     "windowsize=4,tsize=9,timeout=3,blksize=600"},

    /* RFC 2348 section 2: 8 to 65464, never more than asked. */
    {"blksize 0", TFTP_RRQ, &wide, 9, "blksize=0", ""},
    {"blksize 1", TFTP_RRQ, &wide, 9, "blksize=1", ""},
    {"blksize 7", TFTP_RRQ, &wide, 9, "blksize=7", ""},
    {"blksize 8", TFTP_RRQ, &wide, 9, "blksize=8", "blksize=8"},
    {"blksize 8, small file and more", TFTP_RRQ, &wide, 9, "blksize=8,timeout=3,tsize=0",
     "blksize=8,timeout=3,tsize=9"},
    {"the largest blksize", TFTP_RRQ, &wide, 9, "blksize=65464", "blksize=65464"},
    {"blksize over our cap", TFTP_RRQ, &narrow, 9, "blksize=65464", "blksize=1428"},
    {"blksize 65465", TFTP_RRQ, &wide, 9, "blksize=65465", "blksize=65464"},
    {"blksize 99999", TFTP_WRQ, &wide, 9, "blksize=99999", "blksize=65464"},
    {"blksize 2^32 + 512", TFTP_RRQ, &wide, 9, "blksize=4294967808", "blksize=65464"},
    {"blksize 2^64 + 512", TFTP_RRQ, &wide, 9, "blksize=18446744073709552128", "blksize=65464"},
    {"blksize of 400 digits", TFTP_RRQ, &narrow, 9, "blksize=" DIGITS_400, "blksize=1428"},
    {"leading zeros", TFTP_RRQ, &wide, 9, "blksize=000512", "blksize=512"},
    {"blksize negative", TFTP_RRQ, &wide, 9, "blksize=-1", ""},
    {"blksize with a plus", TFTP_RRQ, &wide, 9, "blksize=+8", ""},
    {"blksize after a blank", TFTP_RRQ, &wide, 9, "blksize= 512", ""},
    {"blksize before a letter", TFTP_RRQ, &wide, 9, "blksize=512x", ""},
    {"blksize in hex", TFTP_RRQ, &wide, 9, "blksize=0x200", ""},
    {"blksize with exponent", TFTP_RRQ, &wide, 9, "blksize=1e3", ""},
    {"blksize empty", TFTP_RRQ, &wide, 9, "blksize=", ""},
    {"blksize of format letters", TFTP_RRQ, &wide, 9, "blksize=%n\033[2J", ""},

    /* RFC 2349 section 2: 1 to 255; equal or left out. */
    {"timeout 0", TFTP_RRQ, &wide, 9, "timeout=0", ""},
    {"timeout 1", TFTP_RRQ, &wide, 9, "timeout=1", "timeout=1"},
    {"timeout 255", TFTP_WRQ, &wide, 9, "timeout=255", "timeout=255"},
    {"timeout 256", TFTP_RRQ, &wide, 9, "timeout=256", ""},
    {"timeout 257, 1 by wrap-around", TFTP_RRQ, &wide, 9, "timeout=257", ""},
    {"timeout over our limit", TFTP_RRQ, &narrow, 9, "timeout=11", ""},
    {"timeout at our limit", TFTP_RRQ, &narrow, 9, "timeout=10", "timeout=10"},
    {"timeout negative", TFTP_RRQ, &wide, 9, "timeout=-1", ""},
    {"timeout broken", TFTP_RRQ, &wide, 9, "timeout=1.5", ""},
    {"timeout, the same text", TFTP_RRQ, &wide, 9, "timeout=005", "timeout=005"},
    {"timeout empty", TFTP_RRQ, &wide, 9, "timeout=", ""},

    /* RFC 2349 section 3: the size of the file, or the echo of it. */
    {"tsize 0", TFTP_RRQ, &wide, 12345, "tsize=0", "tsize=12345"},
    {"tsize 5", TFTP_RRQ, &wide, 12345, "tsize=5", "tsize=12345"},
    {"tsize of 400 digits, read", TFTP_RRQ, &wide, 1, "tsize=" DIGITS_400, "tsize=1"},
    {"tsize abc", TFTP_RRQ, &wide, 12345, "tsize=abc", ""},
    {"tsize empty", TFTP_RRQ, &wide, 12345, "tsize=", ""},
    {"size not known", TFTP_RRQ, &wide, NO_SIZE, "tsize=0", ""},
    {"size not known, other options", TFTP_RRQ, &wide, NO_SIZE, "tsize=0,blksize=600",
     "blksize=600"},
    {"the largest size", TFTP_RRQ, &wide, UINT64_MAX - 1, "tsize=0", "tsize=18446744073709551614"},
    {"an empty file", TFTP_RRQ, &wide, 0, "tsize=0,blksize=1468,windowsize=4",
     "tsize=0,blksize=1468,windowsize=4"},
    {"tsize echoed, write", TFTP_WRQ, &wide, NO_SIZE, "tsize=777", "tsize=777"},
    {"tsize 0, write", TFTP_WRQ, &wide, NO_SIZE, "tsize=0", "tsize=0"},
    {"tsize abc, write", TFTP_WRQ, &wide, NO_SIZE, "tsize=abc", ""},
    {"tsize leading zeros, write", TFTP_WRQ, &wide, NO_SIZE, "tsize=007", "tsize=7"},
    {"tsize 2^63 - 1, write", TFTP_WRQ, &wide, NO_SIZE, "tsize=9223372036854775807",
     "tsize=9223372036854775807"},

    /* RFC 7440 section 3: 1 to 65535, never more than asked. */
    {"windowsize 0", TFTP_RRQ, &wide, 9, "windowsize=0", ""},
    {"windowsize 1", TFTP_RRQ, &wide, 9, "windowsize=1", "windowsize=1"},
    {"windowsize abc", TFTP_RRQ, &wide, 9, "windowsize=abc", ""},
    {"windowsize 65535", TFTP_RRQ, &wide, 9, "windowsize=65535", "windowsize=65535"},
    {"windowsize 65536", TFTP_RRQ, &wide, 9, "windowsize=65536", "windowsize=65535"},
    {"windowsize 65537", TFTP_WRQ, &wide, 9, "windowsize=65537", "windowsize=65535"},
    {"windowsize over our cap", TFTP_RRQ, &narrow, 9, "windowsize=65535", "windowsize=64"},
    {"window in bytes, blksize first", TFTP_RRQ, &narrow, 9, "blksize=1428,windowsize=64",
     "blksize=1428,windowsize=45"},
    {"window in bytes, blksize last", TFTP_RRQ, &narrow, 9, "windowsize=64,blksize=1428",
     "windowsize=45,blksize=1428"},
    {"window and block both too large", TFTP_WRQ, &narrow, 9, "windowsize=65535,blksize=65464",
     "windowsize=45,blksize=1428"},
};

static void every_deal_is_struck_as_written(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(deals); i++) {
        const struct deal *d = &deals[i];
        struct tftp_request request;
        struct tftp_params params;
        uint8_t oack[TFTP_REQUEST_MAX + 24];
        char answered[TFTP_REQUEST_MAX + 24];
        size_t len = 99;

        request_from_text(&request, d->op, d->asked);
        if (tftp_negotiate(&params, &request, d->limits, d->size, oack, sizeof(oack), &len) != 0)
            fail_msg("%s: refused", d->what);
        oack_to_text(oack, len, answered, sizeof(answered));
        if (strcmp(answered, d->answered) != 0)
            fail_msg("%s: \"%s\", not \"%s\"", d->what, answered, d->answered);
        assert_int_equal(params.blksize, promised(d->answered, "blksize", 512));
        assert_int_equal(params.windowsize, promised(d->answered, "windowsize", 1));
        assert_int_equal(params.timeout_s, promised(d->answered, "timeout", 0));
    }
}

static int negotiate(const char *asked, enum tftp_opcode op, const struct tftp_limits *limits,
                     uint64_t size, struct tftp_params *ret, char *answered, size_t answered_size)
{
    struct tftp_request request;
    uint8_t oack[TFTP_REQUEST_MAX + 24];
    size_t len = 0;
    int rc;

    request_from_text(&request, op, asked);
    rc = tftp_negotiate(ret, &request, limits, size, oack, sizeof(oack), &len);
    oack_to_text(oack, len, answered, answered_size);
    return rc;
}

/* RFC 2347 section 3: an option may only be specified once. */
static void a_known_option_may_come_once(void **state)
{
    static const char *const twice[] = {
        "blksize=512,blksize=512", "blksize=512,blksize=1024",  "blksize=512,tsize=0,BLKSIZE=600",
        "tsize=0,tsize=0",         "timeout=1,foo=1,Timeout=1", "windowsize=1,windowsize=abc",
        "blksize=,blksize=",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(twice); i++) {
        struct tftp_params params = {.blksize = 77};
        char answered[600];

        assert_int_equal(
            negotiate(twice[i], TFTP_RRQ, &wide, 9, &params, answered, sizeof(answered)), -EINVAL);
        assert_int_equal(params.blksize, 77);
        assert_string_equal(answered, "");
    }
}

/* RFC 2349 section 3: a server may refuse a size that is too large. */
static void a_size_that_no_file_can_have_is_refused(void **state)
{
    static const char *const huge[] = {
        "tsize=9223372036854775808",
        "tsize=18446744073709551615",
        "tsize=18446744073709551616",
        "tsize=" DIGITS_400,
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(huge); i++) {
        struct tftp_params params;
        char answered[600];

        assert_int_equal(
            negotiate(huge[i], TFTP_WRQ, &wide, 0, &params, answered, sizeof(answered)), -EFBIG);
    }
}

static void a_writer_tells_its_size(void **state)
{
    struct tftp_params params;
    char answered[100];

    (void)state;
    assert_int_equal(
        negotiate("tsize=777", TFTP_WRQ, &wide, 0, &params, answered, sizeof(answered)), 0);
    assert_true(params.tsize_given);
    assert_int_equal(params.tsize, 777);
    /* 0 is echoed, but says nothing. */
    assert_int_equal(negotiate("tsize=0", TFTP_WRQ, &wide, 0, &params, answered, sizeof(answered)),
                     0);
    assert_false(params.tsize_given);
    assert_int_equal(negotiate("tsize=0", TFTP_RRQ, &wide, 5, &params, answered, sizeof(answered)),
                     0);
    assert_false(params.tsize_given);
}

static void without_options_the_answer_is_of_rfc_1350(void **state)
{
    struct tftp_limits limits = wide;
    struct tftp_params params;
    char answered[100];

    (void)state;
    limits.options_enabled = false;
    limits.rollover = TFTP_ROLLOVER_1;
    assert_int_equal(negotiate("blksize=600,blksize=700,windowsize=9,timeout=3,tsize=0", TFTP_RRQ,
                               &limits, 9, &params, answered, sizeof(answered)),
                     0);
    assert_string_equal(answered, "");
    assert_int_equal(params.blksize, 512);
    assert_int_equal(params.windowsize, 1);
    assert_int_equal(params.timeout_s, 0);
    assert_int_equal(params.rollover, TFTP_ROLLOVER_1);
}

static void a_window_holds_at_least_one_block(void **state)
{
    struct tftp_limits limits = wide;
    struct tftp_params params;
    char answered[100];

    (void)state;
    limits.window_bytes_max = 1000;
    assert_int_equal(negotiate("windowsize=16,blksize=1428", TFTP_RRQ, &limits, 9, &params,
                               answered, sizeof(answered)),
                     0);
    assert_string_equal(answered, "windowsize=1,blksize=1428");
}

/* For every pair of values, the window in bytes keeps to the limit. */
static void a_window_keeps_to_its_bytes(void **state)
{
    static const unsigned blksizes[] = {8, 511, 512, 1428, 8192, 65464};
    static const unsigned windows[] = {1, 2, 15, 16, 17, 64, 1000, 65535};
    static const uint32_t bytes[] = {0, 8, 65463, 65464, 65465, 1u << 20, UINT32_MAX};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(blksizes) * ARRAY_LEN(windows) * ARRAY_LEN(bytes); i++) {
        struct tftp_limits limits = wide;
        struct tftp_params params;
        char asked[64], answered[100];
        unsigned window = windows[i / ARRAY_LEN(blksizes) % ARRAY_LEN(windows)];

        limits.window_bytes_max = bytes[i / ARRAY_LEN(blksizes) / ARRAY_LEN(windows)];
        snprintf(asked, sizeof(asked), "windowsize=%u,blksize=%u", window,
                 blksizes[i % ARRAY_LEN(blksizes)]);
        assert_int_equal(
            negotiate(asked, TFTP_RRQ, &limits, 9, &params, answered, sizeof(answered)), 0);
        assert_true(params.windowsize >= 1 && params.windowsize <= window);
        assert_true(params.windowsize == 1 ||
                    (uint64_t)params.windowsize * params.blksize <= limits.window_bytes_max);
        /* And no smaller than that asks for. */
        assert_true(params.windowsize == window ||
                    (uint64_t)(params.windowsize + 1) * params.blksize > limits.window_bytes_max);
    }
}

/* curl refuses tsize=0; EDK2 and GRUB need tsize. The three options in this order are curl. */
static void an_empty_file_has_no_tsize_for_curl_only(void **state)
{
    static const struct {
        uint64_t size;
        const char *asked, *answered;
    } cases[] = {
        {0, "tsize=0,blksize=512,timeout=6", "blksize=512,timeout=6"},
        {1, "tsize=0,blksize=512,timeout=6", "tsize=1,blksize=512,timeout=6"},
        {0, "tsize=0,blksize=512", "tsize=0,blksize=512"},
        {0, "tsize=0,blksize=512,windowsize=4", "tsize=0,blksize=512,windowsize=4"},
        {0, "blksize=1024,tsize=0", "blksize=1024,tsize=0"},
        {0, "timeout=5,tsize=0,blksize=1468", "timeout=5,tsize=0,blksize=1468"},
        {0, "tsize=0,blksize=512,timeout=6,windowsize=1",
         "tsize=0,blksize=512,timeout=6,windowsize=1"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tftp_params params;
        char answered[100];

        assert_int_equal(negotiate(cases[i].asked, TFTP_RRQ, &wide, cases[i].size, &params,
                                   answered, sizeof(answered)),
                         0);
        assert_string_equal(answered, cases[i].answered);
    }
}

/* The answer pays at most 20 bytes more than the request, whatever is asked. */
static void an_oack_is_hardly_longer_than_its_request(void **state)
{
    static const char *const asked[] = {
        "tsize=0",
        "tsize=0,blksize=8,timeout=1,windowsize=1",
        "a=,b=,c=,d=,e=,f=,g=,h=,tsize=0,i=,j=,k=",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        struct tftp_request request;
        struct tftp_params params;
        uint8_t bytes[TFTP_REQUEST_MAX], *oack;
        size_t request_len, len;

        request_from_text(&request, TFTP_RRQ, asked[i]);
        request_len = tftp_build_request(bytes, sizeof(bytes), &request);
        oack = malloc(request_len + 20);
        assert_non_null(oack);
        assert_int_equal(
            tftp_negotiate(&params, &request, &wide, UINT64_MAX - 1, oack, request_len + 20, &len),
            0);
        assert_true(len > 0 && len <= request_len + 20);
        free(oack);
    }
}

/* The longest request there is, full of options of all kinds, as it comes from the wire. */
static void a_request_full_of_options_is_answered(void **state)
{
    uint8_t bytes[TFTP_REQUEST_MAX] = "\0\1f\0octet", oack[TFTP_REQUEST_MAX + 24];
    static const char known[] = "blksize\0001428\0tsize\0000";
    size_t len = 10, oack_len;
    struct tftp_request request;
    struct tftp_params params;
    char answered[100];

    (void)state;
    memcpy(bytes + len, known, sizeof(known));
    len += sizeof(known);
    for (; len + 3 <= sizeof(bytes); len += 3)
        memcpy(bytes + len, "a\0", 3);
    assert_int_equal(tftp_request_parse(&request, view_of(bytes, len)), 0);
    assert_int_equal(request.option_count, TFTP_OPTIONS_MAX);
    assert_int_equal(tftp_negotiate(&params, &request, &wide, 99, oack, sizeof(oack), &oack_len),
                     0);
    oack_to_text(oack, oack_len, answered, sizeof(answered));
    assert_string_equal(answered, "blksize=1428,tsize=99");
}

/* What our server answers, our client takes, and both agree. */
static void both_sides_agree(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(deals); i++) {
        const struct deal *d = &deals[i];
        struct tftp_request request;
        struct tftp_params server, client;
        uint8_t oack[TFTP_REQUEST_MAX + 24];
        size_t len;

        request_from_text(&request, d->op, d->asked);
        assert_int_equal(
            tftp_negotiate(&server, &request, d->limits, d->size, oack, sizeof(oack), &len), 0);
        if (len == 0)
            continue;
        if (tftp_accept_oack(&client, &request, TFTP_ROLLOVER_0, view_of(oack, len)) != 0)
            fail_msg("%s: the client refuses", d->what);
        assert_int_equal(client.blksize, server.blksize);
        assert_int_equal(client.windowsize, server.windowsize);
        assert_int_equal(client.timeout_s, server.timeout_s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_deal_is_struck_as_written),
        cmocka_unit_test(a_known_option_may_come_once),
        cmocka_unit_test(a_size_that_no_file_can_have_is_refused),
        cmocka_unit_test(a_writer_tells_its_size),
        cmocka_unit_test(without_options_the_answer_is_of_rfc_1350),
        cmocka_unit_test(a_window_holds_at_least_one_block),
        cmocka_unit_test(a_window_keeps_to_its_bytes),
        cmocka_unit_test(an_empty_file_has_no_tsize_for_curl_only),
        cmocka_unit_test(an_oack_is_hardly_longer_than_its_request),
        cmocka_unit_test(a_request_full_of_options_is_answered),
        cmocka_unit_test(both_sides_agree),
    };

    return cmocka_run_group_tests_name("proto/negotiate", tests, NULL, NULL);
}
