/*
 * ringtftp-bench: the load generator. Command line to plan; everything else is bench/.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "bench/bench.h"
#include "bench/options.h"
#include "config.h"

int main(int argc, char **argv)
{
    struct bench_plan *plan = malloc(sizeof(*plan));
    char error[512] = "out of memory";
    int code = EX_USAGE;

    if (!plan) {
        fprintf(stderr, "ringtftp-bench: %s\n", error);
        return EX_OSERR;
    }
    int err = bench_options_parse(plan, argc, argv, error, sizeof(error));
    if (err == 0) {
        code = bench_run(plan);
    } else if (err == BENCH_OPTIONS_HELP) {
        bench_options_help(stdout);
        code = EX_OK;
    } else if (err == BENCH_OPTIONS_VERSION) {
        printf("ringtftp-bench %s\n", RINGTFTP_VERSION);
        code = EX_OK;
    } else {
        fprintf(stderr, "ringtftp-bench: %s\n", error);
        if (err != -EINVAL)
            code = err == -EHOSTUNREACH ? EX_NOHOST : err == -ENOMEM ? EX_OSERR : EX_NOINPUT;
    }
    bench_plan_fini(plan);
    free(plan);
    return code;
}
