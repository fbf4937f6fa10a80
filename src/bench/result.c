#include "bench/result.h"

#include <stddef.h>

#include "base/util.h"

#define COUNTERS (offsetof(struct bench_result, first_start) / sizeof(uint64_t))

void bench_result_peek(struct bench_result *into, const struct bench_result *from)
{
    uint64_t *sum = (uint64_t *)into;
    const uint64_t *part = (const uint64_t *)from;

    for (size_t i = 0; i < COUNTERS; i++)
        sum[i] += __atomic_load_n(&part[i], __ATOMIC_RELAXED);
}

void bench_result_merge(struct bench_result *into, const struct bench_result *from)
{
    bench_result_peek(into, from);
    if (from->started > 0 && (into->first_start == 0 || from->first_start < into->first_start))
        into->first_start = from->first_start;
    into->last_end = MAX(into->last_end, from->last_end);
    hist_merge(&into->first_byte, &from->first_byte);
    hist_merge(&into->transfer, &from->transfer);
}

uint64_t bench_result_failures(const struct bench_result *r)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < BENCH_FAILURES; i++)
        sum += r->failed[i];
    return sum;
}

const char *bench_failure_name(enum bench_failure f)
{
    static const char *const names[] = {
        [BENCH_FAIL_TIMEOUT] = "timeout",         [BENCH_FAIL_REFUSED] = "refused",
        [BENCH_FAIL_UNREACHABLE] = "unreachable", [BENCH_FAIL_CONTENT] = "content",
        [BENCH_FAIL_PROTOCOL] = "protocol",       [BENCH_FAIL_LOCAL] = "local",
    };

    return (size_t)f < ARRAY_LEN(names) ? names[f] : "?";
}
