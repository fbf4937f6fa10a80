#include "bench/arrivals.h"

#include <math.h>

static double rate_at(const struct bench_arrivals *a, nsec when)
{
    double since = (double)(when - a->start), ramp = (double)a->ramp;

    if (a->ramp == 0 || since >= ramp)
        return a->rate;
    /* The first one comes when the rising rate has added up to one arrival. */
    double least = sqrt(a->rate / (2 * ramp / (double)NSEC_PER_SEC));
    return fmin(a->rate, fmax(a->rate * since / ramp, least));
}

void bench_arrivals_init(struct bench_arrivals *a, double rate, bool poisson, nsec start, nsec ramp,
                         uint64_t seed)
{
    *a = (struct bench_arrivals){
        .rate = rate, .poisson = poisson, .start = start, .ramp = ramp, .next = start};
    prng_seed(&a->prng, seed);
    bench_arrivals_advance(a);
}

void bench_arrivals_advance(struct bench_arrivals *a)
{
    double gap = 1.0;

    if (a->poisson) /* (0, 1]: 53 random bits */
        gap = -log(((double)(prng_next(&a->prng) >> 11) + 1) * 0x1p-53);
    a->next += (nsec)(gap / rate_at(a, a->next) * (double)NSEC_PER_SEC);
}
