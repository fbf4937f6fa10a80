#include "policy/limiter.h"

#define HOST_BYTES_V6 8 /* one site has a /64, and all addresses in it */

uint32_t limiter_host(const struct limiter *l, const struct addr *peer)
{
    struct addr host = {.family = peer->family, .scope = peer->scope};

    memcpy(host.ip, peer->ip, peer->family == AF_INET6 ? HOST_BYTES_V6 : sizeof(host.ip));
    return addr_hash(&host, l->key);
}

static struct limiter_slot *slot_of(struct limiter *l, uint32_t host, unsigned row)
{
    return &l->slot[row][(row == 0 ? host : host >> 16) & (LIMITER_SLOTS - 1)];
}

bool limiter_take(struct limiter *l, uint32_t host, enum limit limit,
                  const struct bucket_size *size, uint64_t n, nsec now)
{
    bool taken = false;

    for (unsigned row = 0; row < LIMITER_ROWS; row++)
        taken |= bucket_take(&slot_of(l, host, row)->bucket[limit], size, n, now);
    return taken;
}

void limiter_return(struct limiter *l, uint32_t host, enum limit limit,
                    const struct bucket_size *size, uint64_t n)
{
    for (unsigned row = 0; row < LIMITER_ROWS; row++)
        bucket_return(&slot_of(l, host, row)->bucket[limit], size, n);
}

bool limiter_enter(struct limiter *l, uint32_t host, uint64_t max)
{
    bool room = max == 0;

    for (unsigned row = 0; row < LIMITER_ROWS; row++)
        room |= atomic_fetch_add_explicit(&slot_of(l, host, row)->transfers, 1,
                                          memory_order_relaxed) < max;
    if (!room)
        limiter_leave(l, host);
    return room;
}

void limiter_leave(struct limiter *l, uint32_t host)
{
    for (unsigned row = 0; row < LIMITER_ROWS; row++)
        atomic_fetch_sub_explicit(&slot_of(l, host, row)->transfers, 1, memory_order_relaxed);
}

bool limiter_upload_enter(struct limiter *l, uint64_t max)
{
    if (atomic_fetch_add_explicit(&l->uploads, 1, memory_order_relaxed) < max || max == 0)
        return true;
    limiter_upload_leave(l);
    return false;
}

void limiter_upload_leave(struct limiter *l)
{
    atomic_fetch_sub_explicit(&l->uploads, 1, memory_order_relaxed);
}
