/*
 * A transfer of the server: from the admitted request to its line in the log.
 */
#ifndef SERVER_TRANSFER_H
#define SERVER_TRANSFER_H

#include "net/net.h"
#include "server/ports.h"
#include "server/worker.h"
#include "xfer/xfer.h"

struct transfer {
    struct xfer x;
    struct worker *worker;
    struct port port; /* owner of a private socket */
    struct net_socket *listener;
    struct list unproven; /* in worker->unproven until the peer has answered */
    struct list stored;   /* in worker->stored when only a repeat of its last DATA is waited for */
    nsec started;
    nsec proven_at; /* when the peer answered first */
    nsec stored_at; /* when it came into that list */
    uint64_t request_hash;
    bool writing;
    bool opening; /* the file or sink is being opened; no session yet */
    bool private_socket;
    bool logged;      /* its line is written: an upload that dallies */
    bool asked_twice; /* its request came again, or the peer had time to send it again */
    uint32_t charge;  /* bytes taken from the peer's gate_unproven() */
    enum tftp_mode mode;
    uint16_t request_len;
    const char *path; /* in `bytes`, after the request */
    char bytes[];     /* the request datagram, then the path */
};

/*
 * Starts serving an admitted request: opens the file or the upload. `path` is relative to the
 * root. Answers and ends by itself. -ENOMEM: nothing was started. `charge` was taken by
 * gate_unproven(), and a place by gate_enter(): the transfer's own from then on.
 */
MUST_CHECK int transfer_start(struct worker *w, const struct net_rx *rx,
                              const struct tftp_request *request, const char *path,
                              uint64_t size_hint, uint32_t charge);

/* The running transfer of this peer, or NULL. */
struct transfer *transfer_find(struct worker *w, const struct addr *peer);

/* A late copy of a request that has been served: not to be answered. */
bool transfer_is_late_copy(const struct worker *w, const struct net_rx *rx);

/* The datagram is the request this transfer began with. */
bool transfer_is_request(const struct transfer *t, struct view datagram);

/* A request from a peer that has a transfer. True: it is the same one, and dealt with. False: the
 * old transfer has been ended; the request is a new one. */
bool transfer_repeated(struct transfer *t, const struct net_rx *rx);

/* The text for a refusal with this code; err (positive) tells more about code 0. */
const char *transfer_error_text(enum tftp_error code, int err);

/* Ends it at once: an ERROR to the peer, the log line, freed. */
void transfer_abort(struct transfer *t, const char *text);

/* A datagram of the peer to the transfer's socket. May end the transfer. */
void transfer_on_packet(struct transfer *t, struct view datagram);

/* Makes room when all places are taken: ends the oldest transfer whose peer has not answered yet,
 * which a forged request never does, else the oldest upload that is stored and only dallies. Never
 * the newcomer itself (or NULL). False when there is none that has had the time: to answer, or for
 * its final ACK to arrive. */
bool transfer_evict(struct worker *w, const struct transfer *newcomer);

/* Ends it without a word to the peer. */
void transfer_drop(struct transfer *t);

/* env->ended of all transfers. */
void transfer_ended(struct xfer *x, nsec now);

#endif
