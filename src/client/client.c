#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "client/report.h"
#include "client/trace.h"

#define ROUNDS_MAX    16
#define FILE_BUDGET   256
#define FILE_HERE_MAX (5 * NSEC_PER_MSEC)
#define CHUNK_BYTES   (64 * 1024)
#define BUFFER_LEAST  (128 * 1024) /* of one upload or download between wire and disk */
#define BUFFER_MOST   (1024 * 1024)
#define BUFFERS_ALL   (8 * 1024 * 1024)
#define RCVBUF_BYTES  (1024 * 1024)
#define LINGERING_MAX 64
#define END_PATIENCE  (5 * NSEC_PER_SEC)
#define END_TICK      (50 * NSEC_PER_MSEC)
#define SPIN          (50 * NSEC_PER_USEC) /* in lock-step with a near server a sleep costs more */

volatile sig_atomic_t client_interrupted;
static struct loop *woken; /* by the signal handler */

static void on_signal(int sig)
{
    client_interrupted = sig;
    if (woken)
        loop_wake(woken);
}

void client_catch_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction end = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        struct sigaction old;
        /* What was ignored at start stays so: nohup(1). */
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(signals[i], &end, NULL);
    }
}

void client_note(struct client *c, const struct client_transfer *t, const char *fmt, ...)
{
    va_list args;

    if (!c->options->verbose)
        return;
    progress_clear(&c->progress);
    fprintf(stderr, "%10.6f ", (double)(c->now - c->started) / (double)NSEC_PER_SEC);
    if (c->plan->count > 1)
        fprintf(stderr, "%s: ", t->item->label);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

/* ---- Events ---- */

static void on_unreachable(void *arg, struct net_socket *socket, const struct addr *peer, int err)
{
    (void)arg;
    if (socket->owner)
        client_transfer_unreachable(socket->owner, peer, err);
}

static void on_send_failed(struct xfer_env *env, struct net_socket *socket, const struct addr *peer,
                           int err)
{
    (void)env;
    if (socket->owner)
        client_transfer_unreachable(socket->owner, peer, err);
}

static void on_timer(struct timer *timer, nsec now, void *arg)
{
    (void)now;
    (void)arg;
    client_transfer_timer(
        container_of(container_of(timer, struct xfer, timer), struct client_transfer, x));
}

static void receive(struct client *c)
{
    struct net_rx rx[NET_BATCH];

    for (int round = 0; round < ROUNDS_MAX; round++) {
        unsigned n = net_recv(c->net, rx, NET_BATCH);
        for (unsigned i = 0; i < n; i++)
            if (rx[i].socket->owner)
                client_transfer_packet(rx[i].socket->owner, &rx[i]);
        net_recv_done(c->net);
        if (n < NET_BATCH)
            break;
    }
}

/* ---- The list of transfers ---- */

/* A final ACK may have been lost where other packets were; where none was, nobody will ask. */
static bool should_linger(const struct client *c, const struct client_transfer *t)
{
    const struct tftp_counts *n = &t->x.session.counts;

    return !c->stopping && t->x.session.state == TFTP_STATE_DALLYING &&
           c->lingering_count < LINGERING_MAX && n->control_resent + n->duplicates > 0;
}

static void retire(struct client *c, struct client_transfer *t)
{
    bool first = t->phase == CLIENT_FINISHED && t->item->result.ended;

    list_del(&t->link);
    if (first && should_linger(c, t)) {
        t->phase = CLIENT_LINGERING;
        c->lingering_count++;
        list_push_back(&c->lingering, &t->link);
        xfer_kick(&t->x, c->now); /* its timer may have fired between the end and now */
        return;
    }
    client_transfer_free(t);
}

static void take_ended(struct client *c)
{
    struct list ended;

    list_init(&ended);
    list_splice_back(&ended, &c->ended);
    while (!list_empty(&ended)) {
        struct client_transfer *t =
            container_of(list_pop_front(&ended), struct client_transfer, link);
        bool lingered = t->item->result.ended;

        if (!client_transfer_conclude(t))
            continue;
        if (lingered) {
            client_transfer_free(t);
            continue;
        }
        c->running_count--;
        if (t->item->result.status == CLIENT_OK)
            c->done++;
        else
            c->failed++;
        report_item(c, t->item);
        retire(c, t);
    }
}

static void start_more(struct client *c)
{
    unsigned jobs = c->plan->stream >= 0 ? 1 : c->options->jobs;

    while (!c->stopping && c->running_count < jobs && c->next != &c->plan->items) {
        struct client_item *item = container_of(c->next, struct client_item, link);

        c->next = c->next->next;
        if (client_transfer_new(c, item) < 0) {
            item->result.ended = true;
            item->result.status = CLIENT_SYSTEM;
            client_error_set(&item->result.message, "out of memory");
            c->failed++;
            report_item(c, item);
        }
    }
}

/* Tells the servers, keeps no partial file. */
static void stop(struct client *c)
{
    struct list *pos, *tmp;

    c->stopping = true;
    list_for_each_safe (pos, tmp, &c->running) {
        struct client_transfer *t = container_of(pos, struct client_transfer, link);
        bool running = t->phase == CLIENT_RUNNING;

        client_transfer_fail(t, CLIENT_INTERRUPTED, TFTP_ERR_UNDEFINED, "Cancelled by the user",
                             "interrupted");
        if (running)
            xfer_kick(&t->x, c->now);
    }
    while (!list_empty(&c->lingering)) {
        struct client_transfer *t =
            container_of(list_pop_front(&c->lingering), struct client_transfer, link);
        client_transfer_free(t);
    }
    c->lingering_count = 0;
}

/* In lock-step with one server, a call less for each block counts. */
static struct net_socket *sole_socket(const struct client *c)
{
    if (c->running_count != 1 || c->lingering_count > 0 || list_empty(&c->running) ||
        !file_io_idle(c->files))
        return NULL;
    const struct client_transfer *t = container_of(c->running.next, struct client_transfer, link);
    return t->phase == CLIENT_RUNNING && t->x.session.params.windowsize == 1 ? t->socket : NULL;
}

bool client_busy(const struct client *c)
{
    return c->running_count > 0 || c->lingering_count > 0 || !list_empty(&c->ended) ||
           (!c->stopping && c->next != &c->plan->items);
}

void client_start(struct client *c)
{
    start_more(c);
    take_ended(c);
    start_more(c);
}

nsec client_deadline(const struct client *c)
{
    return net_pending(c->net) ? 0 : nsec_min(wheel_next(&c->wheel), c->progress.next);
}

void client_turn(struct client *c, nsec now)
{
    c->now = now;
    if (client_interrupted && !c->stopping)
        stop(c);
    xfer_env_resume(&c->env, c->now);
    receive(c);
    file_complete(c->files, FILE_BUDGET);
    wheel_fire(&c->wheel, c->now, on_timer, c);
    net_flush(c->net);
    do {
        take_ended(c);
        start_more(c);
    } while (!list_empty(&c->ended));
    net_wait_in(c->net, sole_socket(c));
    progress_update(c);
}

/* ---- Start and end ---- */

static int make_network(struct client *c)
{
    const struct net_config config = {
        .batch = NET_BATCH,
        .rcvbuf_bytes = RCVBUF_BYTES,
        .sndbuf_bytes = RCVBUF_BYTES,
        .gso = true,
        .mtu_discover = IP_PMTUDISC_WANT,
        .rx_bytes_max = UINT16_MAX,
        .tx_slots = 1024,
    };

    c->loop = loop_new(NULL);
    c->net = c->loop ? net_new(&net_mmsg_ops, c->loop, &config) : NULL;
    if (!c->net)
        return -errno;
    if (sysconf(_SC_NPROCESSORS_ONLN) > 1) /* the server may want the only one */
        loop_set_spin(c->loop, SPIN);
    return 0;
}

/* What transfers stand on: the store, the timers, and where they tell what happens. */
int client_assemble(struct client *c, nsec now)
{
    const struct client_options *o = c->options;
    size_t wish = 2 * (size_t)o->blksize * o->windowsize;
    size_t buffer = MIN(MAX(BUFFERS_ALL / o->jobs, BUFFER_LEAST), BUFFER_MOST);

    buffer = MAX(buffer, MIN(wish, BUFFERS_ALL));
    c->window_bytes = buffer / 2;
    const struct store_config store = {
        .root_fd = c->root_fd,
        .symlinks = STORE_SYMLINKS_NEVER,
        .chunk_bytes = CHUNK_BYTES,
        .cache_bytes = 2 * o->jobs * (buffer + 2 * CHUNK_BYTES),
        .read_ahead = 4,
        .files_max = o->jobs + 16,
        .advise = true,
        .upload_max_bytes = INT64_MAX,
        .upload_mode = 0666,
        .upload_mode_masked = true,
        .upload_buffer_bytes = buffer,
    };
    c->store = store_new(c->files, &store);
    if (!c->store)
        return -errno;
    list_init(&c->running);
    list_init(&c->ended);
    list_init(&c->lingering);
    c->next = c->plan->items.next;
    c->started = c->now = now;
    wheel_init(&c->wheel, now);
    xfer_env_init(&c->env);
    c->env.net = c->net;
    c->env.wheel = &c->wheel;
    c->env.store = c->store;
    c->env.ended = client_transfer_ended;
    c->env.send_failed = on_send_failed;
    if (o->verbose)
        c->env.sent = client_trace_sent;
    c->env.owner = c;
    net_on_unreachable(c->net, on_unreachable, c);
    return 0;
}

static int make_files(struct client *c)
{
    const struct file_config files = {
        .threads = MIN(c->options->jobs, 4U) + 1,
        .thread_queue = 1024,
        .here_max = FILE_HERE_MAX,
    };

    c->files = file_io_new(c->loop, NULL, &files);
    return c->files ? 0 : -errno;
}

static enum client_status open_root(struct client *c, struct client_error *error)
{
    const char *path = c->plan->folder ? c->plan->folder : "/";

    c->root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (c->root_fd >= 0)
        return CLIENT_OK;
    client_error_set(error, "cannot write into %s: %s", path, strerror(errno));
    return CLIENT_DISK;
}

static enum client_status set_up(struct client *c, struct client_error *error)
{
    uint64_t seed = 0;

    enum client_status status = open_root(c, error);
    if (status != CLIENT_OK)
        return status;
    int err = make_network(c);
    if (err == 0)
        err = make_files(c);
    if (err == 0)
        err = client_assemble(c, loop_clock());
    if (err == 0 && getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        err = -errno;
    if (err < 0) {
        client_error_set(error, "cannot start: %s", strerror(-err));
        return CLIENT_SYSTEM;
    }
    prng_seed(&c->prng, seed);
    woken = c->loop;
    return CLIENT_OK;
}

/* False: an operation hangs in the kernel (a dead file server), and its memory with it. */
static bool wait_for_files(struct client *c)
{
    nsec patience = nsec_add(loop_clock(), END_PATIENCE);

    while (c->store && !store_idle(c->store)) {
        nsec now = loop_wait(c->loop, nsec_add(loop_clock(), END_TICK));
        file_complete(c->files, FILE_BUDGET);
        if (now >= patience)
            return false;
    }
    return true;
}

static void tear_down(struct client *c)
{
    if (c->net) {
        net_flush(c->net);
        net_free(c->net);
    }
    bool clean = wait_for_files(c);
    woken = NULL;
    if (!clean)
        return;
    if (c->store)
        store_free(c->store);
    if (c->files)
        file_io_free(c->files);
    if (c->loop)
        loop_free(c->loop);
    if (c->root_fd >= 0)
        (void)close(c->root_fd);
}

enum client_status client_run(const struct client_options *o, struct client_plan *plan,
                              struct client_error *error)
{
    struct client c = {.options = o, .plan = plan, .root_fd = -1};

    progress_init(&c.progress, !o->quiet && !o->verbose && !o->json && o->command != CLIENT_PROBE &&
                                   isatty(STDERR_FILENO));
    enum client_status status = set_up(&c, error);
    if (status == CLIENT_OK) {
        progress_start(&c.progress, c.started);
        client_start(&c);
        while (client_busy(&c))
            client_turn(&c, loop_wait(c.loop, client_deadline(&c)));
        report_total(&c);
        status = report_status(plan);
    }
    tear_down(&c);
    return status;
}
