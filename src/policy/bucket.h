/*
 * A token bucket as one number: when it will be full again. At most `tokens` may be taken at
 * once, and they come back evenly over the time `per`. Pure arithmetic on the caller's clock;
 * several threads may use one bucket, whose count is exact up to the difference of their clocks.
 */
#ifndef POLICY_BUCKET_H
#define POLICY_BUCKET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/util.h"

/* All zero: full. */
struct bucket {
    _Atomic nsec full_at;
};

struct bucket_size {
    uint64_t tokens; /* 0: no limit */
    nsec per;
};

/* True: taken. False: there are not so many in it, and none is taken. */
MUST_CHECK bool bucket_take(struct bucket *b, const struct bucket_size *size, uint64_t n, nsec now);
/* As much as has been taken may be given back; what is too much is lost. */
void bucket_return(struct bucket *b, const struct bucket_size *size, uint64_t n);
/* Whether so many could be taken now. */
bool bucket_holds(const struct bucket *b, const struct bucket_size *size, uint64_t n, nsec now);

#endif
