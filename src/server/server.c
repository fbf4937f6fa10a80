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
#include "server/confine.h"
#include "server/listen.h"
#include "server/self_test.h"
#include "server/systemd.h"
#include "server/upload_places.h"
#include "server/worker.h"

#define WORKERS_MAX 256

struct server {
    struct conf *conf;    /* as running: start-up values with reloaded ones */
    struct conf *started; /* as at start; workers look at it */
    int root_fd;
    struct listen_set listen;
    unsigned made, count; /* workers, of which so many run */
    struct worker *workers;
    struct limiter *limiter;
    sem_t started_sem, go_sem;
    struct confinement confinement;
    struct conf_reader reader;
    int notify_fd;               /* of the service manager, or -1 */
    struct self_test *self_test; /* NULL: to serve */
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

static int open_root(struct server *s, char *error, size_t size)
{
    s->root_fd = open(s->conf->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (s->root_fd >= 0)
        return EX_OK;
    snprintf(error, size, "root: cannot open %s: %s", s->conf->root, strerror(errno));
    return errno == ENOENT || errno == ENOTDIR ? EX_CONFIG : EX_NOPERM;
}

/* A private port is a descriptor, so is an open file. Buffers registered with a ring are locked,
 * which only root may do without limit. */
static void raise_limits(const struct conf *c)
{
    const struct rlimit endless = {RLIM_INFINITY, RLIM_INFINITY};
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (c->performance_platform_io_uring_use_registered_buffers)
        (void)setrlimit(RLIMIT_MEMLOCK, &endless);
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
    w->count = s->made;
    w->conf = s->started;
    w->root_fd = s->root_fd;
    w->listen_fds = s->listen.fds + i * s->listen.addresses;
    w->listen_count = s->listen.addresses;
    w->started = &s->started_sem;
    w->limiter = s->limiter;
    w->go = &s->go_sem;
    int err = pthread_create(&w->thread, NULL, worker_main, w);
    if (err) {
        snprintf(w->start_what, sizeof(w->start_what), "cannot start the thread of worker %u", i);
        return -err;
    }
    while (sem_wait(&s->started_sem) < 0 && errno == EINTR)
        ;
    if (w->start_error < 0) {
        pthread_join(w->thread, NULL);
        return w->start_error;
    }
    s->confinement.rings += w->ring != NULL;
    s->confinement.free_rings += w->ring && !(ring_features(w->ring) & RING_RESTRICTED);
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

/* For all workers or for none: they are to have the same ones. */
static bool make_settings(const struct server *s, const struct conf *c, struct settings **ret)
{
    for (unsigned i = 0; i < s->count; i++) {
        ret[i] = settings_new(c, s->count);
        if (!ret[i]) {
            while (i-- > 0)
                settings_free(ret[i]);
            return false;
        }
    }
    return true;
}

static void reload(struct server *s, struct conf *wanted)
{
    struct settings *made[WORKERS_MAX];
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
    if (s->confinement.landlock > 0 && !upload_places_within(wanted, s->started))
        log_line(LOG_WARN, "reload: uploads to folders that could not take any at the start need "
                           "a restart: Landlock lets nothing be written there");
    /* What a reload cannot change stays as it was started. */
    wanted->network_transfer_ports = s->started->network_transfer_ports;
    wanted->limits_transfers_max = s->started->limits_transfers_max;
    if (!make_settings(s, wanted, made)) {
        log_line(LOG_ERROR, "reload: out of memory, the running configuration is kept");
        conf_fini(wanted);
        free(wanted);
        return;
    }
    log_configure((enum log_level)wanted->log_level, (enum log_format)wanted->log_format,
                  (unsigned)wanted->log_lines_per_second);
    for (unsigned i = 0; i < s->count; i++) {
        settings_free(atomic_exchange(&s->workers[i].mail, made[i]));
        worker_wake(&s->workers[i]);
    }
    if (s->conf != s->started) {
        conf_fini(s->conf);
        free(s->conf);
    }
    s->conf = wanted;
}

/* Handles signals until it is time to stop. */
static void wait_for_end(struct server *s, const sigset_t *signals, server_reload_fn *reload_conf,
                         void *arg)
{
    for (int ends = 0; ends < 2;) {
        struct timespec tick = {0, 20000000};
        int sig = ends == 0 ? sigwaitinfo(signals, NULL) : sigtimedwait(signals, NULL, &tick);

        if (sig == SIGHUP) {
            reload(s, reload_conf(arg, &s->reader));
        } else if (sig == SIGUSR1) {
            ask_stats(s);
        } else if (sig == SIGTERM || sig == SIGINT) {
            tell_workers(s, ends == 0 ? WORKER_DRAIN : WORKER_STOP_NOW);
            log_line(LOG_NOTICE,
                     ends == 0 ? "stopping: running transfers may finish" : "stopping now");
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

static void let_go(struct server *s)
{
    for (unsigned i = 0; i < s->count; i++)
        sem_post(&s->go_sem);
}

static void join_workers(struct server *s)
{
    tell_workers(s, WORKER_STOP_NOW);
    let_go(s); /* the start may have failed while they waited */
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

/* Bound here, or handed over by a service manager. */
static int get_sockets(struct server *s, char *error, size_t size)
{
    int first, err;
    unsigned handed_over = systemd_sockets(&first);

    if (handed_over > 0 && !s->self_test)
        err = listen_take(&s->listen, s->conf, first, handed_over, error, size);
    else
        err = listen_open(&s->listen, s->conf, worker_count(s->conf), error, size);
    if (err < 0)
        return err == -EACCES ? EX_NOPERM : err == -ENOMEM ? EX_OSERR : EX_UNAVAILABLE;
    if (s->listen.workers > WORKERS_MAX) {
        snprintf(error, size, "too many sockets for one address, expected at most %d", WORKERS_MAX);
        return EX_UNAVAILABLE;
    }
    return EX_OK;
}

/* Shared transfer ports are bound with the rights of the start, for the sake of their buffers. */
static int make_worker(struct server *s, struct worker *w)
{
    struct net_config config = settings_net_config(s->conf);

    w->settings = settings_new(s->conf, s->listen.workers);
    if (!w->settings)
        return -ENOMEM;
    return ports_bind(&w->bound, &config, w->settings, (unsigned)s->conf->network_shared_ports,
                      listen_hears(&s->listen, AF_INET), listen_hears(&s->listen, AF_INET6));
}

static int make_workers(struct server *s, char *error, size_t size)
{
    s->workers = calloc(s->listen.workers, sizeof(*s->workers));
    s->limiter = calloc(1, sizeof(*s->limiter));
    if (!s->workers || !s->limiter ||
        getrandom(&s->limiter->key, sizeof(s->limiter->key), 0) != sizeof(s->limiter->key)) {
        snprintf(error, size, "out of memory");
        return EX_OSERR;
    }
    for (; s->made < s->listen.workers; s->made++) {
        int err = make_worker(s, &s->workers[s->made]);
        if (err < 0) {
            snprintf(error, size, "cannot bind transfer ports: %s", strerror(-err));
            s->made++; /* to be freed */
            return EX_OSERR;
        }
    }
    return EX_OK;
}

/* Better said now than when it is needed. */
static void check_reader(struct server *s, const char *file)
{
    char *text;
    size_t len;
    int err = conf_reader_read(&s->reader, &text, &len);

    if (err == 0)
        free(text);
    else
        log_line(LOG_WARN, "user \"%s\" cannot read %s (%s): the configuration cannot be reloaded",
                 s->confinement.who.user, file, strerror(-err));
}

/* All that needs the rights of the start. */
static int open_all(struct server *s, const char *file, char *error, size_t size)
{
    int code = identity_find(&s->confinement.who, s->conf, error, size);

    if (code == EX_OK)
        code = open_root(s, error, size);
    if (code == EX_OK)
        code = get_sockets(s, error, size);
    if (code == EX_OK)
        code = make_workers(s, error, size);
    if (code != EX_OK)
        return code;
    s->notify_fd = systemd_notify_open();
    int err = conf_reader_prepare(&s->reader, file);
    if (err == 0)
        err = conf_reader_start(&s->reader, &s->confinement);
    if (err == 0) {
        if (file)
            check_reader(s, file);
        return EX_OK;
    }
    snprintf(error, size, "cannot start the process that reads %s again: %s", file, strerror(-err));
    return EX_OSERR;
}

/* Before threads: rings and threads keep the rights of their making. */
static int shut_in(struct server *s, char *error, size_t size)
{
    struct confinement *c = &s->confinement;
    int code = confine_privileges(c, s->root_fd, error, size);

    if (code == EX_OK)
        code = confine_check_root(c, s->root_fd, error, size);
    if (code != EX_OK)
        return code;
    sweep(s);
    code = confine_files(c, s->root_fd, error, size);
    if (code == EX_OK && s->self_test)
        self_test_prepare(s->self_test, s->conf, s->root_fd);
    return code;
}

static int start_workers(struct server *s, char *error, size_t size)
{
    for (; s->count < s->made; s->count++) {
        int err = start_worker(s, s->count);
        if (err < 0) {
            snprintf(error, size, "%s: %s", s->workers[s->count].start_what, strerror(-err));
            return EX_OSERR;
        }
    }
    return EX_OK;
}

/* Up to the moment before the first request is answered. */
static int start(struct server *s, const char *file)
{
    char error[512] = "";
    int code = open_all(s, file, error, sizeof(error));

    if (code == EX_OK) {
        warn_about_ports(s->conf);
        code = shut_in(s, error, sizeof(error));
    }
    if (code == EX_OK)
        code = start_workers(s, error, sizeof(error));
    if (code == EX_OK) /* last, for all threads at once, while they wait */
        code = confine_calls(&s->confinement, error, sizeof(error));
    if (code != EX_OK)
        log_line(LOG_ERROR, "%s", error);
    return code;
}

static void set_up(struct server *s, struct conf *conf, sigset_t *signals)
{
    *s = (struct server){.conf = conf, .started = conf, .root_fd = -1, .notify_fd = -1};
    s->confinement.conf = conf;
    s->reader = (struct conf_reader){.fd = -1, .folder = -1};
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGHUP);
    sigaddset(signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, signals, NULL);
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    umask(0); /* upload modes are exactly as configured */
    raise_limits(conf);
    sem_init(&s->started_sem, 0, 0);
    sem_init(&s->go_sem, 0, 0);
}

static void tear_down(struct server *s)
{
    join_workers(s);
    conf_reader_stop(&s->reader);
    listen_close(&s->listen);
    for (unsigned i = 0; i < s->made; i++) {
        ports_unbind(&s->workers[i].bound);
        settings_free(s->workers[i].settings);
    }
    free(s->workers);
    free(s->limiter);
    if (s->root_fd >= 0)
        close(s->root_fd);
    if (s->notify_fd >= 0)
        close(s->notify_fd);
    if (s->conf != s->started) {
        conf_fini(s->conf);
        free(s->conf);
    }
    conf_fini(s->started);
    free(s->started);
    sem_destroy(&s->started_sem);
    sem_destroy(&s->go_sem);
}

int server_run(struct conf *conf, const char *file, server_reload_fn *reload_conf, void *arg)
{
    struct server s;
    sigset_t signals;

    set_up(&s, conf, &signals);
    int code = start(&s, file);
    if (code == EX_OK) {
        confine_log(&s.confinement);
        listen_log(&s.listen);
        log_line(LOG_NOTICE, "serving %s", conf->root);
        let_go(&s);
        systemd_notify(s.notify_fd, "READY=1");
        wait_for_end(&s, &signals, reload_conf, arg);
    }
    tear_down(&s);
    return code;
}

int server_self_test(struct conf *conf)
{
    struct conf_error error;
    struct self_test test;
    struct server s;
    sigset_t signals;

    /* The server itself may be at work on the configured ones. */
    if (conf_set(conf, "listen=127.0.0.1:0", &error) < 0)
        return EX_OSERR;
    set_up(&s, conf, &signals);
    s.self_test = &test;
    self_test_init(&test, &s.confinement);
    int code = start(&s, NULL);
    if (code == EX_OK)
        code = self_test_run(&test);
    self_test_fini(&test);
    tear_down(&s);
    return code;
}
