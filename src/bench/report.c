#include "bench/report.h"

#include "base/util.h"

static double seconds(nsec t)
{
    return (double)t / (double)NSEC_PER_SEC;
}

static double per_second(const struct bench_report *r, uint64_t n)
{
    return r->elapsed > 0 ? (double)n / seconds(r->elapsed) : 0;
}

static uint64_t packets(const struct bench_result *r)
{
    return r->packets_in + r->packets_out;
}

static nsec server_cpu(const struct bench_report *r)
{
    return r->after.known && r->after.cpu > r->before.cpu ? r->after.cpu - r->before.cpu : 0;
}

static const struct {
    const char *name;
    double q;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};

static void text_hist(const char *name, const struct hist *h, FILE *out)
{
    if (h->count == 0)
        return;
    fprintf(out, "%-18s", name);
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++)
        fprintf(out, " %s %.3f", quantiles[i].name,
                (double)MIN(hist_quantile(h, quantiles[i].q), h->max) / 1e6);
    fprintf(out, " max %.3f ms\n", (double)h->max / 1e6);
}

static void text_failures(const struct bench_report *r, FILE *out)
{
    const struct bench_result *x = r->result;
    const char *before = ": ";
    bool sent = false;

    fprintf(out, "failures           %llu", (unsigned long long)bench_result_failures(x));
    for (unsigned i = 0; i < BENCH_FAILURES; i++) {
        if (x->failed[i] == 0)
            continue;
        fprintf(out, "%s%s %llu", before, bench_failure_name(i), (unsigned long long)x->failed[i]);
        before = ", ";
    }
    for (unsigned i = 0; i < BENCH_ERROR_CODES; i++) {
        if (x->errors[i] == 0)
            continue;
        fprintf(out, "%s%llu by ERROR %u%s", sent ? ", " : " (", (unsigned long long)x->errors[i],
                i, i == BENCH_ERROR_CODES - 1 ? " and up" : "");
        sent = true;
    }
    fputs(sent ? ")\n" : "\n", out);
}

static void text_server(const struct bench_report *r, FILE *out)
{
    nsec cpu = server_cpu(r);

    if (!r->after.known)
        return;
    fprintf(out,
            "server             %.3f s of CPU (%.0f %%), %.2f us a packet, %.3f s/GB; peak memory "
            "%.1f MB, %llu context switches\n",
            seconds(cpu), 100 * per_second(r, cpu) / (double)NSEC_PER_SEC,
            packets(r->result) ? (double)cpu / 1e3 / (double)packets(r->result) : 0,
            r->result->payload ? (double)cpu / (double)r->result->payload : 0,
            (double)r->server_memory_peak / 1e6,
            (unsigned long long)(r->after.switches > r->before.switches
                                     ? r->after.switches - r->before.switches
                                     : 0));
}

void bench_report_text(const struct bench_report *r, FILE *out)
{
    const struct bench_result *x = r->result;

    fprintf(out, "transfers          %llu started, %llu complete, %llu unfinished in %.3f s%s\n",
            (unsigned long long)x->started, (unsigned long long)x->succeeded,
            (unsigned long long)x->unfinished, seconds(r->elapsed), r->stopped ? " (stopped)" : "");
    if (x->misbehaved > 0)
        fprintf(out, "misbehaving        %llu transfers\n", (unsigned long long)x->misbehaved);
    if (r->plan->rate > 0)
        fprintf(out, "late starts        %llu (more than 1 ms after they were due)\n",
                (unsigned long long)x->late);
    fprintf(out,
            "throughput         %.2f MB/s, %.1f transfers/s, %.0f packets/s (in %llu, out %llu)\n",
            per_second(r, x->payload) / 1e6, per_second(r, x->succeeded), per_second(r, packets(x)),
            (unsigned long long)x->packets_in, (unsigned long long)x->packets_out);
    text_failures(r, out);
    fprintf(out,
            "sent again         requests %llu, acks %llu (timer %llu, blocks out of order %llu), "
            "blocks %llu (timer %llu, gap %llu)\n",
            (unsigned long long)x->requests_resent, (unsigned long long)x->acks_resent,
            (unsigned long long)x->acks_resent_timer,
            (unsigned long long)(x->acks_resent - x->acks_resent_timer),
            (unsigned long long)x->blocks_resent, (unsigned long long)x->resent_timeout,
            (unsigned long long)x->resent_gap);
    fprintf(out, "received in vain   duplicates %llu, strays %llu, own drops %llu\n",
            (unsigned long long)x->duplicates, (unsigned long long)x->strays,
            (unsigned long long)(x->kernel_drops + x->rcvbuf_lost));
    text_hist("first byte", &x->first_byte, out);
    text_hist("whole transfer", &x->transfer, out);
    fprintf(out, "generator          %.3f s of CPU (%.0f %%), %.2f us a packet\n",
            seconds(r->own_cpu), 100 * per_second(r, r->own_cpu) / (double)NSEC_PER_SEC,
            packets(x) ? (double)r->own_cpu / 1e3 / (double)packets(x) : 0);
    text_server(r, out);
}

static void json_number(FILE *out, const char *name, uint64_t n)
{
    fprintf(out, ", \"%s\": %llu", name, (unsigned long long)n);
}

static void json_real(FILE *out, const char *name, double x)
{
    fprintf(out, ", \"%s\": %.9g", name, x);
}

static void json_hist(FILE *out, const char *name, const struct hist *h)
{
    fprintf(out, ", \"%s\": {\"count\": %llu", name, (unsigned long long)h->count);
    json_real(out, "mean", h->count ? (double)h->sum / (double)h->count / 1e9 : 0);
    for (size_t i = 0; i < ARRAY_LEN(quantiles); i++)
        json_real(out, quantiles[i].name,
                  (double)MIN(hist_quantile(h, quantiles[i].q), h->max) / 1e9);
    json_real(out, "max", (double)h->max / 1e9);
    fputc('}', out);
}

static void json_failures(FILE *out, const struct bench_result *x)
{
    fputs(", \"failures\": {\"all\": ", out);
    fprintf(out, "%llu", (unsigned long long)bench_result_failures(x));
    for (unsigned i = 0; i < BENCH_FAILURES; i++)
        json_number(out, bench_failure_name(i), x->failed[i]);
    fputs("}, \"errors\": [", out);
    for (unsigned i = 0; i < BENCH_ERROR_CODES; i++)
        fprintf(out, "%s%llu", i ? ", " : "", (unsigned long long)x->errors[i]);
    fputc(']', out);
}

static void json_server(FILE *out, const struct bench_report *r)
{
    nsec cpu = server_cpu(r);

    fprintf(out, ", \"server\": {\"cpu_s\": %.9g", seconds(cpu));
    json_real(out, "us_per_packet",
              packets(r->result) ? (double)cpu / 1e3 / (double)packets(r->result) : 0);
    json_real(out, "s_per_gb", r->result->payload ? (double)cpu / (double)r->result->payload : 0);
    json_number(out, "memory_before", r->before.memory);
    json_number(out, "memory_peak", r->server_memory_peak);
    json_number(out, "context_switches",
                r->after.switches > r->before.switches ? r->after.switches - r->before.switches
                                                       : 0);
    fputc('}', out);
}

void bench_report_json(const struct bench_report *r, FILE *out)
{
    const struct bench_result *x = r->result;

    fprintf(out, "{\"clients\": %u, \"threads\": %u, \"seed\": %llu", r->plan->clients,
            r->plan->threads, (unsigned long long)r->plan->seed);
    json_real(out, "elapsed_s", seconds(r->elapsed));
    json_number(out, "started", x->started);
    json_number(out, "succeeded", x->succeeded);
    json_number(out, "unfinished", x->unfinished);
    json_number(out, "misbehaved", x->misbehaved);
    json_number(out, "late_starts", x->late);
    json_failures(out, x);
    json_number(out, "bytes", x->bytes);
    json_number(out, "payload_bytes", x->payload);
    json_real(out, "bytes_per_s", per_second(r, x->payload));
    json_real(out, "transfers_per_s", per_second(r, x->succeeded));
    json_real(out, "packets_per_s", per_second(r, packets(x)));
    json_number(out, "packets_in", x->packets_in);
    json_number(out, "packets_out", x->packets_out);
    json_number(out, "udp_bytes_in", x->bytes_in);
    json_number(out, "udp_bytes_out", x->bytes_out);
    json_number(out, "requests_resent", x->requests_resent);
    json_number(out, "acks_resent", x->acks_resent);
    json_number(out, "acks_resent_timer", x->acks_resent_timer);
    json_number(out, "blocks_resent", x->blocks_resent);
    json_number(out, "blocks_resent_timer", x->resent_timeout);
    json_number(out, "blocks_resent_gap", x->resent_gap);
    json_number(out, "duplicates", x->duplicates);
    json_number(out, "strays", x->strays);
    json_number(out, "kernel_drops", x->kernel_drops);
    json_number(out, "rcvbuf_drops", x->rcvbuf_lost);
    json_number(out, "impaired_lost", x->impaired_lost);
    json_number(out, "impaired_doubled", x->impaired_doubled);
    json_number(out, "impaired_reordered", x->impaired_reordered);
    json_number(out, "send_errors", x->send_errors);
    json_number(out, "wakeups", x->wakeups);
    json_number(out, "receive_calls", x->receive_calls);
    json_number(out, "send_calls", x->send_calls);
    json_hist(out, "first_byte_s", &x->first_byte);
    json_hist(out, "transfer_s", &x->transfer);
    fprintf(out, ", \"generator\": {\"cpu_s\": %.9g", seconds(r->own_cpu));
    json_real(out, "us_per_packet", packets(x) ? (double)r->own_cpu / 1e3 / (double)packets(x) : 0);
    fputc('}', out);
    if (r->after.known)
        json_server(out, r);
    fputs("}\n", out);
}
