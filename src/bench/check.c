#include "bench/check.h"

#include <string.h>

#include "base/prng.h"

/* States of bench_file.digest_state. */
enum { DIGEST_NONE, DIGEST_BEING_SET, DIGEST_SET };

void bench_check_init(struct bench_check *c, struct bench_file *file, bool active)
{
    c->file = file;
    c->compare = active && file->known;
    c->digest = active && !file->known && !file->hashed;
    c->size = c->state = c->word = 0;
    if (active && !file->known && file->hashed)
        sha256_init(&c->sha256);
    else
        c->sha256.bytes = UINT64_MAX;
}

static void digest_word(struct bench_check *c, uint64_t word)
{
    c->state = (c->state ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    c->state ^= c->state >> 29;
}

/* The same sum however the bytes are cut into blocks. */
static void digest_add(struct bench_check *c, struct view data)
{
    uint64_t at = c->size;

    for (; data.n > 0 && at % 8 != 0; data.p++, data.n--) {
        c->word |= (uint64_t)*data.p << (8 * (at % 8));
        if (++at % 8 == 0) {
            digest_word(c, c->word);
            c->word = 0;
        }
    }
    while (data.n >= 8) {
        uint64_t word = 0;
        for (unsigned i = 0; i < 8; i++)
            word |= (uint64_t)data.p[i] << (8 * i);
        digest_word(c, word);
        data.p += 8;
        data.n -= 8;
        at += 8;
    }
    for (; data.n > 0; data.p++, data.n--, at++)
        c->word |= (uint64_t)*data.p << (8 * (at % 8));
}

bool bench_check_add(struct bench_check *c, struct view data)
{
    bool right = true;

    if (data.n == 0)
        return true;
    if (c->compare)
        right = data.n <= c->file->size && c->size <= c->file->size - data.n &&
                memcmp(c->file->bytes + c->size, data.p, data.n) == 0;
    else if (c->digest)
        digest_add(c, data);
    else if (c->sha256.bytes != UINT64_MAX)
        sha256_add(&c->sha256, data.p, data.n);
    c->size += data.n;
    return right;
}

/* The first complete download sets what the others must be. */
static bool digest_agrees(struct bench_check *c)
{
    struct bench_file *f = c->file;
    uint64_t sum = prng_mix(c->state ^ c->word ^ prng_mix(c->size));
    uint32_t expected = DIGEST_NONE;

    if (__atomic_compare_exchange_n(&f->digest_state, &expected, DIGEST_BEING_SET, false,
                                    __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) {
        f->digest = sum;
        __atomic_store_n(&f->digest_state, DIGEST_SET, __ATOMIC_RELEASE);
        return true;
    }
    while (__atomic_load_n(&f->digest_state, __ATOMIC_ACQUIRE) != DIGEST_SET)
        ;
    return f->digest == sum;
}

bool bench_check_final(struct bench_check *c)
{
    uint8_t sum[32];

    if (c->compare)
        return c->size == c->file->size;
    if (c->digest)
        return digest_agrees(c);
    if (c->sha256.bytes == UINT64_MAX)
        return true;
    sha256_end(&c->sha256, sum);
    return memcmp(sum, c->file->sha256, sizeof(sum)) == 0;
}
