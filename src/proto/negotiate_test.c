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

#define DIGITS_50  "99999999999999999999999999999999999999999999999999"
#define DIGITS_400 DIGITS_50 DIGITS_50 DIGITS_50 DIGITS_50 DIGITS_50 DIGITS_50 DIGITS_50 DIGITS_50

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

static struct view text_view(const char *text)
{
    return view_of(text, strlen(text));
}

/* "name=value,name=value": the options of a request, or of an OACK. */
static unsigned options_from_text(const char *text, struct tftp_option *options)
{
    unsigned count = 0;

    while (*text) {
        size_t pair = strcspn(text, ","), name = strcspn(text, "=");

        assert_true(count < TFTP_OPTIONS_MAX && name < pair);
        options[count].name = view_of(text, name);
        options[count].value = view_of(text + name + 1, pair - name - 1);
        count++;
        text += pair + (text[pair] == ',');
    }
    return count;
}

static void request_from_text(struct tftp_request *r, enum tftp_opcode op, const char *options)
{
    memset(r, 0, sizeof(*r));
    r->op = op;
    r->mode = TFTP_OCTET;
    r->filename = text_view("f");
    r->option_count = options_from_text(options, r->options);
}

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

struct deal {
    const char *what;
    enum tftp_opcode op;
    const struct tftp_limits *limits;
    uint64_t size;
    const char *asked;
    const char *answered;
    uint16_t blksize, windowsize;
    uint8_t timeout_s;
};

/* Each row: RRQ or WRQ, what is asked, what the OACK says, what holds then. */
static const struct deal deals[] = {
    /* RFC 2347 section 3: unknown options are left out and cause no ERROR. */
    {"nothing asked", TFTP_RRQ, &wide, 9, "", "", 512, 1, 0},
    {"only unknown options", TFTP_RRQ, &wide, 9, "foo=1,bar=2", "", 512, 1, 0},
    {"unknown among known", TFTP_RRQ, &wide, 9, "foo=1,blksize=600,bar=", "blksize=600", 600, 1, 0},
    {"names that only look alike", TFTP_RRQ, &wide, 9, "blksizeFOO=9,foo_blksize_bar=9,blk=9", "",
     512, 1, 0},
    {"options of other people", TFTP_RRQ, &wide, 9, "utimeout=9,rollover=0,multicast=,blksize2=600",
     "", 512, 1, 0},
    {"an unknown one twice", TFTP_RRQ, &wide, 9, "foo=1,foo=2,blksize=8", "blksize=8", 8, 1, 0},

    /* RFC 2347 section 2: letter case does not count. The spelling is the client's. */
    {"capitals", TFTP_RRQ, &wide, 9, "BLKSIZE=600", "BLKSIZE=600", 600, 1, 0},
    {"mixed case", TFTP_RRQ, &wide, 9, "bLkSiZe=600,TSize=0", "bLkSiZe=600,TSize=9", 600, 1, 0},
    {"the request's order", TFTP_RRQ, &wide, 9, "windowsize=4,tsize=0,timeout=3,blksize=600",
     "windowsize=4,tsize=9,timeout=3,blksize=600", 600, 4, 3},

    /* RFC 2348 section 2: 8 to 65464, never more than asked. */
    {"blksize 0", TFTP_RRQ, &wide, 9, "blksize=0", "", 512, 1, 0},
    {"blksize 1", TFTP_RRQ, &wide, 9, "blksize=1", "", 512, 1, 0},
    {"blksize 7", TFTP_RRQ, &wide, 9, "blksize=7", "", 512, 1, 0},
    {"blksize 8", TFTP_RRQ, &wide, 9, "blksize=8", "blksize=8", 8, 1, 0},
    {"blksize 8, small file and more", TFTP_RRQ, &wide, 9, "blksize=8,timeout=3,tsize=0",
     "blksize=8,timeout=3,tsize=9", 8, 1, 3},
    {"the largest blksize", TFTP_RRQ, &wide, 9, "blksize=65464", "blksize=65464", 65464, 1, 0},
    {"blksize over our cap", TFTP_RRQ, &narrow, 9, "blksize=65464", "blksize=1428", 1428, 1, 0},
    {"blksize 65465", TFTP_RRQ, &wide, 9, "blksize=65465", "blksize=65464", 65464, 1, 0},
    {"blksize 99999", TFTP_WRQ, &wide, 9, "blksize=99999", "blksize=65464", 65464, 1, 0},
    {"blksize 2^32 + 512", TFTP_RRQ, &wide, 9, "blksize=4294967808", "blksize=65464", 65464, 1, 0},
    {"blksize 2^64 + 512", TFTP_RRQ, &wide, 9, "blksize=18446744073709552128", "blksize=65464",
     65464, 1, 0},
    {"blksize of 400 digits", TFTP_RRQ, &narrow, 9, "blksize=" DIGITS_400, "blksize=1428", 1428, 1,
     0},
    {"leading zeros", TFTP_RRQ, &wide, 9, "blksize=000512", "blksize=512", 512, 1, 0},
    {"blksize negative", TFTP_RRQ, &wide, 9, "blksize=-1", "", 512, 1, 0},
    {"blksize with a plus", TFTP_RRQ, &wide, 9, "blksize=+8", "", 512, 1, 0},
    {"blksize after a blank", TFTP_RRQ, &wide, 9, "blksize= 512", "", 512, 1, 0},
    {"blksize before a letter", TFTP_RRQ, &wide, 9, "blksize=512x", "", 512, 1, 0},
    {"blksize in hex", TFTP_RRQ, &wide, 9, "blksize=0x200", "", 512, 1, 0},
    {"blksize with exponent", TFTP_RRQ, &wide, 9, "blksize=1e3", "", 512, 1, 0},
    {"blksize empty", TFTP_RRQ, &wide, 9, "blksize=", "", 512, 1, 0},
    {"blksize of format letters", TFTP_RRQ, &wide, 9, "blksize=%n\033[2J", "", 512, 1, 0},

    /* RFC 2349 section 2: 1 to 255; equal or left out. */
    {"timeout 0", TFTP_RRQ, &wide, 9, "timeout=0", "", 512, 1, 0},
    {"timeout 1", TFTP_RRQ, &wide, 9, "timeout=1", "timeout=1", 512, 1, 1},
    {"timeout 255", TFTP_WRQ, &wide, 9, "timeout=255", "timeout=255", 512, 1, 255},
    {"timeout 256", TFTP_RRQ, &wide, 9, "timeout=256", "", 512, 1, 0},
    {"timeout 257, 1 by wrap-around", TFTP_RRQ, &wide, 9, "timeout=257", "", 512, 1, 0},
    {"timeout over our limit", TFTP_RRQ, &narrow, 9, "timeout=11", "", 512, 1, 0},
    {"timeout at our limit", TFTP_RRQ, &narrow, 9, "timeout=10", "timeout=10", 512, 1, 10},
    {"timeout negative", TFTP_RRQ, &wide, 9, "timeout=-1", "", 512, 1, 0},
    {"timeout broken", TFTP_RRQ, &wide, 9, "timeout=1.5", "", 512, 1, 0},
    {"timeout, the same text", TFTP_RRQ, &wide, 9, "timeout=005", "timeout=005", 512, 1, 5},
    {"timeout empty", TFTP_RRQ, &wide, 9, "timeout=", "", 512, 1, 0},

    /* RFC 2349 section 3: the size of the file, or the echo of it. */
    {"tsize 0", TFTP_RRQ, &wide, 12345, "tsize=0", "tsize=12345", 512, 1, 0},
    {"tsize 5", TFTP_RRQ, &wide, 12345, "tsize=5", "tsize=12345", 512, 1, 0},
    {"tsize of 400 digits, read", TFTP_RRQ, &wide, 1, "tsize=" DIGITS_400, "tsize=1", 512, 1, 0},
    {"tsize abc", TFTP_RRQ, &wide, 12345, "tsize=abc", "", 512, 1, 0},
    {"tsize empty", TFTP_RRQ, &wide, 12345, "tsize=", "", 512, 1, 0},
    {"size not known", TFTP_RRQ, &wide, NO_SIZE, "tsize=0", "", 512, 1, 0},
    {"size not known, other options", TFTP_RRQ, &wide, NO_SIZE, "tsize=0,blksize=600",
     "blksize=600", 600, 1, 0},
    {"the largest size", TFTP_RRQ, &wide, UINT64_MAX - 1, "tsize=0", "tsize=18446744073709551614",
     512, 1, 0},
    {"an empty file", TFTP_RRQ, &wide, 0, "tsize=0,blksize=1468,windowsize=4",
     "tsize=0,blksize=1468,windowsize=4", 1468, 4, 0},
    {"tsize echoed, write", TFTP_WRQ, &wide, NO_SIZE, "tsize=777", "tsize=777", 512, 1, 0},
    {"tsize 0, write", TFTP_WRQ, &wide, NO_SIZE, "tsize=0", "tsize=0", 512, 1, 0},
    {"tsize abc, write", TFTP_WRQ, &wide, NO_SIZE, "tsize=abc", "", 512, 1, 0},
    {"tsize leading zeros, write", TFTP_WRQ, &wide, NO_SIZE, "tsize=007", "tsize=7", 512, 1, 0},
    {"tsize 2^63 - 1, write", TFTP_WRQ, &wide, NO_SIZE, "tsize=9223372036854775807",
     "tsize=9223372036854775807", 512, 1, 0},

    /* RFC 7440 section 3: 1 to 65535, never more than asked. */
    {"windowsize 0", TFTP_RRQ, &wide, 9, "windowsize=0", "", 512, 1, 0},
    {"windowsize 1", TFTP_RRQ, &wide, 9, "windowsize=1", "windowsize=1", 512, 1, 0},
    {"windowsize abc", TFTP_RRQ, &wide, 9, "windowsize=abc", "", 512, 1, 0},
    {"windowsize 65535", TFTP_RRQ, &wide, 9, "windowsize=65535", "windowsize=65535", 512, 65535, 0},
    {"windowsize 65536", TFTP_RRQ, &wide, 9, "windowsize=65536", "windowsize=65535", 512, 65535, 0},
    {"windowsize 65537", TFTP_WRQ, &wide, 9, "windowsize=65537", "windowsize=65535", 512, 65535, 0},
    {"windowsize over our cap", TFTP_RRQ, &narrow, 9, "windowsize=65535", "windowsize=64", 512, 64,
     0},
    {"window in bytes, blksize first", TFTP_RRQ, &narrow, 9, "blksize=1428,windowsize=64",
     "blksize=1428,windowsize=45", 1428, 45, 0},
    {"window in bytes, blksize last", TFTP_RRQ, &narrow, 9, "windowsize=64,blksize=1428",
     "windowsize=45,blksize=1428", 1428, 45, 0},
    {"window and block both too large", TFTP_WRQ, &narrow, 9, "windowsize=65535,blksize=65464",
     "windowsize=45,blksize=1428", 1428, 45, 0},
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
        if (params.blksize != d->blksize || params.windowsize != d->windowsize ||
            params.timeout_s != d->timeout_s)
            fail_msg("%s: %u %u %u", d->what, params.blksize, params.windowsize, params.timeout_s);
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

struct check {
    const char *what;
    enum tftp_opcode op;
    const char *asked, *oack;
    int expected;
};

static const struct check checks[] = {
    {"all as asked", TFTP_RRQ, "blksize=1428,tsize=0,timeout=3,windowsize=8",
     "blksize=1428,tsize=55,timeout=3,windowsize=8", 0},
    {"some, less, other order, other case", TFTP_RRQ, "blksize=1428,tsize=0,windowsize=8",
     "WINDOWSIZE=2,BlkSize=8", 0},
    /* RFC 2347 section 3: an OACK with an option that was not asked for ends the transfer. */
    {"not asked for", TFTP_RRQ, "blksize=1428", "blksize=1428,tsize=5", -EPROTO},
    {"nothing was asked for", TFTP_RRQ, "", "blksize=512", -EPROTO},
    {"unknown, not asked for", TFTP_RRQ, "blksize=1428", "foo=1", -EPROTO},
    {"unknown, asked for", TFTP_RRQ, "foo=1,blksize=600", "foo=bar,blksize=600", 0},
    {"twice", TFTP_RRQ, "blksize=1428", "blksize=1428,blksize=1428", -EPROTO},
    {"twice, other case", TFTP_RRQ, "blksize=1428", "blksize=1428,BLKSIZE=600", -EPROTO},
    /* RFC 2348 section 2: less than or equal. */
    {"blksize larger", TFTP_RRQ, "blksize=1428", "blksize=1429", -EPROTO},
    {"blksize too small", TFTP_RRQ, "blksize=1428", "blksize=7", -EPROTO},
    {"blksize 0", TFTP_RRQ, "blksize=1428", "blksize=0", -EPROTO},
    {"blksize by wrap-around", TFTP_RRQ, "blksize=1428", "blksize=18446744073709552128", -EPROTO},
    {"blksize no number", TFTP_RRQ, "blksize=1428", "blksize=0x200", -EPROTO},
    {"blksize empty", TFTP_RRQ, "blksize=1428", "blksize=", -EPROTO},
    /* RFC 2349 section 2: must match. */
    {"timeout less", TFTP_RRQ, "timeout=3", "timeout=2", -EPROTO},
    {"timeout more", TFTP_RRQ, "timeout=3", "timeout=4", -EPROTO},
    {"timeout with a zero", TFTP_RRQ, "timeout=3", "timeout=03", 0},
    /* RFC 2349 section 3. */
    {"tsize of an empty file", TFTP_RRQ, "tsize=0", "tsize=0", 0},
    {"tsize no number", TFTP_RRQ, "tsize=0", "tsize=-1", -EPROTO},
    {"tsize echoed, write", TFTP_WRQ, "tsize=77", "tsize=77", 0},
    {"tsize larger, write", TFTP_WRQ, "tsize=77", "tsize=78", -EPROTO},
    /* RFC 7440 section 3: less than or equal. */
    {"windowsize larger", TFTP_RRQ, "windowsize=8", "windowsize=9", -EPROTO},
    {"windowsize 0", TFTP_RRQ, "windowsize=8", "windowsize=0", -EPROTO},
    {"windowsize 65536", TFTP_RRQ, "windowsize=8", "windowsize=65536", -EPROTO},
};

static void every_oack_is_judged_as_written(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        const struct check *c = &checks[i];
        struct tftp_option options[TFTP_OPTIONS_MAX];
        struct tftp_request request;
        struct tftp_params params;
        uint8_t bytes[TFTP_REQUEST_MAX];
        struct writer w = writer_of(bytes, sizeof(bytes));
        unsigned count = options_from_text(c->oack, options);
        int rc;

        writer_be16(&w, TFTP_OACK);
        for (unsigned o = 0; o < count; o++) {
            writer_cstr(&w, options[o].name);
            writer_cstr(&w, options[o].value);
        }
        request_from_text(&request, c->op, c->asked);
        rc = tftp_accept_oack(&params, &request, TFTP_ROLLOVER_0, view_of(bytes, writer_len(&w)));
        if (rc != c->expected)
            fail_msg("%s: %d, not %d", c->what, rc, c->expected);
    }
}

static int accept_bytes(const char *asked, const char *oack, size_t n, struct tftp_params *ret)
{
    struct tftp_request request;

    request_from_text(&request, TFTP_RRQ, asked);
    return tftp_accept_oack(ret, &request, TFTP_ROLLOVER_1, view_of(oack, n));
}

/* RFC 2347 section 3: what was not acknowledged is as if it had never been asked for. */
static void an_accepted_oack_sets_what_it_names(void **state)
{
    static const char some[] = "\0\6tsize\00012345\0blksize\0001024";
    static const char all[] = "\0\6windowsize\0007\0timeout\0003";
    struct tftp_params params;

    (void)state;
    assert_int_equal(
        accept_bytes("blksize=1428,windowsize=8,timeout=3,tsize=0", some, sizeof(some), &params),
        0);
    assert_int_equal(params.blksize, 1024);
    assert_int_equal(params.windowsize, 1);
    assert_int_equal(params.timeout_s, 0);
    assert_true(params.tsize_given);
    assert_int_equal(params.tsize, 12345);
    assert_int_equal(params.rollover, TFTP_ROLLOVER_1);

    assert_int_equal(
        accept_bytes("blksize=1428,windowsize=8,timeout=3,tsize=0", all, sizeof(all), &params), 0);
    assert_int_equal(params.blksize, 512);
    assert_int_equal(params.windowsize, 7);
    assert_int_equal(params.timeout_s, 3);
    assert_false(params.tsize_given);
}

static void a_cut_oack_is_refused(void **state)
{
    static const char whole[] = "\0\6tsize\00012345\0blksize\0001024";
    struct tftp_params params = {.blksize = 77};

    (void)state;
    for (size_t n = 3; n < sizeof(whole); n++) {
        int rc = accept_bytes("blksize=1428,tsize=0", whole, n, &params);

        assert_int_equal(rc, n == sizeof("\0\6tsize\00012345") ? 0 : -EPROTO);
        assert_int_equal(params.blksize, rc == 0 ? 512 : 77);
        params.blksize = 77;
    }
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

static void decimals(void **state)
{
    static const struct {
        const char *text;
        int rc;
        uint64_t value;
    } cases[] = {
        {"0", 0, 0},
        {"8", 0, 8},
        {"000512", 0, 512},
        {"4294967808", 0, 4294967808},
        {"18446744073709551614", 0, UINT64_MAX - 1},
        {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551616", 0, UINT64_MAX},
        {"18446744073709552128", 0, UINT64_MAX},
        {"184467440737095516150", 0, UINT64_MAX},
        {DIGITS_400, 0, UINT64_MAX},
        {DIGITS_400 "x", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {"+8", -EINVAL, 0},
        {" 512", -EINVAL, 0},
        {"512 ", -EINVAL, 0},
        {"512x", -EINVAL, 0},
        {"0x200", -EINVAL, 0},
        {"1e3", -EINVAL, 0},
        {"1.5", -EINVAL, 0},
        {"/", -EINVAL, 0},
        {":", -EINVAL, 0},
        {"\377", -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t n = 4711;

        assert_int_equal(tftp_parse_decimal(text_view(cases[i].text), &n), cases[i].rc);
        assert_true(n == (cases[i].rc == 0 ? cases[i].value : 4711));
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
        cmocka_unit_test(every_oack_is_judged_as_written),
        cmocka_unit_test(an_accepted_oack_sets_what_it_names),
        cmocka_unit_test(a_cut_oack_is_refused),
        cmocka_unit_test(both_sides_agree),
        cmocka_unit_test(decimals),
    };

    return cmocka_run_group_tests_name("proto/negotiate", tests, NULL, NULL);
}
