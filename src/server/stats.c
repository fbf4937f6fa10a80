/*
 * The numbers of one worker as a line of the log (SIGUSR1, and at the end).
 */
#include "obs/log.h"
#include "server/worker.h"

static void hist_fields(struct log_event *e, const char *p50, const char *p99, const char *p999,
                        const char *max, const struct hist *h)
{
    log_u64(e, p50, hist_quantile(h, 0.5) / NSEC_PER_USEC);
    log_u64(e, p99, hist_quantile(h, 0.99) / NSEC_PER_USEC);
    log_u64(e, p999, hist_quantile(h, 0.999) / NSEC_PER_USEC);
    log_u64(e, max, h->max / NSEC_PER_USEC);
}

static void loop_fields(struct log_event *e, const struct worker *w)
{
    const struct loop_stats *l = loop_stats(w->loop);

    log_u64(e, "loop_turns", w->turns.count);
    log_u64(e, "loop_waits", l->waits);
    log_u64(e, "spins_won", l->spins_won);
    log_u64(e, "spins_lost", l->spins_lost);
    hist_fields(e, "turn_us_p50", "turn_us_p99", "turn_us_p999", "turn_us_max", &w->turns);
}

static void net_fields(struct log_event *e, const struct worker *w)
{
    const struct net_stats *n = net_stats(w->net);

    log_str(e, "engine", net_name(w->net));
    log_u64(e, "rx_datagrams", n->rx_datagrams);
    log_u64(e, "rx_drops", n->rx_drops);
    log_u64(e, "tx_datagrams", n->tx_datagrams);
    log_u64(e, "tx_errors", n->tx_errors);
    log_u64(e, "tx_retries", n->tx_retries);
    log_u64(e, "gso_trains", n->gso_trains);
    log_u64(e, "gso_withdrawn", n->gso_withdrawn);
    log_u64(e, "rearmed", n->rearmed);
    log_u64(e, "no_buffers", n->no_buffers);
    log_u64(e, "icmp_errors", n->icmp_errors);
}

static void file_fields(struct log_event *e, const struct worker *w)
{
    const struct file_stats *f = file_io_stats(w->files);

    log_str(e, "files", file_io_name(w->files));
    log_u64(e, "reads_threads", f->ops[FILE_BACKEND_THREADS][FILE_READ]);
    log_u64(e, "reads_io_uring", f->ops[FILE_BACKEND_URING][FILE_READ]);
    log_u64(e, "op_fallbacks", f->op_fallbacks);
    log_u64(e, "ring_failures", f->ring_failures);
    hist_fields(e, "read_threads_us_p50", "read_threads_us_p99", "read_threads_us_p999",
                "read_threads_us_max", file_io_read_latency(w->files, FILE_BACKEND_THREADS));
    hist_fields(e, "read_io_uring_us_p50", "read_io_uring_us_p99", "read_io_uring_us_p999",
                "read_io_uring_us_max", file_io_read_latency(w->files, FILE_BACKEND_URING));
}

static void store_fields(struct log_event *e, const struct worker *w)
{
    const struct store_stats *s = store_stats(w->store);

    log_u64(e, "bytes_read", s->bytes_read);
    log_u64(e, "chunk_hits", s->chunk_hits);
    log_u64(e, "chunk_misses", s->chunk_misses);
    log_u64(e, "chunk_waits", s->chunk_waits);
    log_u64(e, "chunks_used", s->chunks_used);
    log_u64(e, "chunks_total", s->chunks_total);
    log_u64(e, "files_open", s->files_open);
    log_u64(e, "out_of_buffers", s->out_of_buffers);
}

void worker_log_stats(struct worker *w)
{
    struct log_event e;

    if (w->index == 0)
        metric_set(&w->metrics, METRIC_LOG_DROPPED, log_dropped());
    log_begin(&e, LOG_NOTICE, "stats");
    log_u64(&e, "worker", w->index);
    for (unsigned i = 0; i < METRICS; i++)
        log_u64(&e, metric_name((enum metric)i), w->metrics.v[i]);
    log_end(&e);
    log_begin(&e, LOG_NOTICE, "engines");
    log_u64(&e, "worker", w->index);
    loop_fields(&e, w);
    net_fields(&e, w);
    file_fields(&e, w);
    store_fields(&e, w);
    log_end(&e);
}
