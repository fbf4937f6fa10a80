#include "server/ports.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define BIND_TRIES 64 /* ports of a range tried before giving up */

static unsigned family_index(uint16_t family)
{
    return family == AF_INET6 ? 1 : 0;
}

static unsigned tries(const struct settings *s)
{
    return s->ports == PORTS_RANGE ? BIND_TRIES : 1;
}

/* Of the configured range, or 0 for any. */
static uint16_t draw_port(struct prng *prng, const struct settings *s)
{
    if (s->ports != PORTS_RANGE)
        return 0;
    return (uint16_t)(s->port_first +
                      prng_below(prng, (uint32_t)(s->port_last - s->port_first) + 1));
}

static int open_port(struct ports *p, const struct settings *s, struct addr at, struct port *owner,
                     struct net_socket **ret)
{
    int err = -EADDRINUSE;

    for (unsigned i = 0; i < tries(s) && err == -EADDRINUSE; i++) {
        at.port = draw_port(&p->prng, s);
        err = net_open(p->net, &at, false, owner, ret);
    }
    return err;
}

static unsigned shared_wanted(const struct settings *s, unsigned shared)
{
    if (s->ports == PORTS_SINGLE)
        return 0;
    if (s->ports == PORTS_PRIVATE || s->ports == PORTS_RANGE)
        return 1; /* for ERRORs only */
    return MIN(shared, (unsigned)PORTS_SHARED_MAX);
}

static int bind_shared(struct port_fds *b, const struct net_config *config,
                       const struct settings *s, unsigned wanted, uint16_t family,
                       struct prng *prng)
{
    unsigned f = family_index(family);
    struct addr any = {.family = family};

    while (b->count[f] < wanted) {
        int fd = -EADDRINUSE;
        for (unsigned i = 0; i < tries(s) && fd == -EADDRINUSE; i++) {
            any.port = draw_port(prng, s);
            fd = net_sock_open(config, &any, false);
        }
        if (fd < 0)
            return b->count[f] > 0 ? 0 : fd;
        b->fds[f][b->count[f]++] = fd;
    }
    return 0;
}

int ports_bind(struct port_fds *b, const struct net_config *config, const struct settings *s,
               unsigned shared, bool want_v4, bool want_v6)
{
    struct prng prng;
    uint64_t seed;
    int err = 0;

    memset(b->count, 0, sizeof(b->count));
    if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        return -errno;
    prng_seed(&prng, seed);
    if (want_v4)
        err = bind_shared(b, config, s, shared_wanted(s, shared), AF_INET, &prng);
    if (err == 0 && want_v6)
        err = bind_shared(b, config, s, shared_wanted(s, shared), AF_INET6, &prng);
    return err;
}

void ports_unbind(struct port_fds *b)
{
    for (unsigned f = 0; f < 2; f++) {
        for (unsigned i = 0; i < b->count[f]; i++)
            if (b->fds[f][i] >= 0)
                close(b->fds[f][i]);
        b->count[f] = 0;
    }
}

static int open_shared(struct ports *p, const struct settings *s, unsigned wanted, uint16_t family)
{
    unsigned f = family_index(family);
    struct addr any = {.family = family};

    while (p->count[f] < wanted) {
        int err = open_port(p, s, any, &p->shared_port, &p->shared[f][p->count[f]]);
        if (err < 0)
            return p->count[f] > 0 ? 0 : err;
        p->count[f]++;
    }
    return 0;
}

void ports_init(struct ports *p, struct net *net, uint64_t seed)
{
    memset(p, 0, sizeof(*p));
    p->net = net;
    p->private_max = UINT_MAX;
    p->shared_port.kind = PORT_SHARED;
    prng_seed(&p->prng, seed);
}

int ports_open(struct ports *p, const struct settings *s, unsigned shared, bool want_v4,
               bool want_v6)
{
    int err = 0;

    if (want_v4)
        err = open_shared(p, s, shared_wanted(s, shared), AF_INET);
    if (err == 0 && want_v6)
        err = open_shared(p, s, shared_wanted(s, shared), AF_INET6);
    return err;
}

int ports_adopt(struct ports *p, struct port_fds *b)
{
    for (unsigned f = 0; f < 2; f++) {
        for (; p->count[f] < b->count[f]; p->count[f]++) {
            unsigned i = p->count[f];
            int err = net_adopt(p->net, b->fds[f][i], &p->shared_port, &p->shared[f][i]);
            if (err < 0)
                return err;
            b->fds[f][i] = -1;
        }
    }
    return 0;
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
                                   struct net_socket *listener, const struct addr *peer)
{
    unsigned f = family_index(peer->family);

    if (s->ports == PORTS_SINGLE || p->count[f] == 0)
        return listener;
    return p->shared[f][prng_below(&p->prng, p->count[f])];
}
