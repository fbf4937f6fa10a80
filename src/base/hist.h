/*
 * Log-linear histogram of 64-bit values: 32 linear steps in each power of two, so every
 * quantile is right to about 3 %. Fixed size, no allocation. One writer; a reader in another
 * thread sees each counter untorn (relaxed atomics) but not all at one instant.
 */
#ifndef BASE_HIST_H
#define BASE_HIST_H

#include <stdint.h>

#define HIST_SUB_BITS 5
#define HIST_BUCKETS  ((64 - HIST_SUB_BITS + 1) << HIST_SUB_BITS)

struct hist {
    uint64_t count;
    uint64_t sum;
    uint64_t max;
    uint64_t buckets[HIST_BUCKETS];
};

void hist_add(struct hist *h, uint64_t value);
/* The smallest recorded bucket bound that at least `q` (0..1) of the values do not exceed; 0 when
 * empty. */
uint64_t hist_quantile(const struct hist *h, double q);
void hist_merge(struct hist *into, const struct hist *from);
/* The largest value that falls into the same bucket as `value`. */
uint64_t hist_bound(uint64_t value);

#endif
