/*
 * Counters of one worker, declared once in obs/metrics.def. The worker adds without locks; a
 * reader in another thread sums relaxed loads.
 */
#ifndef OBS_METRIC_H
#define OBS_METRIC_H

#include <stdint.h>
#include <stdio.h>

enum metric {
#define METRIC(id, name, type, help) METRIC_##id,
#include "obs/metrics.def"
#undef METRIC
    METRICS
};

struct metrics {
    uint64_t v[METRICS];
};

static inline void metric_add(struct metrics *m, enum metric id, uint64_t n)
{
    __atomic_store_n(&m->v[id], m->v[id] + n, __ATOMIC_RELAXED);
}

static inline void metric_inc(struct metrics *m, enum metric id)
{
    metric_add(m, id, 1);
}

static inline void metric_set(struct metrics *m, enum metric id, uint64_t value)
{
    __atomic_store_n(&m->v[id], value, __ATOMIC_RELAXED);
}

/* into += from */
void metrics_sum(struct metrics *into, const struct metrics *from);
const char *metric_name(enum metric id);
/* Prometheus text format, names prefixed ringtftp_. */
void metrics_prometheus(const struct metrics *m, FILE *out);
void metrics_json(const struct metrics *m, FILE *out);

#endif
