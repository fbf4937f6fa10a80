/*
 * Cursors over bytes in network order, with a sticky error: once a read or write would
 * cross the end, it and all later ones do nothing, and the caller checks once, at the end.
 * No read ever returns a pointer outside the buffer; nothing is copied or allocated.
 */
#ifndef BASE_WIRE_H
#define BASE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that belong to somebody else. */
struct view {
    const uint8_t *p;
    size_t n;
};

static inline struct view view_of(const void *p, size_t n)
{
    return (struct view){p, n};
}

struct reader {
    const uint8_t *p, *end;
    bool overrun; /* set once a read crossed the end, never cleared */
};

static inline struct reader reader_of(const void *p, size_t n)
{
    return (struct reader){p, (const uint8_t *)p + n, false};
}

static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->p);
}

/* The next two bytes as a big-endian number; 0 on overrun. */
static inline uint16_t reader_be16(struct reader *r)
{
    if (r->overrun || reader_left(r) < 2) {
        r->overrun = true;
        return 0;
    }
    uint16_t v = (uint16_t)(r->p[0] << 8 | r->p[1]);
    r->p += 2;
    return v;
}

/*
 * The bytes up to the next NUL, which is consumed and not part of the result. Without a NUL
 * before the end: overrun, and an empty view at the position the string would start.
 */
struct view reader_cstr(struct reader *r);

/* All that is left; nothing after an overrun. */
static inline struct view reader_rest(struct reader *r)
{
    if (r->overrun)
        return view_of(r->p, 0);
    struct view v = view_of(r->p, reader_left(r));
    r->p = r->end;
    return v;
}

struct writer {
    uint8_t *start, *p, *end;
    bool overrun; /* set once a write crossed the end, never cleared */
};

static inline struct writer writer_of(void *p, size_t n)
{
    return (struct writer){p, p, (uint8_t *)p + n, false};
}

static inline size_t writer_len(const struct writer *w)
{
    return (size_t)(w->p - w->start);
}

static inline void writer_be16(struct writer *w, uint16_t v)
{
    if (w->overrun || (size_t)(w->end - w->p) < 2) {
        w->overrun = true;
        return;
    }
    w->p[0] = (uint8_t)(v >> 8);
    w->p[1] = (uint8_t)v;
    w->p += 2;
}

void writer_bytes(struct writer *w, const void *p, size_t n);
/* The bytes of `v` and a NUL. */
void writer_cstr(struct writer *w, struct view v);
/* `v` in decimal and a NUL. */
void writer_decimal_cstr(struct writer *w, uint64_t v);

#endif
