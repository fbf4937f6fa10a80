/*
 * The front: which backend a request goes to, refusal, delivery, and what happens when the
 * ring cannot.
 */
#include "file/file.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file/file_internal.h"
#include "file/file_threads.h"
#include "file/file_uring.h"
#include "file/mem_backend.h"

static const char *const op_names[FILE_OPS] = {
    [FILE_OPEN] = "open",         [FILE_STAT] = "stat",         [FILE_READ] = "read",
    [FILE_WRITE] = "write",       [FILE_ALLOCATE] = "allocate", [FILE_SYNC] = "sync",
    [FILE_LINK] = "link",         [FILE_RENAME] = "rename",     [FILE_UNLINK] = "unlink",
    [FILE_CLOSE] = "close",       [FILE_STATFS] = "statfs",     [FILE_CHMOD] = "chmod",
    [FILE_TRUNCATE] = "truncate",
};

const char *file_op_name(enum file_op op)
{
    assert(op < FILE_OPS);
    return op_names[op];
}

/* Before the loop sleeps: all that was queued in this pass is started in one go. */
static nsec before_wait(void *arg, nsec now)
{
    struct file_io *f = arg;
    nsec next = NSEC_NEVER;

    if (f->mem)
        next = file_mem_flush(f->mem, now);
    if (f->uring)
        next = nsec_min(next, file_uring_flush(f->uring, now));
    /* After the ring, which may have handed requests over. */
    if (f->threads)
        next = nsec_min(next, file_threads_flush(f->threads, now));
    if (!list_empty(&f->done) || (f->threads && file_threads_any_done(f->threads)))
        return 0;
    return next;
}

static struct file_io *new_common(struct loop *loop)
{
    struct file_io *f = calloc(1, sizeof(*f));
    int err;

    if (!f)
        return NULL;
    f->loop = loop;
    list_init(&f->done);
    err = loop ? loop_before_wait(loop, before_wait, f) : 0;
    if (err) {
        free(f);
        errno = -err;
        return NULL;
    }
    return f;
}

struct file_io *file_io_new(struct loop *loop, struct ring *ring, const struct file_config *config)
{
    struct file_io *f;

    assert(loop);
    f = new_common(loop);
    if (!f)
        return NULL;
    f->config = *config;
    f->use_uring = config->use_uring;
    f->threads = file_threads_new(loop, config->threads, config->thread_queue);
    if (f->threads)
        file_threads_run_here(f->threads, config->here_max);
    if (f->threads && ring)
        f->uring = file_uring_new(f, ring);
    if (!f->threads || (ring && !f->uring)) {
        int err = errno;
        file_io_free(f);
        errno = err;
        return NULL;
    }
    return f;
}

struct file_io *file_io_new_mem(struct loop *loop)
{
    struct file_io *f = new_common(loop);

    if (!f)
        return NULL;
    f->mem = file_mem_new(f);
    if (!f->mem) {
        file_io_free(f);
        errno = ENOMEM;
        return NULL;
    }
    return f;
}

void file_io_free(struct file_io *f)
{
    if (!f)
        return;
    assert(file_io_idle(f));
    if (f->loop)
        loop_before_wait_remove(f->loop, before_wait, f);
    file_uring_free(f->uring);
    file_threads_free(f->threads);
    file_mem_free(f->mem);
    free(f);
}

/* ------------------------------------------------------------------------ where to */

/* The ring is there, wanted and well. */
static bool ring_is_on(const struct file_io *f)
{
    return f->uring && f->use_uring && !file_uring_is_dead(f->uring);
}

static bool ring_cannot(const struct file_io *f, enum file_op op)
{
    return f->ring_cannot >> op & 1;
}

static enum file_backend choose(const struct file_io *f, enum file_op op)
{
    if (f->mem)
        return FILE_BACKEND_MEM;
    if (ring_is_on(f) && file_uring_can(f->uring, op) && !ring_cannot(f, op))
        return FILE_BACKEND_URING;
    return FILE_BACKEND_THREADS;
}

static bool is_full(const struct file_io *f, enum file_backend b)
{
    switch (b) {
    case FILE_BACKEND_URING:
        return file_uring_full(f->uring);
    case FILE_BACKEND_THREADS:
        return file_threads_full(f->threads);
    case FILE_BACKEND_MEM:
    case FILE_BACKENDS:
        break;
    }
    return false;
}

int file_submit(struct file_io *f, struct file_req *req)
{
    enum file_backend b = choose(f, req->op);

    assert(req->op < FILE_OPS && req->done);
    if (is_full(f, b)) {
        f->stats.refused++;
        return -EAGAIN;
    }
    req->backend = (uint8_t)b;
    req->stage = STAGE_START;
    req->cancelled = false;
    req->result = 0;
    req->submitted = f->mem ? file_mem_now(f->mem) : loop_clock();
    memset(req->priv, 0, sizeof(req->priv));
    f->accepted++;
    if (b == FILE_BACKEND_THREADS && ring_is_on(f) && file_uring_knows(req->op))
        file_ring_cannot(f, req->op, -EOPNOTSUPP);

    if (b == FILE_BACKEND_URING)
        file_uring_submit(f->uring, req);
    else if (b == FILE_BACKEND_THREADS)
        file_threads_submit(f->threads, req);
    else
        file_mem_submit(f->mem, req);
    return 0;
}

void file_cancel(struct file_io *f, struct file_req *req)
{
    /* Half a close helps nobody. */
    if (req->cancelled || req->op == FILE_CLOSE || req->stage == STAGE_DONE)
        return;
    req->cancelled = true;
    switch ((enum file_backend)req->backend) {
    case FILE_BACKEND_URING:
        file_uring_cancel(f->uring, req);
        break;
    case FILE_BACKEND_THREADS:
        /* One that another backend has begun must be ended properly: it is let run. */
        if (req->stage == STAGE_START && file_threads_cancel(f->threads, req))
            file_finish(f, req, -ECANCELED);
        break;
    case FILE_BACKEND_MEM:
        file_mem_cancel(f->mem, req);
        break;
    case FILE_BACKENDS:
        break;
    }
}

void file_io_use_uring(struct file_io *f, bool use)
{
    f->use_uring = use;
}

const char *file_io_name(const struct file_io *f)
{
    if (f->mem)
        return "mem";
    return ring_is_on(f) ? "io_uring" : "threads";
}

int file_io_register_buffers(struct file_io *f, void *base, size_t size)
{
    if (!f->uring || !f->config.use_registered_buffers)
        return 0;
    return file_uring_register(f->uring, base, size);
}

/* ------------------------------------------------------------------------ falling back */

void file_notice(struct file_io *f, const char *fmt, ...)
{
    char text[160];
    va_list ap;

    if (!f->notice)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    f->notice(f->notice_arg, text);
}

void file_hand_over(struct file_io *f, struct file_req *req)
{
    req->backend = FILE_BACKEND_THREADS;
    file_threads_submit(f->threads, req);
}

void file_fall_back(struct file_io *f, struct file_req *req, int err)
{
    assert(err < 0);
    file_priv_set(req, PRIV_ERROR, err);
    file_priv_set(req, PRIV_FELL_BACK, 1);
    file_hand_over(f, req);
}

void file_ring_cannot(struct file_io *f, enum file_op op, int err)
{
    f->stats.op_fallbacks++;
    if (ring_cannot(f, op))
        return;
    f->ring_cannot |= UINT32_C(1) << op;
    file_notice(f, "io_uring cannot %s (%s): done by threads from now on", file_op_name(op),
                strerror(-err));
}

/* The ring failed once at what the threads could do, and may do better next time. */
static void ring_stumbled(struct file_io *f, enum file_op op, int err)
{
    f->stats.op_fallbacks++;
    if (f->ring_stumbled >> op & 1)
        return;
    f->ring_stumbled |= UINT32_C(1) << op;
    file_notice(f, "io_uring failed to %s (%s): done by threads when that happens",
                file_op_name(op), strerror(-err));
}

/* The threads have done what the ring refused. The same answer means that it was the file's
 * answer, and not a word about the ring. */
static void judge_fallback(struct file_io *f, struct file_req *req)
{
    int err = (int)file_priv(req, PRIV_ERROR);

    if (!file_priv(req, PRIV_FELL_BACK) || req->result == err)
        return;
    if (err == -ENOMEM || err == -EIO)
        ring_stumbled(f, req->op, err);
    else
        file_ring_cannot(f, req->op, err);
}

/* ------------------------------------------------------------------------ delivery */

void file_finish(struct file_io *f, struct file_req *req, int64_t result)
{
    req->result = result;
    req->stage = STAGE_DONE;
    list_push_back(&f->done, &req->link);
}

static void count(struct file_io *f, const struct file_req *req, nsec now)
{
    f->stats.ops[req->backend][req->op]++;
    if (req->result < 0) {
        f->stats.errors++;
        return;
    }
    if (req->op == FILE_READ) {
        f->stats.bytes_read += (uint64_t)req->result;
        hist_add(&f->read_latency[req->backend], now - req->submitted);
    } else if (req->op == FILE_WRITE) {
        f->stats.bytes_written += (uint64_t)req->result;
    }
}

unsigned file_complete(struct file_io *f, unsigned budget)
{
    nsec now = f->mem ? file_mem_now(f->mem) : 0;
    unsigned n = 0;
    struct list *node;

    if (!f->accepted)
        return 0;
    if (f->mem)
        file_mem_collect(f->mem);
    if (f->uring)
        file_uring_reap(f->uring);
    if (f->threads)
        file_threads_collect(f->threads, &f->done);
    if (!now && !list_empty(&f->done))
        now = loop_clock();

    for (; n < budget && (node = list_pop_front(&f->done)); n++) {
        struct file_req *req = container_of(node, struct file_req, link);

        if (req->backend == FILE_BACKEND_THREADS)
            judge_fallback(f, req);
        count(f, req, now);
        f->accepted--;
        req->done(req);
    }
    return n;
}

bool file_io_idle(const struct file_io *f)
{
    return f->accepted == 0;
}

const struct file_stats *file_io_stats(const struct file_io *f)
{
    return &f->stats;
}

const struct hist *file_io_read_latency(const struct file_io *f, enum file_backend b)
{
    assert(b < FILE_BACKENDS);
    return &f->read_latency[b];
}

void file_io_on_notice(struct file_io *f, file_notice_fn *fn, void *arg)
{
    f->notice = fn;
    f->notice_arg = arg;
}
