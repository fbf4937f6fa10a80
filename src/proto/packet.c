#include "proto/packet.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

bool tftp_same_word(struct view a, struct view b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    }
    return true;
}

bool tftp_is_word(struct view a, const char *word)
{
    return tftp_same_word(a, view_of(word, strlen(word)));
}

static uint16_t be16_at(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

int tftp_packet_opcode(struct view datagram)
{
    uint16_t op;

    /* RFC 1350 section 5: DATA, ACK and ERROR have two fields of two bytes before anything of
     * variable length; the shortest request or OACK with anything in it is longer. */
    if (datagram.n < TFTP_HEADER_LEN)
        return 0;
    op = be16_at(datagram.p);
    return op >= TFTP_RRQ && op <= TFTP_OACK ? op : 0;
}

/* Length up to the last byte that is not NUL. */
static size_t length_without_padding(struct view v)
{
    size_t n = v.n;

    while (n > 0 && v.p[n - 1] == 0)
        n--;
    return n;
}

/* 0, or -ENOTSUP for a word that is not a mode we speak. */
static int parse_mode(struct view word, enum tftp_mode *ret)
{
    /* RFC 1350 section 5: the mode is ASCII in any mix of upper and lower case.
     * RFC 1123 section 4.2.2.1: "mail" should not be supported. */
    if (tftp_is_word(word, "octet"))
        *ret = TFTP_OCTET;
    else if (tftp_is_word(word, "netascii"))
        *ret = TFTP_NETASCII;
    else
        return -ENOTSUP;
    return 0;
}

/*
 * What cannot be read as a pair ends the list without an error: ROMs are in the field that send
 * requests of fixed length with rubbish after the last option, and one client sends a value
 * without its name. A pair without a name can mean nothing and takes no place.
 */
static void parse_options(struct tftp_request *ret, struct reader *r)
{
    while (ret->option_count < TFTP_OPTIONS_MAX && reader_left(r) > 0) {
        struct tftp_option option;

        option.name = reader_cstr(r);
        option.value = reader_cstr(r);
        if (r->overrun)
            return;
        if (option.name.n > 0)
            ret->options[ret->option_count++] = option;
    }
}

int tftp_request_parse(struct tftp_request *ret, struct view datagram)
{
    int op = tftp_packet_opcode(datagram);
    size_t len, terminated;
    struct reader r;
    struct view filename, word;
    enum tftp_mode mode;

    if (op != TFTP_RRQ && op != TFTP_WRQ)
        return -ENOMSG;

    /* RFC 2347 section 2: "the maximum size of a request packet is 512 octets". One NUL of the
     * padding is the end of the last string; a second one can be an empty last value. */
    len = length_without_padding(datagram);
    terminated = MIN(datagram.n, len + 1);
    if (terminated > TFTP_REQUEST_MAX)
        return -EBADMSG;

    r = reader_of(datagram.p, MIN(datagram.n, len + 2));
    if (reader_left(&r) < 2)
        return -EBADMSG;
    reader_be16(&r);
    filename = reader_cstr(&r);
    word = reader_cstr(&r);
    if (r.overrun || filename.n == 0 || word.n == 0)
        return -EBADMSG;
    if (parse_mode(word, &mode) < 0)
        return -ENOTSUP;

    ret->op = (enum tftp_opcode)op;
    ret->mode = mode;
    ret->filename = filename;
    ret->option_count = 0;
    parse_options(ret, &r);
    return 0;
}

int tftp_oack_parse(struct tftp_option *options, struct view datagram)
{
    struct reader r = reader_of(datagram.p, datagram.n);
    int count = 0;

    reader_be16(&r);
    while (!r.overrun && reader_left(&r) > 0) {
        if (count == TFTP_OPTIONS_MAX)
            return -EBADMSG;
        options[count].name = reader_cstr(&r);
        options[count].value = reader_cstr(&r);
        count++;
    }
    return r.overrun ? -EBADMSG : count;
}

uint16_t tftp_packet_block(struct view datagram)
{
    assert(datagram.n >= TFTP_HEADER_LEN);
    return be16_at(datagram.p + 2);
}

uint16_t tftp_error_parse(struct view datagram, struct view *ret_text)
{
    const uint8_t *text = datagram.p + TFTP_HEADER_LEN, *nul;
    size_t n;

    assert(datagram.n >= TFTP_HEADER_LEN);
    n = datagram.n - TFTP_HEADER_LEN;
    nul = n > 0 ? memchr(text, 0, n) : NULL;
    *ret_text = view_of(text, nul ? (size_t)(nul - text) : n);
    return be16_at(datagram.p + 2);
}

static size_t build_header(uint8_t *buf, size_t size, enum tftp_opcode op, uint16_t block)
{
    if (size < TFTP_HEADER_LEN)
        return 0;
    buf[0] = 0;
    buf[1] = (uint8_t)op;
    buf[2] = (uint8_t)(block >> 8);
    buf[3] = (uint8_t)block;
    return TFTP_HEADER_LEN;
}

size_t tftp_build_ack(uint8_t *buf, size_t size, uint16_t block)
{
    return build_header(buf, size, TFTP_ACK, block);
}

size_t tftp_build_data_header(uint8_t *buf, size_t size, uint16_t block)
{
    return build_header(buf, size, TFTP_DATA, block);
}

size_t tftp_build_error(uint8_t *buf, size_t size, enum tftp_error code, const char *text)
{
    struct writer w = writer_of(buf, size);

    writer_be16(&w, TFTP_ERROR);
    writer_be16(&w, (uint16_t)code);
    writer_cstr(&w, view_of(text, strnlen(text, TFTP_ERROR_TEXT_MAX)));
    return w.overrun ? 0 : writer_len(&w);
}

size_t tftp_build_request(uint8_t *buf, size_t size, const struct tftp_request *request)
{
    static const char *const modes[] = {[TFTP_OCTET] = "octet", [TFTP_NETASCII] = "netascii"};
    struct writer w = writer_of(buf, MIN(size, TFTP_REQUEST_MAX));
    const char *mode = modes[request->mode];

    assert(request->op == TFTP_RRQ || request->op == TFTP_WRQ);
    assert(request->filename.n > 0 && request->option_count <= TFTP_OPTIONS_MAX);
    writer_be16(&w, (uint16_t)request->op);
    writer_cstr(&w, request->filename);
    writer_cstr(&w, view_of(mode, strlen(mode)));
    for (unsigned i = 0; i < request->option_count; i++) {
        writer_cstr(&w, request->options[i].name);
        writer_cstr(&w, request->options[i].value);
    }
    return w.overrun ? 0 : writer_len(&w);
}

const char *tftp_error_text(unsigned code)
{
    static const char *const texts[] = {
        [TFTP_ERR_UNDEFINED] = "Undefined error",
        [TFTP_ERR_NOT_FOUND] = "File not found",
        [TFTP_ERR_ACCESS] = "Access violation",
        [TFTP_ERR_DISK_FULL] = "Disk full or allocation exceeded",
        [TFTP_ERR_ILLEGAL] = "Illegal TFTP operation",
        [TFTP_ERR_UNKNOWN_TID] = "Unknown transfer ID",
        [TFTP_ERR_EXISTS] = "File already exists",
        [TFTP_ERR_NO_USER] = "No such user",
        [TFTP_ERR_OPTION] = "Option negotiation failed",
    };

    return code < ARRAY_LEN(texts) ? texts[code] : "Error";
}

/* Clients act on the code: some try again for ever on anything but 1 and 2, so what will not
 * change by itself is one of these, and what may pass ("busy") is 0. */
static const struct errno_row {
    int err;
    enum tftp_error reading, writing;
    const char *text;
} errno_rows[] = {
    {ENOENT, TFTP_ERR_NOT_FOUND, TFTP_ERR_ACCESS, "File not found"},
    {ENOTDIR, TFTP_ERR_NOT_FOUND, TFTP_ERR_ACCESS, "File not found"},
    {ENAMETOOLONG, TFTP_ERR_NOT_FOUND, TFTP_ERR_ACCESS, "File not found"},
    {EACCES, TFTP_ERR_ACCESS, TFTP_ERR_ACCESS, "Access violation"},
    {EPERM, TFTP_ERR_ACCESS, TFTP_ERR_ACCESS, "Access violation"},
    {EROFS, TFTP_ERR_ACCESS, TFTP_ERR_ACCESS, "Access violation"},
    {ELOOP, TFTP_ERR_ACCESS, TFTP_ERR_ACCESS, "Access violation"},
    {EXDEV, TFTP_ERR_ACCESS, TFTP_ERR_ACCESS, "Access violation"},
    {EISDIR, TFTP_ERR_ACCESS, TFTP_ERR_ACCESS, "Access violation"},
    {ENXIO, TFTP_ERR_ACCESS, TFTP_ERR_ACCESS, "Access violation"},
    {ENOSPC, TFTP_ERR_DISK_FULL, TFTP_ERR_DISK_FULL, "Disk full or allocation exceeded"},
    {EDQUOT, TFTP_ERR_DISK_FULL, TFTP_ERR_DISK_FULL, "Disk full or allocation exceeded"},
    {EFBIG, TFTP_ERR_DISK_FULL, TFTP_ERR_DISK_FULL, "File too large"},
    {EEXIST, TFTP_ERR_EXISTS, TFTP_ERR_EXISTS, "File already exists"},
    {EMFILE, TFTP_ERR_UNDEFINED, TFTP_ERR_UNDEFINED, "Server busy"},
    {ENFILE, TFTP_ERR_UNDEFINED, TFTP_ERR_UNDEFINED, "Server busy"},
    {ENOMEM, TFTP_ERR_UNDEFINED, TFTP_ERR_UNDEFINED, "Server busy"},
    {ESTALE, TFTP_ERR_UNDEFINED, TFTP_ERR_UNDEFINED, "File changed during the transfer"},
};

static const struct errno_row *find_errno(int err)
{
    static const struct errno_row other = {0, TFTP_ERR_UNDEFINED, TFTP_ERR_UNDEFINED, "I/O error"};

    if (err < 0 && err > INT_MIN)
        err = -err;
    for (size_t i = 0; i < ARRAY_LEN(errno_rows); i++) {
        if (errno_rows[i].err == err)
            return &errno_rows[i];
    }
    return &other;
}

enum tftp_error tftp_error_from_errno(int err, bool writing)
{
    const struct errno_row *row = find_errno(err);

    return writing ? row->writing : row->reading;
}

const char *tftp_error_text_from_errno(int err)
{
    return find_errno(err)->text;
}
