/*
 * The packet engine of one worker: UDP sockets, batches of datagrams in, batches out. Two
 * fillings: "mmsg" (recvmmsg, sendmmsg on epoll) and "io_uring" (multishot recvmsg into
 * provided buffers, sends on the worker's ring). Everything runs on the worker's thread.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/util.h"
#include "base/wire.h"
#include "loop/loop.h"

struct net;

#define NET_BATCH        64    /* datagrams per net_recv() call at most */
#define NET_GSO_SEGMENTS 64    /* segments per net_tx at most */
#define NET_GSO_BYTES    65507 /* UDP payload per net_tx at most */
#define NET_TX_IOV       (2 * NET_GSO_SEGMENTS + 8)
#define NET_TX_REFS      8

struct net_config {
    unsigned batch;        /* datagrams per system call; 1-NET_BATCH */
    unsigned rcvbuf_bytes; /* SO_RCVBUF asked for; 0: the system's default */
    unsigned sndbuf_bytes;
    bool gso;              /* UDP_SEGMENT where the kernel has it */
    int mtu_discover;      /* IP_PMTUDISC_*: the don't-fragment policy */
    unsigned rx_bytes_max; /* largest datagram that must arrive whole; longer ones come truncated */
    unsigned tx_slots;     /* net_tx structs in the pool */
    unsigned rx_slots;     /* io_uring engine: receive buffers; 0: a default by rx_bytes_max */
};

/* One bound socket. Owned by the engine from net_open() to net_close_socket(). */
struct net_socket {
    int fd;
    struct addr local; /* as bound; ip unspecified for a wildcard */
    bool gso;          /* cleared for good when the kernel refuses it on this socket */
    bool last;         /* set by the caller: read after what other sockets have */
    void *owner;       /* the caller's */
    uint32_t drops;    /* SO_RXQ_OVFL as last told */
    struct list link;  /* engine's */
    void *engine;      /* engine's */
};

/* A datagram that came in. Valid until the next net_recv() or net_recv_done(). */
struct net_rx {
    struct net_socket *socket;
    struct view data;
    bool truncated; /* it was longer than rx_bytes_max */
    struct addr peer;
    struct addr local; /* destination address from the packet info; port = the socket's; family 0 if
                          unknown */
    uint32_t ifindex;
    bool broadcast; /* sent to a broadcast or multicast address (RFC 1123 section 4.2.3.5) */
};

/*
 * A datagram, or with `segment` > 0 a train of datagrams of `segment` bytes each (the last may
 * be shorter), to one peer. Taken from the engine's pool, filled by the caller, handed back
 * with net_queue(). The bytes behind the iovecs, and what `refs` stands for, must stay as they
 * are until done() is called; `small` is room in the struct for headers and control packets.
 */
struct net_tx {
    _Alignas(64) struct net_socket *socket;
    union addr_sock peer;
    socklen_t peer_len;
    struct addr
        local;        /* source address to send from (family 0: the kernel chooses); port ignored */
    uint32_t ifindex; /* for link-local sources; else 0 */
    uint16_t segment; /* bytes per datagram of a train; 0: one datagram */
    uint16_t iov_count;
    uint16_t ref_count;
    /*
     * To be read in done(): the kernel refused the train as such and its datagrams went out one
     * by one; better no more trains to this peer.
     */
    bool gso_refused;
    /*
     * Called once, on the worker's thread, from net_flush(), net_recv(), net_close_socket() or
     * loop_wait(): the kernel has taken the bytes (res = datagrams sent) or refused them (res =
     * -errno, all or the rest of the train). The struct returns to the pool after the call.
     */
    void (*done)(struct net_tx *tx, int res);
    void *owner;

    struct list link; /* from here to `tries` the engine's */
    uint32_t bytes;
    uint16_t datagrams;
    uint16_t sent; /* datagrams of a train that are out already */
    int res;
    uint8_t tries;

    /* All above fits two cache lines; a lone datagram's headers and iovecs come next. */
    uint8_t small[NET_GSO_SEGMENTS * 4 + 544];
    struct iovec iov[NET_TX_IOV];
    void *refs[NET_TX_REFS]; /* the caller's, released in done() */
};

/*
 * An ICMP "unreachable" that answers one of our datagrams (IP_RECVERR): ECONNREFUSED,
 * EHOSTUNREACH, ENETUNREACH and their like. Also EMSGSIZE, found on the way or in this host:
 * datagrams to this peer are larger than the path takes whole; such a train was sent in pieces.
 * Called from net_recv(), net_flush() or loop_wait(). ICMP can be forged.
 */
typedef void net_unreachable_fn(void *arg, struct net_socket *socket, const struct addr *peer,
                                int err);

/* Calls are system calls; those that the ring makes for the io_uring engine are counted there. */
struct net_stats {
    uint64_t rx_datagrams, rx_bytes, rx_calls, rx_drops, rx_truncated;
    uint64_t tx_datagrams, tx_bytes, tx_calls, tx_errors, tx_retries;
    uint64_t gso_trains, gso_withdrawn;
    uint64_t rearmed, no_buffers; /* io_uring engine */
    uint64_t icmp_errors;
};

struct net_ops {
    const char *name; /* "mmsg" or "io_uring" */
    int (*init)(struct net *n);
    void (*fini)(struct net *n);
    int (*add)(struct net *n, struct net_socket *s);
    void (*remove)(struct net *n, struct net_socket *s);
    unsigned (*recv)(struct net *n, struct net_rx *rx, unsigned max);
    void (*flush)(struct net *n);
    void (*recv_done)(struct net *n); /* from here on they may be NULL */
    bool (*pending)(const struct net *n);
    nsec (*last_read)(struct net *n, nsec now);
    void (*wait_in)(struct net *n, struct net_socket *s);
    /*
     * A network without a kernel has this; else NULL. net_open() then makes no descriptor, and
     * the filling says which address the socket has, or -errno. net_adopt() is not possible.
     */
    int (*bind)(struct net *n, const struct addr *wanted, struct addr *ret_bound);
};

extern const struct net_ops net_mmsg_ops;
extern const struct net_ops net_uring_ops;

/*
 * NULL and errno. ENOSYS/EOPNOTSUPP from the io_uring engine: use mmsg instead. The loop must
 * outlive it. Each loop_wait() flushes first, and does not sleep while net_pending(). The loop
 * may be NULL for a filling that watches no descriptor.
 */
struct net *net_new(const struct net_ops *ops, struct loop *loop, const struct net_config *config);
void net_free(struct net *n);
/* Of the engine at work: one whose ring broke goes on as mmsg. */
const char *net_name(const struct net *n);
void net_on_unreachable(struct net *n, net_unreachable_fn *fn, void *arg);

/*
 * Opens and binds a socket: packet info, error queue, drop counter, buffers as configured.
 * Port 0: the kernel chooses; ret->local has the result. IPv6 sockets are v6-only.
 * `reuse_port`: several workers listen on one address. 0 or -errno; the socket is the engine's.
 */
MUST_CHECK int net_open(struct net *n, const struct addr *bind, bool reuse_port, void *owner,
                        struct net_socket **ret);
/*
 * Opens and binds a socket as net_open() does, before there is an engine: net_adopt() takes it
 * over. What arrives in between is received with its packet info. The descriptor or -errno.
 */
MUST_CHECK int net_sock_open(const struct net_config *config, const struct addr *bind_to,
                             bool reuse_port);
/* Lets other sockets of this user, which say the same before, be bound to its port from now on
 * (SO_REUSEPORT of socket(7)). 0 or -errno. */
MUST_CHECK int net_sock_share_port(int fd);
/* The configured buffers for a socket that somebody else has bound: with CAP_NET_ADMIN as asked,
 * else up to net.core.rmem_max and wmem_max. */
void net_sock_set_buffers(const struct net_config *config, int fd);
/* Takes over a bound UDP socket, whose buffers stay as they are. */
MUST_CHECK int net_adopt(struct net *n, int fd, void *owner, struct net_socket **ret);
/*
 * Queued datagrams of this socket are sent or dropped first (done() is called for each).
 * Datagrams of it already handed out by net_recv() stay valid until the batch is over. Safe
 * inside any callback. On the io_uring engine done() of what the kernel already holds follows
 * in loop_wait(), and only then the port is free; `s` lives as long.
 */
void net_close_socket(struct net *n, struct net_socket *s);

/*
 * Up to `max` (<= NET_BATCH) datagrams that are waiting; 0 when there is none, or when this
 * pass had its share (net_pending() tells). Never blocks. Reports ICMP errors first.
 */
unsigned net_recv(struct net *n, struct net_rx *rx, unsigned max);
/* The batch of the last net_recv() is no longer looked at. */
void net_recv_done(struct net *n);

/* An empty struct from the pool, or NULL when all are in flight: stop sending, and go on after
 * the next done(). */
struct net_tx *net_tx_get(struct net *n);
/* net_tx_get() would give one now. */
bool net_tx_free(const struct net *n);
/* Returns one that was not queued. */
void net_tx_put(struct net *n, struct net_tx *tx);
/*
 * Queues for the next flush. Order towards one peer on one socket is kept, but for datagrams
 * that the io_uring engine had with the kernel when an earlier one met a full send buffer or an
 * ICMP error about somebody else.
 */
void net_queue(struct net *n, struct net_tx *tx);
/* Hands all that is queued to the kernel. On the io_uring engine only submissions are made
 * here; the loop's next wait enters the kernel. */
void net_flush(struct net *n);

/*
 * Until the next call the loop waits for this socket alone, if the engine can do so with fewer
 * system calls: for a caller who has one conversation in lock-step and nothing else to wait for
 * (see loop_set_sole()). NULL, or a socket that is closed: for all again.
 */
void net_wait_in(struct net *n, struct net_socket *s);

/* True when datagrams are known to be waiting, in or out, so that the loop should not sleep. */
bool net_pending(const struct net *n);
/* To be asked after each turn, which began at `now`: all that had been found by the returned time
 * for sockets marked `last` has been handed out. */
nsec net_last_read(struct net *n, nsec now);
const struct net_stats *net_stats(const struct net *n);

/* The largest UDP payload towards `peer` that is not fragmented, by route and interface MTU;
 * 0 when unknown. One connect on a scratch socket; not for every packet. */
unsigned net_path_payload(const struct addr *peer, const struct addr *local);

/* Sockets to ask the kernel with which addresses this machine has; opened when they are needed. */
struct net_own {
    int fd4, fd6; /* or -1 */
};

void net_own_init(struct net_own *o);
void net_own_fini(struct net_own *o);
/*
 * Whether this machine has the address, whatever the port: one system call for IPv4, three for
 * IPv6, and nothing is remembered. Also true where there is no descriptor to ask with.
 */
bool net_own_has(struct net_own *o, const struct addr *host);

#endif
