/*
 * The sockets of one thread and the endpoints that clients speak from.
 *
 * Every live client needs an address and port of its own, because servers tell clients apart
 * by these. Without a source range each client has its own socket (bound to any port, connected
 * to the server's TID for long transfers). With a source range a client is an address of the
 * range on a wildcard socket: some few sockets carry all clients, one recvmmsg() and one
 * sendmmsg() serve up to 64 of them, and the destination address says whose packet it is.
 *
 * Endpoints are used in turn, so none comes back soon after its transfer has ended.
 */
#ifndef BENCH_IO_H
#define BENCH_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/util.h"
#include "base/wire.h"
#include "bench/plan.h"
#include "bench/result.h"

struct bench_io;
struct bench_sendq;

struct bench_port {
    int fd;
    bool connected;
    uint32_t drops;            /* SO_RXQ_OVFL as last told */
    void **owners;             /* by source; NULL: nobody */
    void *single;              /* what owners points to without a source range */
    struct bench_sendq *queue; /* NULL: packets go out at once */
};

struct bench_endpoint {
    struct bench_port *port; /* NULL: none */
    uint32_t source;
};

/* `from` is NULL on a connected socket. */
typedef void bench_deliver_fn(void *owner, const union addr_sock *from, struct view datagram,
                              nsec now);
/* The network said that `to` cannot be reached. */
typedef void bench_unreachable_fn(void *owner, nsec now);

/* `clients`: how many endpoints will be in use at once. Errors as of the socket calls; a
 * sentence in error[size]. */
MUST_CHECK int bench_io_new(struct bench_io **ret, const struct bench_plan *plan, unsigned clients,
                            struct bench_result *result, bench_deliver_fn *deliver,
                            bench_unreachable_fn *unreachable, char *error, size_t size);
void bench_io_free(struct bench_io *io);

/* An endpoint for `owner`; -EAGAIN when all are in use. */
MUST_CHECK int bench_io_take(struct bench_io *io, void *owner, struct bench_endpoint *ret);
void bench_io_release(struct bench_io *io, struct bench_endpoint *e);
/* The owner of an endpoint now, or NULL. */
void *bench_io_owner(const struct bench_endpoint *e);

/* From now on only packets of `peer` are wanted. Does nothing where that gains nothing. */
void bench_io_connect(struct bench_io *io, struct bench_endpoint *e, const union addr_sock *peer);

/* A small packet (at most 600 bytes), copied; it goes out with the next flush at the latest. */
void bench_io_send(struct bench_io *io, const struct bench_endpoint *e, const union addr_sock *to,
                   const void *bytes, size_t len);
/* A datagram in pieces, or with `segment` > 0 a train of datagrams of that many bytes. 0, or
 * -EMSGSIZE, -EINVAL, -EIO and the like when the kernel does not take it. */
int bench_io_send_pieces(struct bench_io *io, const struct bench_endpoint *e,
                         const union addr_sock *to, struct iovec *iov, unsigned iov_count,
                         uint16_t segment);
void bench_io_flush(struct bench_io *io);

/* Waits until something comes, `deadline` at the latest, and delivers it. Returns the time. */
nsec bench_io_wait(struct bench_io *io, nsec now, nsec deadline);
/* Lets a waiting bench_io_wait() of another thread return. */
void bench_io_wake(struct bench_io *io);

/* Same family, address and port. */
static inline bool bench_same_peer(const union addr_sock *a, const union addr_sock *b)
{
    if (a->sa.sa_family == AF_INET)
        return b->sa.sa_family == AF_INET && a->in.sin_port == b->in.sin_port &&
               a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    return b->sa.sa_family == AF_INET6 && a->in6.sin6_port == b->in6.sin6_port &&
           memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, 16) == 0;
}

#endif
