/*
 * ICMP errors (IP_RECVERR, ip(7)). A pending error fails the next call on the whole socket,
 * whoever it was about; the error queue names the peer it belongs to.
 */
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <linux/errqueue.h> /* wants struct timespec */

#include "net/net_impl.h"

/* Read per call: what a forger can make us do in one pass is limited. */
#define ERRORS_PER_DRAIN 256

/* "Destination unreachable" of either family, and datagrams too large for the path. */
static bool is_reported(const struct sock_extended_err *e)
{
    if (e->ee_errno == EMSGSIZE)
        return true;
    if (e->ee_origin == SO_EE_ORIGIN_ICMP)
        return e->ee_type == ICMP_DEST_UNREACH;
    return e->ee_origin == SO_EE_ORIGIN_ICMP6 && e->ee_type == ICMP6_DST_UNREACH;
}

static void report(struct net *n, struct net_sock *sock, struct msghdr *m,
                   const union addr_sock *peer_sa)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        struct sock_extended_err e;
        struct addr peer;

        if (!(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) &&
            !(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
            continue;
        memcpy(&e, CMSG_DATA(c), sizeof(e));
        if (!is_reported(&e) || addr_from_sock(&peer, peer_sa) < 0)
            return;
        n->stats.icmp_errors++;
        if (n->unreachable)
            n->unreachable(n->unreachable_arg, &sock->pub, &peer, (int)e.ee_errno);
        return;
    }
}

void net_errors_drain(struct net *n, struct net_sock *sock)
{
    union {
        struct cmsghdr align;
        uint8_t bytes[256]; /* extended error with the offender, and packet info */
    } control;

    n->depth++;
    for (unsigned i = 0; i < ERRORS_PER_DRAIN && sock->pub.fd >= 0; i++) {
        union addr_sock peer = {0};
        uint8_t start[64];
        struct iovec iov = {start, sizeof(start)};
        struct msghdr m = {
            .msg_name = &peer,
            .msg_namelen = sizeof(peer),
            .msg_iov = &iov,
            .msg_iovlen = 1,
            .msg_control = &control,
            .msg_controllen = sizeof(control),
        };

        if (recvmsg(sock->pub.fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
            break;
        /* A closing socket's owner has let go of it; its last sends still want it empty. */
        if (!sock->closing)
            report(n, sock, &m, &peer);
    }
    n->depth--;
}
