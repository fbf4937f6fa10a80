/*
 * Runs worlds, or loops of single faults.
 *
 *   sim [--seed N] [--count N] [--seconds N] [--verbose]
 *   sim --faults [--seed N] [--count N]
 *
 * Without --seed the seeds begin at one drawn from the kernel, and it is printed.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "loop/loop.h"
#include "obs/log.h"
#include "sim.h"

struct arguments {
    uint64_t seed, count, seconds;
    bool seeded, verbose, faults;
};

static int parse(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},    {"count", required_argument, NULL, 'n'},
        {"seconds", required_argument, NULL, 't'}, {"verbose", no_argument, NULL, 'v'},
        {"faults", no_argument, NULL, 'f'},        {0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        switch (option) {
        case 's':
            a->seed = strtoull(optarg, NULL, 10);
            a->seeded = true;
            break;
        case 'n':
            a->count = strtoull(optarg, NULL, 10);
            break;
        case 't':
            a->seconds = strtoull(optarg, NULL, 10);
            break;
        case 'v':
            a->verbose = true;
            break;
        case 'f':
            a->faults = true;
            break;
        default:
            return -1;
        }
    }
    return optind == argc ? 0 : -1;
}

/* Fails the 1st, 2nd ... file operation and allocation, alone and with all that follow. */
static void fault_loops(const struct arguments *a)
{
    uint64_t runs = 0;

    for (uint64_t seed = a->seed; seed < a->seed + a->count; seed++) {
        for (int kind = 0; kind < 4; kind++) {
            uint64_t made = 1;

            for (uint64_t nth = 1; nth <= made; nth++, runs++)
                made = sim_run_failing(seed, kind & 1, nth, kind & 2, a->verbose);
        }
    }
    printf("%llu runs with a fault each, seeds %llu to %llu\n", (unsigned long long)runs,
           (unsigned long long)a->seed, (unsigned long long)(a->seed + a->count - 1));
}

static void worlds(const struct arguments *a)
{
    struct sim_totals t = {0};
    nsec start = loop_clock(), end = start + a->seconds * NSEC_PER_SEC;
    uint64_t seed = a->seed;

    for (; a->seconds ? loop_clock() < end : t.worlds < a->count; seed++)
        sim_run(seed, a->verbose, &t);
    printf("seeds %llu to %llu: %llu transfers (%llu complete) in %llu worlds, %llu packets, "
           "%.0f s simulated in %.1f s\n",
           (unsigned long long)a->seed, (unsigned long long)(seed - 1),
           (unsigned long long)t.transfers, (unsigned long long)t.succeeded,
           (unsigned long long)t.worlds, (unsigned long long)t.packets, (double)t.simulated / 1e9,
           (double)(loop_clock() - start) / 1e9);
}

int main(int argc, char **argv)
{
    struct arguments a = {.count = 1};

    if (parse(argc, argv, &a) < 0) {
        fprintf(stderr, "usage: sim [--faults] [--seed N] [--count N] [--seconds N] [--verbose]\n");
        return 64;
    }
    if (!a.seeded && getrandom(&a.seed, 4, 0) == 4)
        printf("first seed %llu\n", (unsigned long long)a.seed);
    fflush(stdout);
    log_init(1, a.verbose ? LOG_DEBUG : LOG_ERROR, LOG_TEXT, 1000000);
    if (a.faults)
        fault_loops(&a);
    else
        worlds(&a);
    return 0;
}
