/*
 * Open files, found again by what they are rather than by name: device, inode, size, and both
 * times. An open goes to the kernel, so a name always means what it means now, unless the watch
 * knows that it still means the same; when the answer is a file that is open already, unchanged,
 * its descriptor and its chunks are shared.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/watch.h"

/* An open in flight, for everybody who asked for that path meanwhile. */
struct opening {
    struct map_node node;
    struct store_op op;
    struct list readers; /* store_reader.link */
    nsec since;
    char path[];
};

size_t handle_opening_bytes(void)
{
    return sizeof(struct opening) + PATH_MAX;
}

/* ---- Identity ---- */

static uint32_t stat_hash(const struct file_stat *st)
{
    return (uint32_t)prng_mix(st->ino ^ prng_mix(st->dev));
}

static bool same_inode(const struct file_stat *a, const struct file_stat *b)
{
    return a->dev == b->dev && a->ino == b->ino;
}

static bool same_identity(const struct file_stat *a, const struct file_stat *b)
{
    return same_inode(a, b) && a->size == b->size && a->mtime_ns == b->mtime_ns &&
           a->ctime_ns == b->ctime_ns;
}

bool file_is(const struct store_file *f, const struct stat *st)
{
    struct file_stat now = {
        .dev = st->st_dev,
        .ino = st->st_ino,
        .size = (uint64_t)st->st_size,
        .mtime_ns = (uint64_t)st->st_mtim.tv_sec * NSEC_PER_SEC + (uint64_t)st->st_mtim.tv_nsec,
        .ctime_ns = (uint64_t)st->st_ctim.tv_sec * NSEC_PER_SEC + (uint64_t)st->st_ctim.tv_nsec,
    };
    return same_identity(&f->st, &now) && f->st.mode == st->st_mode;
}

static bool inode_equal(const struct map_node *node, const void *key)
{
    return same_inode(&container_of(node, struct store_file, node)->st, key);
}

static struct store_file *find_inode(struct store *s, const struct file_stat *st)
{
    struct map_node *node = map_find(&s->files, stat_hash(st), inode_equal, st);
    return node == NULL ? NULL : container_of(node, struct store_file, node);
}

/* ---- Life of a file ---- */

static void unshare(struct store_file *f)
{
    if (f->shared)
        map_remove(&f->s->files, &f->node);
    f->shared = false;
    watch_forget(f);
}

static void close_done(struct store_op *op)
{
    free(container_of(op, struct store_file, close));
}

/* Without readers and operations: gives the chunks back and closes. */
static void forget(struct store_file *f)
{
    struct store *s = f->s;

    assert(f->reader_count == 0 && f->ops == 0);
    unshare(f);
    struct list *pos, *tmp;
    list_for_each_safe (pos, tmp, &f->chunks)
        cache_detach(s, container_of(pos, struct store_chunk, in_file));
    list_del(&f->idle);
    s->file_count--;
    s->stats.files_open = s->file_count;
    f->close.req = (struct file_req){.op = FILE_CLOSE, .fd = f->fd};
    op_submit(s, &f->close, close_done);
}

bool file_evict(struct store *s)
{
    struct list *pos;
    list_for_each (pos, &s->idle) {
        struct store_file *f = container_of(pos, struct store_file, idle);
        if (f->ops == 0) {
            forget(f);
            return true;
        }
    }
    return false;
}

void file_evict_all(struct store *s)
{
    while (file_evict(s))
        ;
    cache_serve(s);
}

void file_op_done(struct store_file *f)
{
    assert(f->ops > 0);
    f->ops--;
    if (f->ops == 0 && f->reader_count == 0 && !f->shared)
        forget(f);
}

void file_stale(struct store_file *f)
{
    if (f->error != 0)
        return;
    f->error = -ESTALE;
    unshare(f);
    struct list *pos;
    list_for_each (pos, &f->readers) {
        struct store_reader *r = container_of(pos, struct store_reader, link);
        if (r->waiting)
            reader_wake(f->s, r);
    }
}

void file_outdated(struct store_file *f)
{
    unshare(f);
    if (f->reader_count == 0 && f->ops == 0) {
        struct store *s = f->s;
        forget(f);
        cache_serve(s);
    }
}

static struct store_file *file_new(struct store *s, int fd, const struct file_stat *st)
{
    struct store_file *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return NULL;
    f->s = s;
    f->id = s->file_ids++;
    f->fd = fd;
    f->st = *st;
    list_init(&f->readers);
    list_init(&f->starved);
    list_init(&f->chunks);
    list_init(&f->idle);
    list_init(&f->known_as);
    list_push_back(&s->idle, &f->idle);
    s->file_count++;
    s->stats.files_open = s->file_count;
    /* An older state of the same inode is not found by opens any more. */
    struct store_file *old = find_inode(s, st);
    if (old != NULL) {
        unshare(old);
        if (old->reader_count == 0 && old->ops == 0)
            forget(old);
    }
    map_insert(&s->files, &f->node, stat_hash(st));
    f->shared = true;
    return f;
}

/*
 * Doubles the kernel's read-ahead window for files we read in order. It only sets fields of
 * the open file: posix_fadvise() starts no I/O and waits for nothing with this advice.
 */
static void advise(const struct store *s, int fd, const struct file_stat *st)
{
    if (s->config.advise && st->size > s->pool.chunk_bytes)
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
}

/* ---- Opening ---- */

static uint32_t path_hash(const char *path)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *path != '\0'; path++)
        h = (h ^ (uint8_t)*path) * UINT64_C(0x100000001b3);
    return (uint32_t)prng_mix(h);
}

static bool path_equal(const struct map_node *node, const void *key)
{
    return strcmp(container_of(node, struct opening, node)->path, key) == 0;
}

static void run_reader(struct store *s, struct store_turn *turn)
{
    (void)s;
    struct store_reader *r = container_of(turn, struct store_reader, turn);
    r->waiting = false;
    r->wait.ready(&r->wait);
}

void reader_wake(struct store *s, struct store_reader *r)
{
    assert(r->waiting);
    list_del(&r->wait.link);
    list_del(&r->starved);
    list_del(&r->turn.link);
    r->turn.run = run_reader;
    due_add(s, &r->turn);
}

static void reader_attach(struct store *s, struct store_reader *r, struct store_file *f, int result)
{
    list_del(&r->link);
    r->opening = false;
    r->result = result;
    r->error = result;
    if (result == 0) {
        r->file = f;
        r->size = f->st.size;
        list_push_back(&f->readers, &r->link);
        list_del(&f->idle);
        if (f->reader_count++ == 0)
            s->files_read++;
    } else {
        s->stats.open_failed++;
    }
}

static void reader_opened(struct store *s, struct store_reader *r, struct store_file *f, int result)
{
    reader_attach(s, r, f, result);
    reader_wake(s, r);
}

/* 0, or why this file is not served. */
static int judge(const struct store *s, const struct file_stat *st)
{
    if (S_ISDIR(st->mode))
        return -EISDIR;
    if (!S_ISREG(st->mode))
        return -ENXIO;
    if (s->config.world_readable_only && (st->mode & S_IROTH) == 0)
        return -EACCES;
    return 0;
}

static void opening_free(struct store_op *op)
{
    free(container_of(op, struct opening, op));
}

/* The file behind a descriptor just opened; *keep_fd says whether it is in use now. */
static int adopt(struct store *s, int fd, const struct file_stat *st, struct store_file **ret_file,
                 bool *keep_fd)
{
    int r = judge(s, st);
    if (r < 0)
        return r;
    struct store_file *f = find_inode(s, st);
    if (f != NULL && same_identity(&f->st, st)) {
        s->stats.open_shared++;
    } else {
        f = file_new(s, fd, st);
        if (f == NULL)
            return -ENOMEM;
        *keep_fd = true;
        advise(s, fd, st);
    }
    *ret_file = f;
    return 0;
}

static void open_done(struct store_op *op)
{
    struct opening *o = container_of(op, struct opening, op);
    struct store *s = op->s;
    struct store_file *f = NULL;
    bool keep_fd = false;
    int fd = op->req.result < 0 ? -1 : (int)op->req.result;
    int result = op->req.result < 0 ? (int)op->req.result : 0;

    map_remove(&s->opens, &o->node);
    if (result == 0 && !list_empty(&o->readers))
        result = adopt(s, fd, &op->req.st, &f, &keep_fd);
    struct list *node;
    while ((node = list_pop_front(&o->readers)) != NULL)
        reader_opened(s, container_of(node, struct store_reader, link), f, result);
    if (f != NULL)
        ahead_first(s, f);
    watch_learn(s->watch, o->path, o->node.hash, f, result, o->since);
    if (fd >= 0 && !keep_fd) {
        op->req = (struct file_req){.op = FILE_CLOSE, .fd = fd};
        op_submit(s, op, opening_free);
    } else {
        free(o);
    }
}

static int opening_start(struct store *s, const char *path, uint32_t hash, struct opening **ret)
{
    size_t len = strlen(path);

    if (len >= PATH_MAX)
        return -ENAMETOOLONG;
    if (s->file_count + s->opens.count >= s->config.files_max && !file_evict(s))
        return -EMFILE;
    struct opening *o = calloc(1, sizeof(*o) + len + 1);
    if (o == NULL)
        return -ENOMEM;
    memcpy(o->path, path, len + 1);
    list_init(&o->readers);
    o->since = watch_now(s->watch);
    map_insert(&s->opens, &o->node, hash);
    o->op.req = (struct file_req){
        .op = FILE_OPEN,
        .dirfd = s->config.root_fd,
        .path = o->path,
        .flags = O_RDONLY,
        .resolve = store_resolve(s),
    };
    op_submit(s, &o->op, open_done);
    *ret = o;
    return 0;
}

int store_open_now(struct store *s, struct store_reader *r, const char *path)
{
    void (*ready)(struct store_wait *) = r->wait.ready;
    *r = (struct store_reader){.wait.ready = ready, .opening = true, .waiting = true};
    list_init(&r->wait.link);
    list_init(&r->link);
    list_init(&r->starved);
    list_init(&r->turn.link);
    s->stats.opens++;

    uint32_t hash = path_hash(path);
    struct store_file *f = NULL;
    int result = watch_find(s->watch, path, hash, &f);
    if (result != -EINPROGRESS) {
        s->stats.open_known++;
        r->waiting = false;
        reader_attach(s, r, f, result);
        return result;
    }
    struct map_node *node = map_find(&s->opens, hash, path_equal, path);
    struct opening *o = node == NULL ? NULL : container_of(node, struct opening, node);
    result = 0;
    if (o == NULL)
        result = opening_start(s, path, hash, &o);
    else
        s->stats.open_shared++;
    if (result == 0)
        list_push_back(&o->readers, &r->link);
    else
        reader_opened(s, r, NULL, result);
    return -EINPROGRESS;
}

void store_open(struct store *s, struct store_reader *r, const char *path)
{
    if (store_open_now(s, r, path) == -EINPROGRESS)
        return;
    r->waiting = true;
    reader_wake(s, r);
}

void store_close(struct store *s, struct store_reader *r)
{
    struct store_file *f = r->file;

    if (r->opening || r->waiting) {
        list_del(&r->turn.link);
        if (r->opening)
            list_del(&r->link);
    }
    r->opening = false;
    if (f == NULL) {
        r->waiting = false;
        return;
    }
    cache_withdraw(s, r);
    r->file = NULL;
    r->hint = NULL;
    list_del(&r->link);
    assert(f->reader_count > 0);
    if (--f->reader_count == 0) {
        s->files_read--;
        list_push_back(&s->idle, &f->idle);
        ahead_left(s, f);
        if (!f->shared && f->ops == 0)
            forget(f);
    }
    cache_serve(s);
}
