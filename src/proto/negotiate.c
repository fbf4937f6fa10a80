/*
 * The server grants in three steps: sort the request's options into the rows of the table, let
 * each row answer (in table order, as windowsize depends on blksize), write the answers in the
 * order of the request. The client checks with the same table.
 */
#include "proto/negotiate.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* What a row may look at and change while it answers. */
struct terms {
    const struct tftp_request *request;
    const struct tftp_limits *limits;
    uint64_t size;
    struct tftp_params params;
};

enum answer_kind {
    ANSWER_NONE, /* left out of the OACK */
    ANSWER_NUMBER,
    ANSWER_VERBATIM, /* the text of the request */
};

struct answer {
    enum answer_kind kind;
    uint64_t number;
};

struct option_row {
    const char *name;
    bool on_rrq, on_wrq; /* elsewhere it counts as unknown */
    /* Server: decides on the value asked for. 0, or a negative errno that ends the transfer. */
    int (*answer)(struct answer *ret, struct terms *terms, struct view asked);
    /* Client: takes the value answered; false when the server may not answer that. */
    bool (*accept)(struct tftp_params *params, enum tftp_opcode op, uint64_t asked,
                   uint64_t answered);
};

int tftp_parse_decimal(struct view v, uint64_t *ret)
{
    uint64_t n = 0;

    if (v.n == 0)
        return -EINVAL;
    for (size_t i = 0; i < v.n; i++) {
        unsigned digit = (unsigned)v.p[i] - '0';

        if (digit > 9)
            return -EINVAL;
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, digit, &n)) {
            /* Stays there: a wrapped number would look like a modest one. */
            n = UINT64_MAX;
        }
    }
    *ret = n;
    return 0;
}

static struct answer number(uint64_t n)
{
    return (struct answer){ANSWER_NUMBER, n};
}

/* RFC 2348 section 2: 8 to 65464 octets; the server may answer with less than asked, never with
 * more. Below 8 it is no blksize at all and is left out (RFC 2347 section 3: what the server cannot
 * use it does not acknowledge). */
static int answer_blksize(struct answer *ret, struct terms *terms, struct view asked)
{
    uint64_t n;

    if (tftp_parse_decimal(asked, &n) < 0 || n < TFTP_BLKSIZE_MIN)
        return 0;
    n = MIN(n, terms->limits->blksize_max);
    terms->params.blksize = (uint16_t)n;
    *ret = number(n);
    return 0;
}

static bool accept_blksize(struct tftp_params *params, enum tftp_opcode op, uint64_t asked,
                           uint64_t answered)
{
    (void)op;
    /* RFC 2348 section 2: the answer must be less than or equal to the value asked for. */
    if (answered < TFTP_BLKSIZE_MIN || answered > MIN(asked, TFTP_BLKSIZE_MAX))
        return false;
    params->blksize = (uint16_t)answered;
    return true;
}

/* RFC 2349 section 2: 1 to 255 seconds; the answer must be the value asked for, so it is the
 * very text, or it is left out. */
static int answer_timeout(struct answer *ret, struct terms *terms, struct view asked)
{
    uint64_t n;

    if (tftp_parse_decimal(asked, &n) < 0 || n < 1 || n > terms->limits->timeout_max_s)
        return 0;
    terms->params.timeout_s = (uint8_t)n;
    ret->kind = ANSWER_VERBATIM;
    return 0;
}

static bool accept_timeout(struct tftp_params *params, enum tftp_opcode op, uint64_t asked,
                           uint64_t answered)
{
    (void)op;
    /* RFC 2349 section 2: the value answered must match the value asked for. */
    if (answered != asked || answered < 1 || answered > UINT8_MAX)
        return false;
    params->timeout_s = (uint8_t)answered;
    return true;
}

/*
 * curl takes "tsize=0" in an OACK for an error and cannot fetch an empty file; EDK2 and GRUB
 * need tsize in every OACK. Nobody else asks for exactly tsize, blksize, timeout in this order.
 */
static bool refuses_tsize_0(const struct tftp_request *request)
{
    return request->option_count == 3 && tftp_is_word(request->options[0].name, "tsize") &&
           tftp_is_word(request->options[1].name, "blksize") &&
           tftp_is_word(request->options[2].name, "timeout");
}

/* RFC 2349 section 3: a read request gets the size of the file, whatever number it sent (it
 * should be 0); a write request tells the size, which is echoed, or refused with ERROR 3. */
static int answer_tsize(struct answer *ret, struct terms *terms, struct view asked)
{
    uint64_t n;

    if (tftp_parse_decimal(asked, &n) < 0)
        return 0;
    if (terms->request->op == TFTP_RRQ) {
        if (terms->size == TFTP_SIZE_UNKNOWN)
            return 0;
        if (terms->size == 0 && refuses_tsize_0(terms->request))
            return 0;
        *ret = number(terms->size);
        return 0;
    }
    /* The size of a file is a signed number everywhere below us. */
    if (n > INT64_MAX)
        return -EFBIG;
    /* Senders that do not know the size say 0. */
    terms->params.tsize_given = n > 0;
    terms->params.tsize = n;
    *ret = number(n);
    return 0;
}

static bool accept_tsize(struct tftp_params *params, enum tftp_opcode op, uint64_t asked,
                         uint64_t answered)
{
    if (op == TFTP_WRQ && answered > asked)
        return false;
    params->tsize_given = true;
    params->tsize = answered;
    return true;
}

/* RFC 7440 section 3: 1 to 65535 blocks; the answer must be less than or equal to the value
 * asked for. */
static int answer_windowsize(struct answer *ret, struct terms *terms, struct view asked)
{
    const struct tftp_limits *limits = terms->limits;
    uint64_t fit = limits->window_bytes_max / terms->params.blksize;
    uint64_t n;

    if (tftp_parse_decimal(asked, &n) < 0 || n < 1)
        return 0;
    n = MIN(n, limits->windowsize_max);
    n = MIN(n, MAX(fit, 1));
    terms->params.windowsize = (uint16_t)n;
    *ret = number(n);
    return 0;
}

static bool accept_windowsize(struct tftp_params *params, enum tftp_opcode op, uint64_t asked,
                              uint64_t answered)
{
    (void)op;
    if (answered < 1 || answered > MIN(asked, UINT16_MAX))
        return false;
    params->windowsize = (uint16_t)answered;
    return true;
}

/* The order is the order of deciding: windowsize needs the block size. */
static const struct option_row rows[] = {
    {"blksize", true, true, answer_blksize, accept_blksize},
    {"timeout", true, true, answer_timeout, accept_timeout},
    {"tsize", true, true, answer_tsize, accept_tsize},
    {"windowsize", true, true, answer_windowsize, accept_windowsize},
};

#define ROWS     (sizeof(rows) / sizeof(rows[0]))
#define ROW_NONE ROWS

/* RFC 2347 section 2: option names do not depend on letter case. */
static size_t find_row(struct view name, enum tftp_opcode op)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (op == TFTP_WRQ ? !rows[i].on_wrq : !rows[i].on_rrq)
            continue;
        if (tftp_is_word(name, rows[i].name))
            return i;
    }
    return ROW_NONE;
}

static struct tftp_params params_default(enum tftp_rollover rollover)
{
    return (struct tftp_params){
        .blksize = TFTP_BLKSIZE_DEFAULT, .windowsize = 1, .rollover = rollover};
}

/* Where each row's option is in the request: its index, or option_count when it is not there.
 * -EINVAL when one is there twice. `row_of` is the reverse. */
static int sort_options(const struct tftp_request *request, unsigned at[ROWS],
                        uint8_t row_of[TFTP_OPTIONS_MAX])
{
    for (size_t row = 0; row < ROWS; row++)
        at[row] = request->option_count;
    for (unsigned i = 0; i < request->option_count; i++) {
        size_t row = find_row(request->options[i].name, request->op);

        row_of[i] = (uint8_t)row;
        if (row == ROW_NONE)
            continue;
        /* RFC 2347 section 3: "an option may only be specified once". */
        if (at[row] < request->option_count)
            return -EINVAL;
        at[row] = i;
    }
    return 0;
}

/* RFC 2347 section 3: only options of the request, and of them those the server accepts, are in
 * the OACK; unknown ones are left out and are no error. In the request's order and spelling,
 * which some clients insist on. */
static size_t write_oack(uint8_t *buf, size_t size, const struct tftp_request *request,
                         const uint8_t row_of[TFTP_OPTIONS_MAX], const struct answer answers[ROWS])
{
    struct writer w = writer_of(buf, size);
    bool any = false;

    for (unsigned i = 0; i < request->option_count; i++) {
        const struct tftp_option *option = &request->options[i];
        const struct answer *answer;

        if (row_of[i] == ROW_NONE || answers[row_of[i]].kind == ANSWER_NONE)
            continue;
        answer = &answers[row_of[i]];
        if (!any)
            writer_be16(&w, TFTP_OACK);
        any = true;
        writer_cstr(&w, option->name);
        if (answer->kind == ANSWER_VERBATIM)
            writer_cstr(&w, option->value);
        else
            writer_decimal_cstr(&w, answer->number);
    }
    assert(!w.overrun); /* the caller's buffer holds a request and 20 bytes */
    return any ? writer_len(&w) : 0;
}

int tftp_negotiate(struct tftp_params *ret, const struct tftp_request *request,
                   const struct tftp_limits *limits, uint64_t size, uint8_t *oack, size_t oack_size,
                   size_t *ret_len)
{
    struct terms terms = {request, limits, size, params_default(limits->rollover)};
    struct answer answers[ROWS] = {{ANSWER_NONE, 0}};
    unsigned at[ROWS];
    uint8_t row_of[TFTP_OPTIONS_MAX];
    int rc;

    assert(request->option_count <= TFTP_OPTIONS_MAX);
    assert(limits->blksize_max >= TFTP_BLKSIZE_MIN && limits->blksize_max <= TFTP_BLKSIZE_MAX);
    assert(limits->windowsize_max >= 1);
    if (!limits->options_enabled || request->option_count == 0) {
        *ret = terms.params;
        *ret_len = 0;
        return 0;
    }

    rc = sort_options(request, at, row_of);
    for (size_t row = 0; row < ROWS && rc == 0; row++) {
        if (at[row] < request->option_count)
            rc = rows[row].answer(&answers[row], &terms, request->options[at[row]].value);
    }
    if (rc < 0)
        return rc;
    *ret_len = write_oack(oack, oack_size, request, row_of, answers);
    *ret = terms.params;
    return 0;
}

/* The request's option of that name, or option_count. */
static unsigned find_asked(const struct tftp_request *request, struct view name)
{
    unsigned i = 0;

    while (i < request->option_count && !tftp_same_word(request->options[i].name, name))
        i++;
    return i;
}

int tftp_accept_oack(struct tftp_params *ret, const struct tftp_request *request,
                     enum tftp_rollover rollover, struct view oack)
{
    /* RFC 2347 section 3: what was not acknowledged must be as if never asked for. */
    struct tftp_params params = params_default(rollover);
    struct tftp_option options[TFTP_OPTIONS_MAX];
    bool seen[TFTP_OPTIONS_MAX] = {false};
    int count = tftp_oack_parse(options, oack);

    if (count < 0)
        return -EPROTO;
    for (int i = 0; i < count; i++) {
        unsigned at = find_asked(request, options[i].name);
        uint64_t asked, answered;
        size_t row;

        /* RFC 2347 section 3: an option that was not asked for must not be answered; the client
         * says ERROR 8 and ends the transfer. */
        if (at == request->option_count || seen[at])
            return -EPROTO;
        seen[at] = true;
        row = find_row(options[i].name, request->op);
        if (row == ROW_NONE)
            continue; /* asked for by the user's own word; no meaning to us */
        if (tftp_parse_decimal(request->options[at].value, &asked) < 0 ||
            tftp_parse_decimal(options[i].value, &answered) < 0 ||
            !rows[row].accept(&params, request->op, asked, answered))
            return -EPROTO;
    }
    *ret = params;
    return 0;
}
