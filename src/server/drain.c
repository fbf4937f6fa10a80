/*
 * Stopping: no new request is taken, running transfers may finish for a while, then each client is
 * told in one ERROR. The listening sockets stay open until the end, silent.
 */
#include "server/transfer.h"
#include "server/worker_impl.h"

#define ABORT_ROUNDS 64 /* as many times the pool of outgoing packets may be used up by ERRORs */

static struct transfer *transfer_of(struct map_node *node)
{
    return container_of(container_of(node, struct xfer, node), struct transfer, x);
}

static void abort_one(struct map_node *node, void *arg)
{
    (void)arg;
    transfer_abort(transfer_of(node), "Server is shutting down");
}

static void drop_one(struct map_node *node, void *arg)
{
    (void)arg;
    transfer_drop(transfer_of(node));
}

/* A transfer that only waits to repeat its final ACK is over. */
static void count_running(struct map_node *node, void *arg)
{
    const struct transfer *t = transfer_of(node);

    if (t->opening || t->x.session.state != TFTP_STATE_DALLYING)
        ++*(unsigned *)arg;
}

void drain_drop_all(struct worker *w)
{
    if (w->peers.buckets)
        map_each(&w->peers, drop_one, NULL);
}

/* Tells every client. When there are more of them than packets in the pool, the rest waits for the
 * first ones to leave. */
static void abort_all(struct worker *w)
{
    map_each(&w->peers, abort_one, NULL);
    for (int i = 0; i < ABORT_ROUNDS && !list_empty(&w->env.starved); i++) {
        net_flush(w->net);
        xfer_env_resume(&w->env, w->now);
    }
    net_flush(w->net);
}

bool drain_finished(struct worker *w)
{
    int stop = atomic_load(&w->stopping);
    unsigned running = 0;

    if (stop == WORKER_RUN)
        return false;
    if (w->drain_until == 0)
        w->drain_until = nsec_add(w->now, WORKER_DRAIN_TIME);
    if (stop == WORKER_STOP_NOW || w->now >= w->drain_until) {
        abort_all(w);
        return true;
    }
    map_each(&w->peers, count_running, &running);
    return running == 0;
}
