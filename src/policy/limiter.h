/*
 * What all workers together count of their peers: token buckets and running transfers for each
 * address (an IPv4 address, or the /64 of an IPv6 one), and what is counted in all. A fixed table
 * without locks, in which an address is found by a keyed hash.
 *
 * Each address has a place in each of two rows, and shares either with whoever hashes there. It is
 * over a limit only when both places are, so an address is held back for another one's deeds only
 * if both its places are shared with addresses at their limits; and one that shares a place may at
 * worst be let through twice as often. Nothing is ever evicted: a flood of addresses makes nobody
 * be forgotten, and the memory is what it is at the start.
 */
#ifndef POLICY_LIMITER_H
#define POLICY_LIMITER_H

#include "base/addr.h"
#include "policy/bucket.h"

#define LIMITER_ROWS  2
#define LIMITER_SLOTS 32768 /* in a row; power of two */

enum limit {
    LIMIT_REQUESTS,  /* answers to requests */
    LIMIT_UNPROVEN,  /* bytes to peers that have not proved their address, beyond what they sent */
    LIMIT_STRANGERS, /* ERROR 5 */
    LIMITS
};

/* All zero at first, but for the key. 2 MiB, of which only what is used is touched. */
struct limiter {
    uint64_t key;         /* random */
    struct bucket all[2]; /* LIMIT_UNPROVEN of all addresses; of trusted networks' apart */
    struct bucket upload_bytes;
    _Atomic uint32_t uploads;
    struct limiter_slot {
        struct bucket bucket[LIMITS];
        _Atomic uint32_t transfers;
    } slot[LIMITER_ROWS][LIMITER_SLOTS];
};

/* The address as the functions below want it; the port does not count. */
uint32_t limiter_host(const struct limiter *l, const struct addr *peer);

MUST_CHECK bool limiter_take(struct limiter *l, uint32_t host, enum limit limit,
                             const struct bucket_size *size, uint64_t n, nsec now);
void limiter_return(struct limiter *l, uint32_t host, enum limit limit,
                    const struct bucket_size *size, uint64_t n);

/* One more running transfer of this address; false when there are `max` already (0: no limit). */
MUST_CHECK bool limiter_enter(struct limiter *l, uint32_t host, uint64_t max);
/* For each limiter_enter() that said true. */
void limiter_leave(struct limiter *l, uint32_t host);

/* The same for uploads, of all addresses. */
MUST_CHECK bool limiter_upload_enter(struct limiter *l, uint64_t max);
void limiter_upload_leave(struct limiter *l);

#endif
