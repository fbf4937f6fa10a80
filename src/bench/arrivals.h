/*
 * The open loop: when transfers are due, whether or not the server keeps up. One generator per
 * thread; each thread has its share of the rate.
 */
#ifndef BENCH_ARRIVALS_H
#define BENCH_ARRIVALS_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/prng.h"

struct bench_arrivals {
    double rate;  /* a second, in full */
    bool poisson; /* gaps at random with this mean, else all alike */
    nsec start, ramp;
    nsec next; /* the arrival that is due next */
    struct prng prng;
};

void bench_arrivals_init(struct bench_arrivals *a, double rate, bool poisson, nsec start, nsec ramp,
                         uint64_t seed);
/* The arrival at a->next has been dealt with. */
void bench_arrivals_advance(struct bench_arrivals *a);

#endif
