/*
 * Shared by the files of bench/io: what an io holds. Nobody else includes this.
 */
#ifndef BENCH_IO_IMPL_H
#define BENCH_IO_IMPL_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "bench/io.h"

#define IO_BATCH      64
#define IO_SMALL      600
#define IO_EVENTS     256
#define IO_ERROR_ROOM 1024

/* One UDP_SEGMENT and one packet info. */
struct io_send_control {
    _Alignas(struct cmsghdr) char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) +
                                        CMSG_SPACE(sizeof(uint16_t))];
};

/* Packet info, UDP_GRO and SO_RXQ_OVFL. */
struct io_recv_control {
    _Alignas(struct cmsghdr) char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) +
                                        CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint32_t))];
};

/* Small packets of one shared socket that wait for sendmmsg(). */
struct bench_sendq {
    unsigned count;
    bool listed; /* in io->dirty */
    struct mmsghdr messages[IO_BATCH];
    struct iovec iov[IO_BATCH];
    union addr_sock to[IO_BATCH];
    struct io_send_control control[IO_BATCH];
    uint8_t bytes[IO_BATCH][IO_SMALL];
};

struct bench_io {
    const struct bench_plan *plan;
    struct bench_result *result;
    bench_deliver_fn *deliver;
    bench_unreachable_fn *unreachable;
    int family;
    socklen_t sock_len;
    bool shared;
    bool gro;
    bool by_batch; /* one socket may have several datagrams waiting */
    int epoll_fd, wake_fd;
    unsigned sources;
    unsigned batch; /* datagrams per recvmmsg() */
    unsigned datagram_max;

    struct bench_port *ports;
    unsigned port_count;
    struct bench_endpoint *ring; /* free endpoints, first in, first out */
    unsigned ring_size, ring_head, ring_count;
    struct bench_port **dirty; /* ports whose queue is not empty */
    unsigned dirty_count;

    struct mmsghdr messages[IO_BATCH];
    struct iovec iov[IO_BATCH];
    union addr_sock from[IO_BATCH];
    struct io_recv_control control[IO_BATCH];
    uint8_t *buffers;
};

/* Opens and watches the socket of `port`; -errno. */
MUST_CHECK int io_port_open(struct bench_io *io, struct bench_port *port);

/* Receives what waits on `port`; io_receive.c. */
void io_receive(struct bench_io *io, struct bench_port *port, uint32_t events, nsec now);
MUST_CHECK int io_receive_init(struct bench_io *io);

/* Sends the queue of a port; io_send.c. */
void io_send_queue(struct bench_io *io, struct bench_port *port);
MUST_CHECK int io_queue_new(struct bench_io *io, struct bench_port *port);

#endif
