/*
 * The store as a whole: its memory, its operations, and the calls it owes.
 *
 * Owners are called back (ready(), changed()) at one place only: at the end of a completion,
 * after the store's own work on it. Where something is owed outside of a completion, a stat of
 * the root brings one.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "store/watch.h"

/* ---- Memory ---- */

/*
 * One line per holder. The region is all chunks, whoever has them: readers (those that wait,
 * and those whose bytes are on their way out), read-ahead, sinks (at most half of all), and
 * what is merely kept.
 */
size_t store_memory_max(const struct store_config *config)
{
    size_t chunks = config->cache_bytes / config->chunk_bytes;
    size_t files = config->files_max;
    size_t sum = sizeof(struct store);

    sum += (chunks + 1) * config->chunk_bytes;     /* region, with room to align it */
    sum += chunks * sizeof(struct store_chunk);    /* descriptors of chunks */
    sum += 2 * chunks * sizeof(struct map_node *); /* chunks by file and index */
    sum += files * sizeof(struct store_file);      /* open files */
    sum += 2 * files * sizeof(struct map_node *);  /* open files by identity */
    sum += files * handle_opening_bytes();         /* opens in flight */
    sum += 2 * files * sizeof(struct map_node *);  /* opens in flight by path */
    if (config->watch)
        sum += watch_memory_max(config);                /* answers to opens */
    sum += chunks / 2 * (sink_work_bytes() + PATH_MAX); /* uploads: at least a chunk each */
    return sum;
}

void *store_region(const struct store *s, size_t *ret_bytes)
{
    *ret_bytes = (size_t)s->pool.total * s->pool.chunk_bytes;
    return s->pool.base;
}

static int init_maps(struct store *s)
{
    int r = map_init(&s->chunks, s->pool.total);
    if (r < 0)
        return r;
    r = map_init(&s->files, s->config.files_max);
    if (r == 0) {
        r = map_init(&s->opens, s->config.files_max);
        if (r == 0)
            return 0;
        map_fini(&s->files);
    }
    map_fini(&s->chunks);
    return r;
}

static uint64_t random_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == (ssize_t)sizeof(seed))
        return seed;
    /* Names need to be unlikely to collide, not secret: they are made with O_EXCL. */
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec ^ ((uint64_t)ts.tv_nsec << 20) ^ ((uint64_t)getpid() << 40);
}

struct store *store_new(struct file_io *io, const struct store_config *config)
{
    if (config->files_max == 0) {
        errno = EINVAL;
        return NULL;
    }
    struct store *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->io = io;
    s->config = *config;
    list_init(&s->idle);
    list_init(&s->pending);
    list_init(&s->due);
    prng_seed(&s->prng, random_seed());
    /* Naming an unnamed file goes through /proc; without it uploads start under a hidden name. */
    s->tmpfile_nameable = access("/proc/self/fd", X_OK) == 0;

    int r = pool_init(&s->pool, config->chunk_bytes, config->cache_bytes);
    if (r == 0) {
        r = init_maps(s);
        if (r < 0)
            pool_fini(&s->pool);
    }
    if (r < 0) {
        free(s);
        errno = -r;
        return NULL;
    }
    s->stats.chunks_total = s->pool.total;
    s->watch = watch_new(s);
    return s;
}

bool store_idle(const struct store *s)
{
    return s->in_flight == 0 && list_empty(&s->pending) && list_empty(&s->due);
}

void store_begin_turn(struct store *s, nsec now)
{
    watch_begin_turn(s->watch, now);
}

void store_trim(struct store *s)
{
    watch_trim(s->watch);
    file_evict_all(s);
}

void store_free(struct store *s)
{
    if (s == NULL)
        return;
    assert(store_idle(s) && s->files_read == 0 && s->sink_chunks == 0);
    /* The backend cannot be asked any more: nobody will be here for its answer. */
    bool real = strcmp(file_io_name(s->io), "mem") != 0;
    watch_free(s->watch);
    struct list *pos, *tmp;
    list_for_each_safe (pos, tmp, &s->idle) {
        struct store_file *f = container_of(pos, struct store_file, idle);
        if (real)
            close(f->fd);
        free(f);
    }
    map_fini(&s->opens);
    map_fini(&s->files);
    map_fini(&s->chunks);
    pool_fini(&s->pool);
    free(s);
}

const struct store_stats *store_stats(const struct store *s)
{
    return &s->stats;
}

uint64_t store_resolve(const struct store *s)
{
    uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    return s->config.symlinks == STORE_SYMLINKS_NEVER ? resolve | RESOLVE_NO_SYMLINKS : resolve;
}

/* ---- Operations ---- */

static void submit_pending(struct store *s)
{
    while (!list_empty(&s->pending)) {
        struct file_req *req = container_of(s->pending.next, struct file_req, link);
        list_del(&req->link);
        if (file_submit(s->io, req) < 0) {
            list_push_front(&s->pending, &req->link);
            return;
        }
        s->in_flight++;
    }
}

static void run_due(struct store *s)
{
    /* What becomes due meanwhile waits for the next completion, or two owners could keep this
     * loop busy for ever. */
    struct list now;
    list_init(&now);
    list_splice_back(&now, &s->due);
    struct list *node;
    while ((node = list_pop_front(&now)) != NULL) {
        struct store_turn *turn = container_of(node, struct store_turn, link);
        turn->run(s, turn);
    }
}

static void kick_done(struct store_op *op)
{
    op->s->kick_busy = false;
}

/* Brings a completion that does not have to wait for the disk of some file. */
static void kick(struct store *s)
{
    if (s->kick_busy)
        return;
    s->kick_busy = true;
    s->kick.req = (struct file_req){.op = FILE_STAT, .fd = s->config.root_fd};
    op_submit(s, &s->kick, kick_done);
}

static void on_done(struct file_req *req)
{
    struct store_op *op = container_of(req, struct store_op, req);
    struct store *s = op->s;

    assert(s->in_flight > 0 && !s->in_done);
    s->in_flight--;
    s->in_done = true;
    op->done(op);
    submit_pending(s);
    run_due(s);
    s->in_done = false;
    if (!list_empty(&s->due))
        kick(s);
}

void op_submit(struct store *s, struct store_op *op, void (*done)(struct store_op *op))
{
    op->s = s;
    op->done = done;
    op->req.done = on_done;
    op->req.owner = op;
    list_init(&op->req.link);
    list_push_back(&s->pending, &op->req.link);
    /* Behind others that were refused, it has to wait like them; with nothing in flight there
     * would be no completion to wait for. */
    if (op->req.link.prev == &s->pending || s->in_flight == 0)
        submit_pending(s);
}

void due_add(struct store *s, struct store_turn *turn)
{
    list_push_back(&s->due, &turn->link);
    if (!s->in_done)
        kick(s);
}

void store_set_upload_limits(struct store *s, uint64_t upload_max_bytes, uint64_t free_space_min)
{
    s->config.upload_max_bytes = upload_max_bytes;
    s->config.free_space_min = free_space_min;
}
