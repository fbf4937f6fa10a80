#include "server/worker.h"

#include <errno.h>
#include <malloc.h>
#include <unistd.h>

#include "obs/log.h"
#include "server/admit.h"
#include "server/transfer.h"
#include "server/worker_impl.h"

#define TURN_MAX     (1 * NSEC_PER_MSEC) /* then timers and disks get their turn */
#define ROUND_LONG   (400 * NSEC_PER_USEC)
#define ROUND_SHORT  (200 * NSEC_PER_USEC)
#define ROUND_MIN    4u
#define GRAVE_AGE_MS 10000               /* longer than any packet lives on a boot network */
#define TRIM_AFTER   (10 * NSEC_PER_SEC) /* idle files are closed: they may have been deleted */
#define TIMER_BUDGET 256
#define PEAK_LEAST   1024 /* transfers whose memory is worth giving back */
#define FEW          64   /* ... and that many are no reason to look again */

static uint32_t grave_clock(const struct worker *w)
{
    return (uint32_t)(w->now / NSEC_PER_MSEC);
}

const struct grave *worker_grave(const struct worker *w, const struct addr *peer)
{
    uint32_t hash = addr_hash(peer, w->hash_key), now = grave_clock(w);
    const struct grave *set = w->graves[hash & (WORKER_GRAVES - 1)];

    for (unsigned i = 0; i < GRAVE_WAYS; i++)
        if (set[i].port && set[i].hash == hash && now - set[i].ended < GRAVE_AGE_MS)
            return &set[i];
    return NULL;
}

void worker_bury(struct worker *w, const struct addr *peer, uint16_t port, uint32_t request)
{
    uint32_t hash = addr_hash(peer, w->hash_key), now = grave_clock(w);
    struct grave *set = w->graves[hash & (WORKER_GRAVES - 1)];
    struct grave *place = &set[0];

    for (unsigned i = 0; i < GRAVE_WAYS; i++) {
        if (set[i].hash == hash) {
            place = &set[i];
            break;
        }
        if (!set[i].port || now - set[i].ended > now - place->ended)
            place = &set[i];
    }
    *place = (struct grave){hash, now, request, port};
}

/* ---- One datagram ---- */

static void to_transfer(struct worker *w, struct transfer *t, const struct net_rx *rx)
{
    int opcode = tftp_packet_opcode(rx->data);

    if (opcode == TFTP_RRQ || opcode == TFTP_WRQ) {
        /* GRUB repeats its request to the transfer's port; another request has no business there.
         */
        const struct port *port = rx->socket->owner;
        if (port->kind == PORT_LISTEN)
            admit_request(w, rx);
        else if (transfer_is_request(t, rx->data))
            (void)transfer_repeated(t, rx);
        return;
    }
    if (!t->opening)
        transfer_on_packet(t, rx->data);
}

static void dispatch(struct worker *w, const struct net_rx *rx)
{
    const struct port *port = rx->socket->owner;
    struct transfer *t;

    if (!port)
        return;
    if (port->kind == PORT_PRIVATE) {
        t = port->transfer;
        if (!addr_equal(&t->x.peer, &rx->peer))
            t = NULL;
    } else {
        t = transfer_find(w, &rx->peer);
    }
    if (t && t->x.socket == rx->socket)
        to_transfer(w, t, rx);
    else if (port->kind == PORT_LISTEN)
        admit_request(w, rx);
    else
        admit_stranger(w, rx);
}

static bool is_for_listener(const struct net_rx *rx)
{
    const struct port *port = rx->socket->owner;

    return port && port->kind == PORT_LISTEN;
}

/*
 * Requests come last: a client that reuses its port sends the last ACK and the next request in one
 * breath, and two sockets keep no order. Read the other way round, the request would look like a
 * repeat of the transfer that the ACK is about to end.
 */
static void dispatch_all(struct worker *w, const struct net_rx *rx, unsigned n)
{
    unsigned requests = 0;

    for (unsigned i = 0; i < n; i++) {
        if (is_for_listener(&rx[i]))
            requests++;
        else
            dispatch(w, &rx[i]);
    }
    for (unsigned i = 0; requests > 0 && i < n; i++) {
        if (is_for_listener(&rx[i])) {
            dispatch(w, &rx[i]);
            requests--;
        }
    }
}

void worker_on_unreachable(void *arg, struct net_socket *socket, const struct addr *peer, int err)
{
    struct worker *w = arg;
    struct transfer *t = transfer_find(w, peer);

    if (!t || t->opening || t->x.socket != socket)
        return;
    metric_inc(&w->metrics, METRIC_UNREACHABLE);
    if (err == EMSGSIZE)
        xfer_on_send_error(&t->x, err, w->now);
    else
        xfer_on_unreachable(&t->x, w->now);
}

void worker_on_send_failed(struct xfer_env *env, struct net_socket *socket, const struct addr *peer,
                           int err)
{
    struct worker *w = env->owner;
    struct transfer *t = transfer_find(w, peer);

    if (t && !t->opening && t->x.socket == socket)
        xfer_on_send_error(&t->x, err, w->now);
}

/* After a flood: what thousands of transfers had is of no use to the few that are left. */
static void give_back_memory(struct worker *w)
{
    if (w->peak < PEAK_LEAST || w->peers.count > w->peak / 8)
        return;
    malloc_trim(0);
    if (w->peers.count < FEW)
        w->peak = 0;
}

/* Many timers may be due at once (a network that was cut off): the rest fires in the next turn. */
static void on_timer(struct timer *timer, nsec now, void *arg)
{
    struct worker *w = arg;

    if (timer == &w->trim) {
        store_trim(w->store);
        give_back_memory(w);
        return;
    }
    if (w->timers_left == 0) {
        wheel_set(&w->wheel, timer, now);
        return;
    }
    w->timers_left--;
    xfer_on_timer(container_of(timer, struct xfer, timer), now);
}

/* ---- Reloading ---- */

static void take_mail(struct worker *w)
{
    struct settings *s = atomic_exchange(&w->mail, NULL);

    if (!s)
        return;
    settings_free(w->settings);
    w->settings = s;
    file_io_use_uring(w->files, s->use_uring);
    if (w->loop)
        loop_set_spin(w->loop, s->spin);
    store_set_upload_limits(w->store, s->write_max_size, s->write_free_space_min);
    if (s->use_uring && !w->ring)
        log_line(LOG_WARN,
                 "worker %u: there has been no ring since the start, io_uring needs a restart",
                 w->index);
    log_line(LOG_NOTICE, "worker %u: configuration reloaded, file backend for new operations: %s",
             w->index, file_io_name(w->files));
}

/* ---- The loop ---- */

nsec worker_deadline(const struct worker *w)
{
    nsec deadline = wheel_next(&w->wheel);

    if (w->drain_until)
        deadline = nsec_min(deadline, nsec_add(w->now, WORKER_DRAIN_TICK));
    /* Who found no net_tx goes on as soon as one is free, not with the next packet. */
    if (!list_empty(&w->env.starved) && net_tx_free(w->net))
        return 0;
    return net_pending(w->net) ? 0 : deadline;
}

/*
 * Datagrams are taken in rounds until none is left or the turn has lasted long enough; answers go
 * out after each round. A round that took long (big windows) makes the next ones smaller, so that
 * disks and timers wait at most a millisecond or two for their turn.
 */
static void receive(struct worker *w)
{
    struct net_rx rx[NET_BATCH];
    nsec before = w->now;

    for (;;) {
        unsigned n = net_recv(w->net, rx, w->round);
        store_begin_turn(w->store, w->now);
        dispatch_all(w, rx, n);
        net_recv_done(w->net);
        if (n == 0)
            return;
        net_flush(w->net);
        nsec after = w->parts.clock();
        bool full = n == w->round;
        if (after - before > ROUND_LONG)
            w->round = MAX(ROUND_MIN, w->round / 2);
        else if (full && after - before < ROUND_SHORT)
            w->round = MIN(NET_BATCH, w->round * 2);
        if (!full || after - w->now > TURN_MAX)
            return;
        before = after;
    }
}

bool worker_pass(struct worker *w, nsec now)
{
    w->now = now;
    take_mail(w);
    xfer_env_resume(&w->env, w->now);
    receive(w);
    w->requests_read = net_last_read(w->net, now);
    file_complete(w->files, WORKER_FILE_BUDGET);
    w->timers_left = TIMER_BUDGET;
    wheel_fire(&w->wheel, w->now, on_timer, w);
    net_flush(w->net);
    w->peak = MAX(w->peak, w->peers.count);
    if (w->trim.deadline == NSEC_NEVER &&
        (store_stats(w->store)->files_open > 0 || w->peak >= PEAK_LEAST))
        wheel_set(&w->wheel, &w->trim, nsec_add(w->now, TRIM_AFTER));
    if (atomic_exchange(&w->want_stats, false))
        worker_log_stats(w);
    hist_add(&w->turns, w->parts.clock() - w->now);
    return !drain_finished(w);
}

void worker_wake(struct worker *w)
{
    pthread_mutex_lock(&w->wake_lock);
    if (w->wakeable)
        loop_wake(w->loop);
    pthread_mutex_unlock(&w->wake_lock);
}

static void run(struct worker *w)
{
    while (worker_pass(w, loop_wait(w->loop, worker_deadline(w))))
        ;
}

void *worker_main(void *arg)
{
    struct worker *w = arg;

    w->start_error = worker_set_up(w);
    if (w->start_error == 0)
        log_line(LOG_NOTICE, "worker %u: packets by %s, files by %s", w->index, net_name(w->net),
                 file_io_name(w->files));
    bool ok = w->start_error == 0;
    sem_post(w->started);
    while (ok && sem_wait(w->go) < 0 && errno == EINTR)
        ;
    if (ok && atomic_load(&w->stopping) != WORKER_STOP_NOW) { /* else nobody was served */
        run(w);
        worker_log_stats(w);
    }
    worker_tear_down(w);
    atomic_store(&w->ended, true);
    /* The kernel does not let a thread end whose ring still has operations; only the end of the
     * process, which is near, interrupts them. */
    while (w->abandoned)
        pause();
    return NULL;
}
