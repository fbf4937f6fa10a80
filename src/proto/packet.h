/*
 * TFTP packets as views over the bytes of a datagram (RFC 1350 section 5, RFC 2347).
 * Parsing copies nothing and allocates nothing; views live as long as the datagram.
 */
#ifndef PROTO_PACKET_H
#define PROTO_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/util.h"
#include "base/wire.h"

enum tftp_opcode {
    TFTP_RRQ = 1,
    TFTP_WRQ = 2,
    TFTP_DATA = 3,
    TFTP_ACK = 4,
    TFTP_ERROR = 5,
    TFTP_OACK = 6,
};

/* RFC 1350 section 5, code 8 from RFC 2347. */
enum tftp_error {
    TFTP_ERR_UNDEFINED = 0,
    TFTP_ERR_NOT_FOUND = 1,
    TFTP_ERR_ACCESS = 2,
    TFTP_ERR_DISK_FULL = 3,
    TFTP_ERR_ILLEGAL = 4,
    TFTP_ERR_UNKNOWN_TID = 5,
    TFTP_ERR_EXISTS = 6,
    TFTP_ERR_NO_USER = 7,
    TFTP_ERR_OPTION = 8,
};

enum tftp_mode { TFTP_OCTET, TFTP_NETASCII };

#define TFTP_HEADER_LEN      4     /* opcode and block number */
#define TFTP_REQUEST_MAX     512   /* RFC 2347: a request has at most 512 octets */
#define TFTP_BLKSIZE_DEFAULT 512   /* RFC 1350 section 2 */
#define TFTP_BLKSIZE_MIN     8     /* RFC 2348 */
#define TFTP_BLKSIZE_MAX     65464 /* RFC 2348 */
#define TFTP_ERROR_TEXT_MAX  59    /* our ERROR packets are at most 64 bytes with header and NUL */
#define TFTP_OPTIONS_MAX     64    /* option pairs looked at in one packet; the rest are ignored */

struct tftp_option {
    struct view name, value;
};

struct tftp_request {
    enum tftp_opcode op; /* TFTP_RRQ or TFTP_WRQ */
    enum tftp_mode mode;
    struct view filename; /* at least one byte, no NUL */
    struct tftp_option options[TFTP_OPTIONS_MAX];
    unsigned option_count; /* known and unknown ones, in the order of the packet */
};

/* What kind of datagram this is: a value of enum tftp_opcode, or 0 for anything else (too
 * short for its kind, unknown opcode). Looks at no more than the first four bytes. */
int tftp_packet_opcode(struct view datagram);

/*
 * Parses an RRQ or WRQ as it arrives on the listening port.
 *   0         `ret` is filled.
 *   -ENOMSG   not a request: the only right answer is silence (also anything < 4 bytes).
 *   -EBADMSG  a malformed request: unterminated name or mode, empty name or mode, more than
 *             512 bytes (trailing NULs do not count); answer ERROR 4, once.
 *   -ENOTSUP  well formed, but the mode is "mail" or unknown; answer ERROR 4, once.
 * An odd tail of the option list (no value, no NUL, 0xFF after the name, padding) ends the
 * list and is no error; neither are empty values or unknown names.
 */
MUST_CHECK int tftp_request_parse(struct tftp_request *ret, struct view datagram);

/*
 * Parses the options of an OACK into options[TFTP_OPTIONS_MAX]; returns their number, or
 * -EBADMSG when a pair is not terminated or there are more than fit.
 */
MUST_CHECK int tftp_oack_parse(struct tftp_option *options, struct view datagram);

/* The block number of a DATA or ACK. The caller has seen the opcode. */
uint16_t tftp_packet_block(struct view datagram);

/* The error code (as sent, may be unknown) and text of an ERROR; the text may lack its NUL,
 * is cut there, and may be empty. */
uint16_t tftp_error_parse(struct view datagram, struct view *ret_text);

/* Builders: bytes written, or 0 when `size` is too small. */
size_t tftp_build_ack(uint8_t *buf, size_t size, uint16_t block);
size_t tftp_build_data_header(uint8_t *buf, size_t size, uint16_t block);
/* `text` is cut at TFTP_ERROR_TEXT_MAX bytes. */
size_t tftp_build_error(uint8_t *buf, size_t size, enum tftp_error code, const char *text);
/* An RRQ or WRQ; 0 also when the result would be longer than TFTP_REQUEST_MAX. */
size_t tftp_build_request(uint8_t *buf, size_t size, const struct tftp_request *request);

/* The standard text of an error code ("File not found"); "Error" for unknown ones. */
const char *tftp_error_text(unsigned code);
/*
 * The ERROR code that tells a peer about an errno of a file operation, negative or positive
 * (ENOENT 1, EACCES 2, ENOSPC 3, EEXIST 6, EMFILE and all others 0). `writing`: a name that
 * cannot be made is an access error, not a missing file. Not for the results of the parser and
 * of tftp_negotiate(): those name their ERROR themselves, and file systems use the same numbers
 * for other things (EBADMSG: a bad checksum).
 */
enum tftp_error tftp_error_from_errno(int err, bool writing);
/* A fixed text for the same, at most TFTP_ERROR_TEXT_MAX bytes; never contains a path. */
const char *tftp_error_text_from_errno(int err);

/* Are these the same word? Letter case does not count, as in mode and option names (RFC 1350
 * section 5, RFC 2347 section 2); ASCII only, whatever the locale. */
bool tftp_same_word(struct view a, struct view b);
/* The same, with a C string. */
bool tftp_is_word(struct view a, const char *word);

#endif
