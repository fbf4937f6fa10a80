/*
 * A whole run: threads, the live line, the server's usage, the report.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "bench/plan.h"

/*
 * Does what the plan says and prints the summary to standard output, or the reason why it could
 * not be done to standard error. Returns a code of sysexits.h: EX_OK when every transfer
 * succeeded, EX_TEMPFAIL when one failed or did not end.
 */
int bench_run(struct bench_plan *plan);

#endif
