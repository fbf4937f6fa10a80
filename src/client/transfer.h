/*
 * One file on its way: from opening the local side, over one or more attempts to agree with the
 * server, to the result. An attempt is a session on a socket of its own; when the server cannot
 * live with our options the next attempt asks for less.
 */
#ifndef CLIENT_TRANSFER_H
#define CLIENT_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/sha256.h"
#include "client/plan.h"
#include "net/net.h"
#include "proto/netascii.h"
#include "xfer/xfer.h"

struct client;

enum client_phase {
    CLIENT_OPENING,  /* the local file is being opened; nothing has been sent */
    CLIENT_RUNNING,  /* a session */
    CLIENT_FINISHED, /* its end has been noticed, client_transfer_conclude() decides */
    CLIENT_LINGERING /* done; repeats the final ACK if the server asks (RFC 1350 section 6) */
};

/* What an attempt asks the server for. */
struct client_wish {
    bool options;
    unsigned blksize; /* 0: choose */
    unsigned windowsize;
    nsec rto_first;
    unsigned tries; /* requests to be sent at most */
};

struct client_transfer {
    struct xfer x;
    struct client *client;
    struct client_item *item;
    struct list link; /* client.running, ended or lingering */
    enum client_phase phase;
    struct client_wish wish;
    unsigned address; /* of the host's */
    struct net_socket *socket;
    struct addr service; /* where requests go */
    bool pinned;         /* the server's TID is known */
    bool opened;         /* the local side is open */
    unsigned stalls;     /* windows that ended only by our timer, from the start on */
    unsigned strangers;  /* ERROR 5 packets sent */
    uint64_t size;       /* of the local file to be sent */

    /* Why it ended, as far as the session does not know. */
    bool failed;                  /* by us: status and message are in the result already */
    bool peer_spoke;              /* an ERROR came */
    char peer_text[160];          /* its text, fit to be printed */
    int local_error;              /* -errno of the local file */
    int send_error;               /* errno of the network */
    enum client_status fall_back; /* the attempt was given up for a humbler one */

    /* Payload on its way to the local side (payload.c). */
    bool flush_due;
    struct netascii_decoder decoder;
    uint8_t *scratch; /* netascii: a decoded block */
    uint8_t *stream;  /* output that is no regular file: what is not written yet */
    size_t stream_used;
    struct sha256 sha;

    /* Of the progress display. */
    uint64_t shown_bytes;
    nsec shown_at;
    double rate;
};

/* Starts on an item. -ENOMEM: nothing was started. */
MUST_CHECK int client_transfer_new(struct client *c, struct client_item *item);

/* A datagram on the transfer's socket, from whomever. */
void client_transfer_packet(struct client_transfer *t, const struct net_rx *rx);
void client_transfer_timer(struct client_transfer *t);
/* ICMP, or the kernel's refusal to send. */
void client_transfer_unreachable(struct client_transfer *t, const struct addr *peer, int err);
/* env->ended of all transfers. */
void client_transfer_ended(struct xfer *x, nsec now);

/* Gives up for a reason of ours: the peer gets an ERROR, the result is settled. `text` goes to
 * the server and is static. */
void client_transfer_fail(struct client_transfer *t, enum client_status status,
                          enum tftp_error code, const char *text, const char *fmt, ...)
    PRINTF_LIKE(5, 6);

/* Called between two turns for each transfer that ended: tries again, or settles the result.
 * True: it is over and will be freed, or lingers. */
bool client_transfer_conclude(struct client_transfer *t);
void client_transfer_free(struct client_transfer *t);

/* Bytes that have arrived, or were acknowledged; and how many there will be (or
 * TFTP_SIZE_UNKNOWN). */
uint64_t client_transfer_bytes(const struct client_transfer *t);
uint64_t client_transfer_total(const struct client_transfer *t);
/* Packets of either side that had to go out again, as far as we know. */
uint64_t client_counts_resent(const struct tftp_counts *counts, bool sending);

/* ---- verdict.c ---- */

/* Status and message of a session that has failed. */
void client_verdict(struct client_transfer *t);

/* ---- payload.c ---- */

extern const struct xfer_data_ops client_receive;
extern const struct xfer_data_ops client_send_octet;
extern const struct xfer_data_ops client_send_ascii;

/* Buffers for the agreed block size and the kind of output. -ENOMEM. */
MUST_CHECK int client_payload_init(struct client_transfer *t);
void client_payload_fini(struct client_transfer *t);
/* The sink has moved. */
void client_payload_step(struct client_transfer *t);

#endif
