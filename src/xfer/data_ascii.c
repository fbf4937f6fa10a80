/*
 * netascii payload (RFC 1350 section 1): converted on the way. The wire size of a file is not
 * known before its end has been converted, and a window may have to be sent again, so the
 * converted bytes of the last two windows are kept in a ring buffer. A byte is overwritten
 * only after two windows, when it has long been acknowledged.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/netascii.h"
#include "xfer/out.h"
#include "xfer/xfer.h"

struct xfer_ascii {
    unsigned refs; /* the transfer and each packet in flight */
    struct netascii_encoder encoder;
    struct netascii_decoder decoder;
    uint64_t source;    /* sending: next byte of the file to convert */
    uint64_t converted; /* sending: wire bytes made so far */
    size_t size;        /* of the ring */
    uint8_t ring[];
};

int xfer_ascii_init(struct xfer *x)
{
    const struct tftp_params *p = &x->session.params;
    size_t window = (size_t)p->blksize * p->windowsize;
    size_t size = x->session.sending ? 2 * window : (size_t)p->blksize + 1;
    struct xfer_ascii *a = malloc(sizeof(*a) + size);

    if (!a)
        return -ENOMEM;
    memset(a, 0, sizeof(*a));
    a->refs = 1;
    a->size = size;
    netascii_encoder_init(&a->encoder);
    netascii_decoder_init(&a->decoder);
    x->ascii = a;
    return 0;
}

void xfer_ascii_retain(struct xfer_ascii *a)
{
    a->refs++;
}

void xfer_ascii_release(struct xfer_ascii *a)
{
    assert(a->refs > 0);
    if (--a->refs == 0)
        free(a);
}

/* Converts one piece of the file into the ring. 1: made some, 0: the file's bytes are not there
 * yet, or -errno. */
static int convert_some(struct xfer *x, struct xfer_ascii *a, uint64_t until)
{
    struct store_slice slice = {0};
    size_t at = (size_t)(a->converted % a->size);
    size_t space = (size_t)MIN(until - a->converted, (uint64_t)(a->size - at));
    size_t used = 0, made = 0;

    if (a->source < x->reader.size) {
        int n = store_read(x->env->store, &x->reader, a->source,
                           MIN(x->reader.size - a->source, (uint64_t)space), &slice, 1);
        if (n <= 0)
            return n;
    }
    netascii_encode(&a->encoder, slice.p, slice.n, &used, a->ring + at, space, &made);
    if (slice.chunk)
        store_release(x->env->store, slice.chunk);
    a->source += used;
    a->converted += made;
    return 1;
}

static bool all_converted(const struct xfer *x, const struct xfer_ascii *a)
{
    return a->source >= x->reader.size && a->encoder.pending < 0;
}

/* Slices of what is converted of [offset, offset + bytes): one, or two around the ring's end. */
static int ring_slices(const struct xfer_ascii *a, uint64_t offset, uint64_t bytes,
                       struct store_slice *slices, unsigned max)
{
    unsigned n = 0;
    uint64_t left = MIN(bytes, a->converted - offset);

    while (left > 0 && n < max) {
        size_t at = (size_t)(offset % a->size);
        uint32_t piece = (uint32_t)MIN(left, (uint64_t)(a->size - at));
        slices[n++] = (struct store_slice){a->ring + at, piece, NULL};
        offset += piece;
        left -= piece;
    }
    return (int)n;
}

static int ascii_read(struct xfer *x, uint64_t offset, uint64_t bytes, struct store_slice *slices,
                      unsigned max)
{
    struct xfer_ascii *a = x->ascii;
    uint64_t until = offset + bytes;

    assert(a->converted <= until + a->size && offset + a->size >= a->converted);
    while (a->converted < until && !all_converted(x, a)) {
        int n = convert_some(x, a, until);
        if (n < 0)
            return n;
        if (n == 0)
            break;
    }
    if (all_converted(x, a) && x->session.sender.size == TFTP_SIZE_UNKNOWN) {
        tftp_session_set_size(&x->session, a->converted);
        return -EAGAIN;
    }
    return ring_slices(a, offset, bytes, slices, max);
}

static void ascii_send_close(struct xfer *x)
{
    store_close(x->env->store, &x->reader);
}

const struct xfer_data_ops xfer_send_ascii = {
    .read = ascii_read,
    .close = ascii_send_close,
};

static bool ascii_room(struct xfer *x, size_t bytes)
{
    return xfer_receive_octet.room(x, bytes + 1);
}

static void ascii_accept(struct xfer *x, struct view data)
{
    size_t n = netascii_decode(&x->ascii->decoder, data.p, data.n, x->ascii->ring);

    assert(n <= x->ascii->size);
    if (n > 0)
        xfer_receive_octet.accept(x, view_of(x->ascii->ring, n));
}

static void ascii_flush(struct xfer *x)
{
    xfer_receive_octet.flush(x);
}

static void ascii_publish(struct xfer *x)
{
    uint8_t last;

    if (netascii_decode_end(&x->ascii->decoder, &last) > 0)
        xfer_receive_octet.accept(x, view_of(&last, 1));
    xfer_receive_octet.publish(x);
}

static void ascii_receive_close(struct xfer *x)
{
    xfer_receive_octet.close(x);
}

const struct xfer_data_ops xfer_receive_ascii = {
    .room = ascii_room,
    .accept = ascii_accept,
    .flush = ascii_flush,
    .publish = ascii_publish,
    .close = ascii_receive_close,
};
