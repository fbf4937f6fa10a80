#include "file/file_uring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "file/file_internal.h"
#include "file/uring_ops.h"

#define TRIES_MAX           16 /* answers "again" before the threads get it */
#define RETRY_NSEC          NSEC_PER_MSEC
#define AT_ONCE_BYTES_MAX   (2 << 20) /* copied by the submitter in a pass; more is for workers */
#define LOST_NSEC           (2 * NSEC_PER_SEC)   /* how long a broken ring is waited for */
#define LEFTOVER_NSEC       (10 * NSEC_PER_MSEC) /* between looks at a broken ring */
#define KERNEL_RESTART      512 /* ERESTARTSYS and its kin leave the kernel by way of a worker */
#define KERNEL_RESTART_LAST 516

/*
 * A place in the ring. It is what the ring knows of a request, and outlives it if the ring is
 * broken so that it never answers.
 */
struct slot {
    struct ring_op ring;
    struct file_uring *u;
    struct file_req *req; /* NULL while free, and once it was given up waiting for */
    struct slot *next;    /* while free */
    enum file_op op;
    bool at_once; /* a read that was not given to a worker */
    bool lost;    /* the ring has it, and nobody waits */
    struct uring_aux aux;
};

struct file_uring {
    struct file_io *f;
    struct ring *ring;
    bool loop_waits; /* the loop waits on this ring itself */
    int event_fd;    /* else: signalled by the ring, watched by the loop; or -1 */
    bool dead;
    struct loop_watch watch;
    uint32_t can; /* a bit per operation */

    unsigned in_flight, depth; /* requests that hold a slot */
    unsigned slow, slow_max;   /* of these, of the slow class */
    unsigned waiting, waiting_max;
    struct list fast_queue, slow_queue; /* in order of arrival, each */
    struct list stalled;                /* hold a slot; the ring had no room or said "again" */

    struct uring_buffers buffers;
    size_t at_once_bytes; /* asked for in this pass */
    nsec lost_at;         /* a broken ring: when to stop waiting for its answers */
    unsigned lost;

    struct slot *free_slot;
    struct slot slots[];
};

static void complete(struct ring_op *op, int res, uint32_t flags);

/* ------------------------------------------------------------------------ its life */

static void take_slot(struct file_uring *u, struct file_req *req)
{
    struct slot *slot = u->free_slot;

    assert(slot && u->in_flight < u->depth);
    slot->req = req;
    slot->op = req->op;
    req->priv[PRIV_SLOT] = slot;
    u->free_slot = slot->next;
    u->in_flight++;
    u->slow += file_is_slow(req->op);
}

static void give_slot(struct file_uring *u, struct file_req *req)
{
    struct slot *slot = req->priv[PRIV_SLOT];

    slot->req = NULL;
    if (!slot->lost) {
        slot->next = u->free_slot;
        u->free_slot = slot;
    }
    req->priv[PRIV_SLOT] = NULL;
    u->in_flight--;
    u->slow -= file_is_slow(req->op);
}

static void finish(struct file_uring *u, struct file_req *req, int64_t result)
{
    give_slot(u, req);
    file_finish(u->f, req, result);
}

static void hand_over(struct file_uring *u, struct file_req *req)
{
    if (req->priv[PRIV_SLOT])
        give_slot(u, req);
    /* Ways to make a link are this backend's own stages. */
    if (req->op == FILE_LINK)
        req->stage = STAGE_START;
    file_hand_over(u->f, req);
}

/* Nothing is given to the ring from now on. What it has, it completes. */
static void give_up(struct file_uring *u, int err)
{
    struct list *const queues[] = {&u->stalled, &u->slow_queue, &u->fast_queue};
    struct list *node;

    if (u->dead)
        return;
    u->dead = true;
    u->f->stats.ring_failures++;
    file_notice(u->f, "io_uring failed (%s): all files are served by threads from now on",
                strerror(-err));
    for (size_t i = 0; i < ARRAY_LEN(queues); i++)
        while ((node = list_pop_front(queues[i])))
            hand_over(u, container_of(node, struct file_req, link));
    u->waiting = 0;
}

/* An answer about the ring rather than about the file, perhaps. */
static bool means_cannot(int err)
{
    return err == -EINVAL || err == -EOPNOTSUPP || err == -ENOSYS;
}

/* An answer that the threads may better, if they try. Of a disk's error only where asking twice
 * does no harm: a second fsync would hide the error of the first. */
static bool means_stumbled(enum file_op op, int err)
{
    return err == -ENOMEM || (err == -EIO && op == FILE_READ);
}

static bool means_again(int err)
{
    return err == -EAGAIN || err == -EINTR || err == -EBUSY ||
           (err <= -KERNEL_RESTART && err >= -KERNEL_RESTART_LAST);
}

static void start(struct file_uring *u, struct file_req *req);

/* A worker was told to stop, or the answer was not final. */
static void try_again(struct file_uring *u, struct file_req *req)
{
    intptr_t tries = file_priv(req, PRIV_TRIES) + 1;

    file_priv_set(req, PRIV_TRIES, tries);
    if (req->cancelled) {
        finish(u, req, -ECANCELED);
    } else if (tries > TRIES_MAX || u->dead) {
        hand_over(u, req);
    } else {
        list_push_back(&u->stalled, &req->link);
    }
}

static void refused(struct file_uring *u, struct file_req *req, int err)
{
    if (means_again(err)) {
        try_again(u, req);
    } else if (!u->f->config.fallback_on_error) {
        if (req->op == FILE_CLOSE)
            hand_over(u, req); /* or the descriptor is lost */
        else
            finish(u, req, err);
    } else if (means_cannot(err)) {
        give_slot(u, req);
        file_fall_back(u->f, req, err);
    } else {
        hand_over(u, req);
        give_up(u, err);
    }
}

/* Gives the request, which has a slot, to the ring. What is to be said about a ring that cannot
 * take it goes the same ways as an answer of the ring. */
static void start(struct file_uring *u, struct file_req *req)
{
    struct file_io *f = u->f;
    struct slot *slot = req->priv[PRIV_SLOT];
    struct io_uring_sqe *sqe;
    int err = ring_error(u->ring);
    bool at_once;

    if (u->dead) {
        hand_over(u, req);
        return;
    }
    if (!err && f->config.inject)
        err = f->config.inject(f->config.inject_arg, req, false, 0);
    if (err) {
        refused(u, req, err);
        return;
    }
    sqe = ring_sqe(u->ring, &slot->ring);
    if (!sqe) {
        list_push_back(&u->stalled, &req->link);
        return;
    }
    at_once = req->op == FILE_READ && req->hot && u->at_once_bytes < AT_ONCE_BYTES_MAX;
    if (at_once)
        u->at_once_bytes += req->len;
    slot->at_once = at_once;
    uring_ops_prep(sqe, req, &slot->aux, &u->buffers, at_once);
}

static struct file_req *head(struct list *queue)
{
    return list_empty(queue) ? NULL : container_of(queue->next, struct file_req, link);
}

static void start_waiting(struct file_uring *u)
{
    while (u->in_flight < u->depth) {
        struct file_req *fast = head(&u->fast_queue);
        struct file_req *slow = u->slow < u->slow_max ? head(&u->slow_queue) : NULL;
        struct file_req *req = slow && (!fast || slow->submitted <= fast->submitted) ? slow : fast;

        if (!req)
            return;
        list_del(&req->link);
        u->waiting--;
        take_slot(u, req);
        start(u, req);
    }
}

/* ------------------------------------------------------------------------ completion */

/*
 * After an open or a read, the attributes are known to the kernel. AT_STATX_DONT_SYNC makes a
 * network file system answer from there, so this cannot hang, and costs a fiftieth of another
 * operation on the ring.
 */
static void stat_after(struct file_uring *u, struct file_req *req, int fd)
{
    int64_t result = req->result;
    struct statx st;

    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &st) < 0) {
        req->stage = STAGE_STAT;
        hand_over(u, req); /* they have another call for it, and time to close a file */
        return;
    }
    uring_ops_stat(&req->st, &st);
    finish(u, req, result);
}

static void succeeded(struct file_uring *u, struct file_req *req, int res)
{
    struct slot *slot = req->priv[PRIV_SLOT];

    req->result = res;
    if (req->op == FILE_OPEN) {
        stat_after(u, req, res);
    } else if (req->op == FILE_READ && req->stat_after) {
        stat_after(u, req, req->fd);
    } else {
        if (req->op == FILE_STAT)
            uring_ops_stat(&req->st, &slot->aux.statx);
        finish(u, req, res);
    }
}

static void failed(struct file_uring *u, struct file_req *req, int res)
{
    bool fallback = u->f->config.fallback_on_error;
    struct slot *slot = req->priv[PRIV_SLOT];

    if (slot->at_once && (res == -EAGAIN || res == -EOPNOTSUPP) && !req->cancelled) {
        req->hot = false; /* it was not in the page cache: now by a worker */
        start(u, req);
    } else if (means_again(res)) {
        try_again(u, req);
    } else if (req->op == FILE_LINK && res == -ENOENT && req->stage == STAGE_START) {
        req->stage++; /* also the answer to the unprivileged: there is another way */
        start(u, req);
    } else if (res == -ECANCELED && !req->cancelled) {
        hand_over(u, req); /* the ring goes down */
    } else if (fallback && (means_cannot(res) || means_stumbled(req->op, res))) {
        if (req->op == FILE_LINK)
            req->stage = STAGE_START;
        give_slot(u, req);
        file_fall_back(u->f, req, res);
    } else {
        finish(u, req, res);
    }
}

/* May be done once more by the threads although the ring has done it. */
static bool is_repeatable(const struct file_req *req)
{
    return req->op == FILE_STAT || req->op == FILE_READ || req->op == FILE_WRITE ||
           req->op == FILE_ALLOCATE || req->op == FILE_SYNC;
}

/* A test has the ring answer `err` where it answered `res`. What cannot be taken back stays
 * done; a descriptor that nobody will hear of is closed. */
static void complete_injected(struct file_uring *u, struct file_req *req, int res, int err)
{
    if (res < 0 || is_repeatable(req)) {
        failed(u, req, err);
    } else if (means_cannot(err) && u->f->config.fallback_on_error) {
        file_ring_cannot(u->f, req->op, err);
        succeeded(u, req, res);
    } else if (means_again(err)) {
        succeeded(u, req, res);
    } else if (req->op == FILE_OPEN) {
        req->result = res;
        req->stage = STAGE_UNDO;
        file_priv_set(req, PRIV_ERROR, err);
        hand_over(u, req);
    } else {
        finish(u, req, err);
    }
}

/* An answer that nobody waits for any more. */
static void come_back(struct slot *slot, int res)
{
    struct file_uring *u = slot->u;

    if (slot->op == FILE_OPEN && res >= 0)
        close(res);
    slot->lost = false;
    slot->next = u->free_slot;
    u->free_slot = slot;
    u->lost--;
}

static void complete(struct ring_op *op, int res, uint32_t flags)
{
    struct slot *slot = container_of(op, struct slot, ring);
    struct file_uring *u = slot->u;
    const struct file_config *config = &u->f->config;
    struct file_req *req = slot->req;
    int err;

    (void)flags;
    if (slot->lost) {
        come_back(slot, res);
        return;
    }
    err = config->inject ? config->inject(config->inject_arg, req, true, res) : 0;
    if (err)
        complete_injected(u, req, res, err);
    else if (res < 0)
        failed(u, req, res);
    else
        succeeded(u, req, res);
}

/* ------------------------------------------------------------------------ for the front */

void file_uring_submit(struct file_uring *u, struct file_req *req)
{
    struct list *queue = file_is_slow(req->op) ? &u->slow_queue : &u->fast_queue;

    list_init(&req->link);
    list_push_back(queue, &req->link);
    u->waiting++;
    start_waiting(u);
}

void file_uring_cancel(struct file_uring *u, struct file_req *req)
{
    struct io_uring_sqe *sqe;

    if (!list_empty(&req->link)) {
        list_del(&req->link);
        if (req->priv[PRIV_SLOT])
            give_slot(u, req); /* it was stalled */
        else
            u->waiting--;
        file_finish(u->f, req, -ECANCELED);
        return;
    }
    /* Behind its own submission and before any later one of the same request: it cannot hit
     * another operation. Without room the request just runs to its end. */
    sqe = ring_sqe(u->ring, NULL);
    if (sqe)
        io_uring_prep_cancel(sqe, &((struct slot *)req->priv[PRIV_SLOT])->ring, 0);
}

static void retry_stalled(struct file_uring *u)
{
    struct list again;
    struct list *node;

    list_init(&again);
    list_splice_back(&again, &u->stalled);
    while ((node = list_pop_front(&again)))
        start(u, container_of(node, struct file_req, link));
}

/*
 * A ring that cannot be entered may keep completions to itself for good. What can be done twice
 * is done again by the threads, the rest fails; the slots stay with the ring.
 */
static void lose(struct file_uring *u)
{
    for (unsigned i = 0; i < u->depth; i++) {
        struct slot *slot = &u->slots[i];
        struct file_req *req = slot->req;

        if (!req)
            continue;
        slot->lost = true;
        u->lost++;
        if (u->f->config.fallback_on_error && is_repeatable(req))
            hand_over(u, req);
        else
            finish(u, req, -EIO);
    }
}

static nsec wait_for_leftovers(struct file_uring *u, nsec now)
{
    if (!u->in_flight)
        return NSEC_NEVER;
    if (!u->lost_at)
        u->lost_at = nsec_add(now, LOST_NSEC);
    if (now < u->lost_at)
        return nsec_add(now, LEFTOVER_NSEC);
    lose(u);
    return NSEC_NEVER;
}

nsec file_uring_flush(struct file_uring *u, nsec now)
{
    int err = 0;

    if (!u->in_flight && !u->waiting)
        return NSEC_NEVER;
    if (ring_error(u->ring) && u->f->config.fallback_on_error)
        give_up(u, ring_error(u->ring));
    retry_stalled(u);
    start_waiting(u);
    u->at_once_bytes = 0;
    if (!u->loop_waits)
        err = ring_submit(u->ring);
    if (ring_error(u->ring)) {
        if (u->f->config.fallback_on_error)
            give_up(u, ring_error(u->ring));
        return wait_for_leftovers(u, now);
    }
    return err || !list_empty(&u->stalled) ? nsec_add(now, RETRY_NSEC) : NSEC_NEVER;
}

void file_uring_reap(struct file_uring *u)
{
    if (!u->loop_waits && u->in_flight && ring_reap(u->ring))
        ring_deliver(u->ring, UINT32_MAX);
}

static void on_ready(struct loop_watch *w, uint32_t events)
{
    (void)events;
    file_uring_reap(w->owner);
}

bool file_uring_can(const struct file_uring *u, enum file_op op)
{
    return u->can >> op & 1;
}

bool file_uring_knows(enum file_op op)
{
    return uring_ops_code(op) >= 0;
}

bool file_uring_is_dead(const struct file_uring *u)
{
    return u->dead;
}

bool file_uring_full(const struct file_uring *u)
{
    return u->waiting >= u->waiting_max;
}

/*
 * The ring's own descriptor will not do: while completions are deferred to the next enter, it
 * becomes readable without waking who polls it. Edge-triggered and never read, so that a signal
 * costs the loop no call of its own.
 */
static int watch_ring(struct file_uring *u)
{
    int err;

    u->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (u->event_fd < 0)
        return -errno;
    u->watch = (struct loop_watch){
        .fd = u->event_fd, .events = EPOLLIN | EPOLLET, .ready = on_ready, .owner = u};
    err = io_uring_register_eventfd(ring_raw(u->ring), u->event_fd);
    if (!err) {
        err = loop_watch(u->f->loop, &u->watch);
        if (err)
            (void)io_uring_unregister_eventfd(ring_raw(u->ring));
    }
    if (err)
        close(u->event_fd);
    return err;
}

struct file_uring *file_uring_new(struct file_io *f, struct ring *ring)
{
    unsigned depth = MAX(f->config.queue_depth, 1U);
    struct file_uring *u = calloc(1, sizeof(*u) + depth * sizeof(u->slots[0]));
    int err;

    if (!u)
        return NULL;
    u->f = f;
    u->ring = ring;
    u->loop_waits = ring == loop_ring(f->loop);
    u->depth = depth;
    u->slow_max = MAX(MIN(depth, ring_workers(ring)) / 2, 1U);
    u->waiting_max = MAX(f->config.thread_queue, 1U);
    list_init(&u->fast_queue);
    list_init(&u->slow_queue);
    list_init(&u->stalled);
    for (unsigned i = depth; i-- > 0;) {
        u->slots[i] = (struct slot){.ring = {complete}, .u = u, .next = u->free_slot};
        u->free_slot = &u->slots[i];
    }
    for (enum file_op op = 0; op < FILE_OPS; op++)
        if (file_uring_knows(op) && ring_supports(ring, uring_ops_code(op)))
            u->can |= UINT32_C(1) << op;

    u->event_fd = -1;
    err = u->loop_waits ? 0 : watch_ring(u);
    if (err) {
        free(u);
        errno = -err;
        return NULL;
    }
    return u;
}

void file_uring_free(struct file_uring *u)
{
    if (!u)
        return;
    assert(!u->in_flight && !u->waiting);
    if (u->lost)
        return; /* the ring still has the address */
    if (!u->loop_waits) {
        loop_unwatch(u->f->loop, &u->watch);
        (void)io_uring_unregister_eventfd(ring_raw(u->ring));
        close(u->event_fd);
    }
    if (u->buffers.base)
        (void)io_uring_unregister_buffers(ring_raw(u->ring));
    free(u);
}

int file_uring_register(struct file_uring *u, void *base, size_t size)
{
    struct iovec iov[64];
    unsigned n = 0;
    int err;

    if (u->buffers.base)
        return -EEXIST;
    for (size_t at = 0; at < size; at += URING_BUFFER_MAX) {
        if (n == ARRAY_LEN(iov))
            return -EINVAL;
        iov[n++] = (struct iovec){(char *)base + at, MIN(size - at, URING_BUFFER_MAX)};
    }
    err = io_uring_register_buffers(ring_raw(u->ring), iov, n);
    if (err)
        return err;
    u->buffers = (struct uring_buffers){base, size};
    return 0;
}
