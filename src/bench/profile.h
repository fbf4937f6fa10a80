/*
 * How known clients behave: what they ask for, how long they wait, what they answer to blocks
 * that are not the next one. Seen on the wire and read in their sources; the table is the
 * documentation.
 */
#ifndef BENCH_PROFILE_H
#define BENCH_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

/* What a client does with a block that is not the one it expects. */
enum bench_reaction {
    BENCH_BY_RULE, /* as proto/receiver.h */
    BENCH_IGNORES, /* nothing */
    BENCH_REPEATS, /* acknowledges the last block in order, every time */
    BENCH_ECHOES,  /* acknowledges that very block, by its own number */
};

struct bench_profile {
    const char *name;
    const char *options; /* "name=value ..." in the order of the request */
    const char *second;  /* the first request is a probe, ended by ERROR 8; then this is asked */
    bool slash;          /* puts a slash before the name */
    bool needs_oack;     /* takes no DATA without an OACK */
    enum bench_reaction on_old, on_gap;
    const uint16_t *request_waits_ms; /* before each repetition, 0: gives up; NULL: by rule */
    const uint16_t *ack_waits_ms;
    bool repeats_acks; /* when a wait is over; else it only waits */
};

/* NULL when there is none of this name. */
const struct bench_profile *bench_profile_find(const char *name);
/* The profiles in the order of the help text; NULL after the last. */
const struct bench_profile *bench_profile_at(unsigned i);

#endif
