/*
 * The cursors' rarer halves; what runs per packet is inline in the header.
 */
#include <string.h>

#include "base/wire.h"

struct view reader_cstr(struct reader *r)
{
    size_t left = r->overrun ? 0 : reader_left(r);
    const uint8_t *nul = left ? memchr(r->p, 0, left) : NULL;
    if (!nul) {
        r->overrun = true;
        return view_of(r->p, 0);
    }
    struct view v = view_of(r->p, (size_t)(nul - r->p));
    r->p = nul + 1;
    return v;
}

void writer_bytes(struct writer *w, const void *p, size_t n)
{
    if (w->overrun || (size_t)(w->end - w->p) < n) {
        w->overrun = true;
        return;
    }
    if (n) /* an empty view may hold no pointer at all */
        memcpy(w->p, p, n);
    w->p += n;
}

/* Both or nothing: a string without its NUL would be read as part of what follows. */
void writer_cstr(struct writer *w, struct view v)
{
    if (w->overrun || (size_t)(w->end - w->p) <= v.n) {
        w->overrun = true;
        return;
    }
    writer_bytes(w, v.p, v.n);
    *w->p++ = 0;
}

void writer_decimal_cstr(struct writer *w, uint64_t v)
{
    uint8_t digits[20]; /* 2^64 - 1 has twenty */
    size_t at = sizeof(digits);
    do {
        digits[--at] = (uint8_t)('0' + v % 10);
        v /= 10;
    } while (v);
    writer_cstr(w, view_of(digits + at, sizeof(digits) - at));
}
