/*
 * Asynchronous file operations behind one small interface. Two full implementations,
 * "io_uring" and "threads", that callers cannot tell apart, and "mem" with scripted delays and
 * errors for tests.
 *
 * Contract
 *   Threads    One `struct file_io` belongs to one worker thread: submit, cancel and
 *              completions all happen there. Backends may do the work elsewhere.
 *   Request    The caller's memory, from file_submit() until done() is called; exactly one
 *              done() for each accepted submit. All that its fields point to (path, buffer)
 *              must stay valid and, for buffers, untouched for as long. Cancellation and the
 *              death of a transfer do not shorten that: the buffer is free when done() came.
 *   Refusal    file_submit() returns -EAGAIN when the queue is full: nothing was started, the
 *              caller keeps the request in order and tries again after a completion. Queues
 *              never grow.
 *   Order      Operations in flight at the same time may complete in any order, also on the
 *              same file. Whoever needs an order submits after the earlier done().
 *   Results    result >= 0: a byte count (read, write), a descriptor (open), or 0. < 0: -errno.
 *              Reads and writes may be short; a read of 0 is the end of the file. -EINTR and
 *              -EAGAIN never reach the caller.
 *   Cancel     Asks; the request still completes, with its result or -ECANCELED. An operation
 *              that hangs in the kernel cannot be ended by anyone; it delays nobody else.
 *   Delivery   done() is called from file_complete() or loop_wait() on the worker's thread, never
 *              from inside file_submit(). It may submit, and may free the request. A loop whose
 *              file_io has something to deliver does not sleep.
 *   Failure    An operation the ring cannot do, and everything in a ring that failed, is
 *              handed to the threads by file_io itself; callers see only the result.
 */
#ifndef FILE_FILE_H
#define FILE_FILE_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/util.h"
#include "loop/loop.h"
#include "loop/ring.h"

struct file_io;

enum file_op {
    FILE_OPEN,     /* openat2 below dirfd, then fstat of the result into `st` in one operation */
    FILE_STAT,     /* fstat of fd into `st` */
    FILE_READ,     /* pread */
    FILE_WRITE,    /* pwrite */
    FILE_ALLOCATE, /* fallocate of [offset, offset + len) without changing the size */
    FILE_SYNC,     /* fsync */
    FILE_LINK,     /* give the unnamed file fd the name dirfd/path; -EEXIST when taken */
    FILE_RENAME,   /* dirfd/path -> dirfd/path2, replacing it */
    FILE_UNLINK,   /* dirfd/path */
    FILE_CLOSE,
    FILE_STATFS,   /* fstatfs of fd into `space` */
    FILE_CHMOD,    /* fchmod of fd to `mode` */
    FILE_TRUNCATE, /* ftruncate of fd to `offset`; frees what was allocated beyond the end */
    FILE_OPS
};

/* What a transfer needs to know about an open file. */
struct file_stat {
    uint64_t dev, ino;
    uint64_t size;
    uint64_t mtime_ns, ctime_ns;
    uint32_t mode;
};

struct file_req {
    enum file_op op;
    int fd;            /* all but OPEN, RENAME, UNLINK */
    int dirfd;         /* OPEN, LINK, RENAME, UNLINK */
    const char *path;  /* OPEN, LINK, RENAME (old), UNLINK */
    const char *path2; /* RENAME (new) */
    int flags;         /* OPEN: O_...; O_CLOEXEC and, without O_PATH, O_NOCTTY and O_NONBLOCK are
                          added. RENAME: 0 or RENAME_NOREPLACE */
    mode_t mode;       /* OPEN with O_CREAT or O_TMPFILE, CHMOD */
    uint64_t resolve;  /* OPEN: RESOLVE_... of openat2(2) */
    void *buf;         /* READ, WRITE */
    size_t len;        /* READ, WRITE, ALLOCATE */
    uint64_t offset;   /* READ, WRITE, ALLOCATE, TRUNCATE */
    bool hot;          /* READ: expected in the page cache, worth a try without a helper thread.
                          On the ring false in done() when it was not there */
    bool stat_after;   /* READ: when it succeeded, fstat of fd into `st` in the same operation; if
                          that fails, the result is its error */

    int64_t result;
    struct file_stat st; /* OPEN, STAT, READ with stat_after */
    uint64_t space;      /* STATFS: bytes that an unprivileged user may still allocate */
    nsec submitted;      /* for the latency histogram */
    void (*done)(struct file_req *req);
    void *owner;

    struct list link; /* file_io's, or the caller's own queue while not submitted */
    uint8_t backend;  /* who has it now; in done() who did it */
    uint8_t stage;    /* file_io's, like all below */
    bool cancelled;
    void *priv[4];
};

struct file_config {
    bool use_uring;         /* false: threads only */
    bool fallback_on_error; /* a failing ring hands its operations, and from then on all, to the
                               threads */
    unsigned queue_depth;   /* operations in flight on the ring, 1-4096 */
    bool use_registered_buffers;
    unsigned threads;      /* size of the pool */
    unsigned thread_queue; /* requests waiting for a thread; more are refused */
    nsec here_max; /* requests run on the caller's thread until one sleeps and takes longer; 0:
                      never. For programs that have one user, who waits for the file anyway. */
    /* Tests: called at the submit/complete boundary of the ring; a non-zero return replaces the
     * result (completion) or refuses the submission. */
    int (*inject)(void *arg, const struct file_req *req, bool completing, int64_t result);
    void *inject_arg;
};

/*
 * `ring` may be NULL (threads only). A ring that the loop does not wait on itself tells the loop
 * of completions by an eventfd, the only one that a ring can have. NULL and errno.
 */
struct file_io *file_io_new(struct loop *loop, struct ring *ring, const struct file_config *config);
/* A backend without a kernel: files are named buffers; see file/mem.h. */
struct file_io *file_io_new_mem(struct loop *loop);
/* Everything must have completed (file_io_idle()). */
void file_io_free(struct file_io *f);

/* 0, or -EAGAIN (full: nothing happened). The next loop_wait() starts what was submitted. */
MUST_CHECK int file_submit(struct file_io *f, struct file_req *req);
void file_cancel(struct file_io *f, struct file_req *req);
/* Delivers what has completed, at most `budget`. Returns how many. */
unsigned file_complete(struct file_io *f, unsigned budget);
bool file_io_idle(const struct file_io *f);

/* Where new operations go from now on; running ones finish where they are. */
void file_io_use_uring(struct file_io *f, bool use);
/* "io_uring" or "threads" or "mem": where the next operation would go. */
const char *file_io_name(const struct file_io *f);

/* Gives buffers that all reads will use to the ring (use_registered_buffers). 0 or -errno. */
MUST_CHECK int file_io_register_buffers(struct file_io *f, void *base, size_t size);

enum file_backend { FILE_BACKEND_THREADS, FILE_BACKEND_URING, FILE_BACKEND_MEM, FILE_BACKENDS };

struct hist;
struct file_stats {
    uint64_t ops[FILE_BACKENDS][FILE_OPS]; /* completed */
    uint64_t errors;
    uint64_t refused;       /* -EAGAIN given */
    uint64_t op_fallbacks;  /* operations the ring could not do, done by the threads */
    uint64_t ring_failures; /* times the ring was given up */
    uint64_t bytes_read, bytes_written;
};
const struct file_stats *file_io_stats(const struct file_io *f);
/* Submit to complete, in nanoseconds, of reads on that backend. */
const struct hist *file_io_read_latency(const struct file_io *f, enum file_backend b);

/* Told once per event, in words for the log: an operation class that fell back, a ring given up. */
typedef void file_notice_fn(void *arg, const char *text);
void file_io_on_notice(struct file_io *f, file_notice_fn *fn, void *arg);

const char *file_op_name(enum file_op op);

#endif
