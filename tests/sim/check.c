/*
 * What must hold, whatever happens.
 */
#include <string.h>

#include "file/file_internal.h"
#include "net/net_impl.h"
#include "server/transfer.h"
#include "sim.h"

#define ERROR_BYTES_MAX 64
#define FIRST_REPLY_MAX (TFTP_HEADER_LEN + TFTP_BLKSIZE_DEFAULT)
#define SPINS_MAX       10000

static struct sim_client *client_at(struct sim *s, const struct addr *a)
{
    for (unsigned i = 0; i < s->clients; i++)
        if (addr_equal(&s->client[i].at, a))
            return &s->client[i];
    return NULL;
}

/* A peer who has not proved his address gets no more than he paid for: max(3 x request, one first
 * reply) for each request. */
static void check_budget(struct sim *s, struct sim_client *c, size_t len)
{
    if (c->proven)
        return;
    c->unproven += len;
    if (c->unproven > c->paid)
        sim_fail(s, "client %u: %llu bytes sent to an unproven peer that paid for %llu", c->index,
                 (unsigned long long)c->unproven, (unsigned long long)c->paid);
}

/*
 * An ACK never sends again what has just gone out. Two rules of ours are wider than that: a block
 * that follows a lost one may go out again with it, however young it is (receivers of RFC 7440
 * keep nothing that comes after a gap), and so may what follows a restart that a late ACK shows to
 * have been in vain. A third time in that short a time has no excuse; nor has the second towards a
 * peer in lock-step.
 */
static void check_resent(struct sim *s, struct sim_client *c, uint16_t from_port, uint16_t block)
{
    if (c->data_port != from_port) {
        c->data_port = from_port;
        c->blocks_sent = 0;
        c->resent = 0;
        memset(c->sent_before, 0, sizeof(c->sent_before));
        memset(c->sent_at, 0, sizeof(c->sent_at));
    }
    c->blocks_sent++;
    if (!c->proven || c->confused || s->faults.tx_delay || s->damaging ||
        block >= ARRAY_LEN(c->sent_at))
        return;
    nsec before = c->sent_at[block];
    bool again = before && s->now - before < tftp_manners_default.resend_hold;
    c->resent += before != 0;
    bool thrice =
        c->sent_before[block] && s->now - c->sent_before[block] < tftp_manners_default.resend_hold;
    if (thrice || (again && !c->windowsize))
        sim_fail(s, "client %u: block %u sent again after %llu us", c->index, block,
                 (unsigned long long)((s->now - before) / NSEC_PER_USEC));
    c->sent_before[block] = before;
    c->sent_at[block] = s->now;
}

void check_outgoing(struct sim *s, uint16_t from_port, const struct addr *to, const uint8_t *bytes,
                    size_t len)
{
    struct sim_client *c = client_at(s, to);
    int opcode = tftp_packet_opcode(view_of(bytes, len));

    if (!c)
        sim_fail(s, "a datagram to nobody");
    sim_say(s, "  server:%u -> client %u: opcode %d arg %u, %zu bytes", from_port, c->index, opcode,
            len >= 4 ? bytes[2] << 8 | bytes[3] : 0, len);
    if (opcode < TFTP_DATA)
        sim_fail(s, "client %u: a server never sends opcode %d", c->index, opcode);
    if (opcode == TFTP_ERROR && (len > ERROR_BYTES_MAX || bytes[len - 1] != 0))
        sim_fail(s, "client %u: an ERROR of %zu bytes", c->index, len);
    if (opcode == TFTP_ERROR && memmem(bytes, len, c->name, strlen(c->name)))
        sim_fail(s, "client %u: an ERROR that repeats a name", c->index);
    if (from_port == SIM_LISTEN_PORT && s->conf.network_transfer_ports != PORTS_SINGLE)
        sim_fail(s, "client %u: an answer from the listening port", c->index);
    check_budget(s, c, len);
    if (opcode == TFTP_DATA)
        check_resent(s, c, from_port, (uint16_t)(bytes[2] << 8 | bytes[3]));
}

void check_incoming(struct sim *s, const struct sim_datagram *d)
{
    struct sim_client *c = client_at(s, &d->from);
    int opcode = tftp_packet_opcode(view_of(d->bytes, d->len));

    if (!c)
        return;
    sim_say(s, "  client %u -> server:%u: opcode %d arg %u, %zu bytes", c->index, d->to.port,
            opcode, d->len >= 4 ? d->bytes[2] << 8 | d->bytes[3] : 0, d->len);
    if (opcode == TFTP_RRQ || opcode == TFTP_WRQ)
        c->paid += MAX(3 * d->len, (size_t)FIRST_REPLY_MAX);
    else if (c->kind == SIM_SPRAY)
        c->paid += d->len >= TFTP_HEADER_LEN ? 12 : 0; /* ERROR 5 to a stranger, at the most */
    else
        c->proven = true;
}

struct seen {
    struct sim *s;
    const struct addr *peer[SIM_CLIENTS_MAX];
    unsigned count;
};

static void see(struct map_node *node, void *arg)
{
    struct seen *seen = arg;
    const struct addr *peer = &container_of(node, struct xfer, node)->peer;

    for (unsigned i = 0; i < seen->count; i++)
        if (addr_equal(seen->peer[i], peer))
            sim_fail(seen->s, "two transfers for one client");
    if (seen->count == SIM_CLIENTS_MAX)
        sim_fail(seen->s, "more transfers than clients");
    seen->peer[seen->count++] = peer;
}

void check_worker(struct sim *s)
{
    struct seen seen = {.s = s};

    map_each(&s->worker->peers, see, &seen);
    s->spins = s->now == s->pass_at ? s->spins + 1 : 0;
    s->pass_at = s->now;
    if (s->spins > SPINS_MAX)
        sim_fail(s, "the worker spins");
}

/* The final ACK is a promise: the file is whole, and with write.durable would survive a crash. */
void check_upload(struct sim *s, const struct sim_client *c)
{
    size_t size = 0;
    const uint8_t *p = file_mem_get(s->files, c->name, s->conf.write_durable, &size);

    if (!p)
        sim_fail(s, "client %u: upload %s was acknowledged and is not there", c->index, c->name);
    if (size != c->upload_size)
        sim_fail(s, "client %u: upload %s has %zu bytes instead of %llu", c->index, c->name, size,
                 (unsigned long long)c->upload_size);
    for (size_t i = 0; i < size; i++)
        if (p[i] != sim_byte(100 + c->index, c->ascii, 0, i))
            sim_fail(s, "client %u: upload %s is wrong at byte %zu", c->index, c->name, i);
}

/*
 * RFC 1123 section 4.2.3.1: a network that doubles packets does not double ours. In lock-step
 * nothing goes out twice at all. With a window, clients that acknowledge each doubled block seem to
 * report gaps, and some of what follows goes out again; never all of it.
 */
void check_doubling(struct sim *s, const struct sim_client *c)
{
    if (s->kind && s->doubled && c->resent > (c->windowsize > 1 ? c->blocks_sent * 2 / 3 : 0))
        sim_fail(s, "client %u: %u blocks sent again because packets were doubled", c->index,
                 c->resent);
}

/* Without faults a transfer takes its round trips, and no timer has to help. */
void check_pace(struct sim *s, const struct sim_client *c)
{
    const struct tftp_params *p = &c->session.params;
    uint64_t window = client_is_model(c) ? (uint64_t)c->blksize * c->windowsize
                                         : (uint64_t)p->blksize * p->windowsize;
    uint64_t bytes = c->writing ? 2 * c->upload_size : c->taken;
    uint64_t trips = bytes / window + 8;
    nsec took = s->now - c->start_at;

    if (took > trips * (2 * s->delay + NSEC_PER_MSEC))
        sim_fail(s, "client %u: %s took %llu ms for %llu round trips", c->index, c->name,
                 (unsigned long long)(took / NSEC_PER_MSEC), (unsigned long long)trips);
}

static void check_pools(const struct sim *s)
{
    const struct net *n = s->engine.net;
    size_t tx = n->config.tx_slots - n->tx_fresh;
    struct list *pos;

    list_for_each (pos, &n->tx_free)
        tx++;
    if (tx != n->config.tx_slots)
        sim_fail(s, "%zu outgoing datagrams are lost", n->config.tx_slots - tx);
    unsigned sockets = s->worker->ports.count[0] + 1;
    if (s->engine.socket_count != sockets)
        sim_fail(s, "%u sockets are open instead of %u", s->engine.socket_count, sockets);
    size_t timers = s->worker->trim.deadline != NSEC_NEVER;
    if (s->worker->wheel.count != timers)
        sim_fail(s, "%zu timers are left", s->worker->wheel.count - timers);
}

/* Everybody has gone: nothing may be left. */
void check_end(struct sim *s)
{
    const struct metrics *m = &s->worker->metrics;

    check_pools(s);
    if (s->kind && !s->doubled && m->v[METRIC_BLOCKS_RESENT])
        sim_fail(s, "%llu blocks sent again on a network without faults",
                 (unsigned long long)m->v[METRIC_BLOCKS_RESENT]);
    if (store_stats(s->worker->store)->files_open)
        sim_fail(s, "%u files are still open", store_stats(s->worker->store)->files_open);
}
