/*
 * The io_uring engine's state, shared by its three files: net_uring.c (life cycle), uring_recv.c
 * (buffers and multishot receives), uring_send.c. Private to this folder.
 */
#ifndef NET_URING_IMPL_H
#define NET_URING_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "loop/ring.h"
#include "loop/uring_compat.h"
#include "net/net_impl.h"

/* One per slot of the tx pool, at the same index. */
struct uring_tx {
    struct ring_op op;
    struct net *net;
    struct net_tx *tx;
    struct msghdr msg;
    union net_control control;
};

/* A filled buffer that nobody looked at yet. */
struct uring_filled {
    struct net_sock *sock;
    int res;
    uint16_t buffer;
    unsigned after; /* of a socket marked `last`: the end of `filled` when it was seen first */
};

/* First in, first out; room for all buffers there are. */
struct uring_fifo {
    struct uring_filled *entries;
    unsigned head, tail;
};

struct uring_sock {
    struct net_sock *sock;
    struct ring_op recv;
    bool armed;             /* the multishot receive is with the kernel */
    bool cancelled;         /* and has been told to end */
    bool orphaned;          /* left with a broken ring; `sock` is no longer valid */
    struct list rearm_link; /* in rearm, starved or cancel */
    struct list error_link; /* in errors */
    struct list again;      /* net_tx that failed on the ring: go before the txq */
    bool direct; /* so, until all of it is out, nothing of this socket goes by the ring */
};

struct uring {
    struct net *net;
    struct ring *ring;

    struct io_uring_buf_ring *buffers;
    size_t buffers_bytes;
    uint16_t group;
    uint8_t *slots;
    size_t slots_bytes, slot_bytes;
    unsigned slot_count; /* power of two */
    unsigned held;       /* buffers that are not in the ring: filled or in the batch */
    struct msghdr layout;

    struct uring_fifo filled, filled_last; /* of sockets marked `last` */
    unsigned last_seen;                    /* end of those in filled_last whose `after` is set */
    unsigned last_mark;                    /* end of filled_last at the time `last_marked` */
    nsec last_marked, last_read;
    uint16_t batch[NET_BATCH]; /* buffers of the batch in the caller's hands */
    unsigned batch_count;

    struct list rearm;   /* receives to be submitted */
    struct list starved; /* ended for want of buffers: once one is returned */
    struct list cancel;  /* closed sockets whose receive is to be cancelled */
    struct list errors;  /* sockets with ICMP errors to be read */

    struct uring_tx *tx;
    unsigned sending; /* with the kernel */
};

/* uring_recv.c */
MUST_CHECK int uring_recv_init(struct uring *u);
/* `orphans`: the kernel may still write into the buffers, which are left to it. */
void uring_recv_fini(struct uring *u, bool orphans);
void uring_recv_complete(struct ring_op *op, int res, uint32_t flags);
/* Submits receives and cancellations that are due, as far as the ring has room. */
void uring_recv_arm(struct uring *u);
/* Filled buffers wait for net_recv(). */
bool uring_has_filled(const struct uring *u);
/* Takes the next filled buffer; false when there is none. */
bool uring_next_filled(struct uring *u, struct uring_filled *ret);
nsec uring_last_read(struct net *n, nsec now);
unsigned uring_recv(struct net *n, struct net_rx *rx, unsigned max);
void uring_recv_done(struct net *n);

/* uring_send.c */
MUST_CHECK int uring_send_init(struct uring *u);
void uring_send_fini(struct uring *u);
void uring_send_writable(struct loop_watch *w, uint32_t events);
/* What is queued on a socket that closes, past the ring. */
void uring_send_last(struct net *n, struct net_sock *sock);
/* What is to be tried again, before what was queued later. */
void uring_merge_again(struct net_sock *sock);
void uring_flush(struct net *n);

/*
 * net_uring.c: once the ring is broken and its sends are accounted for, the mmsg engine takes
 * the sockets over; false until then, and when there is no need.
 */
bool uring_hand_over(struct net *n);
/* One kernel operation or filled buffer less names the socket. */
void uring_drop_busy(struct net_sock *sock);

#endif
