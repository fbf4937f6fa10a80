/*
 * Seeded pseudo-random numbers: one seed, one history. For ports and keys the seed comes from
 * the kernel; in tests and simulation it is printed. Not for secrets that must resist
 * somebody who saw many outputs: transfer ports are drawn from the kernel instead.
 */
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include <stdbool.h>
#include <stdint.h>

struct prng {
    uint64_t s[4];
};

void prng_seed(struct prng *p, uint64_t seed);
uint64_t prng_next(struct prng *p);
/* Uniform in [0, n), n > 0. */
uint64_t prng_below(struct prng *p, uint64_t n);
/* True with probability per_million / 1e6. */
bool prng_chance(struct prng *p, uint32_t per_million);
/* Mixes 64 bits; a bijection. Also the building block of keyed hashes. */
uint64_t prng_mix(uint64_t x);

#endif
