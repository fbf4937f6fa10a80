/*
 * netascii as a streaming filter (RFC 1350 section 1, RFC 764): LF <-> CR LF, CR <-> CR NUL.
 * One byte of state between calls, so the result does not depend on where the input is cut.
 */
#ifndef PROTO_NETASCII_H
#define PROTO_NETASCII_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct netascii_encoder {
    int pending; /* second byte of a pair that did not fit, or -1 */
};

struct netascii_decoder {
    bool after_cr; /* the last byte seen was a CR whose meaning is still open */
};

static inline void netascii_encoder_init(struct netascii_encoder *e)
{
    e->pending = -1;
}

static inline void netascii_decoder_init(struct netascii_decoder *d)
{
    d->after_cr = false;
}

/*
 * Converts local text to netascii until `in` is used up or `out` is full. *in_used and
 * *out_made tell how far it came. All input is used and nothing pending when
 * *in_used == in_len and e->pending < 0.
 */
void netascii_encode(struct netascii_encoder *e, const uint8_t *in, size_t in_len, size_t *in_used,
                     uint8_t *out, size_t out_size, size_t *out_made);

/*
 * Converts netascii to local text. `out` must have room for in_len + 1 bytes; returns the
 * number written. CR followed by neither LF nor NUL is kept as it is (no byte is lost).
 */
size_t netascii_decode(struct netascii_decoder *d, const uint8_t *in, size_t in_len, uint8_t *out);

/* At the end of the file: writes the CR that was still open, if any; returns 0 or 1. */
size_t netascii_decode_end(struct netascii_decoder *d, uint8_t *out);

#endif
