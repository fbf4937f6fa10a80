/*
 * Sending what is queued on one socket by sendmmsg(2): the way of the mmsg engine, and of the
 * io_uring engine for trains the kernel does not take whole.
 *
 * sendmmsg tells how many messages went out and forgets the error behind a partial success; so
 * the next call starts at the first unsent one and meets an error of its own at the head of the
 * queue, the only place where these are judged. An ICMP error is told only once, to whatever call
 * comes next, so after a partial success the error queue is read.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net/net_impl.h"

/* Pieces of iovecs cut at segment bounds; a train needs at most one per iovec and segment. */
#define CUTS_MAX 512
_Static_assert(CUTS_MAX >= NET_TX_IOV + NET_GSO_SEGMENTS, "any train fits");

struct net_batch {
    struct mmsghdr msgs[NET_BATCH];
    union net_control control[NET_BATCH];
    struct net_tx *tx[NET_BATCH];
    struct iovec cuts[CUTS_MAX];
    unsigned count;
    unsigned cut_count;
    bool whole; /* the first message is a whole train */
};

int net_send_init(struct net *n)
{
    /* Zeroed: the padding of control messages goes to the kernel too. */
    n->batch = calloc(1, sizeof(*n->batch));
    return n->batch ? 0 : -ENOMEM;
}

void net_send_fini(struct net *n)
{
    free(n->batch);
}

/* A position in the bytes of a train. */
struct cursor {
    unsigned index;
    size_t offset;
};

/* Moves on by `bytes`, noting the pieces passed in `out` unless it is NULL. Returns how many. */
static unsigned cursor_take(struct cursor *at, const struct net_tx *tx, size_t bytes,
                            struct iovec *out)
{
    unsigned count = 0;

    while (bytes > 0) {
        const struct iovec *v = &tx->iov[at->index];
        size_t piece = MIN(bytes, v->iov_len - at->offset);

        if (piece > 0 && out)
            out[count++] = (struct iovec){(uint8_t *)v->iov_base + at->offset, piece};
        bytes -= piece;
        at->offset += piece;
        if (at->offset == v->iov_len) {
            at->index++;
            at->offset = 0;
        }
    }
    return count;
}

/* The unsent datagrams of a train as plain messages. False when the batch is full. */
static bool add_split(struct net_batch *b, unsigned limit, const struct net_sock *sock,
                      struct net_tx *tx)
{
    struct cursor at = {0};
    size_t offset = (size_t)tx->sent * tx->segment;

    (void)cursor_take(&at, tx, offset, NULL);
    for (; offset < tx->bytes; offset += tx->segment) {
        unsigned room = CUTS_MAX - b->cut_count;

        if (b->count == limit || room < tx->iov_count - at.index)
            return false;
        unsigned i = b->count++;
        struct msghdr *m = &b->msgs[i].msg_hdr;
        struct iovec *cuts = &b->cuts[b->cut_count];

        m->msg_name = &tx->peer;
        m->msg_namelen = tx->peer_len;
        m->msg_iov = cuts;
        m->msg_iovlen = cursor_take(&at, tx, MIN(tx->segment, tx->bytes - offset), cuts);
        m->msg_flags = 0;
        m->msg_controllen = net_control_build(&b->control[i], sock, tx, false);
        m->msg_control = m->msg_controllen ? &b->control[i] : NULL;
        b->cut_count += (unsigned)m->msg_iovlen;
        b->tx[i] = tx;
    }
    return true;
}

static void batch_build(struct net_batch *b, unsigned limit, struct net_sock *sock)
{
    struct list *pos;

    b->count = 0;
    b->cut_count = 0;
    b->whole = false;
    list_for_each (pos, &sock->txq) {
        struct net_tx *tx = container_of(pos, struct net_tx, link);

        if (b->count == limit)
            return;
        if (net_must_split(sock, tx)) {
            if (!add_split(b, limit, sock, tx))
                return;
            continue;
        }
        unsigned i = b->count++;

        net_message_build(&b->msgs[i].msg_hdr, &b->control[i], sock, tx);
        b->tx[i] = tx;
        if (i == 0)
            b->whole = net_is_train(tx);
    }
}

static void take_off(struct net *n, struct net_tx *tx, int res)
{
    list_del(&tx->link);
    net_finish(n, tx, res);
}

/* Books the first `sent` messages of the batch. */
static void batch_sent(struct net *n, struct net_sock *sock, const struct net_batch *b,
                       unsigned sent)
{
    for (unsigned i = 0; i < sent; i++) {
        struct net_tx *tx = b->tx[i];

        tx->tries = 0;
        if (net_is_train(tx) && b->msgs[i].msg_hdr.msg_iov != tx->iov) {
            if (tx->sent++ == 0 && tx->gso_refused)
                net_gso_refused(n, sock);
            if (tx->sent < tx->datagrams)
                continue;
        } else if (net_is_train(tx)) {
            net_gso_taken(sock);
        }
        take_off(n, tx, tx->datagrams);
    }
}

/* `err` is about the first message of the batch, or an ICMP error about anybody. */
static void head_failed(struct net *n, struct net_sock *sock, bool whole, int err)
{
    struct net_tx *tx = container_of(sock->txq.next, struct net_tx, link);

    switch (err) {
    case EINTR:
        return;
    case EAGAIN:
        n->stats.tx_retries++;
        sock->blocked = true;
        return;
    case ENOBUFS:
    case ENOMEM:
        /* A full device queue drains without telling; not for ever, or the socket stands still. */
        if (tx->tries++ < NET_TRIES) {
            n->stats.tx_retries++;
            sock->blocked = true;
            return;
        }
        break;
    default:
        if (whole && net_is_gso_error(err)) {
            tx->gso_refused = true;
            return;
        }
        if (tx->tries++ < NET_TRIES) {
            net_errors_drain(n, sock);
            return;
        }
    }
    take_off(n, tx, -err);
}

/* Callbacks in here may queue more, and may close the socket, which empties its queue. */
void net_send(struct net *n, struct net_sock *sock)
{
    struct net_batch *b = n->batch;
    unsigned calls = 0;

    while (!list_empty(&sock->txq) && !sock->blocked) {
        if (calls++ == NET_FLUSH_CALLS) {
            n->flush_more = true;
            return;
        }
        batch_build(b, n->config.batch, sock);
        n->stats.tx_calls++;
        int r = sendmmsg(sock->pub.fd, b->msgs, b->count, MSG_DONTWAIT);
        if (r > 0) {
            batch_sent(n, sock, b, (unsigned)r);
            /* What stopped it is not told; an ICMP error is told once, and this was it. */
            if ((unsigned)r < b->count)
                net_errors_drain(n, sock);
        } else {
            head_failed(n, sock, b->whole, errno);
        }
        net_finished(n);
    }
}
