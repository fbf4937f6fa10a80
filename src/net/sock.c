/*
 * The making of a UDP socket: options, buffers, bind.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net_impl.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 /* Linux 4.18 */
#endif

static int set_int(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Privileged first: SO_RCVBUF alone is cut to net.core.rmem_max. Getting less is no error. */
static void set_buffer(int fd, int force, int plain, unsigned bytes)
{
    int value = bytes > INT32_MAX / 2 ? INT32_MAX / 2 : (int)bytes;

    if (bytes > 0 && set_int(fd, SOL_SOCKET, force, value) < 0)
        (void)set_int(fd, SOL_SOCKET, plain, value);
}

bool net_sock_has_gso(int fd)
{
    int value = 0;
    socklen_t len = sizeof(value);

    return getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &value, &len) == 0;
}

/*
 * Options of ip(7), ipv6(7) and socket(7). Packet info is needed to answer from the address
 * that was asked; the rest makes errors and losses visible, and the socket works without.
 */
int net_sock_prepare(const struct net_config *config, int fd, int family)
{
    int flags = fcntl(fd, F_GETFL);
    int r;

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    if (family == AF_INET6) {
        r = set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
        (void)set_int(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
        (void)set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, config->mtu_discover);
        /* For IPv4 peers of an adopted dual-stack socket. */
        (void)set_int(fd, IPPROTO_IP, IP_RECVERR, 1);
        (void)set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, config->mtu_discover);
    } else {
        r = set_int(fd, IPPROTO_IP, IP_PKTINFO, 1);
        (void)set_int(fd, IPPROTO_IP, IP_RECVERR, 1);
        (void)set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, config->mtu_discover);
    }
    if (r < 0)
        return r;
    (void)set_int(fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
    return 0;
}

void net_sock_set_buffers(const struct net_config *config, int fd)
{
    set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, config->rcvbuf_bytes);
    set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, config->sndbuf_bytes);
}

int net_sock_share_port(int fd)
{
    return set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
}

static int prepare_and_bind(const struct net_config *config, int fd, const struct addr *bind_to,
                            bool reuse_port)
{
    union addr_sock sa;
    socklen_t len = addr_to_sock(bind_to, bind_to->family, &sa);
    int r = net_sock_prepare(config, fd, bind_to->family);

    net_sock_set_buffers(config, fd);
    if (r == 0 && bind_to->family == AF_INET6)
        r = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (r == 0 && reuse_port)
        r = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (r == 0 && bind(fd, &sa.sa, len) < 0)
        r = -errno;
    return r;
}

/* The descriptor or -errno. */
int net_sock_open(const struct net_config *config, const struct addr *bind_to, bool reuse_port)
{
    if (bind_to->family != AF_INET && bind_to->family != AF_INET6)
        return -EAFNOSUPPORT;

    int fd = socket(bind_to->family, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
    if (fd < 0)
        return -errno;
    int r = prepare_and_bind(config, fd, bind_to, reuse_port);
    if (r < 0) {
        (void)close(fd);
        return r;
    }
    return fd;
}
