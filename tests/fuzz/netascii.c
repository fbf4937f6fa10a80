/*
 * Both ways, cut anywhere: what was encoded decodes to itself, and no cut changes a byte.
 */
#include <string.h>

#include "fuzz.h"
#include "proto/netascii.h"

#define TEXT_MAX 2048

static size_t encode(const uint8_t *p, size_t n, size_t piece, size_t room, uint8_t *out)
{
    struct netascii_encoder e;
    size_t made = 0, at = 0;

    netascii_encoder_init(&e);
    while (at < n || e.pending >= 0) {
        size_t used = 0, got = 0, part = n - at < piece ? n - at : piece;
        netascii_encode(&e, p + at, part, &used, out + made, room, &got);
        FUZZ_CHECK(used <= part && got <= room && used + got > 0);
        at += used;
        made += got;
    }
    return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static uint8_t once[2 * TEXT_MAX + 2], cut[2 * TEXT_MAX + 600], back[2 * TEXT_MAX + 600];
    struct netascii_decoder d;
    size_t len = 0;

    if (n < 2 || n > TEXT_MAX)
        return 0;
    size_t piece = 1 + p[0] % 64, room = 1 + p[1] % 64;
    p += 2;
    n -= 2;
    size_t whole = encode(p, n, n ? n : 1, sizeof(once), once);
    FUZZ_CHECK(encode(p, n, piece, room, cut) == whole && memcmp(once, cut, whole) == 0);
    netascii_decoder_init(&d);
    for (size_t at = 0; at < whole; at += piece)
        len += netascii_decode(&d, once + at, whole - at < piece ? whole - at : piece, back + len);
    len += netascii_decode_end(&d, back + len);
    FUZZ_CHECK(len == n && memcmp(back, p, n) == 0);
    /* Anything decodes to no more than itself. */
    netascii_decoder_init(&d);
    len = netascii_decode(&d, p, n, back);
    FUZZ_CHECK(len + netascii_decode_end(&d, back + len) <= n);
    return 0;
}
