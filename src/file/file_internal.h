/*
 * What the front and the backends share. Private to file/.
 */
#ifndef FILE_FILE_INTERNAL_H
#define FILE_FILE_INTERNAL_H

#include "base/hist.h"
#include "file/file.h"
#include "file/file_sys.h"

struct file_threads;
struct file_uring;
struct file_mem;

struct file_io {
    struct loop *loop;
    struct file_config config;
    struct file_threads *threads; /* NULL on mem */
    struct file_uring *uring;     /* NULL without a ring */
    struct file_mem *mem;
    bool use_uring; /* as asked for by the configuration or at run time */

    struct list done;    /* completed, not yet delivered */
    unsigned done_count; /* of these */
    size_t accepted;     /* submitted, not yet delivered */

    uint32_t ring_cannot;   /* a bit per operation that was seen to work only on the threads */
    uint32_t ring_stumbled; /* a bit per operation that failed there once, and was said to */
    struct file_stats stats;
    struct hist read_latency[FILE_BACKENDS];
    file_notice_fn *notice;
    void *notice_arg;
};

/* The request is over: queues it for delivery. Worker's thread. */
void file_finish(struct file_io *f, struct file_req *req, int64_t result);
/* Hands a request to the threads, whatever the length of their queue: it was accepted once. */
void file_hand_over(struct file_io *f, struct file_req *req);
/* As file_hand_over(), because the ring answered `err`, which may mean that it cannot do this
 * operation: it cannot, if the threads get another result. After -ENOMEM and -EIO the next one may
 * go to the ring again. */
void file_fall_back(struct file_io *f, struct file_req *req, int err);
/* From now on this operation goes to the threads. Says so once. */
void file_ring_cannot(struct file_io *f, enum file_op op, int err);
void file_notice(struct file_io *f, const char *fmt, ...) PRINTF_LIKE(2, 3);

/*
 * The slow class: operations on names and metadata, which on a hung mount may never return.
 * They get at most half of a backend's places, so that reads always move.
 */
static inline bool file_is_slow(enum file_op op)
{
    return !(op == FILE_READ || op == FILE_WRITE || op == FILE_STAT || op == FILE_CLOSE);
}

/* priv[] of a request while it is file_io's. */
#define PRIV_SLOT      0 /* ring: its struct slot */
#define PRIV_ERROR     1 /* OPEN in STAGE_UNDO: what to answer; fallback: what the ring answered */
#define PRIV_TRIES     2 /* times it was answered with an error that only means: again */
#define PRIV_FELL_BACK 3 /* handed over by file_fall_back() */

static inline void file_priv_set(struct file_req *req, unsigned i, intptr_t v)
{
    req->priv[i] = (void *)v;
}

static inline intptr_t file_priv(const struct file_req *req, unsigned i)
{
    return (intptr_t)req->priv[i];
}

#endif
