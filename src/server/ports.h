/*
 * Transfer ports of one worker: which socket the answers to a peer leave from. RFC 1350 section 4
 * wants a fresh TID for each transfer, not the listening port.
 *
 * Trusted peers share a few sockets bound at start (a random one for each transfer, never the one
 * a peer had last), everybody else gets a private socket on a port the kernel draws: its number is
 * the only thing a forger has to guess.
 */
#ifndef SERVER_PORTS_H
#define SERVER_PORTS_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/prng.h"
#include "net/net.h"
#include "server/settings.h"

#define PORTS_SHARED_MAX 1024

enum port_kind { PORT_LISTEN, PORT_SHARED, PORT_PRIVATE };

struct transfer;

/* What a socket is for; net_socket.owner points here. */
struct port {
    enum port_kind kind;
    struct transfer *transfer; /* PORT_PRIVATE */
};

struct ports {
    struct net *net;
    struct prng prng;
    struct port shared_port;
    unsigned private_count, private_max; /* the rest of the descriptors is for files */
    unsigned count[2];                   /* of shared sockets, IPv4 and IPv6 */
    struct net_socket *shared[2][PORTS_SHARED_MAX];
};

/* Sockets bound for a worker before it runs; -1: it has taken them over. */
struct port_fds {
    unsigned count[2]; /* IPv4 and IPv6 */
    int fds[2][PORTS_SHARED_MAX];
};

/*
 * Binds `shared` sockets for each family that is wanted, while the process may still have large
 * receive buffers. In range mode they take ports of the range. 0 with at least one of each family,
 * or -errno of socket(2), bind(2) or getrandom(2).
 */
MUST_CHECK int ports_bind(struct port_fds *b, const struct net_config *config,
                          const struct settings *s, unsigned shared, bool want_v4, bool want_v6);
/* Closes what has not been taken over. */
void ports_unbind(struct port_fds *b);

/* Without any socket yet; `seed` decides which one each transfer gets. */
void ports_init(struct ports *p, struct net *net, uint64_t seed);
/* Takes the bound ones over. 0 or -errno of net_adopt(). */
MUST_CHECK int ports_adopt(struct ports *p, struct port_fds *b);
/* Opens them by the engine, where no descriptors were bound: results as of ports_bind(). */
MUST_CHECK int ports_open(struct ports *p, const struct settings *s, unsigned shared, bool want_v4,
                          bool want_v6);

/*
 * The socket for a transfer: a shared one, the listening one (`listener`), or a private one, which
 * is opened with `private_port` as its owner and has to be closed by ports_release(). A shared one
 * is not `avoid`, the socket this peer had last, if there is another. 0, or -errno of socket(2) and
 * bind(2); -EMFILE also when there are private_max.
 */
MUST_CHECK int ports_take(struct ports *p, const struct settings *s, const struct addr *peer,
                          const struct addr *local, struct net_socket *listener, uint16_t avoid,
                          struct port *private_port, struct net_socket **ret);
void ports_release(struct ports *p, struct net_socket *socket);

/* A socket for an ERROR to this peer outside any transfer. */
struct net_socket *ports_for_error(struct ports *p, const struct settings *s,
                                   struct net_socket *listener, const struct addr *peer);

#endif
