/*
 * A bad network around the generator: what goes out and what comes in is lost, doubled, delayed
 * or overtaken, by chance from one seed. Nothing of the kernel is needed for it.
 */
#ifndef BENCH_IMPAIR_H
#define BENCH_IMPAIR_H

#include "bench/client.h"

#define BENCH_REPEAT_LAST (200 * NSEC_PER_MSEC) /* when repeated requests come to an end */

struct bench_impair;

/* NULL when out of memory. */
struct bench_impair *bench_impair_new(struct bench_env *env);
void bench_impair_free(struct bench_impair *i);

/* True when the plan asks for any of it. */
bool bench_impair_wanted(const struct bench_plan *plan);

/* A packet of this client on its way to its peer; it waits for `extra` besides. */
void bench_impair_send(struct bench_impair *i, struct bench_client *c, struct view packet,
                       nsec extra, nsec now);
/* A packet that came in for this client. It may end the transfer. */
void bench_impair_receive(struct bench_impair *i, struct bench_client *c,
                          const union addr_sock *from, struct view packet, nsec now);

/* How long a packet that this client sends now can be on its way out. A client keeps its endpoint
 * that long; what is still on its way when it begins another transfer is dropped. */
nsec bench_impair_linger(const struct bench_impair *i, const struct bench_client *c);

/* When bench_impair_fire() has something to do, as wheel_next(). */
nsec bench_impair_next(const struct bench_impair *i);
/* Lets delayed packets go. */
void bench_impair_fire(struct bench_impair *i, nsec now);

#endif
