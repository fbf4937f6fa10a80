/*
 * Escaping for logs.
 */
#include <assert.h>
#include <string.h>

#include "base/escape.h"

/* Writes one byte's printable form, at most four characters, without a NUL; its length. */
static size_t escape_one(uint8_t c, char *out)
{
    static const char hex[16] = "0123456789abcdef";

    if (c == '\\' || c == '"') {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    if (c >= 0x20 && c < 0x7F) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = '\\';
    out[1] = 'x';
    out[2] = hex[c >> 4];
    out[3] = hex[c & 15];
    return 4;
}

char *escape_bytes(struct view v, char *buf, size_t size)
{
    assert(size >= 8);
    size_t len = 0;
    size_t cut = 0; /* the last whole escape after which "..." and the NUL still fit */

    for (size_t i = 0; i < v.n; i++) {
        char one[4];
        size_t n = escape_one(v.p[i], one);
        if (len + n + 1 > size) {
            memcpy(buf + cut, "...", 4);
            return buf;
        }
        memcpy(buf + len, one, n);
        len += n;
        if (len + 4 <= size)
            cut = len;
    }
    buf[len] = '\0';
    return buf;
}
