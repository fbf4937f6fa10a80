/*
 * Values below 2^SUB_BITS have a bucket each; above, every power of two is cut into
 * 2^SUB_BITS equal steps.
 */
#include <assert.h>

#include "base/hist.h"

#define SUB_COUNT (UINT64_C(1) << HIST_SUB_BITS)

static unsigned bucket_of(uint64_t value)
{
    if (value < SUB_COUNT)
        return (unsigned)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - HIST_SUB_BITS;
    return ((shift + 1) << HIST_SUB_BITS) + (unsigned)((value >> shift) - SUB_COUNT);
}

/* The largest value of a bucket. */
static uint64_t bucket_bound(unsigned bucket)
{
    if (bucket < SUB_COUNT)
        return bucket;
    unsigned shift = (bucket >> HIST_SUB_BITS) - 1;
    uint64_t step = (bucket & (SUB_COUNT - 1)) + SUB_COUNT;
    /* For the last bucket of all the sum wraps to 0, which is right after the subtraction. */
    return ((step + 1) << shift) - 1;
}

uint64_t hist_bound(uint64_t value)
{
    return bucket_bound(bucket_of(value));
}

static uint64_t load(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* There is one writer, so a plain addition loses nothing; the store keeps readers untorn. */
static void add(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

void hist_add(struct hist *h, uint64_t value)
{
    add(&h->buckets[bucket_of(value)], 1);
    add(&h->count, 1);
    add(&h->sum, value);
    if (value > h->max)
        __atomic_store_n(&h->max, value, __ATOMIC_RELAXED);
}

uint64_t hist_quantile(const struct hist *h, double q)
{
    /* Not h->count: with a writer at work it may disagree with the buckets. */
    uint64_t total = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++)
        total += load(&h->buckets[i]);
    if (total == 0)
        return 0;

    double rank = q * (double)total;
    uint64_t seen = 0;
    unsigned last = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        uint64_t n = load(&h->buckets[i]);
        if (n == 0)
            continue;
        seen += n;
        last = i;
        if ((double)seen >= rank)
            break;
    }
    return bucket_bound(last);
}

void hist_merge(struct hist *into, const struct hist *from)
{
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        uint64_t n = load(&from->buckets[i]);
        if (n)
            add(&into->buckets[i], n);
    }
    add(&into->count, load(&from->count));
    add(&into->sum, load(&from->sum));
    uint64_t max = load(&from->max);
    if (max > into->max)
        __atomic_store_n(&into->max, max, __ATOMIC_RELAXED);
}
