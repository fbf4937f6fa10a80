/*
 * The front of the packet engine: the pool of outgoing datagrams, the list of sockets, and the
 * order in which callbacks and releases happen. See net_impl.h.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "net/net.h"
#include "net/net_impl.h"

/* Large pages, because a turn of the loop goes through all of what is in flight. */
static int pool_init(struct net *n)
{
    n->tx_bytes = (size_t)n->config.tx_slots * sizeof(struct net_tx);
    void *p = mmap(NULL, n->tx_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return -errno;
    (void)madvise(p, n->tx_bytes, MADV_HUGEPAGE);
    n->tx = p;
    return 0;
}

static void net_destroy(struct net *n)
{
    net_send_fini(n);
    if (n->tx)
        (void)munmap(n->tx, n->tx_bytes);
    free(n);
}

/* What callbacks queued after the last flush goes out before the loop sleeps. */
static nsec before_wait(void *arg, nsec now)
{
    struct net *n = arg;

    (void)now;
    net_flush(n);
    return net_pending(n) ? 0 : NSEC_NEVER;
}

struct net *net_new(const struct net_ops *ops, struct loop *loop, const struct net_config *config)
{
    struct net *n = calloc(1, sizeof(*n));
    if (!n)
        return NULL;
    n->ops = ops;
    n->loop = loop;
    n->config = *config;
    list_init(&n->tx_free);
    list_init(&n->sockets);
    list_init(&n->dead);
    list_init(&n->flush);
    list_init(&n->finished);

    int r = -EINVAL;
    if (config->batch >= 1 && config->batch <= NET_BATCH && config->tx_slots > 0 &&
        config->rx_bytes_max > 0 && config->rx_bytes_max <= UINT16_MAX)
        r = pool_init(n);
    if (r == 0)
        r = net_send_init(n);
    if (r == 0)
        r = loop ? loop_before_wait(loop, before_wait, n) : 0;
    if (r == 0) {
        r = ops->init(n);
        if (r < 0 && loop)
            loop_before_wait_remove(loop, before_wait, n);
    }
    if (r < 0) {
        net_destroy(n);
        errno = -r;
        return NULL;
    }
    return n;
}

/* Frees closed sockets, unless somebody may still name them. */
static void reap_dead(struct net *n)
{
    struct list *pos, *tmp;

    if (n->depth > 0 || n->batch_open || !list_empty(&n->finished))
        return;
    list_for_each_safe (pos, tmp, &n->dead) {
        struct net_sock *sock = container_of(pos, struct net_sock, pub.link);

        if (sock->busy > 0)
            continue;
        list_del(pos);
        free(sock->pub.engine);
        free(sock);
    }
}

void net_free(struct net *n)
{
    struct list *first;

    if (!n)
        return;
    if (n->loop)
        loop_before_wait_remove(n->loop, before_wait, n);
    n->batch_open = false;
    while ((first = n->sockets.next) != &n->sockets)
        net_close_socket(n, container_of(first, struct net_socket, link));
    net_finished(n);
    n->ops->fini(n);
    reap_dead(n);
    /* What the kernel did not give back in time is leaked rather than freed under its feet. */
    if (list_empty(&n->dead))
        net_destroy(n);
}

const char *net_name(const struct net *n)
{
    return n->ops->name;
}

void net_on_unreachable(struct net *n, net_unreachable_fn *fn, void *arg)
{
    n->unreachable = fn;
    n->unreachable_arg = arg;
}

const struct net_stats *net_stats(const struct net *n)
{
    return &n->stats;
}

static int local_of(int fd, struct addr *ret)
{
    union addr_sock sa = {0};
    socklen_t len = sizeof(sa);

    return getsockname(fd, &sa.sa, &len) < 0 ? -errno : addr_from_sock(ret, &sa);
}

/* `fd` stays the caller's on failure; without one, `local` is the address. */
static int socket_add(struct net *n, int fd, int family, const struct addr *local, void *owner,
                      struct net_socket **ret)
{
    struct net_sock *sock = calloc(1, sizeof(*sock));
    int r = 0;

    if (!sock)
        return -ENOMEM;
    sock->net = n;
    sock->family = family;
    sock->pub.fd = fd;
    sock->pub.owner = owner;
    sock->pub.gso = n->config.gso && (fd < 0 || net_sock_has_gso(fd));
    list_init(&sock->txq);
    list_init(&sock->flush_link);
    list_init(&sock->pub.link);

    if (local)
        sock->pub.local = *local;
    else
        r = local_of(fd, &sock->pub.local);
    sock->wildcard = addr_is_unspecified(&sock->pub.local);
    if (r == 0)
        r = n->ops->add(n, &sock->pub);
    if (r < 0) {
        free(sock->pub.engine);
        free(sock);
        return r;
    }
    list_push_back(&n->sockets, &sock->pub.link);
    *ret = &sock->pub;
    return 0;
}

int net_open(struct net *n, const struct addr *bind, bool reuse_port, void *owner,
             struct net_socket **ret)
{
    struct addr local;

    if (n->ops->bind) {
        int err = n->ops->bind(n, bind, &local);
        return err < 0 ? err : socket_add(n, -1, bind->family, &local, owner, ret);
    }
    int fd = net_sock_open(&n->config, bind, reuse_port);
    if (fd < 0)
        return fd;
    int r = socket_add(n, fd, bind->family, NULL, owner, ret);
    if (r < 0)
        (void)close(fd);
    return r;
}

int net_adopt(struct net *n, int fd, void *owner, struct net_socket **ret)
{
    int type = 0, domain = 0;
    socklen_t type_len = sizeof(type), domain_len = sizeof(domain);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_len) < 0)
        return -errno;
    if (type != SOCK_DGRAM)
        return -EPROTOTYPE;
    if (domain != AF_INET && domain != AF_INET6)
        return -EAFNOSUPPORT;
    int r = net_sock_prepare(&n->config, fd, domain);
    return r < 0 ? r : socket_add(n, fd, domain, NULL, owner, ret);
}

void net_sock_release(struct net_sock *sock)
{
    if (!sock->closing || sock->busy > 0 || sock->pub.fd < 0)
        return;
    (void)close(sock->pub.fd);
    sock->pub.fd = -1;
}

void net_close_socket(struct net *n, struct net_socket *s)
{
    struct net_sock *sock = net_sock_of(s);

    assert(!sock->closing);
    n->depth++;
    sock->closing = true;
    n->closed_in_recv = true;
    list_del(&s->link);
    list_push_back(&n->dead, &s->link);
    n->ops->remove(n, s);
    list_del(&sock->flush_link);
    net_sock_release(sock);
    net_finished(n);
    n->depth--;
    reap_dead(n);
}

/* Takes out what came for sockets that a callback closed while the batch was being filled. */
static unsigned without_closed(struct net_rx *rx, unsigned count)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < count; i++) {
        if (net_sock_of(rx[i].socket)->closing)
            continue;
        if (kept != i)
            rx[kept] = rx[i];
        kept++;
    }
    return kept;
}

unsigned net_recv(struct net *n, struct net_rx *rx, unsigned max)
{
    net_recv_done(n);
    n->depth++;
    n->closed_in_recv = false;
    unsigned got = n->ops->recv(n, rx, MIN(max, (unsigned)NET_BATCH));
    net_finished(n);
    n->depth--;
    if (n->closed_in_recv)
        got = without_closed(rx, got);
    n->batch_open = got > 0;
    reap_dead(n);
    return got;
}

void net_recv_done(struct net *n)
{
    if (!n->batch_open)
        return;
    n->batch_open = false;
    if (n->ops->recv_done)
        n->ops->recv_done(n);
    reap_dead(n);
}

struct net_tx *net_tx_get(struct net *n)
{
    struct list *first = list_pop_front(&n->tx_free);
    struct net_tx *tx;

    if (first)
        tx = container_of(first, struct net_tx, link);
    else if (n->tx_fresh < n->config.tx_slots)
        tx = &n->tx[n->tx_fresh++];
    else
        return NULL;
    /* Not the arrays: they are large, and counted. */
    memset(tx, 0, offsetof(struct net_tx, small));
    list_init(&tx->link);
    return tx;
}

bool net_tx_free(const struct net *n)
{
    return !list_empty(&n->tx_free) || n->tx_fresh < n->config.tx_slots;
}

/* Last in, first out: the next one is still in the cache. */
void net_tx_put(struct net *n, struct net_tx *tx)
{
    list_push_front(&n->tx_free, &tx->link);
}

void net_finish(struct net *n, struct net_tx *tx, int res)
{
    if (res < 0) {
        n->stats.tx_errors++;
    } else {
        n->stats.tx_datagrams += (unsigned)res;
        n->stats.tx_bytes += tx->bytes;
    }
    tx->res = res;
    list_push_back(&n->finished, &tx->link);
}

void net_finished(struct net *n)
{
    struct list *first;

    n->depth++;
    while ((first = list_pop_front(&n->finished)) != NULL) {
        struct net_tx *tx = container_of(first, struct net_tx, link);

        if (tx->done)
            tx->done(tx, tx->res);
        net_tx_put(n, tx);
    }
    n->depth--;
    reap_dead(n);
}

void net_send_last(struct net *n, struct net_sock *sock)
{
    struct list *first;

    sock->blocked = false;
    net_send(n, sock);
    while ((first = list_pop_front(&sock->txq)) != NULL)
        net_finish(n, container_of(first, struct net_tx, link), -ECANCELED);
}

void net_want_flush(struct net *n, struct net_sock *sock)
{
    if (list_empty(&sock->flush_link))
        list_push_back(&n->flush, &sock->flush_link);
}

void net_queue(struct net *n, struct net_tx *tx)
{
    struct net_sock *sock = net_sock_of(tx->socket);
    size_t bytes = 0;

    assert(tx->iov_count <= NET_TX_IOV && tx->ref_count <= NET_TX_REFS);
    for (unsigned i = 0; i < tx->iov_count; i++)
        bytes += tx->iov[i].iov_len;
    assert(bytes <= NET_GSO_BYTES);
    tx->bytes = (uint32_t)bytes;
    tx->datagrams = 1;
    if (tx->segment > 0 && bytes > tx->segment)
        tx->datagrams = (uint16_t)((bytes + tx->segment - 1) / tx->segment);
    assert(tx->datagrams <= NET_GSO_SEGMENTS);

    if (sock->closing) {
        net_finish(n, tx, -ECANCELED);
        return;
    }
    list_push_back(&sock->txq, &tx->link);
    net_want_flush(n, sock);
}

void net_flush(struct net *n)
{
    if (list_empty(&n->flush) && list_empty(&n->finished))
        return;
    n->depth++;
    n->flush_more = false;
    net_finished(n);
    n->ops->flush(n);
    net_finished(n);
    n->depth--;
    reap_dead(n);
}

void net_wait_in(struct net *n, struct net_socket *s)
{
    if (n->ops->wait_in)
        n->ops->wait_in(n, s);
}

bool net_pending(const struct net *n)
{
    return n->flush_more || !list_empty(&n->finished) || (n->ops->pending && n->ops->pending(n));
}

nsec net_last_read(struct net *n, nsec now)
{
    return n->ops->last_read ? n->ops->last_read(n, now) : now;
}

void net_gso_taken(struct net_sock *sock)
{
    sock->net->stats.gso_trains++;
    sock->gso_refusals = 0;
}

void net_gso_refused(struct net *n, struct net_sock *sock)
{
    n->stats.gso_withdrawn++;
    if (++sock->gso_refusals >= NET_GSO_REFUSALS)
        sock->pub.gso = false;
}
