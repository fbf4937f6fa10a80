#include "server/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "obs/log.h"
#include "server/admit.h"
#include "server/transfer.h"

#define TURN_MAX     (1 * NSEC_PER_MSEC) /* then timers and disks get their turn */
#define ROUND_LONG   (400 * NSEC_PER_USEC)
#define ROUND_SHORT  (200 * NSEC_PER_USEC)
#define ROUND_MIN    4u
#define GRAVE_AGE    (10 * NSEC_PER_SEC) /* longer than any packet lives on a boot network */
#define DRAIN_TIME   (5 * NSEC_PER_SEC)  /* running transfers may finish this long after SIGTERM */
#define DRAIN_TICK   (50 * NSEC_PER_MSEC)
#define FILE_BUDGET  64
#define TIMER_BUDGET 256

const struct net_socket *worker_grave(const struct worker *w, const struct addr *peer)
{
    uint32_t hash = addr_hash(peer, w->hash_key);
    const struct grave *set = w->graves[hash & (WORKER_GRAVES - 1)];

    for (unsigned i = 0; i < GRAVE_WAYS; i++)
        if (set[i].socket && set[i].hash == hash && w->now - set[i].ended < GRAVE_AGE)
            return set[i].socket;
    return NULL;
}

void worker_bury(struct worker *w, const struct addr *peer, const struct net_socket *socket)
{
    uint32_t hash = addr_hash(peer, w->hash_key);
    struct grave *set = w->graves[hash & (WORKER_GRAVES - 1)];
    struct grave *place = &set[0];

    for (unsigned i = 0; i < GRAVE_WAYS; i++) {
        if (set[i].hash == hash) {
            place = &set[i];
            break;
        }
        if (set[i].ended < place->ended)
            place = &set[i];
    }
    *place = (struct grave){hash, socket, w->now};
}

/* ---- One datagram ---- */

static void to_transfer(struct worker *w, struct transfer *t, const struct net_rx *rx)
{
    int opcode = tftp_packet_opcode(rx->data);

    if (opcode == TFTP_RRQ || opcode == TFTP_WRQ) {
        /* GRUB repeats its request to the transfer's port; another request has no business there.
         */
        const struct port *port = rx->socket->owner;
        if (port->kind == PORT_LISTEN)
            admit_request(w, rx);
        else if (transfer_is_request(t, rx->data))
            (void)transfer_repeated(t, rx);
        return;
    }
    if (!t->opening)
        xfer_on_packet(&t->x, rx->data, w->now);
}

static void dispatch(struct worker *w, const struct net_rx *rx)
{
    const struct port *port = rx->socket->owner;
    struct transfer *t;

    if (!port)
        return;
    if (port->kind == PORT_PRIVATE) {
        t = port->transfer;
        if (!addr_equal(&t->x.peer, &rx->peer))
            t = NULL;
    } else {
        t = transfer_find(w, &rx->peer);
    }
    if (t && t->x.socket == rx->socket)
        to_transfer(w, t, rx);
    else if (port->kind == PORT_LISTEN)
        admit_request(w, rx);
    else
        admit_stranger(w, rx);
}

static bool is_for_listener(const struct net_rx *rx)
{
    const struct port *port = rx->socket->owner;

    return port && port->kind == PORT_LISTEN;
}

/*
 * Requests come last: a client that reuses its port sends the last ACK and the next request in one
 * breath, and two sockets keep no order. Read the other way round, the request would look like a
 * repeat of the transfer that the ACK is about to end.
 */
static void dispatch_all(struct worker *w, const struct net_rx *rx, unsigned n)
{
    unsigned requests = 0;

    for (unsigned i = 0; i < n; i++) {
        if (is_for_listener(&rx[i]))
            requests++;
        else
            dispatch(w, &rx[i]);
    }
    for (unsigned i = 0; requests > 0 && i < n; i++) {
        if (is_for_listener(&rx[i])) {
            dispatch(w, &rx[i]);
            requests--;
        }
    }
}

static void on_unreachable(void *arg, struct net_socket *socket, const struct addr *peer, int err)
{
    struct worker *w = arg;
    struct transfer *t = transfer_find(w, peer);

    if (!t || t->opening || t->x.socket != socket)
        return;
    metric_inc(&w->metrics, METRIC_UNREACHABLE);
    if (err == EMSGSIZE)
        xfer_on_send_error(&t->x, err, w->now);
    else
        xfer_on_unreachable(&t->x, w->now);
}

static void on_send_failed(struct xfer_env *env, struct net_socket *socket, const struct addr *peer,
                           int err)
{
    struct worker *w = env->owner;
    struct transfer *t = transfer_find(w, peer);

    if (t && !t->opening && t->x.socket == socket)
        xfer_on_send_error(&t->x, err, w->now);
}

/* Many timers may be due at once (a network that was cut off): the rest fires in the next turn. */
static void on_timer(struct timer *timer, nsec now, void *arg)
{
    struct worker *w = arg;

    if (w->timers_left == 0) {
        wheel_set(&w->wheel, timer, now);
        return;
    }
    w->timers_left--;
    xfer_on_timer(container_of(timer, struct xfer, timer), now);
}

/* ---- Stopping and reloading ---- */

static void abort_one(struct map_node *node, void *arg)
{
    struct transfer *t = container_of(container_of(node, struct xfer, node), struct transfer, x);

    (void)arg;
    transfer_abort(t, "Server is shutting down");
}

/* A transfer that only waits to repeat its final ACK is over. */
static void count_running(struct map_node *node, void *arg)
{
    const struct transfer *t =
        container_of(container_of(node, struct xfer, node), struct transfer, x);

    if (t->opening || t->x.session.state != TFTP_STATE_DALLYING)
        ++*(unsigned *)arg;
}

static void take_mail(struct worker *w)
{
    struct settings *s = atomic_exchange(&w->mail, NULL);

    if (!s)
        return;
    settings_free(w->settings);
    w->settings = s;
    file_io_use_uring(w->files, s->use_uring);
    if (w->loop)
        loop_set_spin(w->loop, s->spin);
    store_set_upload_limits(w->store, s->write_max_size, s->write_free_space_min);
    log_line(LOG_NOTICE, "worker %u: configuration reloaded, file backend for new operations: %s",
             w->index, file_io_name(w->files));
}

/* True when the worker is to leave its loop. */
static bool stopping(struct worker *w)
{
    int stop = atomic_load(&w->stopping);

    if (stop == WORKER_RUN)
        return false;
    if (w->drain_until == 0) {
        w->drain_until = nsec_add(w->now, DRAIN_TIME);
        for (unsigned i = 0; w->settings->ports != PORTS_SINGLE && i < w->listen_count; i++)
            net_close_socket(w->net, w->listeners[i]);
        if (w->settings->ports != PORTS_SINGLE)
            w->listen_count = 0;
    }
    if (stop == WORKER_STOP_NOW || w->now >= w->drain_until) {
        map_each(&w->peers, abort_one, NULL);
        return true;
    }
    unsigned running = 0;
    map_each(&w->peers, count_running, &running);
    return running == 0;
}

/* ---- The loop ---- */

nsec worker_deadline(const struct worker *w)
{
    nsec deadline = wheel_next(&w->wheel);

    if (w->drain_until)
        deadline = nsec_min(deadline, nsec_add(w->now, DRAIN_TICK));
    return net_pending(w->net) ? 0 : deadline;
}

/*
 * Datagrams are taken in rounds until none is left or the turn has lasted long enough; answers go
 * out after each round. A round that took long (big windows) makes the next ones smaller, so that
 * disks and timers wait at most a millisecond or two for their turn.
 */
static void receive(struct worker *w)
{
    struct net_rx rx[NET_BATCH];
    nsec before = w->now;

    for (;;) {
        unsigned n = net_recv(w->net, rx, w->round);
        dispatch_all(w, rx, n);
        net_recv_done(w->net);
        if (n == 0)
            return;
        net_flush(w->net);
        nsec after = w->parts.clock();
        bool full = n == w->round;
        if (after - before > ROUND_LONG)
            w->round = MAX(ROUND_MIN, w->round / 2);
        else if (full && after - before < ROUND_SHORT)
            w->round = MIN(NET_BATCH, w->round * 2);
        if (!full || after - w->now > TURN_MAX)
            return;
        before = after;
    }
}

bool worker_pass(struct worker *w, nsec now)
{
    w->now = now;
    take_mail(w);
    xfer_env_resume(&w->env, w->now);
    receive(w);
    file_complete(w->files, FILE_BUDGET);
    w->timers_left = TIMER_BUDGET;
    wheel_fire(&w->wheel, w->now, on_timer, w);
    net_flush(w->net);
    if (atomic_exchange(&w->want_stats, false))
        worker_log_stats(w);
    hist_add(&w->turns, w->parts.clock() - w->now);
    return !stopping(w);
}

static void run(struct worker *w)
{
    while (worker_pass(w, loop_wait(w->loop, worker_deadline(w))))
        ;
}

/* ---- Start and end ---- */

static int failed(struct worker *w, int err, const char *what)
{
    snprintf(w->start_what, sizeof(w->start_what), "%s", what);
    return err;
}

static void on_notice(void *arg, const char *text)
{
    struct worker *w = arg;

    metric_inc(&w->metrics, METRIC_IO_FALLBACKS);
    log_line(LOG_WARN, "worker %u: %s", w->index, text);
}

static bool wants_ring(const struct conf *c)
{
    /* engine: auto, io_uring, mmsg */
    return c->performance_platform_io_uring_enabled || c->performance_platform_network_engine == 1;
}

static int make_ring(struct worker *w)
{
    const struct conf *c = w->conf;
    struct ring_config config = {
        .queue_depth = (unsigned)c->performance_platform_io_uring_queue_depth,
        .sqpoll = c->performance_platform_io_uring_use_sqpoll,
        .sq_thread_cpu = (int)c->performance_platform_io_uring_sq_thread_cpu,
    };

    if (!wants_ring(c) || w->parts.net)
        return 0;
    w->ring = ring_new(&config);
    if (w->ring)
        return 0;
    int err = errno;
    if (c->performance_platform_io_uring_enabled &&
        !c->performance_platform_io_uring_fallback_on_error)
        return failed(
            w, -err,
            "io_uring is refused and performance.platform.io_uring.fallback_on_error is false");
    log_line(LOG_WARN, "worker %u: io_uring is refused (%s: %s), the thread pool takes over",
             w->index, strerrorname_np(err), strerror(err));
    return 0;
}

/* The packet engine and the loop it fits: with packets on the ring the worker waits there. */
static int make_network(struct worker *w)
{
    const struct conf *c = w->conf;
    struct net_config config = settings_net_config(c);
    bool ring_wanted = w->ring && c->performance_platform_network_engine != 2;

    if (w->parts.net) {
        w->net = w->parts.net;
        net_on_unreachable(w->net, on_unreachable, w);
        return 0;
    }

    if (ring_wanted) {
        w->loop = loop_new(w->ring);
        w->net = w->loop ? net_new(&net_uring_ops, w->loop, &config) : NULL;
        if (!w->net && w->loop) {
            log_line(
                LOG_WARN,
                "worker %u: the io_uring packet engine is not possible here (%s), mmsg takes over",
                w->index, strerrorname_np(errno));
            loop_free(w->loop);
            w->loop = NULL;
        }
    }
    if (!w->net) {
        w->loop = loop_new(NULL);
        w->net = w->loop ? net_new(&net_mmsg_ops, w->loop, &config) : NULL;
    }
    if (!w->net)
        return failed(w, -errno, "cannot set up the network engine");
    loop_set_spin(w->loop, w->settings->spin);
    net_on_unreachable(w->net, on_unreachable, w);
    return 0;
}

/* This worker's share of the cache; not less than one large window in flight and the next one
 * being read need. */
static size_t cache_share(const struct worker *w)
{
    size_t chunk = (size_t)w->conf->performance_chunk_size;
    size_t least = 2 * (TFTP_BLKSIZE_MAX + 2 * chunk);

    return MAX((size_t)w->conf->performance_cache_size / MAX(1U, w->count), MAX(least, 8 * chunk));
}

static struct store_config store_settings(const struct worker *w)
{
    const struct conf *c = w->conf;

    return (struct store_config){
        .root_fd = w->root_fd,
        .symlinks = c->symlinks == 0 ? STORE_SYMLINKS_NEVER : STORE_SYMLINKS_INSIDE,
        .world_readable_only = c->world_readable_only,
        .chunk_bytes = (size_t)c->performance_chunk_size,
        .cache_bytes = cache_share(w),
        .read_ahead = (unsigned)c->performance_read_ahead,
        .files_max = (unsigned)w->settings->transfers_max + 64,
        .advise = c->performance_advise,
        .upload_max_bytes = w->settings->write_max_size,
        .free_space_min = w->settings->write_free_space_min,
        .durable = c->write_durable,
        .upload_mode = (mode_t)strtoul(c->write_file_mode, NULL, 8),
        .upload_buffer_bytes = (size_t)c->limits_upload_buffer_max,
    };
}

/* Optional: without, the ring copies into the same memory. */
static void register_buffers(struct worker *w)
{
    size_t bytes;
    void *region = store_region(w->store, &bytes);
    int err = file_io_register_buffers(w->files, region, bytes);

    if (err < 0)
        log_line(LOG_WARN,
                 "worker %u: buffers cannot be registered with the ring (%s), reads go without",
                 w->index, strerrorname_np(-err));
}

static int make_files(struct worker *w)
{
    const struct conf *c = w->conf;
    struct file_config file_config = {
        .use_uring = c->performance_platform_io_uring_enabled,
        .fallback_on_error = c->performance_platform_io_uring_fallback_on_error,
        .queue_depth = (unsigned)c->performance_platform_io_uring_queue_depth,
        .use_registered_buffers = c->performance_platform_io_uring_use_registered_buffers,
        .threads = (unsigned)c->performance_threads,
        .thread_queue = (unsigned)c->performance_thread_queue,
    };
    w->files = w->parts.files ? w->parts.files : file_io_new(w->loop, w->ring, &file_config);
    if (!w->files)
        return failed(w, -errno, "cannot start the file backend");
    file_io_on_notice(w->files, on_notice, w);
    struct store_config store_config = store_settings(w);
    w->store = store_new(w->files, &store_config);
    if (!w->store)
        return failed(w, -errno, "cannot set up the file cache");
    if (file_config.use_registered_buffers && w->ring)
        register_buffers(w);
    return 0;
}

static int make_sockets(struct worker *w)
{
    bool v4 = false, v6 = false;
    uint64_t seed = w->parts.seed;

    w->listen_port.kind = PORT_LISTEN;
    for (unsigned i = 0; i < w->listen_count; i++) {
        int err =
            w->parts.listen
                ? net_open(w->net, &w->parts.listen[i], false, &w->listen_port, &w->listeners[i])
                : net_adopt(w->net, w->listen_fds[i], &w->listen_port, &w->listeners[i]);
        if (err < 0)
            return failed(w, err, "cannot take over a listening socket");
        w->listeners[i]->last = true;
        v4 |= w->listeners[i]->local.family == AF_INET;
        v6 |= w->listeners[i]->local.family == AF_INET6;
    }
    if (seed == 0 && getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        return failed(w, -errno, "cannot get random numbers");
    w->hash_key = prng_mix(seed);
    int err = ports_init(&w->ports, w->net, w->settings, (unsigned)w->conf->network_shared_ports,
                         v4, v6, seed);
    if (err < 0)
        return failed(w, err, "cannot bind transfer ports");
    return 0;
}

int worker_set_up(struct worker *w)
{
    int err;

    if (!w->parts.clock)
        w->parts.clock = loop_clock;
    if (!w->parts.path_payload)
        w->parts.path_payload = net_path_payload;
    if ((err = make_ring(w)) < 0 || (err = make_network(w)) < 0 || (err = make_files(w)) < 0 ||
        (err = make_sockets(w)) < 0)
        return err;
    if (map_init(&w->peers, w->settings->transfers_max) < 0)
        return failed(w, -ENOMEM, "out of memory");
    w->now = w->parts.clock();
    wheel_init(&w->wheel, w->now);
    xfer_env_init(&w->env);
    w->env.net = w->net;
    w->env.wheel = &w->wheel;
    w->env.store = w->store;
    w->env.ended = transfer_ended;
    w->env.send_failed = on_send_failed;
    w->env.owner = w;
    w->round = NET_BATCH;
    return 0;
}

void worker_tear_down(struct worker *w)
{
    if (w->net) {
        net_flush(w->net);
        net_free(w->net);
    }
    /* Operations in flight still write into our buffers. One that hangs in the kernel (a dead
     * file server) must not keep the process: then the memory is left to the kernel. */
    nsec patience = nsec_add(loop_clock(), DRAIN_TIME);
    while (w->store && !store_idle(w->store)) {
        nsec now = loop_wait(w->loop, nsec_add(loop_clock(), DRAIN_TICK));
        file_complete(w->files, FILE_BUDGET);
        if (now >= patience) {
            log_line(LOG_WARN,
                     "worker %u: file operations are still hanging in the kernel, left behind",
                     w->index);
            w->abandoned = true;
            return;
        }
    }
    if (w->store)
        store_free(w->store);
    if (w->files)
        file_io_free(w->files);
    if (w->loop)
        loop_free(w->loop);
    if (w->ring)
        ring_free(w->ring);
    map_fini(&w->peers);
    settings_free(atomic_exchange(&w->mail, NULL));
    settings_free(w->settings);
    w->settings = NULL;
}

void *worker_main(void *arg)
{
    struct worker *w = arg;

    w->start_error = worker_set_up(w);
    if (w->start_error == 0)
        log_line(LOG_NOTICE, "worker %u: packets by %s, files by %s", w->index, net_name(w->net),
                 file_io_name(w->files));
    bool ok = w->start_error == 0;
    sem_post(w->started);
    if (ok)
        run(w);
    worker_tear_down(w);
    atomic_store(&w->ended, true);
    return NULL;
}
