/*
 * The largest datagram to each client's host that is not fragmented, remembered for a minute:
 * asking the kernel costs a socket and a route lookup. Direct mapped, fixed size, one worker.
 */
#ifndef SERVER_PATH_CACHE_H
#define SERVER_PATH_CACHE_H

#include "base/addr.h"
#include "base/clock.h"

#define PATH_CACHE_SLOTS 1024 /* power of two */

struct path_cache {
    struct path_cache_entry {
        struct addr host; /* port 0 */
        unsigned payload;
        nsec until;
    } slots[PATH_CACHE_SLOTS];
};

typedef unsigned path_payload_fn(const struct addr *peer, const struct addr *local);

/* UDP payload in bytes, as `ask` (net_path_payload()) told within the last minute; 0 when unknown.
 * `key` is the process's hash key. */
unsigned path_cache_payload(struct path_cache *c, path_payload_fn *ask, const struct addr *peer,
                            const struct addr *local, uint64_t key, nsec now);

#endif
