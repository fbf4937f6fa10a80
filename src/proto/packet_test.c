#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "proto/packet.h"

/* A literal with its embedded NULs, without the one that C adds. */
#define BYTES(s) s, sizeof(s) - 1

/* A datagram that ends where its allocation ends, so that a sanitizer sees a read beyond it. */
static struct view exact(const void *p, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);

    assert_non_null(copy);
    if (n > 0)
        memcpy(copy, p, n);
    return view_of(copy, n);
}

static void drop(struct view v)
{
    free((void *)(uintptr_t)v.p);
}

static int parse(struct tftp_request *ret, const void *p, size_t n, struct view *ret_datagram)
{
    *ret_datagram = exact(p, n);
    return tftp_request_parse(ret, *ret_datagram);
}

static void assert_view(struct view v, const char *text)
{
    assert_int_equal(v.n, strlen(text));
    assert_memory_equal(v.p, text, v.n);
}

struct shape {
    const char *what;
    const char *bytes;
    size_t n;
    int expected;
};

/* What is no request gets no answer; what is a broken one gets an error. */
static const struct shape shapes[] = {
    {"nothing at all", BYTES(""), -ENOMSG},
    {"one zero byte", BYTES("\0"), -ENOMSG},
    {"one byte", BYTES("\1"), -ENOMSG},
    {"a lone read opcode", BYTES("\0\1"), -ENOMSG},
    {"a lone write opcode", BYTES("\0\2"), -ENOMSG},
    {"three bytes", BYTES("\0\1a"), -ENOMSG},
    {"opcode 0", BYTES("\0\0a\0octet\0"), -ENOMSG},
    {"opcode 7", BYTES("\0\7a\0octet\0"), -ENOMSG},
    {"opcode 8", BYTES("\0\10a\0octet\0"), -ENOMSG},
    {"opcode 255", BYTES("\0\377a\0octet\0"), -ENOMSG},
    {"opcode 256, a swapped RRQ", BYTES("\1\0a\0octet\0"), -ENOMSG},
    {"opcode 512, a swapped WRQ", BYTES("\2\0a\0octet\0"), -ENOMSG},
    {"opcode 65535", BYTES("\377\377a\0octet\0"), -ENOMSG},
    {"an ERROR without text", BYTES("\0\5\0\0"), -ENOMSG},
    {"an ERROR with text", BYTES("\0\5\0\1File not found\0"), -ENOMSG},
    {"an ERROR of code 8", BYTES("\0\5\0\10no\0"), -ENOMSG},
    {"ACK 0", BYTES("\0\4\0\0"), -ENOMSG},
    {"ACK 1", BYTES("\0\4\0\1"), -ENOMSG},
    {"ACK 65535", BYTES("\0\4\377\377"), -ENOMSG},
    {"an empty DATA 1", BYTES("\0\3\0\1"), -ENOMSG},
    {"DATA 1", BYTES("\0\3\0\1abc"), -ENOMSG},
    {"an OACK", BYTES("\0\6blksize\000512\0"), -ENOMSG},

    {"name not terminated", BYTES("\0\1name"), -EBADMSG},
    {"name of one byte, not terminated, two bytes", BYTES("\0\1ab"), -EBADMSG},
    {"no mode", BYTES("\0\1name\0"), -EBADMSG},
    {"no mode, write", BYTES("\0\2name\0"), -EBADMSG},
    {"mode not terminated", BYTES("\0\1name\0octet"), -EBADMSG},
    {"empty name", BYTES("\0\1\0octet\0"), -EBADMSG},
    {"empty name, write", BYTES("\0\2\0octet\0"), -EBADMSG},
    {"empty mode", BYTES("\0\1name\0\0"), -EBADMSG},
    {"empty mode before options", BYTES("\0\1name\0\0blksize\000512\0"), -EBADMSG},
    {"empty name and mode", BYTES("\0\1\0\0"), -EBADMSG},

    /* RFC 1123 section 4.2.2.1: "mail" should not be supported. */
    {"mode mail, read", BYTES("\0\1name\0mail\0"), -ENOTSUP},
    {"mode mail, write", BYTES("\0\2user\0MAIL\0"), -ENOTSUP},
    {"mode binary", BYTES("\0\1name\0binary\0"), -ENOTSUP},
    {"mode image", BYTES("\0\1name\0image\0"), -ENOTSUP},
    {"mode with a blank", BYTES("\0\1name\0octet \0"), -ENOTSUP},
    {"mode with one letter more", BYTES("\0\1name\0octetX\0"), -ENOTSUP},
    {"mode cut short", BYTES("\0\1name\0oct\0"), -ENOTSUP},
    {"mode with one letter more, netascii", BYTES("\0\1name\0netasciii\0"), -ENOTSUP},

    {"a control byte as name", BYTES("\0\1\1\0netascii\0"), 0},
    {"a plain request", BYTES("\0\1a\0octet\0"), 0},
};

static void every_shape_has_its_result(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        struct tftp_request request;
        struct view datagram;
        int rc = parse(&request, shapes[i].bytes, shapes[i].n, &datagram);

        if (rc != shapes[i].expected)
            fail_msg("%s: %d, not %d", shapes[i].what, rc, shapes[i].expected);
        drop(datagram);
    }
}

/* RFC 1350 section 5: the mode in any mix of upper and lower case. */
static void modes_in_any_letter_case(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        enum tftp_mode mode;
    } cases[] = {
        {BYTES("\0\1f\0octet\0"), TFTP_OCTET},       {BYTES("\0\1f\0OCTET\0"), TFTP_OCTET},
        {BYTES("\0\2f\0oCtEt\0"), TFTP_OCTET},       {BYTES("\0\1f\0netascii\0"), TFTP_NETASCII},
        {BYTES("\0\2f\0NetAscii\0"), TFTP_NETASCII}, {BYTES("\0\1f\0NETASCII\0"), TFTP_NETASCII},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tftp_request request;
        struct view datagram;

        assert_int_equal(parse(&request, cases[i].bytes, cases[i].n, &datagram), 0);
        assert_int_equal(request.op, cases[i].bytes[1]);
        assert_int_equal(request.mode, cases[i].mode);
        assert_view(request.filename, "f");
        assert_int_equal(request.option_count, 0);
        drop(datagram);
    }
}

static const struct {
    const char *what;
    const char *tail; /* after "\0\1f\0octet\0" */
    size_t n;
    const char *options; /* name=value, a blank after each */
} tails[] = {
    {"one option", BYTES("blksize\000512\0"), "blksize=512 "},
    {"the order and spelling stay", BYTES("TSize\0000\0blkSIZE\0001024\0"),
     "TSize=0 blkSIZE=1024 "},
    {"unknown names", BYTES("blk\0001\0blksizeFOO\0002\0"), "blk=1 blksizeFOO=2 "},
    {"no value for the last", BYTES("tsize\0000\0blksize\0"), "tsize=0 "},
    {"no NUL after the last value", BYTES("tsize\0000\0blksize\000512"), "tsize=0 "},
    {"no NUL after the last name", BYTES("tsize\0000\0blksi"), "tsize=0 "},
    {"only a name", BYTES("blksize\0"), ""},
    {"an empty value at the end", BYTES("tsize\0000\0multicast\0\0"), "tsize=0 multicast= "},
    {"an empty value in the middle", BYTES("multicast\0\0tsize\0000\0"), "multicast= tsize=0 "},
    {"an empty value, then padding", BYTES("multicast\0\0\0\0\0"), "multicast= "},
    {"an empty name with a value", BYTES("\000512\0tsize\0000\0"), "tsize=0 "},
    {"a value without its name", BYTES("secret\0windowsize\0008\0"), "secret=windowsize "},
    {"one NUL of padding", BYTES("tsize\0000\0\0"), "tsize=0 "},
    {"two NULs of padding", BYTES("tsize\0000\0\0\0"), "tsize=0 "},
    {"padding only", BYTES("\0\0\0\0\0\0\0"), ""},
    {"0xFF after the mode", BYTES("\377\377\377"), ""},
    {"0xFF after an option", BYTES("tsize\0000\0\377\377\377"), "tsize=0 "},
    {"format letters and escapes", BYTES("a\0%n%s\033\0"), "a=%n%s\033 "},
};

static void odd_tails_end_the_list_and_are_no_error(void **state)
{
    static const char head[] = "\0\1f\0octet\0";

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
        char bytes[128], got[256];
        size_t head_len = sizeof(head) - 1, len = 0;
        struct tftp_request request;
        struct view datagram;

        memcpy(bytes, head, head_len);
        memcpy(bytes + head_len, tails[i].tail, tails[i].n);
        if (parse(&request, bytes, head_len + tails[i].n, &datagram) != 0)
            fail_msg("%s: refused", tails[i].what);
        for (unsigned o = 0; o < request.option_count; o++) {
            const struct tftp_option *option = &request.options[o];

            memcpy(got + len, option->name.p, option->name.n);
            len += option->name.n;
            got[len++] = '=';
            memcpy(got + len, option->value.p, option->value.n);
            len += option->value.n;
            got[len++] = ' ';
        }
        got[len] = 0;
        if (strcmp(got, tails[i].options) != 0)
            fail_msg("%s: \"%s\", not \"%s\"", tails[i].what, got, tails[i].options);
        drop(datagram);
    }
}

/* A read request of `len` bytes in all, ended by one NUL; the name fills what the mode leaves. */
static size_t long_request(uint8_t *bytes, size_t len)
{
    static const char tail[] = "\0octet"; /* and its NUL */

    memset(bytes, 'n', len);
    bytes[0] = 0;
    bytes[1] = TFTP_RRQ;
    memcpy(bytes + len - sizeof(tail), tail, sizeof(tail));
    return len;
}

/* RFC 2347 section 2: "the maximum size of a request packet is 512 octets". */
static void requests_of_more_than_512_octets_are_malformed(void **state)
{
    static const struct {
        size_t len;
        int expected;
    } cases[] = {{12, 0},          {511, 0},         {512, 0},
                 {513, -EBADMSG},  {514, -EBADMSG},  {516, -EBADMSG},
                 {1500, -EBADMSG}, {9000, -EBADMSG}, {65507, -EBADMSG}};
    static uint8_t bytes[65507];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tftp_request request;
        struct view datagram;
        size_t len = long_request(bytes, cases[i].len);

        assert_int_equal(parse(&request, bytes, len, &datagram), cases[i].expected);
        if (cases[i].expected == 0)
            assert_int_equal(request.filename.n, len - 2 - sizeof("\0octet"));
        drop(datagram);
    }
}

static void trailing_nuls_are_as_if_absent(void **state)
{
    static uint8_t bytes[65507];
    static const size_t lengths[] = {12, 500, 511, 512};
    struct tftp_request request;
    struct view datagram;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        for (size_t padding = 1; padding <= 300; padding++) {
            size_t len = long_request(bytes, lengths[i]);

            memset(bytes + len, 0, padding);
            assert_int_equal(parse(&request, bytes, len + padding, &datagram), 0);
            assert_int_equal(request.filename.n, len - 2 - sizeof("\0octet"));
            assert_int_equal(request.option_count, 0);
            drop(datagram);
        }
    }
    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes, BYTES("\0\1f\0octet"));
    assert_int_equal(parse(&request, bytes, sizeof(bytes), &datagram), 0);
    drop(datagram);
    /* Nothing but an opcode and NULs: no name. */
    memset(bytes + 2, 0, 510);
    assert_int_equal(parse(&request, bytes, 512, &datagram), -EBADMSG);
    drop(datagram);
}

static void a_mode_that_fills_the_packet_is_refused(void **state)
{
    uint8_t bytes[500] = "\0\1f\0";
    struct tftp_request request;
    struct view datagram;

    (void)state;
    memset(bytes + 4, 'm', sizeof(bytes) - 5);
    bytes[sizeof(bytes) - 1] = 0;
    assert_int_equal(parse(&request, bytes, sizeof(bytes), &datagram), -ENOTSUP);
    drop(datagram);
}

/* What comes after TFTP_OPTIONS_MAX pairs is not looked at. */
static void many_options_are_cut_at_the_limit(void **state)
{
    uint8_t bytes[TFTP_REQUEST_MAX] = "\0\1f\0octet";
    size_t len = 10;
    struct tftp_request request;
    struct view datagram;

    (void)state;
    while (len + 4 <= sizeof(bytes)) {
        memcpy(bytes + len, "a\0b", 4);
        len += 4;
    }
    assert_int_equal(parse(&request, bytes, len, &datagram), 0);
    assert_int_equal(request.option_count, TFTP_OPTIONS_MAX);
    drop(datagram);

    /* Pairs of an empty value: three bytes each, a hundred and more of them. */
    for (len = 10; len + 3 <= sizeof(bytes); len += 3)
        memcpy(bytes + len, "a\0", 3);
    assert_int_equal(parse(&request, bytes, len, &datagram), 0);
    assert_int_equal(request.option_count, TFTP_OPTIONS_MAX);
    drop(datagram);
}

/* Any prefix, and any single changed byte, of a valid request: no read beyond the end (the
 * sanitizer looks), and every view inside the datagram. */
static void assert_inside(struct view part, struct view whole)
{
    assert_true(part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void parse_anything(const uint8_t *bytes, size_t n)
{
    struct view datagram = exact(bytes, n), text;
    struct tftp_request request;
    struct tftp_option options[TFTP_OPTIONS_MAX];
    int count, op = tftp_packet_opcode(datagram);

    assert_true(op >= 0 && op <= TFTP_OACK);
    if (tftp_request_parse(&request, datagram) == 0) {
        assert_true(op == TFTP_RRQ || op == TFTP_WRQ);
        assert_true(request.filename.n > 0 && request.option_count <= TFTP_OPTIONS_MAX);
        assert_inside(request.filename, datagram);
        for (unsigned i = 0; i < request.option_count; i++) {
            assert_inside(request.options[i].name, datagram);
            assert_inside(request.options[i].value, datagram);
        }
    }
    count = tftp_oack_parse(options, datagram);
    assert_true(count == -EBADMSG || (count >= 0 && count <= TFTP_OPTIONS_MAX));
    for (int i = 0; i < count; i++) {
        assert_inside(options[i].name, datagram);
        assert_inside(options[i].value, datagram);
    }
    if (n >= TFTP_HEADER_LEN) {
        assert_int_equal(tftp_error_parse(datagram, &text), tftp_packet_block(datagram));
        assert_inside(text, datagram);
    }
    drop(datagram);
}

static void no_parser_leaves_its_datagram(void **state)
{
    static const char valid[] = "\0\1/boot/x\0octet\0tsize\0000\0blksize\0001468\0windowsize\0004";
    uint8_t bytes[sizeof(valid)], noise[300];
    struct prng rng;

    (void)state;
    for (size_t n = 0; n <= sizeof(valid); n++)
        parse_anything((const uint8_t *)valid, n);
    for (size_t i = 0; i < sizeof(valid); i++) {
        static const uint8_t values[] = {0, 1, 2, 3, 5, 6, 'a', 0x7F, 0xFF};

        for (size_t v = 0; v < ARRAY_LEN(values); v++) {
            memcpy(bytes, valid, sizeof(valid));
            bytes[i] = values[v];
            parse_anything(bytes, sizeof(bytes));
        }
    }
    prng_seed(&rng, 7);
    for (int round = 0; round < 20000; round++) {
        size_t n = (size_t)prng_below(&rng, sizeof(noise));

        for (size_t i = 0; i < n; i++)
            noise[i] = prng_chance(&rng, 300000) ? 0 : (uint8_t)prng_next(&rng);
        if (n > 1) {
            noise[0] = 0;
            noise[1] = (uint8_t)prng_below(&rng, 8);
        }
        parse_anything(noise, n);
    }
}

static void opcodes(void **state)
{
    (void)state;
    for (uint32_t op = 0; op <= 65535; op++) {
        uint8_t bytes[4] = {(uint8_t)(op >> 8), (uint8_t)op, 'a', 0};

        assert_int_equal(tftp_packet_opcode(view_of(bytes, 4)), op >= 1 && op <= 6 ? op : 0);
        assert_int_equal(tftp_packet_opcode(view_of(bytes, 3)), 0);
    }
}

static void oack_lists(void **state)
{
    struct tftp_option options[TFTP_OPTIONS_MAX];
    uint8_t bytes[2 + 4 * (TFTP_OPTIONS_MAX + 1)] = {0, TFTP_OACK};
    struct view v;

    (void)state;
    v = exact(BYTES("\0\6blksize\0001428\0TSIZE\000123\0"));
    assert_int_equal(tftp_oack_parse(options, v), 2);
    assert_view(options[0].name, "blksize");
    assert_view(options[0].value, "1428");
    assert_view(options[1].name, "TSIZE");
    assert_view(options[1].value, "123");
    drop(v);

    assert_int_equal(tftp_oack_parse(options, view_of(BYTES("\0\6blksize\0"))), -EBADMSG);
    assert_int_equal(tftp_oack_parse(options, view_of(BYTES("\0\6blksize\000512"))), -EBADMSG);
    assert_int_equal(tftp_oack_parse(options, view_of(BYTES("\0\6blk"))), -EBADMSG);

    for (size_t i = 0; i <= TFTP_OPTIONS_MAX; i++)
        memcpy(bytes + 2 + 4 * i, "a\0b", 4);
    assert_int_equal(tftp_oack_parse(options, view_of(bytes, sizeof(bytes) - 4)), TFTP_OPTIONS_MAX);
    assert_int_equal(tftp_oack_parse(options, view_of(bytes, sizeof(bytes))), -EBADMSG);
}

/* RFC 1350 section 5: block numbers and error codes are two bytes, the high one first. */
static void acks_data_and_errors_round_trip(void **state)
{
    uint8_t bytes[64];
    struct view text;

    (void)state;
    for (uint32_t block = 0; block <= 65535; block++) {
        assert_int_equal(tftp_build_ack(bytes, sizeof(bytes), (uint16_t)block), 4);
        assert_int_equal(tftp_packet_opcode(view_of(bytes, 4)), TFTP_ACK);
        assert_int_equal(tftp_packet_block(view_of(bytes, 4)), block);
        assert_int_equal(tftp_build_data_header(bytes, 4, (uint16_t)block), 4);
        assert_int_equal(tftp_packet_opcode(view_of(bytes, 4)), TFTP_DATA);
        assert_int_equal(tftp_packet_block(view_of(bytes, 4)), block);
    }
    assert_int_equal(tftp_build_ack(bytes, 3, 1), 0);
    assert_int_equal(tftp_build_data_header(bytes, 3, 1), 0);

    assert_int_equal(tftp_build_error(bytes, sizeof(bytes), TFTP_ERR_OPTION, "no"), 7);
    assert_memory_equal(bytes, "\0\5\0\10no\0", 7);
    assert_int_equal(tftp_error_parse(view_of(bytes, 7), &text), TFTP_ERR_OPTION);
    assert_view(text, "no");
    assert_int_equal(tftp_error_parse(view_of(bytes, 6), &text), TFTP_ERR_OPTION);
    assert_view(text, "no");
    assert_int_equal(tftp_error_parse(view_of(BYTES("\0\5\377\376a\0b")), &text), 65534);
    assert_view(text, "a");
    assert_int_equal(tftp_error_parse(view_of(BYTES("\0\5\0\0")), &text), 0);
    assert_view(text, "");
    assert_int_equal(tftp_build_error(bytes, 6, TFTP_ERR_OPTION, "no"), 0);
}

static void error_texts_are_cut_to_64_bytes_in_all(void **state)
{
    char text[200];
    uint8_t bytes[200];
    struct view got;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    assert_int_equal(tftp_build_error(bytes, sizeof(bytes), TFTP_ERR_ILLEGAL, text), 64);
    tftp_error_parse(view_of(bytes, 64), &got);
    assert_int_equal(got.n, TFTP_ERROR_TEXT_MAX);
    assert_int_equal(bytes[63], 0);
    assert_int_equal(tftp_build_error(bytes, 64, TFTP_ERR_ILLEGAL, text), 64);
    assert_int_equal(tftp_build_error(bytes, 63, TFTP_ERR_ILLEGAL, text), 0);
}

static struct view text_view(const char *text)
{
    return view_of(text, strlen(text));
}

static void requests_round_trip(void **state)
{
    static const enum tftp_opcode ops[] = {TFTP_RRQ, TFTP_WRQ};
    static const enum tftp_mode modes[] = {TFTP_OCTET, TFTP_NETASCII};
    struct tftp_request in = {.filename = text_view("a/b c"), .option_count = 3}, out;
    uint8_t bytes[TFTP_REQUEST_MAX];

    (void)state;
    in.options[0] = (struct tftp_option){text_view("blksize"), text_view("1428")};
    in.options[1] = (struct tftp_option){text_view("tsize"), text_view("0")};
    in.options[2] = (struct tftp_option){text_view("multicast"), text_view("")};
    for (size_t i = 0; i < ARRAY_LEN(ops) * ARRAY_LEN(modes); i++) {
        size_t len;

        in.op = ops[i / 2];
        in.mode = modes[i % 2];
        len = tftp_build_request(bytes, sizeof(bytes), &in);
        assert_true(len > 0);
        assert_int_equal(tftp_request_parse(&out, view_of(bytes, len)), 0);
        assert_int_equal(out.op, in.op);
        assert_int_equal(out.mode, in.mode);
        assert_view(out.filename, "a/b c");
        assert_int_equal(out.option_count, 3);
        for (unsigned o = 0; o < 3; o++) {
            assert_true(tftp_same_word(out.options[o].name, in.options[o].name));
            assert_true(tftp_same_word(out.options[o].value, in.options[o].value));
        }
        for (size_t size = 0; size < len; size++)
            assert_int_equal(tftp_build_request(bytes, size, &in), 0);
        assert_int_equal(tftp_build_request(bytes, len, &in), len);
    }
}

/* RFC 2347 section 2, as the sender: no request of more than 512 octets. */
static void no_request_of_more_than_512_octets_is_built(void **state)
{
    uint8_t name[600], bytes[700];
    struct tftp_request request = {.op = TFTP_RRQ, .mode = TFTP_OCTET};

    (void)state;
    memset(name, 'n', sizeof(name));
    for (size_t n = 490; n < sizeof(name); n++) {
        size_t whole = 2 + n + 1 + sizeof("octet");

        request.filename = view_of(name, n);
        assert_int_equal(tftp_build_request(bytes, sizeof(bytes), &request),
                         whole <= 512 ? whole : 0);
    }
}

static void words_ignore_ascii_letter_case_only(void **state)
{
    (void)state;
    assert_true(tftp_is_word(text_view("BlkSize"), "blksize"));
    assert_false(tftp_is_word(text_view("blksiz"), "blksize"));
    assert_false(tftp_is_word(text_view("blksize "), "blksize"));
    assert_false(tftp_is_word(text_view("@"), "`"));
    assert_false(tftp_is_word(text_view("["), "{"));
    assert_false(tftp_is_word(text_view("\304"), "\344"));
    assert_true(tftp_same_word(text_view(""), view_of(NULL, 0)));
}

static void errnos_become_error_codes(void **state)
{
    static const struct {
        int err;
        enum tftp_error reading, writing;
    } cases[] = {
        {ENOENT, 1, 2},  {ENOTDIR, 1, 2}, {ENAMETOOLONG, 1, 2}, {EACCES, 2, 2}, {EPERM, 2, 2},
        {EROFS, 2, 2},   {ELOOP, 2, 2},   {EXDEV, 2, 2},        {EISDIR, 2, 2}, {ENXIO, 2, 2},
        {ENOSPC, 3, 3},  {EDQUOT, 3, 3},  {EFBIG, 3, 3},        {EEXIST, 6, 6}, {EMFILE, 0, 0},
        {ENFILE, 0, 0},  {ENOMEM, 0, 0},  {EIO, 0, 0},          {ESTALE, 0, 0}, {EINVAL, 0, 0},
        {INT_MAX, 0, 0}, {0, 0, 0},       {INT_MIN, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int err = cases[i].err;

        assert_int_equal(tftp_error_from_errno(err, false), cases[i].reading);
        assert_int_equal(tftp_error_from_errno(err, true), cases[i].writing);
        if (err != INT_MIN)
            assert_int_equal(tftp_error_from_errno(-err, false), cases[i].reading);
        assert_in_range(strlen(tftp_error_text_from_errno(err)), 1, TFTP_ERROR_TEXT_MAX);
    }
    assert_string_equal(tftp_error_text_from_errno(-ENOENT), "File not found");
    assert_string_equal(tftp_error_text_from_errno(EMFILE), "Server busy");
    assert_string_equal(tftp_error_text_from_errno(-EIO), "I/O error");
}

static void error_codes_have_texts(void **state)
{
    (void)state;
    assert_string_equal(tftp_error_text(TFTP_ERR_NOT_FOUND), "File not found");
    assert_string_equal(tftp_error_text(9), "Error");
    assert_string_equal(tftp_error_text(65535), "Error");
    for (unsigned code = 0; code <= 9; code++)
        assert_in_range(strlen(tftp_error_text(code)), 1, TFTP_ERROR_TEXT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_has_its_result),
        cmocka_unit_test(modes_in_any_letter_case),
        cmocka_unit_test(odd_tails_end_the_list_and_are_no_error),
        cmocka_unit_test(requests_of_more_than_512_octets_are_malformed),
        cmocka_unit_test(trailing_nuls_are_as_if_absent),
        cmocka_unit_test(a_mode_that_fills_the_packet_is_refused),
        cmocka_unit_test(many_options_are_cut_at_the_limit),
        cmocka_unit_test(no_parser_leaves_its_datagram),
        cmocka_unit_test(opcodes),
        cmocka_unit_test(oack_lists),
        cmocka_unit_test(acks_data_and_errors_round_trip),
        cmocka_unit_test(error_texts_are_cut_to_64_bytes_in_all),
        cmocka_unit_test(requests_round_trip),
        cmocka_unit_test(no_request_of_more_than_512_octets_is_built),
        cmocka_unit_test(words_ignore_ascii_letter_case_only),
        cmocka_unit_test(errnos_become_error_codes),
        cmocka_unit_test(error_codes_have_texts),
    };

    return cmocka_run_group_tests_name("proto/packet", tests, NULL, NULL);
}
