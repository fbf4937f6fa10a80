/*
 * One io_uring, owned by one worker thread and shared by the network engine and the file
 * backend: both queue submissions here, one io_uring_enter per loop pass hands them to the
 * kernel. Completions are first reaped, then delivered, so a callback may queue more.
 *
 * Built without liburing, ring_new() fails with ENOSYS and nothing else is reachable.
 */
#ifndef LOOP_RING_H
#define LOOP_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/util.h"

struct ring;
struct io_uring_sqe;

struct ring_config {
    unsigned queue_depth; /* 1-4096 submissions */
    bool sqpoll;
    int sq_thread_cpu;       /* -1: not pinned */
    unsigned iowq_bounded;   /* kernel workers for file operations; 0: a small default */
    unsigned iowq_unbounded; /* the same for those it is told to begin with; 0: as many */
    bool restricted;         /* to the operations of this program; ring_features() tells if it is */
};

/*
 * Owner of one operation; embedded in the caller's request. `res` is the CQE's result, `flags`
 * its flags (multishot: IORING_CQE_F_MORE says that more will come). Called on the ring's
 * thread from ring_deliver(), never from inside a queueing call.
 */
struct ring_op {
    void (*complete)(struct ring_op *op, int res, uint32_t flags);
};

/* What this kernel's ring can do: asked once by trying, never by version. */
enum ring_feature {
    RING_SINGLE_ISSUER = 1 << 0,
    RING_DEFER_TASKRUN = 1 << 1,
    RING_EXT_ARG = 1 << 2,
    RING_RECVMSG_MULTISHOT = 1 << 3,
    RING_BUF_RING = 1 << 4,
    RING_SPARSE_FILES = 1 << 5,
    RING_IOWQ_LIMITS = 1 << 6,
    RING_SQPOLL = 1 << 7,
    RING_RESTRICTED = 1 << 8, /* ring_restrict.c lists to what */
};

/*
 * Must be called on the thread that will use it (single issuer). NULL and errno: ENOSYS (built
 * without, or kernel without), EPERM (sysctl, seccomp), ENOMEM (memlock), and the rest of
 * io_uring_setup(2). Flags the kernel refuses are left off one by one.
 */
struct ring *ring_new(const struct ring_config *config);
/*
 * Cancels and waits for everything in flight, delivering it, then closes. Callbacks that ask
 * for a new submission meanwhile get none.
 */
void ring_free(struct ring *r);

/*
 * 0 while the ring works; else the -errno of the io_uring_enter(2) that broke it. A broken ring
 * takes no submissions; what it has not yet handed to the kernel is completed with -ECANCELED,
 * what the kernel has is cancelled and completes as usual, through ring_reap().
 */
int ring_error(const struct ring *r);

uint32_t ring_features(const struct ring *r);
bool ring_supports(const struct ring *r, int opcode); /* IORING_OP_... by probe */
/* Kernel workers for file operations: more that block at once wait for each other. */
unsigned ring_workers(const struct ring *r);
int ring_fd(const struct ring *r);
struct io_uring *ring_raw(struct ring *r); /* for registration calls */

/*
 * A submission entry for `op`, or NULL when the submission queue is full even after submitting,
 * or as many operations are in flight as the completion queue holds: the caller keeps its
 * request in its own queue and asks again after the next completion. `op` NULL: the completion
 * is dropped (use with CQE_SKIP_SUCCESS).
 */
struct io_uring_sqe *ring_sqe(struct ring *r, struct ring_op *op);

/* Submits what is queued without waiting. 0 or -errno (-EBUSY, -EAGAIN: later). */
int ring_submit(struct ring *r);
/*
 * Submits, waits until `deadline` or a completion, reaps into the ready queue; one system call.
 * Does not wait when `deadline` is not after `now` or something is ready already. 0 or -errno.
 */
int ring_wait(struct ring *r, nsec deadline, nsec now);
/* Reaps without waiting; true when something is ready to be delivered. */
bool ring_reap(struct ring *r);
/* Calls complete() for what was reaped, at most `budget` of them. Returns how many. */
unsigned ring_deliver(struct ring *r, unsigned budget);

/* One operation that is waited for, as a system call is: it may be on the stack. */
struct ring_call {
    struct ring_op op; /* the rest is the ring's */
    int res;
    bool done;
};
/* As ring_sqe(). Each submission has to be waited for. */
struct io_uring_sqe *ring_call_sqe(struct ring *r, struct ring_call *c);
/* The result. Also of a ring that breaks meanwhile: it gives the operation back first. Waits as
 * long as the kernel keeps the operation, for its memory is the caller's; so only for operations
 * that cannot hang: none on a file of the root. */
int ring_call_wait(struct ring *r, struct ring_call *c);

unsigned ring_in_flight(const struct ring *r);

struct ring_stats {
    uint64_t enters, submitted, completed, sq_full, cq_overflow;
    uint64_t sleeps; /* enters that waited */
};
const struct ring_stats *ring_stats(const struct ring *r);

#endif
