/*
 * Sending: one sendmsg per datagram or train, all sockets' in one submission. The kernel does
 * them in order while it takes the submission, so they block nowhere (MSG_DONTWAIT) and their
 * completions are there with the next look. What fails there goes by sendmmsg, and with it what
 * is queued behind it on that socket: that stops at the first obstacle and keeps the order, where
 * the ring would try them all.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "net/uring_impl.h"

int uring_send_init(struct uring *u)
{
    u->tx = calloc(u->net->config.tx_slots, sizeof(*u->tx));
    return u->tx ? 0 : -ENOMEM;
}

void uring_send_fini(struct uring *u)
{
    free(u->tx);
}

/*
 * Back to the socket, to be sent before all that was queued later. What comes of the second
 * attempt is up to net_send(), which also tells this datagram's errors from ICMP errors about
 * others.
 */
static void send_failed(struct net *n, struct net_sock *sock, struct net_tx *tx, int err)
{
    struct uring_sock *us = sock->pub.engine;

    if (sock->closing) {
        net_finish(n, tx, -err);
        return;
    }
    if (err == EAGAIN || err == ENOBUFS || err == ENOMEM) {
        n->stats.tx_retries++;
        sock->blocked = true;
    } else {
        /* If it was an ICMP error it is told once: the receive will not hear of it. */
        if (list_empty(&us->error_link))
            list_push_back(&((struct uring *)n->engine)->errors, &us->error_link);
        if (net_is_train(tx) && net_is_gso_error(err))
            tx->gso_refused = true;
    }
    us->direct = true;
    list_push_back(&us->again, &tx->link);
    net_want_flush(n, sock);
}

static void send_complete(struct ring_op *op, int res, uint32_t flags)
{
    struct uring_tx *ut = container_of(op, struct uring_tx, op);
    struct net *n = ut->net;
    struct net_tx *tx = ut->tx;
    struct net_sock *sock = net_sock_of(tx->socket);
    struct uring *u = n->engine;

    (void)flags;
    n->depth++;
    u->sending--;
    if (res >= 0) {
        if (net_is_train(tx))
            net_gso_taken(sock);
        net_finish(n, tx, tx->datagrams);
    } else {
        send_failed(n, sock, tx, -res);
    }
    uring_drop_busy(sock);
    net_finished(n);
    n->depth--;
}

/* False when the ring has no room. */
static bool submit(struct uring *u, struct net_sock *sock, struct net_tx *tx)
{
    struct uring_tx *ut = &u->tx[tx - u->net->tx];
    struct io_uring_sqe *sqe;

    ut->op.complete = send_complete;
    sqe = ring_sqe(u->ring, &ut->op);
    if (!sqe)
        return false;
    ut->net = u->net;
    ut->tx = tx;
    net_message_build(&ut->msg, &ut->control, sock, tx);
    io_uring_prep_sendmsg(sqe, sock->pub.fd, &ut->msg, MSG_DONTWAIT);
    list_del(&tx->link);
    sock->busy++;
    u->sending++;
    return true;
}

void uring_merge_again(struct net_sock *sock)
{
    struct uring_sock *us = sock->pub.engine;

    if (list_empty(&us->again))
        return;
    list_splice_back(&us->again, &sock->txq);
    list_splice_back(&sock->txq, &us->again);
}

/* False when the ring is full and there is no sense in going on with other sockets. */
static bool flush_socket(struct net *n, struct net_sock *sock)
{
    struct uring *u = n->engine;
    struct uring_sock *us = sock->pub.engine;

    uring_merge_again(sock);
    while (!sock->blocked && !list_empty(&sock->txq)) {
        struct net_tx *tx = container_of(sock->txq.next, struct net_tx, link);

        if (us->direct || net_must_split(sock, tx) || ring_error(u->ring)) {
            /* Past the ring, but not past what waits in it. */
            (void)ring_submit(u->ring);
            net_send(n, sock);
            us->direct = !list_empty(&sock->txq);
            return true;
        }
        if (!submit(u, sock, tx))
            return false;
    }
    return true;
}

void uring_send_last(struct net *n, struct net_sock *sock)
{
    uring_merge_again(sock);
    if (list_empty(&sock->txq))
        return;
    (void)ring_submit(((struct uring *)n->engine)->ring);
    net_send_last(n, sock);
}

void uring_send_writable(struct loop_watch *w, uint32_t events)
{
    struct net_sock *sock = w->owner;
    struct uring_sock *us = sock->pub.engine;
    struct uring *u = sock->net->engine;

    if (events & EPOLLOUT)
        sock->blocked = false;
    if (events & EPOLLERR && list_empty(&us->error_link))
        list_push_back(&u->errors, &us->error_link);
}

/* Without the watch a blocked socket is simply tried again in the next pass. */
static void update_watch(struct net *n, struct net_sock *sock)
{
    if (sock->watched == sock->blocked)
        return;
    if (sock->watched)
        loop_unwatch(n->loop, &sock->watch);
    sock->watched = sock->blocked && loop_watch(n->loop, &sock->watch) == 0;
    if (sock->blocked && !sock->watched) {
        sock->blocked = false;
        n->flush_more = true;
    }
}

void uring_flush(struct net *n)
{
    struct list todo, *first;
    bool room = true;

    if (uring_hand_over(n)) {
        n->ops->flush(n);
        return;
    }
    uring_recv_arm(n->engine);
    list_init(&todo);
    list_splice_back(&todo, &n->flush);
    while (room && (first = list_pop_front(&todo)) != NULL) {
        struct net_sock *sock = container_of(first, struct net_sock, flush_link);

        room = flush_socket(n, sock);
        if (sock->closing)
            continue;
        update_watch(n, sock);
        if (!list_empty(&sock->txq))
            net_want_flush(n, sock);
    }
    n->flush_more |= !room;
    /* Those whose turn did not come go first next time. */
    list_splice_back(&todo, &n->flush);
    list_splice_back(&n->flush, &todo);
}
