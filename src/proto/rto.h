/*
 * How long to wait for an answer: the estimator of RFC 6298 in integer nanoseconds
 * (RFC 1123 section 4.2.3.2: an adaptive timeout, with at least exponential backoff).
 * The caller gives samples only of packets that were sent once (Karn), so a doubled interval
 * stays doubled until a round trip has really been measured.
 */
#ifndef PROTO_RTO_H
#define PROTO_RTO_H

#include "base/clock.h"

struct tftp_rto {
    nsec srtt;     /* smoothed round trip; 0 before the first sample */
    nsec rttvar;   /* its mean deviation */
    nsec least;    /* none was shorter so far; NSEC_NEVER before the first sample */
    nsec interval; /* the timeout now, doublings included */
    nsec min, max; /* bounds of interval */
};

/* Before any sample the interval is `first`. */
void tftp_rto_init(struct tftp_rto *r, nsec first, nsec min, nsec max);

/* A timeout of `limit` was agreed on (RFC 2349): no interval is longer. Samples are kept. */
void tftp_rto_cap(struct tftp_rto *r, nsec limit);

/* A timeout of `first` was agreed on and is to be kept to the letter: the interval is `first`,
 * then its doublings; samples no longer change it. */
void tftp_rto_fix(struct tftp_rto *r, nsec first);

/* A packet sent once was answered after `rtt`. Ends a backoff. */
void tftp_rto_sample(struct tftp_rto *r, nsec rtt);

/* A packet sent once was answered within `upper`, but the answer may have waited for something
 * else: a sample only if that is less than the mean, which is too long then; what there is of a
 * backoff ends. */
void tftp_rto_settle(struct tftp_rto *r, nsec upper);

/* A timeout expired: doubles the interval, up to its maximum (RFC 6298 section 5.5). */
void tftp_rto_back_off(struct tftp_rto *r);

/* A cautious estimate of one round trip; 0 while nothing has been measured. */
nsec tftp_rto_round_trip(const struct tftp_rto *r);

/* No answer comes sooner, as far as we know; likewise. */
nsec tftp_rto_shortest(const struct tftp_rto *r);

#endif
