/*
 * The small languages of the command line: numbers, client classes, address ranges, chances.
 */
#ifndef BENCH_SPEC_H
#define BENCH_SPEC_H

#include <stddef.h>

#include "base/util.h"
#include "bench/plan.h"

/* The command line while it is read. */
struct bench_parse {
    struct bench_plan *plan;
    char *error; /* one sentence, when something is wrong */
    size_t error_size;
    struct {
        uint64_t clients, count, threads, ports, rcvbuf_packets, server_pid, seed;
        uint64_t blksize, windowsize, timeout_s; /* 0: not given */
    } n;
    struct {
        nsec duration, ramp, think, grace, retry, patience, late_ack;
    } times;
    int tsize; /* -1: not given */
    enum tftp_mode mode;
    const char *clients[BENCH_CLASSES_MAX];
    unsigned client_count;
    const char *local, *put_name, *json_path, *server_cgroup;
    bool put, in_turn, no_verify, no_gro, spin, quiet;
};

/* Writes the sentence; returns -EINVAL. */
int bench_spec_complain(struct bench_parse *p, const char *format, ...) PRINTF_LIKE(2, 3);

/* Digits only, within the bounds; else -EINVAL. */
MUST_CHECK int bench_spec_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret);
/* A decimal number and then one of the characters of `after` or the end; within the bounds. */
MUST_CHECK int bench_spec_real(const char *text, const char *after, double min, double max,
                               double *ret);

/* "A", "A-B" */
MUST_CHECK int bench_spec_source(struct bench_parse *p, const char *text);
/* "2", "2%", "in=1,out=3"; `field` is an offset in struct bench_impairment. */
MUST_CHECK int bench_spec_chance(struct bench_parse *p, const char *name, const char *text,
                                 size_t field);
/* "20", "20~5", "in=20~5,out=1": milliseconds */
MUST_CHECK int bench_spec_delay(struct bench_parse *p, const char *text);
/* "vanish", "vanish:10" */
MUST_CHECK int bench_spec_misbehave(struct bench_parse *p, const char *text);
/* All --client options, with the defaults of the other options; plain clients without any. */
MUST_CHECK int bench_spec_classes(struct bench_parse *p);

#endif
