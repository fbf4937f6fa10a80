/*
 * One TFTP transfer as one side of it sees it: bytes and the time go in, bytes and a deadline
 * come out. No socket, clock, file, allocation or log in here; used unchanged by the server,
 * the client, the load generator, the simulator and the fuzzers.
 *
 * The owner's duties:
 *   - give every datagram from the right peer and TID to tftp_session_on_packet();
 *   - when the time reaches tftp_session_deadline(), call tftp_session_on_timer();
 *   - after every call, take output: while tftp_session_next() gives something, send it (or as
 *     much of a DATA run as there are bytes at hand for) and say so with tftp_session_sent().
 *     What is not said to be sent is offered again; no timer runs for it, so a slow disk costs
 *     no retransmission and no patience;
 *   - when state is DONE or FAILED (and next() gives nothing more), destroy it. DONE can last:
 *     see dallying. Nothing has to be freed.
 * `now` never goes backwards.
 *
 * The sender names DATA by block and offset; the owner supplies the bytes. A receiver hands
 * out payloads; the owner says when they are stored, and only then they are acknowledged.
 */
#ifndef PROTO_SESSION_H
#define PROTO_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "proto/flow.h"
#include "proto/negotiate.h"
#include "proto/packet.h"
#include "proto/receiver.h"
#include "proto/rto.h"
#include "proto/sender.h"

enum tftp_session_state {
    TFTP_STATE_REQUESTING, /* client: request sent, no answer yet */
    TFTP_STATE_OPENING,    /* server: first answer (OACK, ACK 0, DATA 1) sent, peer unproven */
    TFTP_STATE_SENDING,    /* DATA goes out, ACKs come in */
    TFTP_STATE_RECEIVING,  /* DATA comes in, ACKs go out */
    TFTP_STATE_PUBLISHING, /* the last DATA has come; final ACK waits for tftp_session_published()
                            */
    TFTP_STATE_DALLYING,   /* final ACK sent; answers repeated last DATA (RFC 1350 section 6) */
    TFTP_STATE_DONE,
    TFTP_STATE_FAILED,
    TFTP_STATES
};

/* How a transfer ended; the words of the log. */
enum tftp_outcome {
    TFTP_OUTCOME_NONE, /* still running */
    TFTP_OUTCOME_OK,
    TFTP_OUTCOME_PROBE,   /* the peer asked for options (tsize), then said ERROR: no failure */
    TFTP_OUTCOME_CLOSED,  /* the peer ended early with ERROR 0 ("closed", "Early terminate") */
    TFTP_OUTCOME_ABORTED, /* the peer ended it with another ERROR; see peer_error */
    TFTP_OUTCOME_TIMEOUT,
    TFTP_OUTCOME_ERROR, /* our side ended it: see error */
    TFTP_OUTCOMES
};

/* What is to be sent next. */
enum tftp_out_kind { TFTP_OUT_NOTHING, TFTP_OUT_CONTROL, TFTP_OUT_DATA };

struct tftp_out {
    enum tftp_out_kind kind;
    struct view
        control; /* CONTROL: a whole packet; bytes live in the session until the next call */
    /* DATA: `count` blocks from index `block` on, all of blksize bytes but perhaps the last;
     * payload is bytes [offset, offset + bytes) of the transfer. */
    uint64_t block;
    uint64_t offset;
    uint32_t count;
    uint64_t bytes;
};

/* What came in. `data.n` may be 0 with `last` set: an empty last block. */
struct tftp_in {
    bool accepted;    /* a DATA block in order: store it */
    bool last;        /* it was the last one */
    bool flush;       /* an ACK is due: write what is buffered and call tftp_session_stored(); also
                         without `accepted`, when a gap or a repetition wants an early ACK */
    struct view data; /* its payload, inside the datagram */
    uint64_t offset;
};

struct tftp_session {
    enum tftp_session_state state;
    enum tftp_outcome outcome;
    bool server;        /* we answer; else we asked */
    bool sending;       /* DATA flows from us */
    bool proven;        /* a valid packet has come from the peer to our TID */
    bool control_ready; /* `control` waits to be sent */
    bool oack_used;
    bool tsize_asked;
    uint8_t repeats;        /* times the current control packet went out */
    uint16_t peer_error;    /* code of the peer's ERROR, when ABORTED, CLOSED or PROBE */
    enum tftp_error error;  /* code of ours, when ERROR */
    const char *error_text; /* text of ours; static storage */
    uint32_t budget;        /* bytes that may still go to the unproven peer */
    uint32_t first_reply_bytes;
    uint8_t first_replies; /* first replies sent while unproven */
    nsec started;          /* of the session */
    nsec last_heard;       /* last valid packet of the peer */
    nsec deadline;         /* of the control phases; sender and receiver keep their own */
    nsec control_at;       /* when the current control packet went out last */
    struct tftp_params params;
    struct tftp_manners manners;
    struct tftp_rto rto;
    struct tftp_counts counts;
    union {
        struct tftp_sender sender;
        struct tftp_receiver receiver;
    };
    uint16_t control_len;
    uint8_t control[TFTP_REQUEST_MAX + 24]; /* OACK, ACK, ERROR or request last built */
};

/*
 * Server, RRQ: negotiates and readies OACK or DATA 1. `size`: exact bytes that will be sent,
 * or TFTP_SIZE_UNKNOWN (netascii), then tftp_session_set_size() once it is known.
 * Server, WRQ: readies OACK or ACK 0.
 * `request_len` is the length of the request datagram: it pays for the replies to an unproven
 * peer (at most max(3 x request_len, one first reply)).
 * The request is not referenced after the call. Errors as tftp_negotiate(): the session is then
 * FAILED with an ERROR ready to be sent, and the error is also returned.
 */
int tftp_session_serve(struct tftp_session *s, const struct tftp_request *request,
                       size_t request_len, const struct tftp_limits *limits,
                       const struct tftp_manners *manners, uint64_t size, nsec now);

/*
 * Client: readies the request. For a WRQ `size` is as above. `request` is copied as bytes.
 * -EMSGSIZE when it does not fit a request packet.
 */
MUST_CHECK int tftp_session_request(struct tftp_session *s, const struct tftp_request *request,
                                    const struct tftp_limits *limits,
                                    const struct tftp_manners *manners, uint64_t size, nsec now);

/* A datagram from the peer's TID to ours. */
void tftp_session_on_packet(struct tftp_session *s, struct view datagram, nsec now,
                            struct tftp_in *ret);

/* Server: the same request came again (RFC 1350: the peer did not get the answer). The last
 * packet goes out again if the peer is unproven and within its budget; else nothing. */
void tftp_session_on_repeat(struct tftp_session *s, size_t request_len, nsec now);

/* Bytes that a request of so many may draw before the peer has proved its address, when a first
 * reply has so many. */
size_t tftp_session_allowance(size_t request_len, size_t first_reply);

/* The network said that the peer's port or host is unreachable: CLOSED, but OK when only the
 * ACK of the last block was missing (the client had gone) or while dallying. */
void tftp_session_on_unreachable(struct tftp_session *s, nsec now);

/* True: write what is buffered, as for tftp_in.flush. */
bool tftp_session_on_timer(struct tftp_session *s, nsec now);
/* NSEC_NEVER when only the peer or the owner can move it. */
nsec tftp_session_deadline(const struct tftp_session *s);

/* Looks at the next output without taking it; false when there is none. */
bool tftp_session_next(struct tftp_session *s, nsec now, struct tftp_out *ret);
/* CONTROL: it went out (blocks is ignored). DATA: the first `blocks` of the offered run did. */
void tftp_session_sent(struct tftp_session *s, uint32_t blocks, nsec now);

/* Sending, size unknown so far: the transfer has exactly `size` bytes. */
void tftp_session_set_size(struct tftp_session *s, uint64_t size);
/* Receiving: all payload before `offset` is stored; ACKs may cover it. */
void tftp_session_stored(struct tftp_session *s, uint64_t offset, nsec now);
/* Receiving: the file is complete under its name and on disk; the final ACK may go. */
void tftp_session_published(struct tftp_session *s, nsec now);

/* Our side gives up: one ERROR goes out (also to an unproven peer), then the state is FAILED.
 * `text` is static, without any name or path. Nothing happens if it has already ended. */
void tftp_session_fail(struct tftp_session *s, enum tftp_error code, const char *text, nsec now);

static inline bool tftp_session_ended(const struct tftp_session *s)
{
    return s->state == TFTP_STATE_DONE || s->state == TFTP_STATE_FAILED;
}

const char *tftp_state_name(enum tftp_session_state state);
const char *tftp_outcome_name(enum tftp_outcome outcome);

#endif
