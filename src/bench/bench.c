#include "bench/bench.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "bench/report.h"
#include "bench/worker.h"
#include "loop/loop.h"

#define LOOK_MS     500 /* between two looks at the server's memory, and live lines */
#define START_DELAY (20 * NSEC_PER_MSEC)

struct state {
    struct bench_run run;
    struct bench_worker *workers;
    unsigned worker_count;
    struct bench_watch watch;
    struct bench_report report;
    int signal_fd;
    bool live;
    FILE *json; /* NULL: none, or written */
};

static int complain(int code, const char *text)
{
    fprintf(stderr, "ringtftp-bench: %s\n", text);
    return code;
}

static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static nsec own_cpu(void)
{
    struct timespec ts;

    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts) < 0)
        return 0;
    return (nsec)ts.tv_sec * NSEC_PER_SEC + (nsec)ts.tv_nsec;
}

static void live_line(const struct state *st, struct bench_result *last, nsec *last_at)
{
    struct bench_result sum;
    nsec now = loop_clock();
    double since = (double)(now - *last_at) / 1e9;
    unsigned long long active = 0;

    memset(&sum, 0, sizeof(sum));
    for (unsigned i = 0; i < st->worker_count; i++) {
        bench_result_peek(&sum, &st->workers[i].result);
        active += __atomic_load_n(&st->workers[i].active, __ATOMIC_RELAXED);
    }
    char whole[32] = "";
    if (st->run.plan->count > 0)
        snprintf(whole, sizeof(whole), " of %llu", (unsigned long long)st->run.plan->count);
    fprintf(stderr, "\r\033[K%.1f s: %llu%s done, %llu running, %llu failed, %.1f/s, %.1f MB/s",
            now > st->run.start ? (double)(now - st->run.start) / 1e9 : 0.0,
            (unsigned long long)sum.succeeded, whole, active,
            (unsigned long long)bench_result_failures(&sum),
            since > 0 ? (double)(sum.succeeded - last->succeeded) / since : 0,
            since > 0 ? (double)(sum.payload - last->payload) / since / 1e6 : 0);
    fflush(stderr);
    *last = sum;
    *last_at = now;
}

static void stop_all(struct state *st)
{
    st->report.stopped = true;
    atomic_store(&st->run.stop, true);
    for (unsigned i = 0; i < st->worker_count; i++)
        bench_io_wake(st->workers[i].env.io);
}

/* Until every thread has ended. */
static void watch(struct state *st)
{
    struct pollfd fds[] = {{.fd = st->run.done_fd, .events = POLLIN},
                           {.fd = st->signal_fd, .events = POLLIN}};
    struct signalfd_siginfo info;
    struct bench_usage usage;
    nsec last_at = loop_clock();
    bool looks = st->live || st->watch.pid > 0 || st->watch.cgroup;
    struct bench_result *last = calloc(1, sizeof(*last));

    while (atomic_load(&st->run.working) > 0) {
        int n = poll(fds, ARRAY_LEN(fds), looks ? LOOK_MS : 1000);
        if (n > 0 && (fds[1].revents & POLLIN) &&
            read(st->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
            stop_all(st);
        if ((st->watch.pid > 0 || st->watch.cgroup) && atomic_load(&st->run.working) > 0 &&
            bench_usage_read(&st->watch, false, &usage) < 0)
            st->report.after.known = false; /* it has gone; told at the end */
        if (st->live && last)
            live_line(st, last, &last_at);
    }
    if (st->live)
        fputs("\r\033[K", stderr);
    free(last);
}

static int read_usage(struct state *st, struct bench_usage *ret)
{
    char text[160];

    if (st->watch.pid <= 0 && !st->watch.cgroup)
        return EX_OK;
    int err = bench_usage_read(&st->watch, true, ret);
    if (err == 0)
        return EX_OK;
    if (st->watch.cgroup)
        snprintf(text, sizeof(text), "--server-cgroup %.80s: %s", st->watch.cgroup, strerror(-err));
    else
        snprintf(text, sizeof(text), "--server-pid %d: no such process", st->watch.pid);
    return complain(EX_NOINPUT, text);
}

static int start_workers(struct state *st)
{
    struct bench_plan *plan = st->run.plan;
    char error[256];

    st->workers = calloc(plan->threads, sizeof(*st->workers));
    if (!st->workers)
        return complain(EX_OSERR, "out of memory");
    for (unsigned i = 0; i < plan->threads; i++) {
        st->worker_count++;
        if (bench_worker_init(&st->workers[i], &st->run, i, error, sizeof(error)) < 0)
            return complain(EX_OSERR, error);
    }
    int code = read_usage(st, &st->report.before);
    if (code != EX_OK)
        return code;
    st->report.own_cpu = own_cpu();
    st->run.start = loop_clock() + START_DELAY;
    for (unsigned i = 0; i < st->worker_count; i++)
        bench_worker_begin(&st->workers[i]);
    for (unsigned i = 0; i < st->worker_count; i++) {
        atomic_fetch_add(&st->run.working, 1);
        if (bench_worker_start(&st->workers[i]) < 0) {
            atomic_fetch_sub(&st->run.working, 1);
            stop_all(st);
            return complain(EX_OSERR, "a thread could not be started");
        }
    }
    return EX_OK;
}

static int complain_of_json(const struct state *st)
{
    char text[300];

    snprintf(text, sizeof(text), "--json %.200s: %s", st->run.plan->json_path, strerror(errno));
    return complain(EX_CANTCREAT, text);
}

/* Before the run: nobody wants to hear of it after an hour. */
static int open_json(struct state *st)
{
    const char *path = st->run.plan->json_path;

    if (!path)
        return EX_OK;
    st->json = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
    return st->json ? EX_OK : complain_of_json(st);
}

static int write_json(struct state *st)
{
    FILE *out = st->json;

    if (!out)
        return EX_OK;
    bench_report_json(&st->report, out);
    st->json = NULL;
    if ((out == stdout ? fflush(out) : fclose(out)) != 0)
        return complain_of_json(st);
    return EX_OK;
}

static int report(struct state *st)
{
    struct bench_result *sum = calloc(1, sizeof(*sum));
    struct bench_plan *plan = st->run.plan;

    if (!sum)
        return complain(EX_OSERR, "out of memory");
    for (unsigned i = 0; i < st->worker_count; i++)
        bench_result_merge(sum, &st->workers[i].result);
    st->report.plan = plan;
    st->report.result = sum;
    st->report.elapsed = sum->last_end > sum->first_start ? sum->last_end - sum->first_start : 0;
    st->report.server_memory_peak = st->watch.memory_peak;
    if (!plan->quiet && !(plan->json_path && strcmp(plan->json_path, "-") == 0))
        bench_report_text(&st->report, stdout);
    int code = write_json(st);
    if (code == EX_OK && (bench_result_failures(sum) > 0 || sum->unfinished > 0))
        code = EX_TEMPFAIL;
    free(sum);
    return code;
}

static int run(struct state *st)
{
    int code = open_json(st);

    if (code == EX_OK)
        code = start_workers(st);
    if (code == EX_OK)
        watch(st);
    for (unsigned i = 0; i < st->worker_count; i++)
        bench_worker_join(&st->workers[i]);
    if (code != EX_OK)
        return code;
    st->report.own_cpu = own_cpu() - st->report.own_cpu;
    code = read_usage(st, &st->report.after);
    return code == EX_OK ? report(st) : code;
}

int bench_run(struct bench_plan *plan)
{
    struct state *st = calloc(1, sizeof(*st));
    sigset_t signals;
    int code = EX_OSERR;

    if (!st)
        return complain(EX_OSERR, "out of memory");
    raise_file_limit();
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    st->run.plan = plan;
    st->watch = (struct bench_watch){.pid = plan->server_pid, .cgroup = plan->server_cgroup};
    st->live = !plan->quiet && isatty(STDERR_FILENO);
    st->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
    st->run.done_fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    if (st->signal_fd < 0 || st->run.done_fd < 0)
        complain(EX_OSERR, strerror(errno));
    else
        code = run(st);
    for (unsigned i = 0; i < st->worker_count; i++)
        bench_worker_fini(&st->workers[i]);
    free(st->workers);
    if (st->json && st->json != stdout)
        fclose(st->json);
    if (st->signal_fd >= 0)
        close(st->signal_fd);
    if (st->run.done_fd >= 0)
        close(st->run.done_fd);
    free(st);
    return code;
}
