/*
 * A bad network around the generator: what goes out and what comes in is lost, doubled, delayed
 * or overtaken, by chance from one seed. Nothing of the kernel is needed for it.
 */
#ifndef BENCH_IMPAIR_H
#define BENCH_IMPAIR_H

#include "bench/client.h"

struct bench_impair;

/* NULL when out of memory. */
struct bench_impair *bench_impair_new(struct bench_env *env);
void bench_impair_free(struct bench_impair *i);

/* True when the plan asks for any of it. */
bool bench_impair_wanted(const struct bench_plan *plan);

/* A packet on its way out; it waits for `extra` besides. */
void bench_impair_send(struct bench_impair *i, const struct bench_endpoint *e,
                       const union addr_sock *to, struct view packet, nsec extra, nsec now);
/* A packet that came in for the owner of `e`. */
void bench_impair_receive(struct bench_impair *i, const struct bench_endpoint *e,
                          const union addr_sock *from, struct view packet, nsec now);

/* When bench_impair_fire() has something to do, as wheel_next(). */
nsec bench_impair_next(const struct bench_impair *i);
/* Lets delayed packets go. */
void bench_impair_fire(struct bench_impair *i, nsec now);

#endif
