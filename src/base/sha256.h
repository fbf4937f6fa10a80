/*
 * SHA-256 (FIPS 180-4), for the check that TFTP does not have.
 */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/util.h"

struct sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64]; /* bytes % 64 of it are filled */
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *p, size_t n);
void sha256_end(struct sha256 *s, uint8_t ret[32]);

/* Of 64 hexadecimal digits; false when the text is anything else. */
MUST_CHECK bool sha256_parse(uint8_t ret[32], const char *text);

#endif
