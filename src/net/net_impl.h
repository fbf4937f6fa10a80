/*
 * What the front of the packet engine and its two fillings share. Private to this folder.
 *
 * A datagram goes net_queue() -> its socket's queue -> kernel -> the `finished` list -> done().
 * done() and the unreachable callback may do anything the contract allows, closing sockets
 * included; so they are called only when no list is being walked, and a closed socket stays in
 * memory until no caller on the stack, no batch and no kernel operation can still name it.
 */
#ifndef NET_NET_IMPL_H
#define NET_NET_IMPL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/list.h"
#include "net/net.h"

/* Times a datagram that meets a full device queue, or somebody else's error, is tried again. */
#define NET_TRIES 8
/* Refused trains in a row that make a socket give GSO up. */
#define NET_GSO_REFUSALS 8
/* Datagrams one pass may take in, and system calls one flush may spend on one socket. */
#define NET_PASS_DATAGRAMS (8 * NET_BATCH)
#define NET_FLUSH_CALLS    64
/* Room for packet info of either family and a drop counter, or a segment size. */
#define NET_CONTROL_BYTES 96

struct net_sock {
    struct net_socket pub; /* first member */
    struct net *net;
    struct list txq;        /* net_tx.link: queued and not with the kernel */
    struct list flush_link; /* in net.flush while there is something to send */
    int family;             /* of the descriptor; AF_INET6 may be dual-stack when adopted */
    bool blocked;           /* the send buffer is full: nothing is tried until it is writable */
    bool closing;
    bool wildcard;         /* not bound to one address, which would be the source anyway */
    unsigned busy;         /* kernel operations and received buffers that name this socket */
    unsigned gso_refusals; /* in a row */
    /* In the loop: for all events on mmsg, for writability while blocked on io_uring. */
    struct loop_watch watch;
    bool watched;
    /* The mmsg engine's */
    struct list ready_link;
    bool error; /* the error queue is not empty */
    bool naps;  /* a call without MSG_DONTWAIT sleeps for LOOP_NAP */
};

struct net_batch;

struct net {
    const struct net_ops *ops;
    struct loop *loop;
    struct net_config config;
    struct net_stats stats;
    void *engine;

    struct net_tx *tx; /* pool; the pages of slots never used are never touched */
    size_t tx_bytes;
    unsigned tx_fresh; /* slots from here on were never used */
    struct list tx_free;

    struct list sockets;
    struct list dead;     /* closed sockets that somebody may still name */
    struct list flush;    /* sockets with something to send */
    struct list finished; /* net_tx whose done() is due, `res` set */
    bool flush_more;      /* the last flush stopped at its limit */

    unsigned depth; /* front functions and completions on the stack */
    bool batch_open;
    bool closed_in_recv;
    struct net_batch *batch; /* scratch of send.c */

    net_unreachable_fn *unreachable;
    void *unreachable_arg;
};

static inline struct net_sock *net_sock_of(struct net_socket *s)
{
    return container_of(s, struct net_sock, pub);
}

/* net.c: results of datagrams */
void net_finish(struct net *n, struct net_tx *tx, int res); /* done() follows in net_finished() */
void net_finished(struct net *n);
void net_want_flush(struct net *n, struct net_sock *sock);
/* For a socket that closes: one more attempt, and what is left is dropped. */
void net_send_last(struct net *n, struct net_sock *sock);
/* Closes the descriptor of a closed socket that the kernel no longer works on. */
void net_sock_release(struct net_sock *sock);
/* Counts a train the kernel took, or one it refused and then took in pieces. */
void net_gso_taken(struct net_sock *sock);
void net_gso_refused(struct net *n, struct net_sock *sock);

static inline bool net_is_train(const struct net_tx *tx)
{
    return tx->datagrams > 1;
}

/* Must this one go out datagram by datagram? */
static inline bool net_must_split(const struct net_sock *sock, const struct net_tx *tx)
{
    return net_is_train(tx) && (!sock->pub.gso || tx->gso_refused);
}

static inline bool net_is_gso_error(int err)
{
    return err == EIO || err == EINVAL || err == EMSGSIZE;
}

/* send.c: what is queued on one socket, by sendmmsg, as far as it goes. */
MUST_CHECK int net_send_init(struct net *n);
void net_send_fini(struct net *n);
void net_send(struct net *n, struct net_sock *sock);

/* message.c */
union net_control {
    struct cmsghdr align;
    uint8_t bytes[NET_CONTROL_BYTES];
};

/* Source address and segment size of `tx` (`train`: with UDP_SEGMENT); returns the length, 0
 * when none is needed. */
size_t net_control_build(union net_control *c, const struct net_sock *sock, const struct net_tx *tx,
                         bool train);
/* Fills a message for `tx` whole; the iovecs are the tx's own. */
void net_message_build(struct msghdr *m, union net_control *c, const struct net_sock *sock,
                       struct net_tx *tx);
/* Takes packet info and drop counter from the control messages of `m` into `rx` and counters. */
void net_control_parse(struct net *n, struct net_sock *sock, struct msghdr *m, struct net_rx *rx);

/* errqueue.c: reads the socket's error queue empty, within a limit, and reports. */
void net_errors_drain(struct net *n, struct net_sock *sock);

/* sock.c */
MUST_CHECK int net_sock_prepare(const struct net_config *config, int fd, int family);
/* The kernel knows UDP_SEGMENT on this socket. */
bool net_sock_has_gso(int fd);

#endif
