#include "proto/rto.h"

#include <assert.h>

#include "base/util.h"

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

void tftp_rto_sample(struct tftp_rto *r, nsec rtt)
{
    rtt = MAX(rtt, 1);
    r->least = nsec_min(r->least, rtt);
    if (r->srtt == 0) { /* RFC 6298 section 2.2 */
        r->srtt = rtt;
        r->rttvar = rtt / 2;
    } else { /* RFC 6298 section 2.3: beta 1/4, alpha 1/8 */
        nsec delta = r->srtt > rtt ? r->srtt - rtt : rtt - r->srtt;

        r->rttvar = r->rttvar - r->rttvar / 4 + delta / 4;
        r->srtt = r->srtt - r->srtt / 8 + rtt / 8;
    }
    r->interval = bounded(r, r->srtt + 4 * r->rttvar);
}

void tftp_rto_settle(struct tftp_rto *r, nsec upper)
{
    if (r->srtt == 0)
        return;
    r->least = nsec_min(r->least, MAX(upper, 1));
    if (upper < r->srtt)
        tftp_rto_sample(r, upper);
    else
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

nsec tftp_rto_shortest(const struct tftp_rto *r)
{
    /* The mean is of whole windows, which take their time to arrive. */
    return nsec_min(r->least / 2, r->srtt - MIN(2 * r->rttvar, r->srtt / 2));
}
