/*
 * How long to wait for an answer: the estimator of RFC 6298 in integer nanoseconds
 * (RFC 1123 section 4.2.3.2: an adaptive timeout, with at least exponential backoff).
 * The caller gives samples only of packets that were sent once (Karn), so a doubled interval
 * stays doubled until a round trip has really been measured, or what was known to be lost has been
 * answered.
 */
#ifndef PROTO_RTO_H
#define PROTO_RTO_H

#include <stdbool.h>

#include "base/clock.h"

struct tftp_rto {
    nsec srtt;         /* smoothed round trip; 0 before the first sample */
    nsec rttvar;       /* its mean deviation */
    nsec least;        /* none was shorter so far; NSEC_NEVER before the first sample */
    nsec interval;     /* the timeout now, doublings included */
    nsec min, max;     /* bounds of interval */
    uint32_t least_of; /* packets that had gone out at once when it was measured */
    bool rough;        /* the mean is of the opening only, when the peer may have had other work */
};

/* Before any sample the interval is `first`. */
void tftp_rto_init(struct tftp_rto *r, nsec first, nsec min, nsec max);

/* A timeout of `limit` was agreed on (RFC 2349): no interval is longer. Samples are kept. */
void tftp_rto_cap(struct tftp_rto *r, nsec limit);

/* A timeout of `first` was agreed on and is to be kept to the letter: the interval is `first`,
 * then its doublings; samples no longer change it. */
void tftp_rto_fix(struct tftp_rto *r, nsec first);

/* A packet sent once, the last of so many that went out at one instant, was answered after `rtt`.
 * Ends a backoff. */
void tftp_rto_sample(struct tftp_rto *r, nsec rtt, uint32_t packets);

/* Likewise, of the opening: the first shorter sample takes its place. */
void tftp_rto_sample_opening(struct tftp_rto *r, nsec rtt);

/* A packet sent once was answered within `upper`, but the answer may have waited for something
 * else: a sample only if that is less than the mean, which is too long then, or if there is no mean
 * yet, and then as one of the opening; what there is of a backoff ends. */
void tftp_rto_settle(struct tftp_rto *r, nsec upper, uint32_t packets);

/* A packet was answered `upper` after it went out again. Nothing is learned from that, but what
 * there is of a backoff ends. */
void tftp_rto_end_back_off(struct tftp_rto *r, nsec upper);

/* A timeout expired: doubles the interval, up to its maximum (RFC 6298 section 5.5). */
void tftp_rto_back_off(struct tftp_rto *r);

/* A cautious estimate of one round trip; 0 while nothing has been measured. */
nsec tftp_rto_round_trip(const struct tftp_rto *r);

/* No answer to the last of so many packets comes sooner, as far as we know; likewise. */
nsec tftp_rto_shortest(const struct tftp_rto *r, uint32_t packets);

#endif
