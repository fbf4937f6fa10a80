/*
 * A third filling of the packet engine: sockets are entries of a table, datagrams go to the
 * simulated link. The bytes behind a datagram are read as late as the contract allows, so memory
 * that is used again too early shows as wrong content.
 */
#include <stdlib.h>
#include <string.h>

#include "net/net_impl.h"
#include "sim.h"

static struct sim *current; /* the world of the engine that is being made */

static struct sim *sim_of(const struct net *n)
{
    return n->engine;
}

static int sim_init(struct net *n)
{
    n->engine = current;
    list_init(&current->engine.in_flight);
    current->engine.tx_due = NSEC_NEVER;
    return 0;
}

static void sim_fini(struct net *n)
{
    struct sim_engine *e = &sim_of(n)->engine;

    while (e->inbox_count > 0)
        free(e->inbox[--e->inbox_count]);
    free(e->inbox);
    e->inbox = NULL;
    while (e->batch_count > 0)
        free(e->batch[--e->batch_count]);
}

struct net *engine_new(struct sim *s)
{
    struct net_config config = settings_net_config(&s->conf);

    if (prng_chance(&s->prng, 200000))
        config.tx_slots = 2 + (unsigned)prng_below(&s->prng, 8);
    current = s;
    s->engine.net = net_new(&net_sim_ops, NULL, &config);
    return s->engine.net;
}

static struct net_socket *socket_at(const struct sim_engine *e, uint16_t port)
{
    for (unsigned i = 0; i < e->socket_count; i++)
        if (e->sockets[i]->local.port == port)
            return e->sockets[i];
    return NULL;
}

static int sim_bind(struct net *n, const struct addr *wanted, struct addr *ret)
{
    struct sim *s = sim_of(n);
    uint16_t port = wanted->port;

    if (s->engine.socket_count == ARRAY_LEN(s->engine.sockets) ||
        prng_chance(&s->prng, s->faults.bind_error))
        return prng_chance(&s->prng, 500000) ? -EMFILE : -ENOBUFS;
    if (port && socket_at(&s->engine, port))
        return -EADDRINUSE;
    while (!port || socket_at(&s->engine, port))
        port = (uint16_t)(32768 + prng_below(&s->prng, 28232));
    *ret = *wanted;
    ret->port = port;
    return 0;
}

static int sim_add(struct net *n, struct net_socket *socket)
{
    struct sim_engine *e = &sim_of(n)->engine;

    e->sockets[e->socket_count++] = socket;
    return 0;
}

/* ---- Out ---- */

/* Copies the next `len` bytes of the iovecs. */
static void gather(const struct net_tx *tx, unsigned *index, size_t *offset, uint8_t *to,
                   size_t len)
{
    while (len > 0) {
        const struct iovec *v = &tx->iov[*index];
        size_t piece = MIN(len, v->iov_len - *offset);

        memcpy(to, (const uint8_t *)v->iov_base + *offset, piece);
        to += piece;
        len -= piece;
        *offset += piece;
        if (*offset == v->iov_len) {
            ++*index;
            *offset = 0;
        }
    }
}

static void transmit(struct sim *s, struct net_tx *tx)
{
    static uint8_t bytes[NET_GSO_BYTES];
    struct addr from = s->server, to;
    size_t left = tx->bytes, offset = 0;
    unsigned index = 0;

    from.port = tx->socket->local.port;
    if (addr_from_sock(&to, &tx->peer) < 0)
        sim_fail(s, "a datagram has no address");
    do {
        size_t len = tx->segment ? MIN(left, (size_t)tx->segment) : left;

        gather(tx, &index, &offset, bytes, len);
        check_outgoing(s, from.port, &to, bytes, len);
        link_send(s, false, &from, &to, bytes, len);
        left -= len;
    } while (left > 0);
}

/* The kernel looks at what it was given. */
static void take_in_flight(struct sim *s)
{
    struct list *first;

    while ((first = list_pop_front(&s->engine.in_flight)) != NULL) {
        struct net_tx *tx = container_of(first, struct net_tx, link);

        if (tx->datagrams > 1 && prng_chance(&s->prng, s->faults.gso_refused)) {
            tx->gso_refused = true;
            net_gso_refused(s->engine.net, net_sock_of(tx->socket));
        }
        if (prng_chance(&s->prng, s->faults.send_error)) {
            net_finish(s->engine.net, tx, prng_chance(&s->prng, 500000) ? -EPERM : -ENETUNREACH);
            continue;
        }
        transmit(s, tx);
        net_finish(s->engine.net, tx, tx->datagrams);
    }
    s->engine.tx_due = NSEC_NEVER;
}

void engine_advance(struct sim *s)
{
    if (s->now >= s->engine.tx_due)
        take_in_flight(s);
}

static void take_queue(struct sim *s, struct net_sock *sock)
{
    struct list *first;

    while ((first = list_pop_front(&sock->txq)) != NULL)
        list_push_back(&s->engine.in_flight, first);
}

static void sim_flush(struct net *n)
{
    struct sim *s = sim_of(n);
    struct list *first;

    while ((first = list_pop_front(&n->flush)) != NULL)
        take_queue(s, container_of(first, struct net_sock, flush_link));
    if (list_empty(&s->engine.in_flight))
        return;
    s->engine.tx_due = nsec_min(s->engine.tx_due, s->now + s->faults.tx_delay);
    engine_advance(s);
}

static void sim_remove(struct net *n, struct net_socket *socket)
{
    struct sim *s = sim_of(n);
    struct sim_engine *e = &s->engine;

    take_queue(s, net_sock_of(socket));
    take_in_flight(s);
    for (unsigned i = 0; i < e->socket_count; i++)
        if (e->sockets[i] == socket)
            e->sockets[i] = e->sockets[--e->socket_count];
}

/* ---- In ---- */

void engine_arrive(struct sim *s, struct sim_datagram *d)
{
    struct sim_engine *e = &s->engine;

    if (e->inbox_count == e->inbox_room) {
        e->inbox_room = MAX(64, 2 * e->inbox_room);
        e->inbox = realloc(e->inbox, e->inbox_room * sizeof(struct sim_datagram *));
        if (!e->inbox)
            abort();
    }
    e->inbox[e->inbox_count++] = d;
}

static void sim_recv_done(struct net *n)
{
    struct sim_engine *e = &sim_of(n)->engine;

    while (e->batch_count > 0) {
        struct sim_datagram *d = e->batch[--e->batch_count];

        memset(d->bytes, 0xdb, d->len); /* nobody may look at it any more */
        free(d);
    }
}

static void hand_out(struct sim *s, struct sim_datagram *d, struct net_socket *socket,
                     struct net_rx *rx)
{
    *rx = (struct net_rx){
        .socket = socket,
        .data = view_of(d->bytes, d->len),
        .peer = d->from,
        .local = s->server,
    };
    rx->local.port = socket->local.port;
    check_incoming(s, d);
    s->engine.batch[s->engine.batch_count++] = d;
}

static unsigned sim_recv(struct net *n, struct net_rx *rx, unsigned max)
{
    struct sim *s = sim_of(n);
    struct sim_engine *e = &s->engine;
    unsigned got = 0;
    size_t at = 0;

    sim_recv_done(n);
    while (at < e->inbox_count && got < max) {
        struct sim_datagram *d = e->inbox[at++];
        struct net_socket *socket = socket_at(e, d->to.port);

        if (socket && !d->unreachable) {
            hand_out(s, d, socket, &rx[got++]);
            continue;
        }
        if (socket && n->unreachable) {
            n->unreachable(n->unreachable_arg, socket, &d->from, ECONNREFUSED);
            n->stats.icmp_errors++;
        } else if (!d->unreachable) {
            link_send_unreachable(s, false, &d->to, &d->from);
        }
        free(d);
    }
    if (at > 0)
        memmove(e->inbox, e->inbox + at, (e->inbox_count - at) * sizeof(struct sim_datagram *));
    e->inbox_count -= at;
    n->stats.rx_datagrams += got;
    return got;
}

bool engine_has_work(const struct sim_engine *e)
{
    return e->inbox_count > 0 || net_pending(e->net);
}

const struct net_ops net_sim_ops = {
    .name = "simulated",
    .init = sim_init,
    .fini = sim_fini,
    .add = sim_add,
    .remove = sim_remove,
    .recv = sim_recv,
    .flush = sim_flush,
    .recv_done = sim_recv_done,
    .bind = sim_bind,
};
