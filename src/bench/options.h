/*
 * The command line of ringtftp-bench: a table of options, and the plan it results in.
 */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdio.h>

#include "bench/plan.h"

#define BENCH_OPTIONS_HELP    1
#define BENCH_OPTIONS_VERSION 2

/*
 * Fills the plan. 0, or BENCH_OPTIONS_HELP or _VERSION when that was asked for, or with one
 * sentence in error[size]: -EINVAL (usage), -ENOENT (a file or folder cannot be read; any errno
 * of open()), -EHOSTUNREACH (the host is not known). bench_plan_fini() in every case.
 */
MUST_CHECK int bench_options_parse(struct bench_plan *plan, int argc, char **argv, char *error,
                                   size_t size);
void bench_options_help(FILE *out);
void bench_plan_fini(struct bench_plan *plan);

#endif
