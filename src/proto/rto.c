#include "proto/rto.h"

#include <assert.h>

#include "base/util.h"

/* Of 1,500 bytes at 100 Mbit/s. */
#define PACKET_TIME (120 * NSEC_PER_USEC)

static nsec bounded(const struct tftp_rto *r, nsec interval)
{
    return MIN(MAX(interval, r->min), r->max);
}

void tftp_rto_init(struct tftp_rto *r, nsec first, nsec min, nsec max)
{
    assert(min > 0 && max >= min);
    *r = (struct tftp_rto){.least = NSEC_NEVER, .min = min, .max = max};
    r->interval = MIN(MAX(first, 1), max);
}

void tftp_rto_cap(struct tftp_rto *r, nsec limit)
{
    assert(limit > 0);
    r->max = MIN(r->max, limit);
    r->min = MIN(r->min, r->max);
    r->interval = MIN(r->interval, r->max);
}

void tftp_rto_fix(struct tftp_rto *r, nsec first)
{
    assert(first > 0);
    r->max = MAX(r->max, first);
    r->min = first;
    r->interval = first;
}

static void note_least(struct tftp_rto *r, nsec rtt, uint32_t packets)
{
    if (rtt >= r->least)
        return;
    r->least = rtt;
    r->least_of = packets;
}

void tftp_rto_sample(struct tftp_rto *r, nsec rtt, uint32_t packets)
{
    rtt = MAX(rtt, 1);
    note_least(r, rtt, packets);
    if (r->srtt == 0 || (r->rough && rtt < r->srtt)) { /* RFC 6298 section 2.2 */
        r->srtt = rtt;
        r->rttvar = rtt / 2;
    } else { /* RFC 6298 section 2.3: beta 1/4, alpha 1/8 */
        nsec delta = r->srtt > rtt ? r->srtt - rtt : rtt - r->srtt;

        r->rttvar = r->rttvar - r->rttvar / 4 + delta / 4;
        r->srtt = r->srtt - r->srtt / 8 + rtt / 8;
    }
    r->rough = false;
    r->interval = bounded(r, r->srtt + 4 * r->rttvar);
}

void tftp_rto_sample_opening(struct tftp_rto *r, nsec rtt)
{
    tftp_rto_sample(r, rtt, 1);
    r->rough = true;
}

void tftp_rto_settle(struct tftp_rto *r, nsec upper, uint32_t packets)
{
    bool first = r->srtt == 0;

    note_least(r, MAX(upper, 1), packets);
    if (first || upper < r->srtt)
        tftp_rto_sample(r, upper, packets);
    else
        tftp_rto_end_back_off(r, upper);
    r->rough |= first;
}

void tftp_rto_end_back_off(struct tftp_rto *r, nsec upper)
{
    if (r->srtt != 0)
        r->interval = MIN(r->interval, MAX(bounded(r, r->srtt + 4 * r->rttvar), upper));
}

void tftp_rto_back_off(struct tftp_rto *r)
{
    r->interval = bounded(r, nsec_add(r->interval, r->interval));
}

nsec tftp_rto_round_trip(const struct tftp_rto *r)
{
    return r->srtt + r->rttvar;
}

nsec tftp_rto_shortest(const struct tftp_rto *r, uint32_t packets)
{
    nsec least = r->least;

    /* Part of it was the time of the packets before, if not all: a packet of 1,500 bytes takes
     * that long on a line of 100 Mbit/s. */
    if (packets < r->least_of) {
        nsec others = (r->least_of - packets) * PACKET_TIME;

        least = MAX(least * packets / r->least_of, least - MIN(least, others));
    }
    /* The mean is of whole windows, which take their time to arrive. */
    return nsec_min(least / 2, r->srtt - MIN(2 * r->rttvar, r->srtt / 2));
}
