/*
 * One live transfer: a protocol session bound to a peer on a socket, to the worker's clock and
 * to bytes. Used alike by the server, the client and the load generator, which differ in who
 * admits it, where the bytes come from (struct xfer_data_ops) and what happens when it ends.
 *
 * Everything runs on the worker's thread. The transfer's memory is its owner's; the kernel may
 * still be sending its last packets when it is freed, so packets in flight hold references to
 * chunks and to the environment, never to the transfer.
 */
#ifndef XFER_XFER_H
#define XFER_XFER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/list.h"
#include "base/map.h"
#include "base/wheel.h"
#include "net/net.h"
#include "proto/session.h"
#include "store/store.h"

struct xfer;

/* What transfers need of their worker. Outlives every transfer and every packet in flight. */
struct xfer_env {
    struct net *net;
    struct wheel *wheel;
    struct store *store;
    struct list starved; /* transfers that found no free net_tx; see xfer_env_resume() */
    /* The session has ended and said all it had to say. The callee may free the transfer. */
    void (*ended)(struct xfer *x, nsec now);
    /* May be NULL. A packet, or `blocks` of the offered run of DATA, has been queued. */
    void (*sent)(struct xfer *x, const struct tftp_out *out, uint32_t blocks);
    /* The kernel refused to send to this peer (EMSGSIZE, EHOSTUNREACH ...): find the transfer and
     * call xfer_on_send_error(). */
    void (*send_failed)(struct xfer_env *env, struct net_socket *socket, const struct addr *peer,
                        int err);
    void *owner;
};

void xfer_env_init(struct xfer_env *env);
/* Lets the transfers go on that had to wait for a net_tx. Once per loop pass. */
void xfer_env_resume(struct xfer_env *env, nsec now);

/* Where the payload comes from, or goes to. */
struct xfer_data_ops {
    /*
     * Sending: as store_read(): slices from `offset` on, with references; what is missing will
     * be announced by xfer_kick(). May call tftp_session_set_size() and then returns -EAGAIN:
     * the output has to be asked for again.
     */
    int (*read)(struct xfer *x, uint64_t offset, uint64_t bytes, struct store_slice *slices,
                unsigned max);
    /* Receiving: there is room for this many bytes now. Without, the datagram counts as lost. */
    bool (*room)(struct xfer *x, size_t bytes);
    void (*accept)(struct xfer *x, struct view data);
    /* An ACK is due: write what was accepted, then tftp_session_stored() and xfer_kick(). */
    void (*flush)(struct xfer *x);
    /* All has come: publish, then tftp_session_published() and xfer_kick(). */
    void (*publish)(struct xfer *x);
    /* Ends all waiting; no callback comes after it. */
    void (*close)(struct xfer *x);
};

struct xfer {
    struct tftp_session session;
    struct xfer_env *env;
    struct timer timer;
    nsec stalled_since;   /* nothing but the disk can move it; 0: it is not so */
    struct map_node node; /* in the owner's table, by peer */
    struct list link;     /* in env->starved */
    struct net_socket *socket;
    struct addr peer;
    struct addr local; /* the address the peer asked: answers leave from it */
    union addr_sock peer_sock;
    socklen_t peer_sock_len;
    bool check_tsize; /* receiving: an announced size must be met */
    bool gso;         /* packets fit the path, so trains may be used */
    const struct xfer_data_ops *data;
    union {
        struct store_reader reader;
        struct store_sink sink;
    };
    struct xfer_ascii *ascii; /* netascii conversion; NULL in octet mode */
    uint64_t accepted;        /* receiving: wire bytes handed to the sink */
    uint64_t flush_accepted;  /* of these, covered by the flush in flight */
    uint64_t flush_received;  /* the same in bytes of the sink */
};

/* Sets the peer, socket and environment; the session is the caller's to start. */
void xfer_init(struct xfer *x, struct xfer_env *env, const struct addr *peer,
               const struct addr *local);
/* Also prepares the peer's address for the socket's family. */
void xfer_set_socket(struct xfer *x, struct net_socket *socket);
/* Ends waiting and timer. The caller frees the memory and takes it out of its table. */
void xfer_fini(struct xfer *x);

/* A datagram from the peer on the transfer's socket. May end the transfer (env->ended). */
void xfer_on_packet(struct xfer *x, struct view datagram, nsec now);
void xfer_on_unreachable(struct xfer *x, nsec now);
void xfer_on_send_error(struct xfer *x, int err, nsec now);
/* The timer of this transfer fired. */
void xfer_on_timer(struct xfer *x, nsec now);
/* Something it waited for may be there: sends what can be sent. May end the transfer. */
void xfer_kick(struct xfer *x, nsec now);
/* Ends it from our side with an ERROR to the peer. May end the transfer at once. */
void xfer_fail(struct xfer *x, enum tftp_error code, const char *text, nsec now);

/* One control packet outside any transfer (an ERROR to a stranger). Lost when no net_tx is free. */
void xfer_send_control(struct xfer_env *env, struct net_socket *socket, const struct addr *peer,
                       const struct addr *local, const void *packet, size_t len);

/* ---- Payload from and to the store (data_file.c, data_ascii.c) ---- */

/* Sending an open store reader (x->reader, result 0) in octet mode. */
extern const struct xfer_data_ops xfer_send_octet;
/* In netascii; call xfer_ascii_init() first. */
extern const struct xfer_data_ops xfer_send_ascii;
/* Receiving into an open store sink (x->sink). */
extern const struct xfer_data_ops xfer_receive_octet;
extern const struct xfer_data_ops xfer_receive_ascii;

/* The conversion state for a session that has been started (needs blksize and windowsize). -ENOMEM.
 */
MUST_CHECK int xfer_ascii_init(struct xfer *x);
/* Gives one reference back; the transfer holds one, each packet in flight another. */
void xfer_ascii_release(struct xfer_ascii *a);

/* The sink has moved (its changed() was called) after it was opened: tells the session what is
 * stored, published or failed. May end the transfer. */
void xfer_sink_step(struct xfer *x, nsec now);

#endif
