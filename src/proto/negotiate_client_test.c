#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "proto/negotiate.h"
#include "proto/negotiate_test.h"

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
    {"timeout that cannot be, asked for", TFTP_RRQ, "timeout=256", "timeout=256", -EPROTO},
    {"blksize that cannot be, asked for", TFTP_RRQ, "blksize=99999", "blksize=65465", -EPROTO},
    {"windowsize that cannot be, asked for", TFTP_RRQ, "windowsize=65536", "windowsize=65536",
     -EPROTO},
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
        cmocka_unit_test(every_oack_is_judged_as_written),
        cmocka_unit_test(an_accepted_oack_sets_what_it_names),
        cmocka_unit_test(a_cut_oack_is_refused),
        cmocka_unit_test(decimals),
    };

    return cmocka_run_group_tests_name("proto/negotiate_client", tests, NULL, NULL);
}
