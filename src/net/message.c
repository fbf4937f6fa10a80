/*
 * Control messages, out and in: source address, segment size, destination address, drops.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>

#include "net/net_impl.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 /* Linux 4.18 */
#endif

_Static_assert(CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint32_t)) <=
                   NET_CONTROL_BYTES,
               "room for what a received datagram brings");

/* Appends at `used`; returns the new length. */
static size_t put_control(union net_control *c, size_t used, int level, int type, const void *data,
                          size_t bytes)
{
    struct cmsghdr h = {.cmsg_len = CMSG_LEN(bytes), .cmsg_level = level, .cmsg_type = type};

    memcpy(c->bytes + used, &h, sizeof(h));
    memcpy(c->bytes + used + CMSG_LEN(0), data, bytes);
    return used + CMSG_SPACE(bytes);
}

/* ip(7) IP_PKTINFO, ipv6(7) IPV6_PKTINFO. An IPv6 socket takes a mapped IPv4 source too. */
static size_t put_source(union net_control *c, const struct net_sock *sock, const struct net_tx *tx)
{
    union addr_sock sa;

    if (sock->family == AF_INET) {
        struct in_pktinfo info = {.ipi_ifindex = (int)tx->ifindex};

        memcpy(&info.ipi_spec_dst, tx->local.ip, sizeof(info.ipi_spec_dst));
        return put_control(c, 0, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
    }
    (void)addr_to_sock(&tx->local, AF_INET6, &sa);
    struct in6_pktinfo info6 = {
        .ipi6_addr = sa.in6.sin6_addr,
        .ipi6_ifindex = tx->ifindex ? tx->ifindex : tx->local.scope,
    };
    return put_control(c, 0, IPPROTO_IPV6, IPV6_PKTINFO, &info6, sizeof(info6));
}

size_t net_control_build(union net_control *c, const struct net_sock *sock, const struct net_tx *tx,
                         bool train)
{
    size_t used = 0;

    if (tx->local.family != 0 && sock->wildcard)
        used = put_source(c, sock, tx);
    if (train)
        used = put_control(c, used, IPPROTO_UDP, UDP_SEGMENT, &tx->segment, sizeof(tx->segment));
    return used;
}

void net_message_build(struct msghdr *m, union net_control *c, const struct net_sock *sock,
                       struct net_tx *tx)
{
    m->msg_name = &tx->peer;
    m->msg_namelen = tx->peer_len;
    m->msg_iov = tx->iov;
    m->msg_iovlen = tx->iov_count;
    m->msg_flags = 0;
    m->msg_controllen = net_control_build(c, sock, tx, net_is_train(tx));
    m->msg_control = m->msg_controllen ? c : NULL;
}

static void take_drops(struct net *n, struct net_sock *sock, const void *data)
{
    uint32_t drops;

    memcpy(&drops, data, sizeof(drops));
    n->stats.rx_drops += (uint32_t)(drops - sock->pub.drops);
    sock->pub.drops = drops;
}

static void take_info4(struct net_sock *sock, const void *data, struct net_rx *rx)
{
    struct in_pktinfo info;

    memcpy(&info, data, sizeof(info));
    rx->local.family = AF_INET;
    rx->local.port = sock->pub.local.port;
    memcpy(rx->local.ip, &info.ipi_addr, sizeof(info.ipi_addr));
    /* ip(7): the local address of the packet; it is the destination itself unless that was a
     * broadcast or multicast address. */
    rx->broadcast = info.ipi_spec_dst.s_addr != info.ipi_addr.s_addr;
    rx->ifindex = (uint32_t)info.ipi_ifindex;
}

static void take_info6(struct net_sock *sock, const void *data, struct net_rx *rx)
{
    struct in6_pktinfo info;
    union addr_sock sa = {.in6 = {.sin6_family = AF_INET6}};

    memcpy(&info, data, sizeof(info));
    sa.in6.sin6_addr = info.ipi6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
        sa.in6.sin6_scope_id = info.ipi6_ifindex;
    if (addr_from_sock(&rx->local, &sa) == 0)
        rx->local.port = sock->pub.local.port;
    rx->ifindex = info.ipi6_ifindex;
    rx->broadcast = IN6_IS_ADDR_MULTICAST(&info.ipi6_addr);
}

void net_control_parse(struct net *n, struct net_sock *sock, struct msghdr *m, struct net_rx *rx)
{
    memset(&rx->local, 0, sizeof(rx->local));
    rx->ifindex = 0;
    rx->broadcast = false;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        const void *data = CMSG_DATA(c);

        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
            take_info4(sock, data, rx);
        else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
            take_info6(sock, data, rx);
        else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL)
            take_drops(n, sock, data);
    }
}
