/*
 * What the two halves of a session, sender and receiver, share with it: how patient and how
 * polite we are, what is counted, and one bundle of pointers to hand these over.
 */
#ifndef PROTO_FLOW_H
#define PROTO_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "proto/negotiate.h"
#include "proto/rto.h"

/* Timing and manners; plain numbers from the configuration. */
struct tftp_manners {
    nsec rto_first;   /* before any round trip was measured; 200 ms */
    nsec rto_min;     /* 100 ms */
    nsec rto_max;     /* ceiling of the doubling; 10 s */
    nsec patience;    /* give up when nothing valid came for this long; 60 s */
    nsec dally;       /* how long DALLYING lasts at least */
    nsec resend_hold; /* an ACK never sends again what went out this recently (nor within a round
                         trip); 20 ms */
    bool
        timeout_exact; /* a negotiated timeout is the first retransmission time; else its ceiling */
    uint8_t
        unproven_retries; /* DATA retransmissions to a peer that has not proved itself; 0 or 1 */
    uint8_t
        final_ack_tries; /* the last DATA is repeated this often; then the transfer counts as OK */
};

extern const struct tftp_manners tftp_manners_default;

/* Counted for the log line and the metrics. */
struct tftp_counts {
    uint64_t bytes_acked;    /* payload bytes acknowledged (sending) or stored (receiving) */
    uint64_t blocks_sent;    /* DATA packets that went out, repeated ones too */
    uint64_t blocks_resent;  /* of these, sent before */
    uint64_t resent_timeout; /* restarts by the timer */
    uint64_t resent_gap;     /* restarts by a gap report */
    uint64_t control_resent; /* OACK, ACK, request sent again */
    uint64_t duplicates;     /* ACKs or DATA that told nothing new */
    uint64_t ignored;        /* packets that made no sense in this state */
};

/* Pointers into one session, made for the length of a call. */
struct tftp_flow {
    const struct tftp_params *params;
    const struct tftp_manners *manners;
    struct tftp_rto *rto;
    struct tftp_counts *counts;
};

#endif
