/*
 * One io_uring. The submission tail is published and io_uring_enter(2) called here rather than
 * by liburing's helpers, so that a loop pass is exactly one call, with the flags we choose, and
 * an error of that call is seen as such.
 */
#include "loop/ring.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop/ring_restrict.h"
#include "loop/uring_compat.h"

#define SQ_ENTRIES_MIN   64
#define SQ_ENTRIES_MAX   4096
#define CQ_ENTRIES_MIN   8192 /* multishot receives post many completions for one submission */
#define CQ_PER_SQ        4
#define SQPOLL_IDLE_MSEC 20
#define IOWQ_BOUNDED     32 /* concurrent blocking file operations */
#define NAP_MSEC         1  /* after an enter that may be tried again, instead of spinning */
#define ABANDON_NSEC     NSEC_PER_MSEC
#define FREE_NAPS        500 /* for a broken ring that does not give its operations back */

struct ready {
    struct ring_op *op;
    int32_t res;
    uint32_t flags;
};

struct ring {
    struct io_uring u;
    unsigned enter_flags;
    bool no_iowait;
    bool closing;
    int error;
    uint32_t features;
    uint64_t opcodes[4]; /* a bit per IORING_OP_ the kernel has */

    unsigned workers;

    unsigned in_flight, in_flight_max;

    /* Reaped, not yet delivered. Twice the completion queue: one for what is reaped, one so
     * that operations of a broken ring always find room. */
    struct ready *ready;
    unsigned ready_mask, ready_head, ready_tail;

    struct ring_stats stats;
};

static unsigned ready_count(const struct ring *r)
{
    return r->ready_tail - r->ready_head;
}

static void ready_push(struct ring *r, struct ring_op *op, int32_t res, uint32_t flags)
{
    assert(ready_count(r) <= r->ready_mask);
    r->ready[r->ready_tail++ & r->ready_mask] = (struct ready){op, res, flags};
}

/* Makes what was filled in visible to the kernel. Returns how much it has not yet taken. */
static unsigned flush_sq(struct ring *r)
{
    struct io_uring_sq *sq = &r->u.sq;

    if (sq->sqe_head != sq->sqe_tail) {
        sq->sqe_head = sq->sqe_tail;
        __atomic_store_n(sq->ktail, sq->sqe_tail, __ATOMIC_RELEASE);
        if (r->u.flags & IORING_SETUP_SQPOLL)
            __atomic_thread_fence(__ATOMIC_SEQ_CST); /* our tail before its sleeping flag */
    }
    return sq->sqe_tail - __atomic_load_n(sq->khead, __ATOMIC_ACQUIRE);
}

static unsigned sq_flags(struct ring *r)
{
    return __atomic_load_n(r->u.sq.kflags, __ATOMIC_RELAXED);
}

/* Moves completions to the ready queue. No system call. */
static void reap_cq(struct ring *r)
{
    struct io_uring_cq *cq = &r->u.cq;
    unsigned head = *cq->khead;
    unsigned tail = __atomic_load_n(cq->ktail, __ATOMIC_ACQUIRE);
    unsigned mask = cq->ring_entries - 1;

    if (head == tail)
        return;
    for (; head != tail && ready_count(r) < cq->ring_entries; head++) {
        const struct io_uring_cqe *cqe = &cq->cqes[head & mask];
        struct ring_op *op = (struct ring_op *)(uintptr_t)cqe->user_data;

        if (!op)
            continue;
        if (!(cqe->flags & IORING_CQE_F_MORE)) {
            assert(r->in_flight > 0);
            r->in_flight--;
        }
        r->stats.completed++;
        ready_push(r, op, cqe->res, cqe->flags);
    }
    __atomic_store_n(cq->khead, head, __ATOMIC_RELEASE);
}

/* What the kernel was never told completes as cancelled: it cannot be told any more. */
static void drop_unsubmitted(struct ring *r)
{
    struct io_uring_sq *sq = &r->u.sq;
    unsigned head = __atomic_load_n(sq->khead, __ATOMIC_ACQUIRE);

    if (r->u.flags & IORING_SETUP_SQPOLL)
        return; /* the polling thread takes them without being told */
    for (unsigned i = head; i != sq->sqe_tail; i++) {
        struct ring_op *op =
            (struct ring_op *)(uintptr_t)sq->sqes[i & (sq->ring_entries - 1)].user_data;

        if (!op)
            continue;
        r->in_flight--;
        ready_push(r, op, -ECANCELED, 0);
    }
    sq->sqe_head = sq->sqe_tail = head;
    __atomic_store_n(sq->ktail, head, __ATOMIC_RELEASE);
}

/* Cancels what the kernel has, through the one call that is left to a ring it does not let us
 * enter; that call also posts completions that wait for us to enter. */
static void abandon_step(struct ring *r)
{
    struct io_uring_sync_cancel_reg reg = {
        .fd = -1,
        .flags = IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY,
        .timeout = {.tv_sec = 0, .tv_nsec = ABANDON_NSEC},
    };

    (void)io_uring_register_sync_cancel(&r->u, &reg); /* tried again with the next reap */
    reap_cq(r);
}

/* io_uring_enter(2). Returns 0 or -errno; an error that is not passing breaks the ring. */
static int enter(struct ring *r, unsigned submit, unsigned min_complete, unsigned flags,
                 struct io_uring_getevents_arg *arg)
{
    int n;

    flags |= r->enter_flags;
    if (r->no_iowait && min_complete)
        flags |= IORING_ENTER_NO_IOWAIT;
    if (r->u.flags & IORING_SETUP_SQPOLL && sq_flags(r) & IORING_SQ_NEED_WAKEUP)
        flags |= IORING_ENTER_SQ_WAKEUP;
    r->stats.enters++;
    n = io_uring_enter2((unsigned)r->u.enter_ring_fd, submit, min_complete, flags, (void *)arg,
                        arg ? sizeof(*arg) : 0);
    if (n >= 0) {
        r->stats.submitted += (unsigned)n;
        return 0;
    }
    switch (n) {
    case -EINTR:
    case -ETIME:
        return 0;
    case -EAGAIN:
    case -EBUSY:
        return n;
    default:
        r->error = n;
        reap_cq(r);
        drop_unsubmitted(r);
        return n;
    }
}

/* The kernel holds something back until it is entered. */
static bool needs_enter(struct ring *r)
{
    unsigned flags = sq_flags(r);

    if (flags & IORING_SQ_CQ_OVERFLOW)
        r->stats.cq_overflow++;
    return flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* With SQPOLL the polling thread takes submissions; it must only be awake. */
static bool must_submit(struct ring *r, unsigned pending)
{
    if (!(r->u.flags & IORING_SETUP_SQPOLL))
        return pending > 0;
    return pending > 0 && sq_flags(r) & IORING_SQ_NEED_WAKEUP;
}

int ring_submit(struct ring *r)
{
    unsigned pending;

    if (r->error)
        return r->error;
    pending = flush_sq(r);
    return must_submit(r, pending) ? enter(r, pending, 0, 0, NULL) : 0;
}

bool ring_reap(struct ring *r)
{
    reap_cq(r);
    if (r->error) {
        if (r->in_flight)
            abandon_step(r);
    } else if (needs_enter(r)) {
        (void)enter(r, 0, 0, IORING_ENTER_GETEVENTS, NULL); /* a lasting error is kept */
        reap_cq(r);
    }
    return ready_count(r) > 0;
}

static int sleep_and_submit(struct ring *r, unsigned pending, nsec deadline, nsec now)
{
    nsec left = deadline - now;
    struct __kernel_timespec ts = {
        .tv_sec = (int64_t)(left / NSEC_PER_SEC),
        .tv_nsec = (int64_t)(left % NSEC_PER_SEC),
    };
    struct io_uring_getevents_arg arg = {.ts = (uint64_t)(uintptr_t)&ts};

    r->stats.sleeps++;
    if (deadline == NSEC_NEVER)
        return enter(r, pending, 1, IORING_ENTER_GETEVENTS, NULL);
    if (r->features & RING_EXT_ARG)
        return enter(r, pending, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg);

    /* An old kernel: the descriptor can be waited for, with a time. */
    int err = enter(r, pending, 0, IORING_ENTER_GETEVENTS, NULL);
    struct pollfd pfd = {.fd = r->u.ring_fd, .events = POLLIN};
    struct timespec ts_poll = {.tv_sec = (time_t)ts.tv_sec, .tv_nsec = (long)ts.tv_nsec};
    if (!err)
        (void)ppoll(&pfd, 1, &ts_poll, NULL);
    return err;
}

int ring_wait(struct ring *r, nsec deadline, nsec now)
{
    unsigned pending;
    int err = 0;

    if (r->error)
        return r->error;
    reap_cq(r);
    pending = flush_sq(r);
    if (deadline > now && ready_count(r) == 0) {
        err = sleep_and_submit(r, pending, deadline, now);
        reap_cq(r);
        if (err && !r->error && ready_count(r) == 0) {
            struct pollfd pfd = {.fd = r->u.ring_fd, .events = POLLIN};
            (void)poll(&pfd, 1, NAP_MSEC);
        }
        return err;
    }
    if (must_submit(r, pending) || needs_enter(r)) {
        err = enter(r, pending, 0, IORING_ENTER_GETEVENTS, NULL);
        reap_cq(r);
    }
    return err;
}

unsigned ring_deliver(struct ring *r, unsigned budget)
{
    unsigned n = ready_count(r);

    n = MIN(n, budget);
    for (unsigned i = 0; i < n; i++) {
        struct ready e = r->ready[r->ready_head++ & r->ready_mask];
        e.op->complete(e.op, e.res, e.flags);
    }
    return n;
}

struct io_uring_sqe *ring_sqe(struct ring *r, struct ring_op *op)
{
    struct io_uring_sqe *sqe;

    if (r->error || r->closing || (op && r->in_flight >= r->in_flight_max))
        return NULL;
    sqe = io_uring_get_sqe(&r->u);
    if (!sqe) {
        (void)ring_submit(r); /* whether it made room is what counts */
        sqe = r->error ? NULL : io_uring_get_sqe(&r->u);
    }
    if (!sqe) {
        r->stats.sq_full++;
        return NULL;
    }
    io_uring_sqe_set_data(sqe, op);
    if (op) {
        assert(op->complete);
        r->in_flight++;
    }
    return sqe;
}

static void call_done(struct ring_op *op, int res, uint32_t flags)
{
    struct ring_call *c = container_of(op, struct ring_call, op);

    (void)flags;
    c->res = res;
    c->done = true;
}

struct io_uring_sqe *ring_call_sqe(struct ring *r, struct ring_call *c)
{
    *c = (struct ring_call){.op = {call_done}};
    return ring_sqe(r, &c->op);
}

int ring_call_wait(struct ring *r, struct ring_call *c)
{
    while (!c->done) {
        if (ring_wait(r, NSEC_NEVER, 0) < 0 && !ring_reap(r))
            (void)poll(NULL, 0, NAP_MSEC);
        ring_deliver(r, 1);
    }
    return c->res;
}

uint32_t ring_features(const struct ring *r)
{
    return r->features;
}

bool ring_supports(const struct ring *r, int opcode)
{
    if (opcode < 0 || opcode >= 256)
        return false;
    return r->opcodes[opcode / 64] >> (opcode % 64) & 1;
}

unsigned ring_workers(const struct ring *r)
{
    return r->workers;
}

int ring_fd(const struct ring *r)
{
    return r->u.ring_fd;
}

struct io_uring *ring_raw(struct ring *r)
{
    return &r->u;
}

int ring_error(const struct ring *r)
{
    return r->error;
}

unsigned ring_in_flight(const struct ring *r)
{
    return r->in_flight;
}

const struct ring_stats *ring_stats(const struct ring *r)
{
    return &r->stats;
}

/* ---------------------------------------------------------------- setting up and closing */

/*
 * Asks for everything and takes off, one by one and newest first, what this kernel refuses.
 * The polling thread excludes running completions in our thread's time.
 */
static int setup(struct ring *r, const struct ring_config *config)
{
    static const unsigned droppable[] = {
        IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_SINGLE_ISSUER,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_SUBMIT_ALL,
        IORING_SETUP_R_DISABLED,
    };
    unsigned entries = MIN(MAX(config->queue_depth, SQ_ENTRIES_MIN), SQ_ENTRIES_MAX);
    unsigned flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_CQSIZE |
                     IORING_SETUP_CLAMP;
    int err;

    flags |= config->sqpoll ? IORING_SETUP_SQPOLL
                            : IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    if (config->sqpoll && config->sq_thread_cpu >= 0)
        flags |= IORING_SETUP_SQ_AFF;
    if (config->restricted)
        flags |= IORING_SETUP_R_DISABLED;

    for (size_t i = 0;; i++) {
        struct io_uring_params p = {
            .flags = flags,
            .cq_entries = MAX(CQ_ENTRIES_MIN, entries * CQ_PER_SQ),
            .sq_thread_idle = config->sqpoll ? SQPOLL_IDLE_MSEC : 0,
            .sq_thread_cpu = config->sq_thread_cpu >= 0 ? (unsigned)config->sq_thread_cpu : 0,
        };
        err = io_uring_queue_init_params(entries, &r->u, &p);
        if (err != -EINVAL || i == ARRAY_LEN(droppable))
            return err;
        if (droppable[i] == IORING_SETUP_DEFER_TASKRUN && !config->sqpoll)
            flags |= IORING_SETUP_COOP_TASKRUN;
        flags &= ~droppable[i];
    }
}

static void probe_opcodes(struct ring *r)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(&r->u);

    if (!probe)
        return; /* before Linux 5.6: nothing that we use is there */
    for (int op = 0; op < 256; op++)
        if (io_uring_opcode_supported(probe, op))
            r->opcodes[op / 64] |= UINT64_C(1) << (op % 64);
    io_uring_free_probe(probe);
}

static bool probe_buf_ring(struct ring *r)
{
    struct io_uring_buf_reg reg = {.ring_entries = 1, .bgid = UINT16_MAX};
    void *page = NULL;
    long size = sysconf(_SC_PAGESIZE);
    bool works;

    if (posix_memalign(&page, (size_t)size, (size_t)size))
        return false;
    memset(page, 0, (size_t)size);
    reg.ring_addr = (uint64_t)(uintptr_t)page;
    works = io_uring_register_buf_ring(&r->u, &reg, 0) == 0;
    if (works)
        (void)io_uring_unregister_buf_ring(&r->u, UINT16_MAX);
    free(page);
    return works;
}

/*
 * A multishot receive without any buffers ends at once with ENOBUFS, or with EINVAL where the
 * kernel does not know multishot.
 */
static bool probe_recvmsg_multishot(struct ring *r)
{
    struct ring_call probe;
    struct msghdr msg = {0};
    struct io_uring_sqe *sqe;
    char byte = 0;
    int fds[2], res = 0;

    if (!ring_supports(r, IORING_OP_RECVMSG) || !(r->features & RING_BUF_RING))
        return false;
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds) < 0)
        return false;
    if (write(fds[1], &byte, 1) == 1 && (sqe = ring_call_sqe(r, &probe))) {
        io_uring_prep_recvmsg_multishot(sqe, fds[0], &msg, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = UINT16_MAX;
        res = ring_call_wait(r, &probe);
    }
    close(fds[0]);
    close(fds[1]);
    return res == -ENOBUFS;
}

/* Restricts a ring that has not begun, and lets it begin. */
static void begin(struct ring *r)
{
    int err;

    if (!(r->u.flags & IORING_SETUP_R_DISABLED))
        return;
    r->features |= ring_restrict(r) == 0 ? RING_RESTRICTED : 0;
    err = ring_enable(r);
    if (err)
        r->error = err;
}

static void probe_features(struct ring *r, const struct ring_config *config)
{
    /* The kernel sorts a request that asks for a worker at once (IOSQE_ASYNC) before it has looked
     * at the file: such reads and writes count as those of sockets, which it calls unbounded. */
    unsigned bounded = config->iowq_bounded ? config->iowq_bounded : IOWQ_BOUNDED;
    unsigned workers[2] = {
        bounded,
        config->iowq_unbounded ? config->iowq_unbounded : bounded,
    };
    unsigned flags = r->u.flags;

    r->features |= flags & IORING_SETUP_SINGLE_ISSUER ? RING_SINGLE_ISSUER : 0;
    r->features |= flags & IORING_SETUP_DEFER_TASKRUN ? RING_DEFER_TASKRUN : 0;
    r->features |= flags & IORING_SETUP_SQPOLL ? RING_SQPOLL : 0;
    r->features |= r->u.features & IORING_FEAT_EXT_ARG ? RING_EXT_ARG : 0;
    r->no_iowait = r->u.features & IORING_FEAT_NO_IOWAIT;
    if (io_uring_register_ring_fd(&r->u) == 1)
        r->enter_flags |= IORING_ENTER_REGISTERED_RING;
    r->workers = workers[0];
    if (io_uring_register_iowq_max_workers(&r->u, workers) == 0)
        r->features |= RING_IOWQ_LIMITS;
    if (io_uring_register_files_sparse(&r->u, 1) == 0) {
        (void)io_uring_unregister_files(&r->u);
        r->features |= RING_SPARSE_FILES;
    }
    probe_opcodes(r);
    r->features |= probe_buf_ring(r) ? RING_BUF_RING : 0;
    begin(r);
    r->features |= probe_recvmsg_multishot(r) ? RING_RECVMSG_MULTISHOT : 0;
}

struct ring *ring_new(const struct ring_config *config)
{
    struct ring *r = calloc(1, sizeof(*r));
    unsigned ready_entries;
    int err;

    if (!r)
        return NULL;
    err = setup(r, config);
    if (err) {
        free(r);
        errno = -err;
        return NULL;
    }
    r->in_flight_max = r->u.cq.ring_entries;
    ready_entries = 2 * r->u.cq.ring_entries; /* a power of two, as that is */
    r->ready = malloc(ready_entries * sizeof(*r->ready));
    if (!r->ready) {
        io_uring_queue_exit(&r->u);
        free(r);
        errno = ENOMEM;
        return NULL;
    }
    r->ready_mask = ready_entries - 1;
    /* Entry i of the indirection array is always submission i: written once. */
    for (unsigned i = 0; r->u.sq.array && i < r->u.sq.ring_entries; i++)
        r->u.sq.array[i] = i;
    probe_features(r, config);
    if (r->error) {
        errno = -r->error;
        ring_free(r);
        return NULL;
    }
    return r;
}

void ring_free(struct ring *r)
{
    struct io_uring_sqe *sqe;
    unsigned naps = 0;

    if (!r)
        return;
    sqe = r->in_flight ? ring_sqe(r, NULL) : NULL;
    if (sqe)
        io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY);
    r->closing = true;
    while (r->in_flight || ready_count(r)) {
        if (ring_wait(r, NSEC_NEVER, 0) == 0 || ring_reap(r)) {
            ring_deliver(r, UINT32_MAX);
            continue;
        }
        if (r->error && ++naps > FREE_NAPS)
            return; /* the kernel may still write through it: better lost than reused */
        (void)poll(NULL, 0, NAP_MSEC);
    }
    io_uring_queue_exit(&r->u);
    free(r->ready);
    free(r);
}
