/*
 * Uploads. The bytes go to a file without a name in the target's folder (O_TMPFILE), or, where
 * the file system has no such thing, under a hidden name; the real name is given to the whole
 * file at the end, so nobody ever sees a part, and a crash leaves nothing or, of a hidden
 * name, something store_sweep() knows.
 *
 * Every step works relative to the folder's descriptor, which was opened below the root, so
 * renaming folders meanwhile moves nothing out of it. Symbolic links as targets are refused,
 * and rename() and link() do not follow one that appears later.
 *
 * One operation of an upload is in flight at a time; `struct store_sink_work` owns all that
 * it points to and outlives the sink where an operation is still under way.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/sink_internal.h"

enum {
    BUFFER_BYTES = 64 * 1024,
    ROOM_CHECK_BYTES = 4 * 1024 * 1024, /* written between two looks at the free space */
};

size_t sink_work_bytes(void)
{
    return sizeof(struct store_sink_work) + sizeof(struct store_chunk *);
}

/* ---- Steps ---- */

void sink_step(struct store_sink_work *w, struct file_req req, void (*done)(struct store_op *op))
{
    assert(!w->busy);
    w->busy = true;
    w->op.req = req;
    op_submit(w->s, &w->op, done);
}

static void clean_up(struct store_sink_work *w);

bool sink_goes_on(struct store_sink_work *w)
{
    if (w->sink == NULL)
        clean_up(w);
    else if (w->sink->owed != 0)
        sink_fail(w, w->sink->owed);
    else
        return true;
    return false;
}

struct store_sink_work *sink_finished(struct store_op *op)
{
    struct store_sink_work *w = container_of(op, struct store_sink_work, op);
    assert(w->busy);
    w->busy = false;
    return w;
}

struct store_sink_work *sink_succeeded(struct store_op *op)
{
    struct store_sink_work *w = sink_finished(op);

    if (!sink_goes_on(w))
        return NULL;
    if (op->req.result >= 0)
        return w;
    sink_fail(w, (int)op->req.result);
    return NULL;
}

static void clean_done(struct store_op *op)
{
    clean_up(sink_finished(op));
}

static void release_buffers(struct store_sink_work *w)
{
    if (w->buffers_counted)
        w->s->sink_chunks -= w->buffer_count;
    w->buffers_counted = false;
    if (!w->buffers_held)
        return;
    w->buffers_held = false;
    for (unsigned i = 0; i < w->buffer_count; i++)
        store_release(w->s, w->buffers[i]);
}

/* Removes what is left over, one operation after the other, and then the work itself. Results
 * do not matter: there is nobody to tell, and nothing else to do. */
static void clean_up(struct store_sink_work *w)
{
    assert(w->sink == NULL && !w->busy);
    release_buffers(w);
    if (w->hidden) {
        w->hidden = false;
        sink_step(w, (struct file_req){.op = FILE_UNLINK, .dirfd = w->dir, .path = w->hidden_name},
                  clean_done);
    } else if (w->fd >= 0) {
        int fd = w->fd;
        w->fd = -1;
        sink_step(w, (struct file_req){.op = FILE_CLOSE, .fd = fd}, clean_done);
    } else if (w->dir >= 0) {
        int fd = w->dir;
        w->dir = -1;
        sink_step(w, (struct file_req){.op = FILE_CLOSE, .fd = fd}, clean_done);
    } else {
        free(w);
    }
}

/* Nothing of it will be seen, so nothing of it counts. */
static void give_quota_back(struct store *s, const struct store_sink *sink)
{
    if (s->config.upload_return && sink->received > 0)
        s->config.upload_return(s->config.upload_arg, sink->received);
}

static void end(struct store_sink_work *w, enum store_sink_state state, int error)
{
    struct store_sink *sink = w->sink;

    if (state == STORE_SINK_PUBLISHED)
        w->s->stats.published++;
    else
        w->s->stats.upload_failed++;
    if (state == STORE_SINK_FAILED)
        give_quota_back(w->s, sink);
    sink->state = state;
    sink->error = error;
    sink->owed = 0;
    list_del(&sink->turn.link);
    sink->work = NULL;
    w->sink = NULL;
    clean_up(w);
    sink->changed(sink);
}

void sink_fail(struct store_sink_work *w, int error)
{
    assert(error < 0);
    end(w, STORE_SINK_FAILED, error);
}

void sink_published(struct store_sink_work *w)
{
    end(w, STORE_SINK_PUBLISHED, 0);
}

static void run_fail(struct store *s, struct store_turn *turn)
{
    struct store_sink *sink = container_of(turn, struct store_sink, turn);

    if (sink->work == NULL) { /* there was no memory for it */
        s->stats.upload_failed++;
        sink->state = STORE_SINK_FAILED;
        sink->error = sink->owed;
        sink->changed(sink);
    } else if (!sink->work->busy) {
        sink_fail(sink->work, sink->owed);
    } /* else the completion of its operation does */
}

/* From inside a store_sink_ function, where changed() must not be called. */
static void fail_later(struct store *s, struct store_sink *sink, int error)
{
    if (sink->owed != 0)
        return;
    sink->owed = error;
    sink->turn.run = run_fail;
    due_add(s, &sink->turn);
}

/* One allocation: the work, its list of buffers, and the two names. NULL: no memory. */
static struct store_sink_work *work_new(struct store *s, const char *path, uint64_t size_hint)
{
    size_t wish = s->config.upload_buffer_bytes;
    wish = wish == 0 ? BUFFER_BYTES : wish;
    /* Not fewer for a small size_hint: some clients announce less than they send. */
    size_t count = MIN((wish + s->pool.chunk_bytes - 1) >> s->pool.shift, s->pool.total / 2);
    size_t len = strlen(path);
    size_t fixed = sizeof(struct store_sink_work) + count * sizeof(struct store_chunk *);

    struct store_sink_work *w = calloc(1, fixed + len + sizeof("./"));
    if (w == NULL)
        return NULL;
    w->s = s;
    w->dir = w->fd = -1;
    w->size_hint = size_hint;
    w->buffer_count = (unsigned)count;
    list_init(&w->turn.link);
    w->folder = (char *)w + fixed;
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        memcpy(w->folder, ".", 2);
        w->name = w->folder + 2;
        memcpy(w->name, path, len + 1);
    } else {
        memcpy(w->folder, path, len + 1);
        w->folder[slash - path] = '\0';
        w->name = w->folder + (slash - path) + 1;
    }
    return w;
}

void sink_choose_name(struct store_sink_work *w)
{
    snprintf(w->hidden_name, sizeof(w->hidden_name), PATH_STAGED_PREFIX "%016" PRIx64,
             prng_next(&w->s->prng));
}

bool sink_room_left(const struct store_sink_work *w, uint64_t space, uint64_t bytes)
{
    return space >= w->s->config.free_space_min && space - w->s->config.free_space_min >= bytes;
}

/* ---- Writing ---- */

static uint64_t buffer_bytes(const struct store_sink_work *w)
{
    return (uint64_t)w->buffer_count << w->s->pool.shift;
}

/* Where byte `pos` of the file is buffered, and how many may follow it there. */
static uint8_t *buffer_at(const struct store_sink_work *w, uint64_t pos, size_t *ret_n)
{
    const struct bufpool *pool = &w->s->pool;
    size_t skip = (size_t)(pos & (pool->chunk_bytes - 1));

    *ret_n = pool->chunk_bytes - skip;
    return w->buffers[(pos >> pool->shift) % w->buffer_count]->data + skip;
}

static void pump(struct store_sink_work *w);

static void room_again(struct store_op *op)
{
    struct store_sink_work *w = sink_finished(op);
    if (!sink_goes_on(w))
        return;
    if (op->req.result == 0 && !sink_room_left(w, op->req.space, 0))
        sink_fail(w, -ENOSPC);
    else
        pump(w);
}

static void write_done(struct store_op *op)
{
    struct store_sink_work *w = sink_finished(op);
    int64_t r = op->req.result;

    if (!sink_goes_on(w))
        return;
    if (r <= 0) {
        sink_fail(w, r < 0 ? (int)r : -EIO);
        return;
    }
    assert((uint64_t)r <= w->sink->received - w->sink->stored);
    w->sink->stored += (uint64_t)r;
    w->s->stats.bytes_written += (uint64_t)r;
    pump(w);
    w->sink->changed(w->sink);
}

/* Writes the next piece, if there is one to be written now. */
static void pump(struct store_sink_work *w)
{
    struct store_sink *sink = w->sink;
    bool publishing = sink->state == STORE_SINK_PUBLISHING;
    size_t n;

    if (w->busy || sink->owed != 0)
        return;
    if (sink->stored == sink->received) {
        if (publishing)
            sink_publish_start(w);
        return;
    }
    uint8_t *p = buffer_at(w, sink->stored, &n);
    if (sink->received - sink->stored < n) {
        if (!publishing && sink->stored >= w->flush_to)
            return;
        n = (size_t)(sink->received - sink->stored);
    }
    if (sink->stored - w->room_checked >= ROOM_CHECK_BYTES) {
        w->room_checked = sink->stored;
        sink_step(w, (struct file_req){.op = FILE_STATFS, .fd = w->fd}, room_again);
        return;
    }
    sink_step(w,
              (struct file_req){
                  .op = FILE_WRITE, .fd = w->fd, .buf = p, .len = n, .offset = sink->stored},
              write_done);
}

/* ---- Interface ---- */

static bool name_refused(const struct store_sink_work *w)
{
    return w->name[0] == '\0' ||
           strncmp(w->name, PATH_STAGED_PREFIX, sizeof(PATH_STAGED_PREFIX) - 1) == 0;
}

void store_sink_open(struct store *s, struct store_sink *sink, const char *path, bool overwrite,
                     bool create, uint64_t size_hint)
{
    void (*changed)(struct store_sink *) = sink->changed;
    void *owner = sink->owner;
    struct store_sink_work *w = work_new(s, path, size_hint);

    *sink = (struct store_sink){
        .state = STORE_SINK_OPENING, .changed = changed, .owner = owner, .work = w};
    list_init(&sink->turn.link);
    if (w == NULL) {
        fail_later(s, sink, -ENOMEM);
        return;
    }
    w->sink = sink;
    w->overwrite = overwrite;
    w->create = create;
    if (name_refused(w)) {
        fail_later(s, sink, -EACCES);
    } else if (size_hint != STORE_SIZE_UNKNOWN && size_hint > s->config.upload_max_bytes) {
        fail_later(s, sink, -EFBIG);
    } else {
        sink_open_start(w);
    }
}

size_t store_sink_room(const struct store_sink *sink)
{
    if (sink->state != STORE_SINK_OPEN || sink->owed != 0)
        return 0;
    return (size_t)(buffer_bytes(sink->work) - (sink->received - sink->stored));
}

void store_sink_write(struct store_sink *sink, const void *p, size_t n)
{
    struct store_sink_work *w = sink->work;
    const uint8_t *from = p;

    if (sink->state != STORE_SINK_OPEN || sink->owed != 0)
        return;
    assert(n <= store_sink_room(sink));
    if (n > w->s->config.upload_max_bytes - sink->received) {
        fail_later(w->s, sink, -EFBIG);
        return;
    }
    if (w->s->config.upload_take && !w->s->config.upload_take(w->s->config.upload_arg, n)) {
        fail_later(w->s, sink, -EDQUOT);
        return;
    }
    while (n > 0) {
        size_t part;
        uint8_t *to = buffer_at(w, sink->received, &part);
        part = MIN(part, n);
        memcpy(to, from, part);
        sink->received += part;
        from += part;
        n -= part;
    }
    pump(w);
}

void store_sink_flush(struct store_sink *sink)
{
    if (sink->state != STORE_SINK_OPEN)
        return;
    sink->work->flush_to = sink->received;
    pump(sink->work);
}

void store_sink_publish(struct store_sink *sink)
{
    if (sink->state != STORE_SINK_OPEN)
        return;
    sink->state = STORE_SINK_PUBLISHING;
    pump(sink->work);
}

void store_sink_close(struct store *s, struct store_sink *sink)
{
    struct store_sink_work *w = sink->work;
    bool publishing = sink->state == STORE_SINK_PUBLISHING; /* it may still appear */

    if (sink->turn.link.next != NULL) /* has been opened */
        list_del(&sink->turn.link);
    sink->state = STORE_SINK_CLOSED;
    sink->work = NULL;
    if (w == NULL)
        return;
    assert(w->s == s);
    s->stats.upload_failed++;
    if (!publishing)
        give_quota_back(s, sink);
    w->sink = NULL;
    list_del(&w->turn.link);
    if (!w->busy)
        clean_up(w);
}
