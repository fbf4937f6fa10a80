#include "server/ports.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define BIND_TRIES 64 /* ports of a range tried before giving up */

static unsigned family_index(uint16_t family)
{
    return family == AF_INET6 ? 1 : 0;
}

/* A socket on a port of the configured range, or any port. `at` has the address. */
static int open_port(struct ports *p, const struct settings *s, struct addr at, struct port *owner,
                     struct net_socket **ret)
{
    int err = -EADDRINUSE;

    if (s->ports != PORTS_RANGE) {
        at.port = 0;
        return net_open(p->net, &at, false, owner, ret);
    }
    uint32_t ports = (uint32_t)(s->port_last - s->port_first) + 1;
    for (unsigned i = 0; i < BIND_TRIES && err == -EADDRINUSE; i++) {
        at.port = (uint16_t)(s->port_first + prng_below(&p->prng, ports));
        err = net_open(p->net, &at, false, owner, ret);
    }
    return err;
}

static int open_shared(struct ports *p, const struct settings *s, unsigned shared, uint16_t family)
{
    unsigned f = family_index(family);
    struct addr any = {.family = family};

    for (unsigned i = 0; i < MIN(shared, (unsigned)PORTS_SHARED_MAX); i++) {
        int err = open_port(p, s, any, &p->shared_port, &p->shared[f][i]);
        if (err < 0)
            return p->count[f] > 0 ? 0 : err;
        p->count[f]++;
    }
    return 0;
}

int ports_init(struct ports *p, struct net *net, const struct settings *s, unsigned shared,
               bool want_v4, bool want_v6, uint64_t seed)
{
    int err = 0;

    memset(p, 0, sizeof(*p));
    p->net = net;
    p->private_max = UINT_MAX;
    p->shared_port.kind = PORT_SHARED;
    prng_seed(&p->prng, seed);
    if (s->ports == PORTS_SINGLE)
        return 0;
    if (s->ports == PORTS_PRIVATE || s->ports == PORTS_RANGE)
        shared = 1; /* for ERRORs only */
    if (want_v4)
        err = open_shared(p, s, shared, AF_INET);
    if (err == 0 && want_v6)
        err = open_shared(p, s, shared, AF_INET6);
    return err;
}

static bool use_shared(const struct settings *s, const struct addr *peer)
{
    return s->ports == PORTS_SHARED || (s->ports == PORTS_AUTO && settings_trusts(s, peer));
}

int ports_take(struct ports *p, const struct settings *s, const struct addr *peer,
               const struct addr *local, struct net_socket *listener, uint16_t avoid,
               struct port *private_port, struct net_socket **ret)
{
    unsigned f = family_index(peer->family);

    if (s->ports == PORTS_SINGLE) {
        *ret = listener;
        return 0;
    }
    if (use_shared(s, peer) && p->count[f] > 0) {
        unsigned i = (unsigned)prng_below(&p->prng, p->count[f]);
        if (p->shared[f][i]->local.port == avoid)
            i = (i + 1) % p->count[f];
        *ret = p->shared[f][i];
        return 0;
    }
    if (p->private_count >= p->private_max)
        return -EMFILE;
    private_port->kind = PORT_PRIVATE;
    struct addr at = local->family ? *local : (struct addr){.family = peer->family};
    int err = open_port(p, s, at, private_port, ret);
    if (err == 0)
        p->private_count++;
    return err;
}

void ports_release(struct ports *p, struct net_socket *socket)
{
    p->private_count--;
    socket->owner = NULL; /* what is still in the receive batch finds nobody */
    net_close_socket(p->net, socket);
}

struct net_socket *ports_for_error(struct ports *p, const struct settings *s,
                                   struct net_socket *listener)
{
    unsigned f = family_index(listener->local.family);

    if (s->ports == PORTS_SINGLE || p->count[f] == 0)
        return listener;
    return p->shared[f][prng_below(&p->prng, p->count[f])];
}
