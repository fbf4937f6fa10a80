#include "server/path_cache.h"

#define REMEMBER (60 * NSEC_PER_SEC)

unsigned path_cache_payload(struct path_cache *c, path_payload_fn *ask, const struct addr *peer,
                            const struct addr *local, uint64_t key, nsec now)
{
    struct addr host = *peer;

    host.port = 0;
    struct path_cache_entry *e = &c->slots[addr_hash(&host, key) & (PATH_CACHE_SLOTS - 1)];
    if (!addr_equal(&e->host, &host) || now >= e->until) {
        e->host = host;
        e->payload = ask(peer, local);
        e->until = nsec_add(now, REMEMBER);
    }
    return e->payload;
}
