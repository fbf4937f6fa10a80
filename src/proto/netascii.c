/*
 * Both directions move whole runs between two special bytes with memchr() and memcpy(), which
 * the C library does many bytes at a time; only CR and LF are looked at one by one.
 */
#include "proto/netascii.h"

#include <assert.h>
#include <string.h>

#include "base/util.h"

static const uint8_t *find_or_end(const uint8_t *p, const uint8_t *end, uint8_t byte)
{
    const uint8_t *found = p < end ? memchr(p, byte, (size_t)(end - p)) : NULL;

    return found ? found : end;
}

/*
 * RFC 1350 section 1: netascii is ASCII as modified by the Telnet protocol (RFC 764): a line
 * ends in CR LF, a carriage return alone is CR NUL.
 */
void netascii_encode(struct netascii_encoder *e, const uint8_t *in, size_t in_len, size_t *in_used,
                     uint8_t *out, size_t out_size, size_t *out_made)
{
    const uint8_t *p = in, *end, *cr, *lf;
    uint8_t *o = out, *o_end = out + out_size;

    if (e->pending >= 0 && o < o_end) {
        *o++ = (uint8_t)e->pending;
        e->pending = -1;
    }
    /* Every byte makes at least one: looking at more input than fits would be done again in
     * the next call. */
    end = in_len > 0 ? in + MIN(in_len, (size_t)(o_end - o)) : in;
    /* The next of each kind stays known until it is passed, so each byte is scanned twice in
     * all, however CR and LF are mixed. */
    cr = find_or_end(p, end, '\r');
    lf = find_or_end(p, end, '\n');

    while (p < end && o < o_end) {
        const uint8_t *stop = MIN(cr, lf);
        size_t run = MIN((size_t)(stop - p), (size_t)(o_end - o));

        memcpy(o, p, run);
        o += run;
        p += run;
        if (p < stop || p == end || o == o_end)
            break;

        e->pending = *p == '\n' ? '\n' : '\0';
        *o++ = '\r';
        if (o < o_end) {
            *o++ = (uint8_t)e->pending;
            e->pending = -1;
        }
        p++;
        if (stop == lf)
            lf = find_or_end(p, end, '\n');
        else
            cr = find_or_end(p, end, '\r');
    }
    assert((size_t)(p - in) <= in_len && (size_t)(o - out) <= out_size);
    *in_used = (size_t)(p - in);
    *out_made = (size_t)(o - out);
}

size_t netascii_decode(struct netascii_decoder *d, const uint8_t *in, size_t in_len, uint8_t *out)
{
    const uint8_t *p = in, *end;
    uint8_t *o = out;

    if (in_len == 0)
        return 0;
    end = in + in_len;
    while (p < end) {
        const uint8_t *cr;

        if (d->after_cr) {
            d->after_cr = false;
            if (*p == '\n') {
                *o++ = '\n';
                p++;
            } else {
                *o++ = '\r';
                if (*p == '\0')
                    p++;
                /* Anything else was no netascii: the CR stays, the byte is looked at below. */
            }
        }
        cr = find_or_end(p, end, '\r');
        memcpy(o, p, (size_t)(cr - p));
        o += cr - p;
        p = cr;
        if (p < end) {
            d->after_cr = true;
            p++;
        }
    }
    assert((size_t)(o - out) <= in_len + 1);
    return (size_t)(o - out);
}

size_t netascii_decode_end(struct netascii_decoder *d, uint8_t *out)
{
    if (!d->after_cr)
        return 0;
    d->after_cr = false;
    out[0] = '\r';
    return 1;
}
