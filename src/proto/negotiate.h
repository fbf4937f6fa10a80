/*
 * Options (RFC 2347, 2348, 2349, 7440): one table of the options we know, the server's answer
 * to a request, and the client's check of that answer.
 *
 * RFC 2347, 2348 and 2349 do not number their sections; here they are counted, the introduction
 * being 1. So in RFC 2347, 2 is "Packet Formats" and 3 "Negotiation Protocol"; in RFC 2348, 2 is
 * the block size; in RFC 2349, 2 is the timeout and 3 the transfer size.
 */
#ifndef PROTO_NEGOTIATE_H
#define PROTO_NEGOTIATE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/block.h"
#include "proto/packet.h"

#define TFTP_SIZE_UNKNOWN UINT64_MAX

/* What this side is willing to grant or use; plain numbers from the configuration. */
struct tftp_limits {
    uint16_t blksize_max;    /* 8-65464; already clamped to the path MTU by the caller */
    uint16_t windowsize_max; /* 1-65535 */
    uint32_t
        window_bytes_max;  /* blksize * windowsize stays at or below this (at least one block) */
    uint8_t timeout_max_s; /* 1-255: larger values of the timeout option are left out */
    bool options_enabled;  /* false: answer as an RFC 1350 server would */
    enum tftp_rollover rollover;
};

/* What both sides now agree on. */
struct tftp_params {
    uint16_t blksize;    /* 512 unless negotiated */
    uint16_t windowsize; /* 1 unless negotiated */
    uint8_t timeout_s;   /* 0: not negotiated */
    bool tsize_given;    /* the peer told us a size (WRQ: other than 0; OACK) */
    uint64_t tsize;
    enum tftp_rollover rollover;
};

/*
 * The server's answer. `size` is the exact number of bytes an RRQ will send (after netascii
 * conversion), or TFTP_SIZE_UNKNOWN: then tsize is left out. For a WRQ it is ignored.
 *
 * Writes the OACK into oack[oack_size] and its length to *ret_len: 0 when no option was
 * accepted, so none is sent. The OACK holds a subset of what was asked, in the request's order
 * and spelling, each once, no value larger than asked.
 * Never longer than request + 20 bytes.
 *
 *   0        agreed
 *   -EFBIG   WRQ with a tsize that no number here can hold; answer ERROR 3
 *   -EINVAL  a known option is repeated; answer ERROR 8
 */
MUST_CHECK int tftp_negotiate(struct tftp_params *ret, const struct tftp_request *request,
                              const struct tftp_limits *limits, uint64_t size, uint8_t *oack,
                              size_t oack_size, size_t *ret_len);

/*
 * The client's check of an OACK against its own request: every option must have been asked
 * for, once, and be no larger than asked (timeout: equal).
 *   0, or -EPROTO: answer ERROR 8 and give up (RFC 2347).
 */
MUST_CHECK int tftp_accept_oack(struct tftp_params *ret, const struct tftp_request *request,
                                enum tftp_rollover rollover, struct view oack);

/*
 * Decimal digits only; *ret saturates at UINT64_MAX. -EINVAL when empty or anything but digits
 * ("-1", "+8", " 512", "0x200").
 */
MUST_CHECK int tftp_parse_decimal(struct view v, uint64_t *ret);

#endif
