#include "policy/bucket.h"

/* The time in which n tokens come back; NSEC_NEVER for more than the bucket can ever hold. */
static nsec time_of(const struct bucket_size *size, uint64_t n)
{
    if (n > size->tokens)
        return NSEC_NEVER;
    return (nsec)((unsigned __int128)n * size->per / size->tokens);
}

/* When it would be full after `cost` more; NSEC_NEVER: there is not so much in it. */
static nsec after(nsec full_at, nsec cost, nsec per, nsec now)
{
    nsec from = MAX(full_at, now);

    return cost > per || from - now > per - cost ? NSEC_NEVER : from + cost;
}

bool bucket_take(struct bucket *b, const struct bucket_size *size, uint64_t n, nsec now)
{
    nsec seen = atomic_load_explicit(&b->full_at, memory_order_relaxed), then;

    if (size->tokens == 0)
        return true;
    do {
        then = after(seen, time_of(size, n), size->per, now);
        if (then == NSEC_NEVER)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&b->full_at, &seen, then, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

void bucket_return(struct bucket *b, const struct bucket_size *size, uint64_t n)
{
    nsec seen = atomic_load_explicit(&b->full_at, memory_order_relaxed), cost, then;

    if (size->tokens == 0)
        return;
    cost = time_of(size, MIN(n, size->tokens));
    do {
        then = seen > cost ? seen - cost : 0;
    } while (!atomic_compare_exchange_weak_explicit(&b->full_at, &seen, then, memory_order_relaxed,
                                                    memory_order_relaxed));
}

bool bucket_holds(const struct bucket *b, const struct bucket_size *size, uint64_t n, nsec now)
{
    nsec seen = atomic_load_explicit(&b->full_at, memory_order_relaxed);

    return size->tokens == 0 || after(seen, time_of(size, n), size->per, now) != NSEC_NEVER;
}
