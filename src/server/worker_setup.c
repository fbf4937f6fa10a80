/*
 * What a worker is made of, and its taking apart. On the worker's own thread: a ring belongs to the
 * thread that makes it.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "config.h"
#include "obs/log.h"
#include "server/confine.h"
#include "server/gate.h"
#include "server/transfer.h"
#include "server/worker.h"
#include "server/worker_impl.h"

#define PRIVATE_RCVBUF_MAX (1U << 20)
#define STRICT             " and performance.platform.io_uring.fallback_on_error is false"

#define FILES_LEAST         32 /* files open at once, however few descriptors there are */
#define PRIVATE_PORTS_LEAST 16
#define OTHER_DESCRIPTORS   64 /* listening, rings, wake-ups ... */

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
        .restricted = c->security_ring_restrictions != CONFINE_OFF,
    };

    if (!wants_ring(c) || w->parts.net)
        return 0;
    w->ring = ring_new(&config);
    if (w->ring && !(ring_features(w->ring) & RING_RESTRICTED) &&
        c->security_ring_restrictions == CONFINE_REQUIRE)
        return failed(w, -ENOSYS, "security.ring_restrictions: required, but not to be had here");
    if (w->ring)
        return 0;
    int err = errno;
    if (c->performance_platform_io_uring_enabled &&
        !c->performance_platform_io_uring_fallback_on_error)
        return failed(w, -err,
                      HAVE_IO_URING ? "io_uring is refused" STRICT
                                    : "built without io_uring" STRICT);
    if (!HAVE_IO_URING)
        log_line(LOG_WARN, "worker %u: built without io_uring, the thread pool takes over",
                 w->index);
    else
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

    /* As configured for the ports of many clients, which are bound already; what is opened from now
     * on serves one each. */
    config.rcvbuf_bytes = MIN(config.rcvbuf_bytes, PRIVATE_RCVBUF_MAX);
    if (w->parts.net) {
        w->net = w->parts.net;
        net_on_unreachable(w->net, worker_on_unreachable, w);
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
    net_on_unreachable(w->net, worker_on_unreachable, w);
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

/* Open files, readers' and idle ones: half of the descriptors, the other half is for sockets. */
static unsigned files_max(const struct worker *w)
{
    struct rlimit limit;
    rlim_t wanted = w->settings->transfers_max + 64;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        wanted = MIN(wanted, limit.rlim_cur / 2 / MAX(1U, w->count));
    return (unsigned)MAX(wanted, FILES_LEAST);
}

/* The other half is for sockets of transfers; what the process has besides is a few. */
static unsigned private_ports_max(const struct worker *w)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return UINT_MAX;
    rlim_t half = limit.rlim_cur / 2;
    rlim_t share = (half - MIN(half, OTHER_DESCRIPTORS)) / MAX(1U, w->count);
    return (unsigned)MIN(MAX(share, PRIVATE_PORTS_LEAST), UINT_MAX);
}

static struct store_config store_settings(struct worker *w)
{
    const struct conf *c = w->conf;

    return (struct store_config){
        .root_fd = w->root_fd,
        .symlinks = c->symlinks == 0 ? STORE_SYMLINKS_NEVER : STORE_SYMLINKS_INSIDE,
        .world_readable_only = c->world_readable_only,
        .chunk_bytes = (size_t)c->performance_chunk_size,
        .cache_bytes = cache_share(w),
        .read_ahead = (unsigned)c->performance_read_ahead,
        .files_max = files_max(w),
        .advise = c->performance_advise,
        .watch = true,
        .upload_max_bytes = w->settings->write_max_size,
        .free_space_min = w->settings->write_free_space_min,
        .durable = c->write_durable,
        .upload_mode = (mode_t)strtoul(c->write_file_mode, NULL, 8),
        .upload_buffer_bytes = (size_t)c->limits_upload_buffer_max,
        .upload_take = gate_upload_take,
        .upload_return = gate_upload_return,
        .upload_arg = w,
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
        if (!w->parts.listen)
            w->listen_fds[i] = -1; /* the engine's now */
        w->listeners[i]->last = true;
        v4 |= w->listeners[i]->local.family == AF_INET;
        v6 |= w->listeners[i]->local.family == AF_INET6;
    }
    if (seed == 0 && getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        return failed(w, -errno, "cannot get random numbers");
    w->hash_key = prng_mix(seed);
    ports_init(&w->ports, w->net, seed);
    int err = w->parts.listen ? ports_open(&w->ports, w->settings,
                                           (unsigned)w->conf->network_shared_ports, v4, v6)
                              : ports_adopt(&w->ports, &w->bound);
    if (err < 0)
        return failed(w, err, "cannot bind transfer ports");
    if (!w->parts.net)
        w->ports.private_max = private_ports_max(w);
    return 0;
}

int worker_set_up(struct worker *w)
{
    int err;

    net_own_init(&w->own);
    if (!w->parts.clock)
        w->parts.clock = loop_clock;
    if (!w->parts.path_payload)
        w->parts.path_payload = net_path_payload;
    if ((err = make_ring(w)) < 0 || (err = make_network(w)) < 0 || (err = make_files(w)) < 0 ||
        (err = make_sockets(w)) < 0)
        return err;
    if (map_init(&w->peers, w->settings->transfers_max) < 0)
        return failed(w, -ENOMEM, "cannot set up the table of transfers");
    w->now = w->parts.clock();
    wheel_init(&w->wheel, w->now);
    xfer_env_init(&w->env);
    w->env.net = w->net;
    w->env.wheel = &w->wheel;
    w->env.store = w->store;
    w->env.ended = transfer_ended;
    w->env.send_failed = worker_on_send_failed;
    w->env.owner = w;
    w->round = NET_BATCH;
    list_init(&w->unproven);
    list_init(&w->stored);
    timer_init(&w->trim);
    pthread_mutex_lock(&w->wake_lock);
    w->wakeable = w->loop != NULL;
    pthread_mutex_unlock(&w->wake_lock);
    return 0;
}

void worker_tear_down(struct worker *w)
{
    drain_drop_all(w);
    if (w->net) {
        net_flush(w->net);
        net_free(w->net);
    }
    net_own_fini(&w->own);
    /* Operations in flight still write into our buffers. One that hangs in the kernel (a dead
     * file server) must not keep the process: then the memory is left to the kernel. */
    nsec patience = nsec_add(loop_clock(), WORKER_DRAIN_TIME);
    while (w->store && !store_idle(w->store)) {
        nsec now = loop_wait(w->loop, nsec_add(loop_clock(), WORKER_DRAIN_TICK));
        file_complete(w->files, WORKER_FILE_BUDGET);
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
    pthread_mutex_lock(&w->wake_lock);
    w->wakeable = false;
    pthread_mutex_unlock(&w->wake_lock);
    if (w->loop)
        loop_free(w->loop);
    if (w->ring)
        ring_free(w->ring);
    map_fini(&w->peers);
    settings_free(atomic_exchange(&w->mail, NULL));
    settings_free(w->settings);
    w->settings = NULL;
}
