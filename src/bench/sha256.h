/*
 * SHA-256 (FIPS 180-4), streaming: for files that are known by their checksum only.
 */
#ifndef BENCH_SHA256_H
#define BENCH_SHA256_H

#include <stddef.h>
#include <stdint.h>

struct sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64];
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const uint8_t *p, size_t n);
/* The object must be initialised again before it can be used again. */
void sha256_final(struct sha256 *s, uint8_t ret[32]);

#endif
