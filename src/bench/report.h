/*
 * Results for people and for machines, from the same numbers.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdio.h>

#include "bench/plan.h"
#include "bench/result.h"
#include "bench/usage.h"

struct bench_report {
    const struct bench_plan *plan;
    const struct bench_result *result;
    nsec elapsed;                     /* from the first request to the end of the last transfer */
    nsec own_cpu;                     /* of the generator, while it ran */
    struct bench_usage before, after; /* of the server; .known false: nobody asked */
    uint64_t server_memory_peak;
    bool stopped; /* by a signal */
};

void bench_report_text(const struct bench_report *r, FILE *out);
void bench_report_json(const struct bench_report *r, FILE *out);

#endif
