/*
 * xoshiro256** (Blackman and Vigna), its state filled by splitmix64 so that near seeds give
 * unrelated streams.
 */
#include <assert.h>

#include "base/prng.h"

/* The finaliser of splitmix64 (Steele, Lea and Flood): each step can be undone. */
uint64_t prng_mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xBF58476D1CE4E5B9);
    x ^= x >> 27;
    x *= UINT64_C(0x94D049BB133111EB);
    x ^= x >> 31;
    return x;
}

void prng_seed(struct prng *p, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += UINT64_C(0x9E3779B97F4A7C15);
        p->s[i] = prng_mix(seed);
    }
}

static uint64_t rotate_left(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

uint64_t prng_next(struct prng *p)
{
    uint64_t result = rotate_left(p->s[1] * 5, 7) * 9;
    uint64_t t = p->s[1] << 17;

    p->s[2] ^= p->s[0];
    p->s[3] ^= p->s[1];
    p->s[1] ^= p->s[2];
    p->s[0] ^= p->s[3];
    p->s[2] ^= t;
    p->s[3] = rotate_left(p->s[3], 45);
    return result;
}

/* Lemire's multiplication: the high half is the answer; low halves that would favour some
 * answers are drawn again. */
uint64_t prng_below(struct prng *p, uint64_t n)
{
    assert(n > 0);
    unsigned __int128 product = (unsigned __int128)prng_next(p) * n;
    if ((uint64_t)product < n) {
        uint64_t unfair = (0 - n) % n;
        while ((uint64_t)product < unfair)
            product = (unsigned __int128)prng_next(p) * n;
    }
    return (uint64_t)(product >> 64);
}

bool prng_chance(struct prng *p, uint32_t per_million)
{
    return prng_below(p, 1000000) < per_million;
}
