/*
 * Summing and rendering of the counters.
 */
#include <assert.h>
#include <inttypes.h>

#include "obs/metric.h"

static const struct {
    const char *name, *type, *help;
} rows[METRICS] = {
#define METRIC(id, name, type, help) [METRIC_##id] = {name, type, help},
#include "obs/metrics.def"
#undef METRIC
};

static uint64_t load(const struct metrics *m, unsigned id)
{
    return __atomic_load_n(&m->v[id], __ATOMIC_RELAXED);
}

void metrics_sum(struct metrics *into, const struct metrics *from)
{
    for (unsigned id = 0; id < METRICS; id++)
        into->v[id] += load(from, id);
}

const char *metric_name(enum metric id)
{
    assert((unsigned)id < METRICS);
    return rows[id].name;
}

void metrics_prometheus(const struct metrics *m, FILE *out)
{
    for (unsigned id = 0; id < METRICS; id++) {
        const char *name = rows[id].name;
        fprintf(out, "# HELP ringtftp_%s %s\n", name, rows[id].help);
        fprintf(out, "# TYPE ringtftp_%s %s\n", name, rows[id].type);
        fprintf(out, "ringtftp_%s %" PRIu64 "\n", name, load(m, id));
    }
}

void metrics_json(const struct metrics *m, FILE *out)
{
    for (unsigned id = 0; id < METRICS; id++)
        fprintf(out, "%s\"%s\":%" PRIu64, id ? "," : "{", rows[id].name, load(m, id));
    fputs("}\n", out);
}
