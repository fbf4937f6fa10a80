/*
 * Waiting on the worker's ring. Wake-ups come through a multishot poll of the wake descriptor
 * (one completion per wake-up, nothing to read or to re-arm), watched descriptors through a
 * one-shot poll of the epoll instance they stand in, armed again in each pass, which keeps them
 * level-triggered.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "config.h"
#include "loop/loop_internal.h"
#include "loop/ring.h"

#define DELIVER_MAX 512 /* completions per wait, so that timers and queues get their turn */

/*
 * A poll in the ring. It has memory of its own because it may outlive the loop: it is freed
 * with its last completion, at the latest in ring_free().
 */
struct loop_poll {
    struct ring_op op;
    struct loop *l; /* NULL: the loop is gone */
    bool armed;
};

#if HAVE_IO_URING
#include "loop/uring_compat.h"

static bool arm(struct loop *l, struct loop_poll *p, int fd, bool multishot)
{
    struct io_uring_sqe *sqe = p->armed ? NULL : ring_sqe(l->ring, &p->op);

    if (!sqe)
        return p->armed; /* the queue is full: again in the next pass */
    if (multishot)
        io_uring_prep_poll_multishot(sqe, fd, POLLIN);
    else
        io_uring_prep_poll_add(sqe, fd, POLLIN);
    p->armed = true;
    return true;
}

static bool is_last(uint32_t flags)
{
    return !(flags & IORING_CQE_F_MORE);
}

static void cancel(struct loop *l, struct loop_poll *p)
{
    struct io_uring_sqe *sqe = ring_sqe(l->ring, NULL);

    if (sqe)
        io_uring_prep_cancel(sqe, &p->op, 0);
}
#else
static bool arm(struct loop *l, struct loop_poll *p, int fd, bool multishot)
{
    (void)l, (void)p, (void)fd, (void)multishot;
    return false;
}

static bool is_last(uint32_t flags)
{
    (void)flags;
    return true;
}

static void cancel(struct loop *l, struct loop_poll *p)
{
    (void)l, (void)p;
}
#endif

static bool poll_event(struct loop_poll *p, uint32_t flags)
{
    if (is_last(flags))
        p->armed = false;
    if (!p->l && !p->armed)
        free(p);
    else if (p->l)
        return true;
    return false;
}

static void on_wake(struct ring_op *op, int res, uint32_t flags)
{
    struct loop_poll *p = container_of(op, struct loop_poll, op);

    (void)res; /* an error is met again, if it lasts, when the poll is armed anew */
    if (poll_event(p, flags))
        loop_wake_seen(p->l);
}

static void on_epoll(struct ring_op *op, int res, uint32_t flags)
{
    struct loop_poll *p = container_of(op, struct loop_poll, op);

    (void)res;
    if (poll_event(p, flags))
        loop_epoll_poll(p->l, 0, 1);
}

/* The ring broke: from now on the loop sleeps in epoll, and the ring's last completions are
 * collected in each pass until none is left. */
static unsigned poll_broken(struct loop *l, nsec deadline, nsec now)
{
    unsigned n = 0;

    if (ring_reap(l->ring))
        n = ring_deliver(l->ring, DELIVER_MAX);
    if (loop_epoll_add_wake(l) < 0 || ring_in_flight(l->ring) > 0)
        deadline = nsec_min(deadline, nsec_add(now, 10 * NSEC_PER_MSEC));
    return n + loop_epoll_poll(l, n ? 0 : deadline, now);
}

static unsigned uring_poll(struct loop *l, nsec deadline, nsec now)
{
    uint64_t sleeps = ring_stats(l->ring)->sleeps, after;
    bool armed;
    unsigned n;

    if (ring_error(l->ring))
        return poll_broken(l, deadline, now);
    armed = arm(l, l->wake_poll, l->wake_fd, true);
    if (l->watched)
        armed = arm(l, l->epoll_poll, l->epoll_fd, false) && armed;
    if (!armed)
        deadline = nsec_min(deadline, nsec_add(now, NSEC_PER_MSEC));

    (void)ring_wait(l->ring, deadline, now); /* lasting errors: ring_error() in the next pass */
    after = ring_stats(l->ring)->sleeps;
    n = ring_deliver(l->ring, DELIVER_MAX);
    l->stats.waits += after - sleeps;
    return n;
}

static void let_go(struct loop *l, struct loop_poll *p)
{
    p->l = NULL;
    if (p->armed)
        cancel(l, p);
    else
        free(p);
}

static void uring_fini(struct loop *l)
{
    let_go(l, l->wake_poll);
    let_go(l, l->epoll_poll);
    (void)ring_submit(l->ring);
}

int loop_uring_init(struct loop *l)
{
    l->wake_poll = calloc(1, sizeof(*l->wake_poll));
    l->epoll_poll = calloc(1, sizeof(*l->epoll_poll));
    if (!l->wake_poll || !l->epoll_poll) {
        free(l->wake_poll);
        free(l->epoll_poll);
        return -ENOMEM;
    }
    *l->wake_poll = (struct loop_poll){.op = {on_wake}, .l = l};
    *l->epoll_poll = (struct loop_poll){.op = {on_epoll}, .l = l};
    return 0;
}

const struct loop_ops loop_uring_ops = {
    .name = "io_uring",
    .poll = uring_poll,
    .fini = uring_fini,
};
