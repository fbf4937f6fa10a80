/*
 * What a run counts. One per thread, written by it alone; the main thread looks at the plain
 * counters while it runs (see bench_result_peek()) and adds all up at the end.
 */
#ifndef BENCH_RESULT_H
#define BENCH_RESULT_H

#include <stdint.h>

#include "base/clock.h"
#include "base/hist.h"

/* How a transfer failed. */
enum bench_failure {
    BENCH_FAIL_TIMEOUT,     /* the server fell silent */
    BENCH_FAIL_REFUSED,     /* it sent an ERROR; by code in `errors` */
    BENCH_FAIL_UNREACHABLE, /* its port or host is closed */
    BENCH_FAIL_CONTENT,     /* a byte is wrong, or the length */
    BENCH_FAIL_PROTOCOL,    /* it broke a rule, so we sent an ERROR */
    BENCH_FAIL_LOCAL,       /* our own socket or memory */
    BENCH_FAILURES
};

#define BENCH_ERROR_CODES 10 /* 0-8 as sent, 9: all others */

struct bench_result {
    uint64_t started, succeeded;
    uint64_t failed[BENCH_FAILURES];
    uint64_t errors[BENCH_ERROR_CODES]; /* ERROR packets that ended a transfer */
    uint64_t misbehaved;                /* transfers of misbehaving clients, however they went */
    uint64_t unfinished;                /* still running when the time was up */
    uint64_t late;                      /* open loop: arrivals that found every client busy */
    uint64_t bytes;                     /* payload of the transfers that succeeded */
    uint64_t payload;                   /* payload taken or acknowledged in all */
    uint64_t packets_in, packets_out;
    uint64_t bytes_in, bytes_out; /* UDP payload */
    uint64_t resent_timeout;      /* DATA sent again (blocks), after a time-out or a gap report */
    uint64_t resent_gap;
    uint64_t blocks_resent;
    uint64_t requests_resent;
    uint64_t acks_resent, acks_resent_timer; /* in all; because nothing came */
    uint64_t duplicates;                     /* packets that told nothing new */
    uint64_t strays;                         /* for no running transfer, or from the wrong port */
    uint64_t impaired_lost, impaired_doubled, impaired_reordered;
    uint64_t rcvbuf_lost;  /* beyond --rcvbuf-packets */
    uint64_t kernel_drops; /* our own receive buffers were full */
    uint64_t send_errors;
    uint64_t wakeups, receive_calls, send_calls;
    nsec first_start, last_end;
    struct hist first_byte; /* from the intended start to the first DATA, or the grant to write */
    struct hist transfer;   /* to the last ACK */
};

/* The counters up to the histograms, as far as they have come; not all of one instant. */
void bench_result_peek(struct bench_result *into, const struct bench_result *from);
void bench_result_merge(struct bench_result *into, const struct bench_result *from);
uint64_t bench_result_failures(const struct bench_result *r);

/* "timeout", "refused" ... */
const char *bench_failure_name(enum bench_failure f);

#endif
