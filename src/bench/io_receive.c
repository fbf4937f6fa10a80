#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "bench/io_impl.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

int io_receive_init(struct bench_io *io)
{
    size_t room = io->gro ? 65536 : io->datagram_max + 1U;

    io->batch = io->gro || room > 16384 ? 16 : IO_BATCH;
    io->buffers = malloc(room * io->batch);
    if (!io->buffers)
        return -ENOMEM;
    for (unsigned i = 0; i < io->batch; i++) {
        struct msghdr *m = &io->messages[i].msg_hdr;
        io->iov[i] = (struct iovec){io->buffers + i * room, room};
        m->msg_iov = &io->iov[i];
        m->msg_iovlen = 1;
        m->msg_name = &io->from[i];
        m->msg_namelen = io->sock_len;
        m->msg_control = io->control[i].bytes;
        m->msg_controllen = sizeof(io->control[i].bytes);
    }
    return 0;
}

/* Which address of the range the packet was sent to; UINT32_MAX: none of them. */
static uint32_t source_of(const struct bench_io *io, const uint8_t *ip, size_t len)
{
    const uint8_t *first = io->plan->source_first.ip;
    uint32_t base = 0, address = 0;

    if (memcmp(ip, first, len - 4) != 0)
        return UINT32_MAX;
    for (size_t i = len - 4; i < len; i++) {
        base = base << 8 | first[i];
        address = address << 8 | ip[i];
    }
    return address - base < io->sources ? address - base : UINT32_MAX;
}

/* What the kernel says about a datagram. */
struct about {
    uint32_t source;
    unsigned segment; /* UDP_GRO: 0: it is one datagram */
};

static struct about read_control(struct bench_io *io, struct bench_port *port, struct msghdr *m)
{
    struct about a = {.source = io->shared ? UINT32_MAX : 0};

    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            a.source = source_of(io, (const uint8_t *)&info.ipi_addr, 4);
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            a.source = source_of(io, (const uint8_t *)&info.ipi6_addr, 16);
        } else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
            int segment;
            memcpy(&segment, CMSG_DATA(c), sizeof(segment));
            a.segment = (unsigned)MAX(segment, 0);
        } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
            uint32_t drops;
            memcpy(&drops, CMSG_DATA(c), sizeof(drops));
            io->result->kernel_drops += drops - port->drops;
            port->drops = drops;
        }
    }
    return a;
}

static void deliver(struct bench_io *io, struct bench_port *port, uint32_t source,
                    const union addr_sock *from, struct view data, nsec now)
{
    io->result->packets_in++;
    io->result->bytes_in += data.n;
    void *owner = source < io->sources ? port->owners[source] : NULL;
    if (owner)
        io->deliver(owner, from, data, now);
    else
        io->result->strays++;
}

static void deliver_message(struct bench_io *io, struct bench_port *port, unsigned i, size_t len,
                            nsec now)
{
    struct msghdr *m = &io->messages[i].msg_hdr;
    struct about a = read_control(io, port, m);
    const union addr_sock *from = port->connected ? NULL : &io->from[i];
    const uint8_t *p = io->iov[i].iov_base;

    m->msg_controllen = sizeof(io->control[i].bytes);
    m->msg_namelen = io->sock_len;
    if (a.segment == 0) {
        deliver(io, port, a.source, from, view_of(p, len), now);
        return;
    }
    for (size_t at = 0; at < len; at += a.segment)
        deliver(io, port, a.source, from, view_of(p + at, MIN(a.segment, len - at)), now);
}

/* Which of our packets could not be delivered, and so whose server is gone. */
static void read_errors(struct bench_io *io, struct bench_port *port, nsec now)
{
    uint8_t payload[64];
    char room[IO_ERROR_ROOM];

    for (unsigned i = 0; i < IO_BATCH; i++) {
        struct iovec iov = {payload, sizeof(payload)};
        struct msghdr m = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
        if (recvmsg(port->fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
            return;
        struct about a = read_control(io, port, &m);
        void *owner = a.source < io->sources ? port->owners[a.source] : NULL;
        if (owner)
            io->unreachable(owner, now);
    }
}

void io_receive(struct bench_io *io, struct bench_port *port, uint32_t events, nsec now)
{
    unsigned most = io->shared || io->by_batch ? io->batch : 1;
    int n;

    if (events & EPOLLERR)
        read_errors(io, port, now);
    io->result->receive_calls++;
    if (most > 1) {
        n = recvmmsg(port->fd, io->messages, most, MSG_DONTWAIT, NULL);
    } else {
        ssize_t len = recvmsg(port->fd, &io->messages[0].msg_hdr, MSG_DONTWAIT);
        n = len < 0 ? -1 : 1;
        io->messages[0].msg_len = (unsigned)MAX(len, 0);
    }
    for (int i = 0; i < n; i++)
        deliver_message(io, port, (unsigned)i, io->messages[i].msg_len, now);
}
