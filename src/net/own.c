/*
 * Whether an address is this machine's own. What can be bound tells nothing: with
 * net.ipv4.ip_nonlocal_bind that is every address.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"

void net_own_init(struct net_own *o)
{
    *o = (struct net_own){-1, -1};
}

void net_own_fini(struct net_own *o)
{
    if (o->fd4 >= 0)
        (void)close(o->fd4);
    if (o->fd6 >= 0)
        (void)close(o->fd6);
    net_own_init(o);
}

static bool opened(int *fd, int family)
{
    if (*fd < 0)
        *fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
    return *fd >= 0;
}

/* ip(7): the interface of an address, or EADDRNOTAVAIL where none has it. */
static bool has4(int fd, const struct addr *host)
{
    struct in_addr in;

    memcpy(&in, host->ip, sizeof(in));
    return setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &in, sizeof(in)) == 0 ||
           errno != EADDRNOTAVAIL;
}

/*
 * RFC 6724 section 5 rule 1: to an address of its own a host speaks from that same address.
 * Connecting binds the socket, also when it fails; it is undone, for nobody reads what would come.
 */
static bool has6(int fd, const struct addr *host)
{
    static const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    struct addr no_port = *host, from;
    union addr_sock sa;
    socklen_t len = sizeof(sa);

    no_port.port = 0;
    bool own = connect(fd, &sa.sa, addr_to_sock(&no_port, AF_INET6, &sa)) == 0 &&
               getsockname(fd, &sa.sa, &len) == 0 && addr_from_sock(&from, &sa) == 0 &&
               addr_same_host(&from, host);
    (void)connect(fd, &nobody, sizeof(nobody));
    return own;
}

bool net_own_has(struct net_own *o, const struct addr *host)
{
    if (host->family == AF_INET6)
        return !opened(&o->fd6, AF_INET6) || has6(o->fd6, host);
    return !opened(&o->fd4, AF_INET) || has4(o->fd4, host);
}
