#include "server/server.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "obs/log.h"
#include "server/listen.h"
#include "server/worker.h"

#define WORKERS_MAX 256

struct server {
    struct conf *conf;    /* as running: start-up values with reloaded ones */
    struct conf *started; /* as at start; workers look at it */
    int root_fd;
    struct listen_set listen;
    unsigned count;
    struct worker *workers;
    struct limiter *limiter;
    sem_t started_sem;
};

/* The processors this process may use, not all there are. */
static unsigned allowed_cpus(cpu_set_t *set)
{
    CPU_ZERO(set);
    if (sched_getaffinity(0, sizeof(*set), set) < 0)
        CPU_SET(0, set);
    return (unsigned)MAX(1, CPU_COUNT(set));
}

static unsigned worker_count(const struct conf *c)
{
    cpu_set_t set;

    return c->performance_workers > 0 ? (unsigned)c->performance_workers
                                      : MIN(allowed_cpus(&set), WORKERS_MAX);
}

static int open_root(struct server *s)
{
    s->root_fd = open(s->conf->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (s->root_fd >= 0)
        return EX_OK;
    log_line(LOG_ERROR, "root: cannot open %s: %s", s->conf->root, strerror(errno));
    return errno == ENOENT || errno == ENOTDIR ? EX_CONFIG : EX_NOPERM;
}

/* A private port is a descriptor, so is an open file. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* To the index-th allowed processor, going round. */
static void pin(const struct worker *w)
{
    cpu_set_t allowed, one;
    unsigned skip = w->index % allowed_cpus(&allowed);
    size_t cpu = 0;

    while (cpu < CPU_SETSIZE - 1 && (!CPU_ISSET(cpu, &allowed) || skip-- > 0))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    int err = pthread_setaffinity_np(w->thread, sizeof(one), &one);
    if (err)
        log_line(LOG_WARN, "worker %u: cannot be pinned: %s", w->index, strerror(err));
}

static int start_worker(struct server *s, unsigned i)
{
    struct worker *w = &s->workers[i];

    w->index = i;
    pthread_mutex_init(&w->wake_lock, NULL);
    w->count = s->count;
    w->conf = s->started;
    w->root_fd = s->root_fd;
    w->listen_fds = s->listen.fds + i * s->listen.addresses;
    w->listen_count = s->listen.addresses;
    w->started = &s->started_sem;
    w->limiter = s->limiter;
    w->settings = settings_new(s->conf, s->count);
    if (!w->settings)
        return -ENOMEM;
    int err = pthread_create(&w->thread, NULL, worker_main, w);
    if (err) {
        settings_free(w->settings);
        return -err;
    }
    while (sem_wait(&s->started_sem) < 0 && errno == EINTR)
        ;
    if (w->start_error < 0) {
        log_line(LOG_ERROR, "%s: %s", w->start_what, strerror(-w->start_error));
        pthread_join(w->thread, NULL);
        return w->start_error;
    }
    if (s->started->performance_pin_workers)
        pin(w);
    return 0;
}

static void tell_workers(struct server *s, int stop)
{
    for (unsigned i = 0; i < s->count; i++) {
        atomic_store(&s->workers[i].stopping, stop);
        worker_wake(&s->workers[i]);
    }
}

static void ask_stats(struct server *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        atomic_store(&s->workers[i].want_stats, true);
        worker_wake(&s->workers[i]);
    }
}

static void reload(struct server *s, struct conf *wanted)
{
    char names[1024];

    if (!wanted) {
        log_line(LOG_ERROR, "reload: the new configuration is refused, the running one is kept");
        return;
    }
    if (conf_reload_conflicts(s->started, wanted, names, sizeof(names)) > 0) {
        for (char *p = names; *p; p++)
            if (*p == '\n')
                *p = p[1] ? ',' : '\0';
        log_line(LOG_WARN, "reload: these keys need a restart and keep their old values: %s",
                 names);
    }
    log_configure((enum log_level)wanted->log_level, (enum log_format)wanted->log_format,
                  (unsigned)wanted->log_lines_per_second);
    /* What a reload cannot change stays as it was started. */
    wanted->network_transfer_ports = s->started->network_transfer_ports;
    wanted->limits_transfers_max = s->started->limits_transfers_max;
    for (unsigned i = 0; i < s->count; i++) {
        struct settings *n = settings_new(wanted, s->count);
        if (!n) {
            log_line(LOG_ERROR, "reload: out of memory, worker %u keeps the old configuration", i);
            continue;
        }
        settings_free(atomic_exchange(&s->workers[i].mail, n));
        worker_wake(&s->workers[i]);
    }
    if (s->conf != s->started) {
        conf_fini(s->conf);
        free(s->conf);
    }
    s->conf = wanted;
}

/* Handles signals until it is time to stop. */
static void wait_for_end(struct server *s, const sigset_t *signals,
                         struct conf *(*reload_conf)(void *arg), void *arg)
{
    for (int ends = 0; ends < 2;) {
        struct timespec tick = {0, 20000000};
        int sig = ends == 0 ? sigwaitinfo(signals, NULL) : sigtimedwait(signals, NULL, &tick);

        if (sig == SIGHUP) {
            reload(s, reload_conf(arg));
        } else if (sig == SIGUSR1) {
            ask_stats(s);
        } else if (sig == SIGTERM || sig == SIGINT) {
            log_line(LOG_NOTICE,
                     ends == 0 ? "stopping: running transfers may finish" : "stopping now");
            tell_workers(s, ends == 0 ? WORKER_DRAIN : WORKER_STOP_NOW);
            ends++;
        } else if (sig < 0 && errno == EAGAIN) {
            unsigned ended = 0;
            for (unsigned i = 0; i < s->count; i++)
                ended += atomic_load(&s->workers[i].ended) ? 1 : 0;
            if (ended == s->count)
                return;
        }
    }
}

/* One that leaves operations behind does not end before the process does. */
static void join_worker(struct worker *w)
{
    const struct timespec tick = {0, 2000000};

    while (pthread_tryjoin_np(w->thread, NULL) == EBUSY) {
        if (atomic_load(&w->ended) && w->abandoned)
            _exit(EX_OK);
        nanosleep(&tick, NULL);
    }
}

static void join_workers(struct server *s)
{
    tell_workers(s, WORKER_STOP_NOW);
    for (unsigned i = 0; i < s->count; i++) {
        join_worker(&s->workers[i]);
        pthread_mutex_destroy(&s->workers[i].wake_lock);
    }
}

/* A transfer port is the only thing a forger has to guess. */
static void warn_about_ports(const struct conf *c)
{
    unsigned first, last;

    if (c->network_transfer_ports == PORTS_SINGLE || c->network_transfer_ports == PORTS_SHARED)
        log_line(
            LOG_WARN,
            "network.transfer_ports = \"%s\": who forges a client's requests and ACKs can make "
            "the server send it whole files; let only networks you trust reach this server",
            conf_word("network.transfer_ports", c->network_transfer_ports));
    if (c->network_transfer_ports == PORTS_RANGE &&
        sscanf(c->network_port_range, "%u-%u", &first, &last) == 2 && last - first < 16383)
        log_line(LOG_WARN,
                 "network.port_range has fewer than 16384 ports, which makes them easy to guess");
}

/* What an earlier life left behind when it was killed in the middle of uploads. */
static void sweep(const struct server *s)
{
    unsigned swept = s->conf->write_enabled ? store_sweep(s->root_fd) : 0;

    if (swept > 0)
        log_line(LOG_NOTICE, "removed %u unfinished uploads of an earlier run", swept);
}

static int start(struct server *s)
{
    char error[256];

    int code = open_root(s);
    if (code != EX_OK)
        return code;
    unsigned wanted = worker_count(s->conf);
    int err = listen_open(&s->listen, s->conf, wanted, error, sizeof(error));
    if (err < 0) {
        log_line(LOG_ERROR, "%s", error);
        return err == -EACCES ? EX_NOPERM : EX_UNAVAILABLE;
    }
    warn_about_ports(s->conf);
    sweep(s);
    s->workers = calloc(wanted, sizeof(*s->workers));
    s->limiter = calloc(1, sizeof(*s->limiter));
    if (!s->workers || !s->limiter ||
        getrandom(&s->limiter->key, sizeof(s->limiter->key), 0) != sizeof(s->limiter->key))
        return EX_OSERR;
    s->count = wanted;
    for (unsigned i = 0; i < wanted; i++) {
        err = start_worker(s, i);
        if (err < 0) {
            s->count = i;
            return EX_OSERR;
        }
    }
    return EX_OK;
}

int server_run(struct conf *conf, struct conf *(*reload_conf)(void *arg), void *arg)
{
    struct server s = {.conf = conf, .started = conf, .root_fd = -1};
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    umask(0); /* upload modes are exactly as configured */
    raise_descriptor_limit();
    sem_init(&s.started_sem, 0, 0);
    int code = start(&s);
    if (code == EX_OK) {
        listen_log(&s.listen);
        log_line(LOG_NOTICE, "serving %s", conf->root);
        wait_for_end(&s, &signals, reload_conf, arg);
    }
    join_workers(&s);
    listen_close(&s.listen);
    free(s.workers);
    free(s.limiter);
    if (s.root_fd >= 0)
        close(s.root_fd);
    if (s.conf != s.started) {
        conf_fini(s.conf);
        free(s.conf);
    }
    conf_fini(s.started);
    free(s.started);
    sem_destroy(&s.started_sem);
    return code;
}
