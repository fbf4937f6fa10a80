/*
 * What the server under test uses, seen from outside: processor time, memory and context
 * switches of a process with all its threads and children, or of a control group.
 */
#ifndef BENCH_USAGE_H
#define BENCH_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/util.h"

struct bench_usage {
    bool known;
    nsec cpu;          /* since the process or group began */
    uint64_t memory;   /* resident now, bytes, of all processes */
    uint64_t switches; /* voluntary and other; of the processes alive; 0 for a group */
    unsigned processes, threads;
};

/*
 * What is watched: a process with its descendants, or a control group. With both, the group
 * tells the processor time (it also knows of children that nobody waited for), the process the
 * rest.
 */
struct bench_watch {
    int pid;            /* 0: none */
    const char *cgroup; /* a folder below /sys/fs/cgroup, or its whole path; NULL: none */
    uint64_t memory_peak;
    uint64_t memory_high; /* the process's own mark at the last close look */
};

/* Looks once; also raises memory_peak. `closely`: context switches too, which takes a file for
 * each thread, and what the process itself reached since the last close look. -ESRCH or -ENOENT
 * when it is not there. */
MUST_CHECK int bench_usage_read(struct bench_watch *w, bool closely, struct bench_usage *ret);

#endif
