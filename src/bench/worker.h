/*
 * One thread of the generator: its clients, their sockets and timers, and the rule by which
 * transfers begin.
 */
#ifndef BENCH_WORKER_H
#define BENCH_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "bench/arrivals.h"
#include "bench/client.h"

/* What the threads of a run share. */
struct bench_run {
    struct bench_plan *plan;
    nsec start;             /* of the load; later than the threads' own start */
    _Atomic uint64_t taken; /* transfers begun, of plan->count */
    atomic_bool stop;       /* begin none, and end at once */
    atomic_uint working;    /* threads */
    int done_fd;            /* eventfd: a thread has ended */
};

struct bench_worker {
    struct bench_env env;
    struct bench_run *run;
    struct bench_plan plan; /* the run's, with this thread's share of the source addresses */
    struct bench_client *clients;
    struct list idle, starting;
    struct bench_arrivals arrivals;
    struct bench_result result;
    unsigned index, client_count, active;
    bool exhausted; /* the last ticket is taken */
    nsec end;       /* none begins after this; NSEC_NEVER */
    pthread_t thread;
    bool running;
};

/* Makes the sockets and clients of thread `index`; a sentence in error[size]. */
MUST_CHECK int bench_worker_init(struct bench_worker *w, struct bench_run *run, unsigned index,
                                 char *error, size_t size);
/* The run's start is known: sets the thread's dates. */
void bench_worker_begin(struct bench_worker *w);
MUST_CHECK int bench_worker_start(struct bench_worker *w);
/* Waits for the thread's end. */
void bench_worker_join(struct bench_worker *w);
void bench_worker_fini(struct bench_worker *w);

#endif
