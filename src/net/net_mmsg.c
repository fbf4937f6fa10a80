/*
 * The engine on recvmmsg(2), sendmmsg(2) and the loop's readiness. Sockets the loop found
 * readable wait in a ready list and are read in turn, one system call each, so a flooded socket
 * delays the others by at most one batch.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "net/net_impl.h"

struct mmsg {
    struct list ready;
    struct list ready_last; /* sockets marked `last` */
    unsigned pass;          /* datagrams since the last empty net_recv() */
    nsec last_read;         /* the last turn after which no socket waited in ready_last */
    struct net_sock *sole;  /* the loop waits in this one alone */
    struct net_sock *held;  /* whose datagram is in the first slot already */
    unsigned used;          /* slots the last recv filled; only these need a reset */
    uint8_t *slots;
    size_t slots_bytes;
    struct mmsghdr msgs[NET_BATCH];
    struct iovec iov[NET_BATCH];
    union addr_sock peer[NET_BATCH];
    union net_control control[NET_BATCH];
};

static int mmsg_init(struct net *n)
{
    struct mmsg *m = calloc(1, sizeof(*m));
    size_t stride = ((size_t)n->config.rx_bytes_max + 1 + 63) & ~(size_t)63;

    if (!m)
        return -ENOMEM;
    m->slots_bytes = stride * NET_BATCH;
    m->slots = mmap(NULL, m->slots_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m->slots == MAP_FAILED) {
        int err = errno;

        free(m);
        return -err;
    }
    /* Pages beyond what datagrams really fill shall cost nothing. */
    (void)madvise(m->slots, m->slots_bytes, MADV_NOHUGEPAGE);
    list_init(&m->ready);
    list_init(&m->ready_last);
    for (unsigned i = 0; i < NET_BATCH; i++) {
        struct msghdr *h = &m->msgs[i].msg_hdr;

        m->iov[i] = (struct iovec){m->slots + i * stride, (size_t)n->config.rx_bytes_max + 1};
        h->msg_iov = &m->iov[i];
        h->msg_iovlen = 1;
        h->msg_name = &m->peer[i];
        h->msg_control = &m->control[i];
    }
    m->used = NET_BATCH;
    n->engine = m;
    return 0;
}

static void mmsg_fini(struct net *n)
{
    struct mmsg *m = n->engine;

    (void)munmap(m->slots, m->slots_bytes);
    free(m);
}

static void mark_ready(struct mmsg *m, struct net_sock *sock)
{
    list_push_back(sock->pub.last ? &m->ready_last : &m->ready, &sock->ready_link);
}

static void on_ready(struct loop_watch *w, uint32_t events)
{
    struct net_sock *sock = w->owner;
    struct mmsg *m = sock->net->engine;

    if (events & EPOLLOUT)
        sock->blocked = false;
    if (events & (EPOLLERR | EPOLLHUP))
        sock->error = true;
    if ((events & ~(uint32_t)EPOLLOUT) && list_empty(&sock->ready_link))
        mark_ready(m, sock);
}

/* Only the slots the last call filled have lengths that differ from these. */
static void reset_slots(struct mmsg *m)
{
    for (unsigned i = 0; i < m->used; i++) {
        struct msghdr *h = &m->msgs[i].msg_hdr;

        h->msg_namelen = sizeof(m->peer[i]);
        h->msg_controllen = sizeof(m->control[i]);
        h->msg_flags = 0;
    }
    m->used = 0;
}

/* One call finds the datagram and takes it: no readiness to ask for in between. */
static unsigned receive_sole(void *arg, bool sleep)
{
    struct net *n = arg;
    struct mmsg *m = n->engine;

    if (m->held)
        return 1;
    reset_slots(m);
    n->stats.rx_calls++;
    ssize_t r = recvmsg(m->sole->pub.fd, &m->msgs[0].msg_hdr, sleep ? 0 : MSG_DONTWAIT);
    if (r < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return 0;
        m->sole->error = true;
        if (list_empty(&m->sole->ready_link))
            mark_ready(m, m->sole);
        return 1;
    }
    m->msgs[0].msg_len = (unsigned)r;
    m->used = 1;
    m->held = m->sole;
    return 1;
}

static void mmsg_wait_in(struct net *n, struct net_socket *s)
{
    static const struct timeval nap = {.tv_usec = LOOP_NAP / NSEC_PER_USEC};
    struct mmsg *m = n->engine;
    struct net_sock *sock = s ? net_sock_of(s) : NULL;

    if (sock == m->sole)
        return;
    if (sock && !sock->naps)
        sock->naps = setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &nap, sizeof(nap)) == 0 &&
                     fcntl(s->fd, F_SETFL, 0) == 0;
    m->sole = sock && sock->naps ? sock : NULL;
    loop_set_sole(n->loop, m->sole ? receive_sole : NULL, n);
}

static int mmsg_add(struct net *n, struct net_socket *s)
{
    struct net_sock *sock = net_sock_of(s);

    list_init(&sock->ready_link);
    sock->watch = (struct loop_watch){
        .fd = s->fd,
        .events = EPOLLIN,
        .ready = on_ready,
        .owner = sock,
    };
    int r = loop_watch(n->loop, &sock->watch);
    sock->watched = r == 0;
    return r;
}

static void mmsg_remove(struct net *n, struct net_socket *s)
{
    struct net_sock *sock = net_sock_of(s);
    struct mmsg *m = n->engine;

    net_send_last(n, sock);
    if (m->sole == sock)
        mmsg_wait_in(n, NULL);
    if (m->held == sock)
        m->held = NULL;
    list_del(&sock->ready_link);
    if (sock->watched)
        loop_unwatch(n->loop, &sock->watch);
    sock->watched = false;
}

static bool take_datagram(struct net *n, struct net_sock *sock, unsigned slot, struct net_rx *rx)
{
    struct mmsg *m = n->engine;
    struct msghdr *h = &m->msgs[slot].msg_hdr;
    size_t bytes = m->msgs[slot].msg_len;

    if (addr_from_sock(&rx->peer, &m->peer[slot]) < 0)
        return false;
    rx->socket = &sock->pub;
    rx->truncated = (h->msg_flags & MSG_TRUNC) != 0 || bytes > n->config.rx_bytes_max;
    rx->data = view_of(m->iov[slot].iov_base, MIN(bytes, (size_t)n->config.rx_bytes_max));
    net_control_parse(n, sock, h, rx);
    n->stats.rx_datagrams++;
    n->stats.rx_bytes += bytes;
    n->stats.rx_truncated += rx->truncated;
    return true;
}

/* One system call on one socket into the slots from m->used on. Returns how many rx were filled. */
static unsigned read_socket(struct net *n, struct net_sock *sock, struct net_rx *rx, unsigned want)
{
    struct mmsg *m = n->engine;
    unsigned got = 0;

    n->stats.rx_calls++;
    int r = recvmmsg(sock->pub.fd, &m->msgs[m->used], want, MSG_DONTWAIT, NULL);
    if (r < 0) {
        if (errno == EINTR)
            return 0;
        /* Anything but "empty" is an ICMP error, to be found in the error queue. */
        sock->error = errno != EAGAIN;
        if (!sock->error)
            list_del(&sock->ready_link);
        return 0;
    }
    for (unsigned i = 0; i < (unsigned)r; i++)
        got += take_datagram(n, sock, m->used + i, &rx[got]);
    m->used += (unsigned)r;
    list_del(&sock->ready_link);
    if ((unsigned)r == want)
        mark_ready(m, sock);
    return got;
}

static bool any_ready(const struct mmsg *m)
{
    return !list_empty(&m->ready) || !list_empty(&m->ready_last);
}

/* The end of a full pass belongs to the last ones: a flood on another socket must not keep them
 * waiting for ever. */
static struct net_sock *first_ready(const struct mmsg *m)
{
    bool late = m->pass + m->used >= NET_PASS_DATAGRAMS / 4 * 3;
    const struct list *from = &m->ready;

    if (list_empty(from) || (late && !list_empty(&m->ready_last)))
        from = &m->ready_last;
    return container_of(from->next, struct net_sock, ready_link);
}

static unsigned mmsg_recv(struct net *n, struct net_rx *rx, unsigned max)
{
    struct mmsg *m = n->engine;
    unsigned got = 0, calls = 0;

    if (m->held) {
        got = take_datagram(n, m->held, 0, rx);
        m->held = NULL;
    } else {
        reset_slots(m);
    }
    while (any_ready(m) && m->used < max && m->pass < NET_PASS_DATAGRAMS &&
           calls++ < 2 * NET_BATCH) {
        struct net_sock *sock = first_ready(m);

        if (sock->error) {
            /* May close this socket or any other: look at the list afresh. */
            sock->error = false;
            net_errors_drain(n, sock);
            continue;
        }
        got += read_socket(n, sock, &rx[got], MIN(max - m->used, n->config.batch));
    }
    m->pass = got > 0 ? m->pass + got : 0;
    return got;
}

/* Asks the loop for writability exactly while the socket is blocked. */
static void update_watch(struct net *n, struct net_sock *sock)
{
    uint32_t events = sock->blocked ? EPOLLIN | EPOLLOUT : EPOLLIN;

    if (sock->watched && sock->watch.events == events)
        return;
    if (sock->watched)
        loop_unwatch(n->loop, &sock->watch);
    sock->watch.events = events;
    sock->watched = loop_watch(n->loop, &sock->watch) == 0;
    if (!sock->watched) {
        /* Out of memory: the socket must not be forgotten. */
        net_want_flush(n, sock);
        n->flush_more = true;
    }
}

static void mmsg_flush(struct net *n)
{
    struct list todo, *first;

    list_init(&todo);
    list_splice_back(&todo, &n->flush);
    while ((first = list_pop_front(&todo)) != NULL) {
        struct net_sock *sock = container_of(first, struct net_sock, flush_link);

        net_send(n, sock);
        if (sock->closing)
            continue;
        update_watch(n, sock);
        if (!list_empty(&sock->txq))
            net_want_flush(n, sock);
    }
}

static bool mmsg_pending(const struct net *n)
{
    const struct mmsg *m = n->engine;

    return m->held != NULL || any_ready(m);
}

static nsec mmsg_last_read(struct net *n, nsec now)
{
    struct mmsg *m = n->engine;

    if (list_empty(&m->ready_last))
        m->last_read = now;
    return m->last_read;
}

const struct net_ops net_mmsg_ops = {
    .name = "mmsg",
    .init = mmsg_init,
    .fini = mmsg_fini,
    .add = mmsg_add,
    .remove = mmsg_remove,
    .recv = mmsg_recv,
    .flush = mmsg_flush,
    .pending = mmsg_pending,
    .last_read = mmsg_last_read,
    .wait_in = mmsg_wait_in,
};
