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
/* A window of large blocks may need four reads one after the other; a peer whose shortest timer is
 * 100 ms repeats himself meanwhile. */
#define DISK_SLOW (25 * NSEC_PER_MSEC)
#define SPINS_MAX 10000
/* A disk hangs 30 seconds, timers double up to 10. */
#define RECOVERY_OK (60 * NSEC_PER_SEC)
/* At the limit of transfers, a place: peers that went away have it until the patience with them and
 * the longest timer are over, and who waits asks again after ten seconds at most. */
#define RECOVERY_PLACE (80 * NSEC_PER_SEC)
/* Patience for an answer, then for the first block. */
#define RECOVERY_FAILED (135 * NSEC_PER_SEC)

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

/* The index that a wire number stands for, near the newest one seen. */
static uint64_t index_near(const struct sim *s, uint64_t newest, uint16_t wire)
{
    uint64_t from = newest > 30000 ? newest - 30000 : 0;

    return tftp_block_resolve(wire, from, newest + 30000,
                              (enum tftp_rollover)s->conf.protocol_rollover);
}

static void new_transfer(struct sim_client *c, uint16_t port)
{
    c->data_port = port;
    c->blocks_sent = 0;
    c->resent = 0;
    c->newest = c->acked = c->repairs = 0;
    memset(c->sent, 0, sizeof(c->sent));
}

/*
 * An ACK never sends again what has just gone out. Two rules of ours are wider than that: a block
 * that follows a lost one may go out again with it, however young it is (receivers of RFC 7440
 * keep nothing that comes after a gap), and so may what follows a restart that a late ACK shows to
 * have been in vain. A third time in that short a time has no excuse. The first missing block goes
 * out again for a gap once, and once when a restart reaches it; else only by the timer, and in
 * lock-step by nothing but the timer.
 */
static void check_resent(struct sim *s, struct sim_client *c, uint16_t from_port, uint16_t wire)
{
    const struct tftp_manners *m = &tftp_manners_default;

    if (c->data_port != from_port)
        new_transfer(c, from_port);
    c->blocks_sent++;
    uint64_t block = index_near(s, c->newest, wire);
    if (block == TFTP_BLOCK_NONE)
        sim_fail(s, "client %u: block %u comes from nowhere", c->index, wire);
    c->newest = MAX(c->newest, block);
    struct sim_sent *x = &c->sent[block % ARRAY_LEN(c->sent)];
    if (x->block != block)
        *x = (struct sim_sent){.block = block};
    bool again = x->at != 0;
    nsec since = s->now - x->at;
    c->resent += again && c->proven; /* repeated requests are answered */
    if (again && c->proven && !c->confused && !s->tx_late && !s->damaging) {
        bool first_missing = block == c->acked + 1;
        bool thrice = x->before && s->now - x->before < m->resend_hold;
        bool soon = since < m->rto_min;
        c->repairs += first_missing && soon;
        if (thrice || (soon && !c->windowsize) || c->repairs > 2)
            sim_fail(s, "client %u: block %llu sent again after %llu us", c->index,
                     (unsigned long long)block, (unsigned long long)(since / NSEC_PER_USEC));
    }
    x->before = x->at;
    x->at = s->now;
}

/* An ACK reaches the server. */
static void see_ack(struct sim *s, struct sim_client *c, uint16_t wire)
{
    uint64_t block = index_near(s, c->newest, wire);

    if (block == TFTP_BLOCK_NONE || block <= c->acked || block > c->newest)
        return;
    c->acked = block;
    c->repairs = 0;
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
    /* From a single port, or one of a few, a new transfer looks like the old one. */
    if (opcode == TFTP_RRQ && (d->to.port == c->data_port || !transfer_find(s->worker, &c->at)))
        c->data_port = 0;
    if (opcode == TFTP_RRQ || opcode == TFTP_WRQ)
        c->paid += MAX(3 * d->len, (size_t)FIRST_REPLY_MAX);
    else if (c->kind == SIM_SPRAY)
        c->paid += d->len >= TFTP_HEADER_LEN ? 12 : 0; /* ERROR 5 to a stranger, at the most */
    else
        c->proven = true;
    if (opcode == TFTP_ACK && d->len >= TFTP_HEADER_LEN && d->to.port == c->data_port)
        see_ack(s, c, (uint16_t)(d->bytes[2] << 8 | d->bytes[3]));
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
 * RFC 1123 section 4.2.3.1: a network that doubles packets does not double ours: nothing goes out
 * twice. Only clients that acknowledge doubled blocks, and begin to count their window anew there,
 * or that repeat an ACK because our disk is slow, cannot be told from clients that report a gap;
 * that costs some windows of a whole file, as the sender learns from it.
 */
void check_doubling(struct sim *s, const struct sim_client *c)
{
    uint64_t resent = c->resent;

    /* Who uploads cannot know that the disk is slow, or that his transfer was evicted. */
    if (!client_is_model(c) && s->disk_delay == 0 && s->conf.limits_transfers_max > SIM_CLIENTS_MAX)
        resent += c->session.counts.blocks_resent;
    bool may_seem = client_is_model(c) || s->disk_delay > DISK_SLOW;
    /* In one of 2.6 million transfers four windows were one block too few (seed 13004474). */
    uint64_t unclear = may_seem && c->windowsize > 1 ? 5 * c->windowsize + c->blocks_sent / 16 : 0;
    if (s->kind && resent > unclear)
        sim_fail(s, "client %u: %llu blocks sent again because packets were doubled", c->index,
                 (unsigned long long)resent);
}

/* Round trips that the client's transfer needs at least, more or less. */
static uint64_t trips_of(const struct sim_client *c)
{
    const struct tftp_params *p = &c->session.params;
    uint64_t window = client_is_model(c) ? (uint64_t)c->blksize * c->windowsize
                                         : (uint64_t)p->blksize * p->windowsize;
    uint64_t bytes = c->writing ? 2 * c->upload_size : c->taken;

    return bytes / MAX(window, 1) + 8;
}

/* When it could begin: at once, but at the limit of transfers not before another one has ended. */
static nsec could_begin(struct sim *s, const struct sim_client *c)
{
    const struct transfer *t = transfer_find(s->worker, &c->at);

    if (!t || t->started < s->heal_at || s->conf.limits_transfers_max >= s->clients)
        return s->heal_at;
    if (t->started - s->heal_at > RECOVERY_PLACE)
        sim_fail(s, "client %u: no place for %llu s after the network had healed", c->index,
                 (unsigned long long)((t->started - s->heal_at) / NSEC_PER_SEC));
    return t->started;
}

/*
 * The network has healed. Whoever makes progress is soon as fast as if nothing had been: what still
 * hangs in a disk ends, the longest wait of either side is over, bursts are whole windows again.
 * Whoever has lost his peer has found out.
 */
void check_recovery(struct sim *s, const struct sim_client *c)
{
    nsec allowed = (c->ok ? RECOVERY_OK : RECOVERY_FAILED) +
                   trips_of(c) * (2 * s->delay + NSEC_PER_MSEC) * 3 / 2;

    if (!s->healed || c->start_at >= s->heal_at)
        return;
    if (s->now - (c->ok ? could_begin(s, c) : s->heal_at) > allowed)
        sim_fail(s, "client %u: %s needed %llu s after the network had healed", c->index, c->name,
                 (unsigned long long)((s->now - s->heal_at) / NSEC_PER_SEC));
}

/* Without faults a transfer takes its round trips, and no timer has to help. */
void check_pace(struct sim *s, const struct sim_client *c)
{
    uint64_t trips = trips_of(c);
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
    if (s->kind && !s->doubled && s->disk_delay <= DISK_SLOW && m->v[METRIC_BLOCKS_RESENT])
        sim_fail(s, "%llu blocks sent again on a network without faults",
                 (unsigned long long)m->v[METRIC_BLOCKS_RESENT]);
    if (store_stats(s->worker->store)->files_open)
        sim_fail(s, "%u files are still open", store_stats(s->worker->store)->files_open);
}
