#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "bench/io_impl.h"

/* Adds the source address of an endpoint; returns the control length. */
static size_t put_source(const struct bench_io *io, uint32_t source, struct cmsghdr *c)
{
    const uint8_t *first = io->plan->source_first.ip;

    if (io->family == AF_INET) {
        struct in_pktinfo info = {.ipi_spec_dst.s_addr = 0};
        uint32_t ip = ((uint32_t)first[0] << 24 | (uint32_t)first[1] << 16 |
                       (uint32_t)first[2] << 8 | first[3]) +
                      source;
        info.ipi_spec_dst.s_addr = htonl(ip);
        c->cmsg_level = IPPROTO_IP;
        c->cmsg_type = IP_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof(info));
        memcpy(CMSG_DATA(c), &info, sizeof(info));
        return CMSG_SPACE(sizeof(info));
    }
    struct in6_pktinfo info = {.ipi6_ifindex = 0};
    memcpy(&info.ipi6_addr, first, 16);
    uint32_t low = ((uint32_t)first[12] << 24 | (uint32_t)first[13] << 16 |
                    (uint32_t)first[14] << 8 | first[15]) +
                   source;
    low = htonl(low);
    memcpy((uint8_t *)&info.ipi6_addr + 12, &low, 4);
    c->cmsg_level = IPPROTO_IPV6;
    c->cmsg_type = IPV6_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof(info));
    memcpy(CMSG_DATA(c), &info, sizeof(info));
    return CMSG_SPACE(sizeof(info));
}

int io_queue_new(struct bench_io *io, struct bench_port *port)
{
    struct bench_sendq *q = calloc(1, sizeof(*q));

    if (!q)
        return -ENOMEM;
    for (unsigned i = 0; i < IO_BATCH; i++) {
        struct msghdr *m = &q->messages[i].msg_hdr;
        q->iov[i].iov_base = q->bytes[i];
        m->msg_iov = &q->iov[i];
        m->msg_iovlen = 1;
        m->msg_name = &q->to[i];
        m->msg_namelen = io->sock_len;
        m->msg_control = q->control[i].bytes;
    }
    port->queue = q;
    return 0;
}

/* Can it be tried again? Waits a moment when the send buffer is full. */
static bool send_again(struct bench_io *io, struct bench_port *port)
{
    struct pollfd p = {.fd = port->fd, .events = POLLOUT};

    if (errno == EINTR)
        return true;
    if (errno == EAGAIN || errno == ENOBUFS)
        return poll(&p, 1, 10) >= 0;
    /* An ICMP error of an earlier packet is told here, once; nothing is wrong with this one. */
    if (errno == ECONNREFUSED || errno == EHOSTUNREACH || errno == ENETUNREACH)
        return true;
    io->result->send_errors++;
    return false;
}

void io_send_queue(struct bench_io *io, struct bench_port *port)
{
    struct bench_sendq *q = port->queue;
    unsigned done = 0, tries = 0;

    while (done < q->count) {
        int n = sendmmsg(port->fd, q->messages + done, q->count - done, MSG_DONTWAIT);
        io->result->send_calls++;
        if (n > 0)
            done += (unsigned)n, tries = 0;
        else if (++tries > 3 || !send_again(io, port))
            done++, tries = 0;
    }
    q->count = 0;
}

static void count_out(struct bench_io *io, size_t bytes, unsigned packets)
{
    io->result->packets_out += packets;
    io->result->bytes_out += bytes;
}

/* On a socket without a queue: at once. */
static int send_now(struct bench_io *io, struct bench_port *port, struct msghdr *m)
{
    int err = 0;

    for (unsigned tries = 0; tries < 4; tries++) {
        io->result->send_calls++;
        if (sendmsg(port->fd, m, MSG_DONTWAIT) >= 0)
            return 0;
        err = -errno;
        if (!send_again(io, port))
            return err;
    }
    return err;
}

void bench_io_send(struct bench_io *io, const struct bench_endpoint *e, const union addr_sock *to,
                   const void *bytes, size_t len)
{
    struct bench_port *port = e->port;
    struct bench_sendq *q = port->queue;

    count_out(io, len, 1);
    if (!q) {
        struct iovec iov = {(void *)(uintptr_t)bytes, len};
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
        if (!port->connected) {
            m.msg_name = (void *)(uintptr_t)to;
            m.msg_namelen = io->sock_len;
        }
        (void)send_now(io, port, &m); /* a lost datagram: the protocol's business */
        return;
    }
    if (q->count == IO_BATCH)
        io_send_queue(io, port);
    unsigned i = q->count++;
    if (!q->listed) {
        q->listed = true;
        io->dirty[io->dirty_count++] = port;
    }
    len = MIN(len, sizeof(q->bytes[i]));
    memcpy(q->bytes[i], bytes, len);
    q->iov[i].iov_len = len;
    q->to[i] = *to;
    q->messages[i].msg_hdr.msg_controllen =
        put_source(io, e->source, (struct cmsghdr *)(void *)q->control[i].bytes);
}

int bench_io_send_pieces(struct bench_io *io, const struct bench_endpoint *e,
                         const union addr_sock *to, struct iovec *iov, unsigned iov_count,
                         uint16_t segment)
{
    struct io_send_control control;
    struct cmsghdr *c = (struct cmsghdr *)(void *)control.bytes;
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = iov_count};
    size_t used = 0, bytes = 0;

    for (unsigned i = 0; i < iov_count; i++)
        bytes += iov[i].iov_len;
    unsigned packets = segment > 0 ? (unsigned)((bytes + segment - 1) / segment) : 1;
    count_out(io, bytes, packets);
    if (e->port->queue && e->port->queue->count > 0)
        io_send_queue(io, e->port);
    memset(&control, 0, sizeof(control));
    if (io->shared)
        used = put_source(io, e->source, c);
    if (segment > 0) {
        c = (struct cmsghdr *)(void *)(control.bytes + used);
        c->cmsg_level = IPPROTO_UDP;
        c->cmsg_type = UDP_SEGMENT;
        c->cmsg_len = CMSG_LEN(sizeof(segment));
        memcpy(CMSG_DATA(c), &segment, sizeof(segment));
        used += CMSG_SPACE(sizeof(segment));
    }
    if (used > 0) {
        m.msg_control = control.bytes;
        m.msg_controllen = used;
    }
    if (!e->port->connected) {
        m.msg_name = (void *)(uintptr_t)to;
        m.msg_namelen = io->sock_len;
    }
    int err = send_now(io, e->port, &m);
    if (err < 0) {
        io->result->packets_out -= packets;
        io->result->bytes_out -= bytes;
    }
    return err;
}

void bench_io_flush(struct bench_io *io)
{
    for (unsigned i = 0; i < io->dirty_count; i++) {
        io->dirty[i]->queue->listed = false;
        io_send_queue(io, io->dirty[i]);
    }
    io->dirty_count = 0;
}
