/*
 * Options, both ways: whatever is asked, under whatever limits, the OACK keeps to what was asked
 * and to the limits, and the client that asked takes it. Whatever a server answers, what the client
 * takes was asked for. The first bytes choose the limits and who is tried.
 */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "proto/negotiate.h"

static struct tftp_limits limits_from(const uint8_t *p)
{
    static const uint32_t windows[] = {1, 512, 65536, 1 << 20, 1 << 26};

    return (struct tftp_limits){
        .blksize_max = (uint16_t)(TFTP_BLKSIZE_MIN + p[0] * 257 % (TFTP_BLKSIZE_MAX - 7)),
        .windowsize_max = (uint16_t)(1 + p[1] * 257 % 65535),
        .window_bytes_max = windows[p[2] % ARRAY_LEN(windows)],
        .timeout_max_s = (uint8_t)(p[3] | 1),
        .options_enabled = p[4] % 16 != 0,
        .rollover = p[4] & 1 ? TFTP_ROLLOVER_1 : TFTP_ROLLOVER_0,
    };
}

static const struct tftp_option *asked_for(const struct tftp_request *r, struct view name)
{
    for (unsigned i = 0; i < r->option_count; i++) {
        if (tftp_same_word(r->options[i].name, name))
            return &r->options[i];
    }
    return NULL;
}

static void check_params(const struct tftp_params *p, const struct tftp_limits *limits)
{
    FUZZ_CHECK(p->blksize >= TFTP_BLKSIZE_MIN && p->windowsize >= 1);
    FUZZ_CHECK(p->blksize <= limits->blksize_max || p->blksize == TFTP_BLKSIZE_DEFAULT);
    FUZZ_CHECK(p->windowsize <= limits->windowsize_max);
    FUZZ_CHECK(p->windowsize == 1 ||
               (uint32_t)p->blksize * p->windowsize <= limits->window_bytes_max);
    FUZZ_CHECK(p->timeout_s <= limits->timeout_max_s);
}

/* Everything in the OACK was asked for, once, and is spelt and ordered as asked. */
static void check_oack(const struct tftp_request *r, struct view oack)
{
    struct tftp_option options[TFTP_OPTIONS_MAX];
    int count = tftp_oack_parse(options, oack);
    const struct tftp_option *before = NULL;

    FUZZ_CHECK(count > 0);
    for (int i = 0; i < count; i++) {
        const struct tftp_option *own = asked_for(r, options[i].name);
        FUZZ_CHECK(own && memcmp(own->name.p, options[i].name.p, own->name.n) == 0);
        FUZZ_CHECK(!before || own > before);
        before = own;
    }
}

static void answer(const struct tftp_request *r, const struct tftp_limits *limits, size_t n)
{
    uint8_t oack[TFTP_REQUEST_MAX + 24];
    struct tftp_params params, again;
    size_t len = 0;

    int err = tftp_negotiate(&params, r, limits, 123456789, oack, sizeof(oack), &len);
    FUZZ_CHECK(err == 0 || err == -EFBIG || err == -EINVAL);
    if (err)
        return;
    check_params(&params, limits);
    FUZZ_CHECK(len <= n + 20);
    if (len == 0) {
        FUZZ_CHECK(params.blksize == TFTP_BLKSIZE_DEFAULT && params.windowsize == 1);
        return;
    }
    FUZZ_CHECK(limits->options_enabled);
    check_oack(r, view_of(oack, len));
    FUZZ_CHECK(tftp_accept_oack(&again, r, limits->rollover, view_of(oack, len)) == 0);
    FUZZ_CHECK(again.blksize == params.blksize && again.windowsize == params.windowsize);
    FUZZ_CHECK(again.timeout_s == params.timeout_s);
}

/* A client that asked for a little, and an OACK made by somebody hostile. */
static void accept(const uint8_t *p, size_t n)
{
    struct tftp_request r = {.op = p[0] & 1 ? TFTP_WRQ : TFTP_RRQ, .filename = view_of("f", 1)};
    struct tftp_params params;

    r.options[r.option_count++] = (struct tftp_option){view_of("blksize", 7), view_of("1428", 4)};
    r.options[r.option_count++] = (struct tftp_option){view_of("windowsize", 10), view_of("16", 2)};
    r.options[r.option_count++] = (struct tftp_option){view_of("timeout", 7), view_of("3", 1)};
    r.options[r.option_count++] = (struct tftp_option){view_of("tsize", 5), view_of("5000", 4)};
    int err = tftp_accept_oack(&params, &r, TFTP_ROLLOVER_0, view_of(p + 1, n - 1));
    FUZZ_CHECK(err == 0 || err == -EPROTO);
    if (err)
        return;
    FUZZ_CHECK(params.blksize >= TFTP_BLKSIZE_MIN && params.blksize <= 1428);
    FUZZ_CHECK(params.windowsize >= 1 && params.windowsize <= 16);
    FUZZ_CHECK(params.timeout_s == 0 || params.timeout_s == 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct tftp_request r;

    if (n < 6)
        return 0;
    struct tftp_limits limits = limits_from(p);
    if (p[4] & 2)
        accept(p + 5, n - 5);
    else if (tftp_request_parse(&r, view_of(p + 5, n - 5)) == 0)
        answer(&r, &limits, n - 5);
    return 0;
}
