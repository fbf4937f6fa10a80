/*
 * How large a datagram may be before it is cut into fragments.
 */
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"

#define UDP_HEADER     8
#define IPV4_HEADER    20
#define IPV6_HEADER    40
#define IPV4_BYTES_MAX 65535 /* total length, RFC 791 section 3.1 */

static unsigned mtu_of(int fd, int family)
{
    int mtu = 0;
    socklen_t len = sizeof(mtu);
    int r = family == AF_INET6 ? getsockopt(fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &len)
                               : getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &len);

    return r == 0 && mtu > 0 ? (unsigned)mtu : 0;
}

unsigned net_path_payload(const struct addr *peer, const struct addr *local)
{
    unsigned headers = UDP_HEADER + (peer->family == AF_INET6 ? IPV6_HEADER : IPV4_HEADER);
    union addr_sock sa;
    unsigned mtu = 0;

    if (peer->family != AF_INET && peer->family != AF_INET6)
        return 0;
    int fd = socket(peer->family, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
    if (fd < 0)
        return 0;
    int r = 0;
    if (local && local->family == peer->family) {
        struct addr any_port = *local;

        any_port.port = 0;
        r = bind(fd, &sa.sa, addr_to_sock(&any_port, peer->family, &sa));
    }
    if (r == 0 && connect(fd, &sa.sa, addr_to_sock(peer, peer->family, &sa)) == 0)
        mtu = mtu_of(fd, peer->family);
    (void)close(fd);
    if (mtu <= headers)
        return 0;
    return MIN(mtu, (unsigned)IPV4_BYTES_MAX) - headers;
}
