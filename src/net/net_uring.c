/*
 * The engine on the worker's io_uring: multishot receives into provided buffers, sends on the
 * same ring; one io_uring_enter(2) per turn of the loop does all of it.
 *
 * A closed socket keeps its descriptor and memory until the kernel has let go of its receive and
 * its sends.
 */
#include "net/net_impl.h"

#include "config.h"

#if HAVE_IO_URING
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "net/uring_impl.h"

/* For the kernel to let go of what was cancelled, in net_free(). */
#define FINI_PATIENCE (5 * NSEC_PER_SEC)

static int uring_init(struct net *n)
{
    const uint32_t needed = RING_RECVMSG_MULTISHOT | RING_BUF_RING;
    struct ring *ring = loop_ring(n->loop);

    if (!ring || (ring_features(ring) & needed) != needed ||
        !ring_supports(ring, IORING_OP_SENDMSG) || !ring_supports(ring, IORING_OP_ASYNC_CANCEL))
        return -EOPNOTSUPP;
    struct uring *u = calloc(1, sizeof(*u));
    if (!u)
        return -ENOMEM;
    u->net = n;
    u->ring = ring;
    list_init(&u->rearm);
    list_init(&u->starved);
    list_init(&u->cancel);
    list_init(&u->errors);
    int r = uring_send_init(u);
    if (r == 0) {
        r = uring_recv_init(u);
        if (r < 0)
            uring_send_fini(u);
    }
    if (r < 0) {
        free(u);
        return r;
    }
    n->engine = u;
    return 0;
}

static bool none_busy(const struct list *sockets)
{
    struct list *pos;

    list_for_each (pos, sockets)
        if (container_of(pos, struct net_sock, pub.link)->busy > 0)
            return false;
    return true;
}

static void uring_destroy(struct uring *u, bool orphans)
{
    uring_recv_fini(u, orphans);
    uring_send_fini(u);
    free(u);
}

/*
 * A broken ring may never give its receives back: their memory is left to them. True when there
 * are such.
 */
static bool orphan_receives(struct list *sockets)
{
    struct list *pos;
    bool any = false;

    list_for_each (pos, sockets) {
        struct net_sock *sock = container_of(pos, struct net_sock, pub.link);
        struct uring_sock *us = sock->pub.engine;

        if (!us || !us->armed)
            continue;
        list_del(&us->rearm_link);
        list_del(&us->error_link);
        us->orphaned = true;
        sock->pub.engine = NULL;
        uring_drop_busy(sock);
        any = true;
    }
    return any;
}

/* All sockets are closed by now: waits until the kernel has let go of them. */
static void uring_fini(struct net *n)
{
    struct uring *u = n->engine;
    nsec now = loop_clock(), give_up = now + FINI_PATIENCE;
    struct uring_filled f;
    bool orphans = false;

    n->depth++;
    while (uring_next_filled(u, &f))
        uring_drop_busy(f.sock);
    while (!none_busy(&n->dead) && now < give_up) {
        uring_recv_arm(u);
        (void)ring_wait(u->ring, now + NSEC_PER_MSEC, now);
        (void)ring_reap(u->ring);
        (void)ring_deliver(u->ring, UINT32_MAX);
        if (ring_error(u->ring))
            orphans |= orphan_receives(&n->dead);
        now = loop_clock();
    }
    n->depth--;
    if (none_busy(&n->dead))
        uring_destroy(u, orphans);
}

static void hand_over_socket(struct net *n, struct net_sock *sock)
{
    struct uring_sock *us = sock->pub.engine;

    if (sock->watched)
        loop_unwatch(n->loop, &sock->watch);
    free(us);
    sock->pub.engine = NULL;
    sock->blocked = false;
    /* A refused watch is asked for again by each flush. */
    if (n->ops->add(n, &sock->pub) < 0 || !list_empty(&sock->txq)) {
        net_want_flush(n, sock);
        n->flush_more = true;
    }
}

bool uring_hand_over(struct net *n)
{
    struct uring *u = n->engine;
    struct list *pos;

    if (!ring_error(u->ring) || n->depth > 1) /* callers on the stack know the old state */
        return false;
    if (u->sending > 0 || u->batch_count > 0 || uring_has_filled(u))
        return false;
    if (net_mmsg_ops.init(n) < 0)
        return false; /* for want of memory: next time */
    list_for_each (pos, &n->sockets)
        uring_merge_again(container_of(pos, struct net_sock, pub.link));
    bool orphans = orphan_receives(&n->sockets);
    orphans |= orphan_receives(&n->dead);
    n->ops = &net_mmsg_ops;
    list_for_each (pos, &n->sockets)
        hand_over_socket(n, container_of(pos, struct net_sock, pub.link));
    uring_destroy(u, orphans);
    return true;
}

static int uring_add(struct net *n, struct net_socket *s)
{
    struct uring *u = n->engine;

    if (ring_error(u->ring))
        return ring_error(u->ring);
    struct uring_sock *us = calloc(1, sizeof(*us));
    if (!us)
        return -ENOMEM;
    s->engine = us;
    us->sock = net_sock_of(s);
    us->recv.complete = uring_recv_complete;
    us->sock->watch = (struct loop_watch){
        .fd = s->fd,
        .events = EPOLLOUT,
        .ready = uring_send_writable,
        .owner = us->sock,
    };
    list_init(&us->rearm_link);
    list_init(&us->error_link);
    list_init(&us->again);
    list_push_back(&u->rearm, &us->rearm_link);
    uring_recv_arm(u);
    return 0;
}

static void uring_remove(struct net *n, struct net_socket *s)
{
    struct uring *u = n->engine;
    struct uring_sock *us = s->engine;

    uring_send_last(n, us->sock);
    if (us->sock->watched)
        loop_unwatch(n->loop, &us->sock->watch);
    us->sock->watched = false;
    list_del(&us->error_link);
    list_del(&us->rearm_link);
    if (us->armed && !us->cancelled) {
        list_push_back(&u->cancel, &us->rearm_link);
        uring_recv_arm(u);
    }
}

void uring_drop_busy(struct net_sock *sock)
{
    assert(sock->busy > 0);
    sock->busy--;
    net_sock_release(sock);
}

static bool uring_pending(const struct net *n)
{
    const struct uring *u = n->engine;

    return uring_has_filled(u) || !list_empty(&u->errors);
}

const struct net_ops net_uring_ops = {
    .name = "io_uring",
    .init = uring_init,
    .fini = uring_fini,
    .add = uring_add,
    .remove = uring_remove,
    .recv = uring_recv,
    .flush = uring_flush,
    .recv_done = uring_recv_done,
    .pending = uring_pending,
    .last_read = uring_last_read,
};

#else /* built without liburing */

static int no_init(struct net *n)
{
    (void)n;
    return -ENOSYS;
}

/* Only init() is ever called. */
const struct net_ops net_uring_ops = {.name = "io_uring", .init = no_init};

#endif
