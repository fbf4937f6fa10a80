#include "server/transfer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "server/gate.h"
#include "server/transfer_log.h"

/* A peer that was silent this long and sends its request again has started over (a ROM after a
 * reset uses the same port); before that the request is an echo of the running transfer. */
#define RESTART_SILENCE NSEC_PER_SEC
/* No request waits longer to be read, of a socket that is read in each turn. */
#define REQUEST_WAITS (10 * NSEC_PER_SEC)
/* The largest window of a peer in no trusted network: six of them, with all headers, cost less
 * than an ACK at each port that a transfer may have (docs/design/2026-11-25-blind-acks.md). */
#define UNTRUSTED_WINDOW_BLOCKS 64
#define UNTRUSTED_WINDOW_BYTES  98304
/* A true client has this long to answer before its place may be given to another one. */
#define EVICT_AGE (200 * NSEC_PER_MSEC)

/* No client known repeats a request sooner than after 75 ms. */
#define REPEAT_SOONEST (50 * NSEC_PER_MSEC)

static uint64_t hash_request(const struct worker *w, struct view datagram)
{
    uint64_t h = w->hash_key ^ datagram.n, word;
    size_t at = 0;

    for (; datagram.n - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, datagram.p + at, sizeof(word));
        h = prng_mix(h ^ word);
    }
    for (; at < datagram.n; at++)
        h = prng_mix(h ^ datagram.p[at]);
    return h;
}

/* What may go out before the peer proves its address is known better than when it was charged. */
static void charge_only(struct transfer *t, size_t bytes)
{
    if (t->charge <= bytes)
        return;
    gate_unproven_return(t->worker, &t->x.peer, t->charge - bytes);
    t->charge = (uint32_t)bytes;
}

static bool same_peer(const struct map_node *node, const void *key)
{
    return addr_equal(&container_of(node, struct xfer, node)->peer, key);
}

struct transfer *transfer_find(struct worker *w, const struct addr *peer)
{
    struct map_node *node = map_find(&w->peers, addr_hash(peer, w->hash_key), same_peer, peer);

    return node ? container_of(container_of(node, struct xfer, node), struct transfer, x) : NULL;
}

/*
 * Copies of a request may come late: repeated by the client when the answer was on its way, or
 * doubled by the network. One that is served as a new request sends an answer to a client that has
 * its file, and that may have asked for another from the same port. But clients do ask for the same
 * file twice in a row; so copies are expected only of a request that has been copied already, or
 * was answered so slowly that the client may have repeated it.
 */
static void bury(const struct transfer *t)
{
    bool served = t->x.session.outcome == TFTP_OUTCOME_OK;

    worker_bury(t->worker, &t->x.peer, t->x.socket->local.port,
                served && t->asked_twice ? (uint32_t)t->request_hash : 0);
}

bool transfer_is_late_copy(const struct worker *w, const struct net_rx *rx)
{
    const struct grave *g = worker_grave(w, &rx->peer);

    return g && g->request && g->request == (uint32_t)hash_request(w, rx->data) &&
           (uint32_t)(w->now / NSEC_PER_MSEC) - g->ended < RESTART_SILENCE / NSEC_PER_MSEC;
}

static void destroy(struct transfer *t)
{
    struct worker *w = t->worker;

    if (t->x.socket)
        bury(t);
    list_del(&t->unproven);
    map_remove(&w->peers, &t->x.node);
    metric_set(&w->metrics, METRIC_TRANSFERS_ACTIVE, w->peers.count);
    if (t->opening || t->x.session.proven) /* nothing was sent, or to a true address */
        charge_only(t, 0);
    list_del(&t->stored);
    if (!t->logged)
        gate_leave(w, &t->x.peer, t->writing);
    xfer_fini(&t->x);
    if (t->private_socket)
        ports_release(&w->ports, t->x.socket);
    free(t);
}

void transfer_ended(struct xfer *x, nsec now)
{
    struct transfer *t = container_of(x, struct transfer, x);

    if (!t->logged)
        transfer_log_end(t, now);
    destroy(t);
}

void transfer_drop(struct transfer *t)
{
    if (t->opening)
        transfer_log_unopened(t);
    else if (!t->logged)
        transfer_log_end(t, t->worker->now);
    destroy(t);
}

void transfer_abort(struct transfer *t, const char *text)
{
    if (t->opening || tftp_session_ended(&t->x.session))
        transfer_drop(t);
    else
        xfer_fail(&t->x, TFTP_ERR_UNDEFINED, text, t->worker->now);
}

/* The oldest upload that is stored, when its final ACK left so long ago that it has most likely
 * come; or NULL. */
static struct transfer *oldest_stored(const struct worker *w)
{
    struct transfer *t = container_of(w->stored.next, struct transfer, stored);

    if (list_empty(&w->stored) || !list_empty(&t->x.link) || w->now - t->stored_at < EVICT_AGE)
        return NULL;
    return t;
}

/* Who has not answered may never do so; who has stored its upload most likely has its ACK. */
bool transfer_evict(struct worker *w, const struct transfer *newcomer)
{
    struct transfer *t = container_of(w->unproven.next, struct transfer, unproven);
    struct transfer *stored = oldest_stored(w);

    if (!list_empty(&w->unproven) && t != newcomer && w->now - t->started >= EVICT_AGE) {
        if (!t->opening)
            t->x.session.outcome = TFTP_OUTCOME_TIMEOUT;
        metric_inc(&w->metrics, METRIC_TRANSFERS_EVICTED);
    } else if (stored) {
        t = stored;
    } else {
        return false;
    }
    transfer_drop(t);
    return true;
}

void transfer_on_packet(struct transfer *t, struct view datagram)
{
    struct worker *w = t->worker;

    if (list_empty(&t->unproven)) {
        xfer_on_packet(&t->x, datagram, w->now);
        return;
    }
    struct addr peer = t->x.peer;
    if (w->now - t->started >= REPEAT_SOONEST)
        t->asked_twice = true;
    xfer_on_packet(&t->x, datagram, w->now);
    if (transfer_find(w, &peer) != t || !t->x.session.proven)
        return;
    list_del(&t->unproven);
    t->proven_at = w->now;
    charge_only(t, 0);
}

const char *transfer_error_text(enum tftp_error code, int err)
{
    return code == TFTP_ERR_UNDEFINED ? tftp_error_text_from_errno(err) : tftp_error_text(code);
}

/* The file or the upload could not be opened: one ERROR, no session. */
static void refuse_open(struct transfer *t, int err)
{
    struct worker *w = t->worker;
    uint8_t packet[TFTP_HEADER_LEN + TFTP_ERROR_TEXT_MAX + 1];
    enum tftp_error code = tftp_error_from_errno(err, t->writing);
    size_t n = tftp_build_error(packet, sizeof(packet), code, transfer_error_text(code, err));
    struct net_socket *s = ports_for_error(&w->ports, w->settings, t->listener, &t->x.peer);

    charge_only(t, n > t->request_len ? n - t->request_len : 0);
    t->charge = 0; /* spent */
    xfer_send_control(&w->env, s, &t->x.peer, &t->x.local, packet, n);
    transfer_log_refused(t, err, code);
    destroy(t);
}

/* blksize is granted so that a packet with its headers crosses the path in one piece. */
static void clamp_blksize(struct transfer *t, struct tftp_limits *limits)
{
    struct worker *w = t->worker;
    unsigned payload = path_cache_payload(&w->paths, w->parts.path_payload, &t->x.peer, &t->x.local,
                                          w->hash_key, w->now);

    if (payload < TFTP_HEADER_LEN + TFTP_BLKSIZE_DEFAULT)
        return;
    unsigned fit = payload - TFTP_HEADER_LEN;
    t->x.gso = true;
    if (w->settings->clamp_to_mtu)
        limits->blksize_max = (uint16_t)MIN(limits->blksize_max, fit);
    else
        t->x.gso = limits->blksize_max <= fit;
}

static void bound_window(struct transfer *t, struct tftp_limits *limits)
{
    if (settings_trusts(t->worker->settings, &t->x.peer))
        return;
    limits->windowsize_max = MIN(limits->windowsize_max, UNTRUSTED_WINDOW_BLOCKS);
    limits->window_bytes_max = MIN(limits->window_bytes_max, UNTRUSTED_WINDOW_BYTES);
}

static int take_port(struct transfer *t)
{
    struct worker *w = t->worker;
    const struct grave *grave = worker_grave(w, &t->x.peer);
    struct net_socket *socket;
    int err = ports_take(&w->ports, w->settings, &t->x.peer, &t->x.local, t->listener,
                         grave ? grave->port : 0, &t->port, &socket);

    if (err < 0)
        return err;
    t->port.transfer = t;
    t->private_socket = socket->owner == &t->port;
    xfer_set_socket(&t->x, socket);
    return 0;
}

/* The process has no descriptor left for a socket: the same as at any other limit. */
static void no_port(struct transfer *t, int err)
{
    metric_inc(&t->worker->metrics, METRIC_REQUESTS_BUSY);
    if (t->worker->settings->answer_busy)
        refuse_open(t, err);
    else
        destroy(t);
}

static const struct xfer_data_ops *data_ops(const struct transfer *t)
{
    if (t->writing)
        return t->mode == TFTP_NETASCII ? &xfer_receive_ascii : &xfer_receive_octet;
    return t->mode == TFTP_NETASCII ? &xfer_send_ascii : &xfer_send_octet;
}

/* Opened: negotiate and send the first answer. */
static void start_session(struct transfer *t)
{
    struct worker *w = t->worker;
    const struct settings *s = w->settings;
    struct tftp_request request;
    struct tftp_limits limits = s->limits;
    uint64_t size = t->writing || t->mode == TFTP_NETASCII ? TFTP_SIZE_UNKNOWN : t->x.reader.size;

    int err = take_port(t);
    /* Of descriptors, or of ports in a range, there may be too few for all that only wait. */
    if ((err == -EMFILE || err == -ENFILE || err == -EADDRINUSE) && transfer_evict(w, t))
        err = take_port(t);
    if (err == -EMFILE || err == -ENFILE) {
        no_port(t, -err);
        return;
    }
    if (err < 0) {
        refuse_open(t, -err);
        return;
    }
    t->opening = false;
    err = tftp_request_parse(&request, view_of(t->bytes, t->request_len));
    assert(err == 0); /* it was parsed when it came */
    if (t->writing || t->mode == TFTP_NETASCII)
        limits.window_bytes_max = MIN(limits.window_bytes_max, s->upload_window_bytes_max);
    bound_window(t, &limits);
    if (request.option_count > 0)
        clamp_blksize(t, &limits);
    err = tftp_session_serve(&t->x.session, &request, t->request_len, &limits, &s->manners, size,
                             w->now);
    if (err == 0)
        charge_only(t, t->x.session.budget - t->request_len);
    if (err == 0 && t->mode == TFTP_NETASCII && xfer_ascii_init(&t->x) < 0)
        tftp_session_fail(&t->x.session, TFTP_ERR_UNDEFINED, tftp_error_text_from_errno(ENOMEM),
                          w->now);
    xfer_kick(&t->x, w->now);
}

static void on_reader_ready(struct store_wait *wait)
{
    struct transfer *t = container_of(
        container_of(container_of(wait, struct store_reader, wait), struct xfer, reader),
        struct transfer, x);

    if (!t->opening)
        xfer_kick(&t->x, t->worker->now);
    else if (t->x.reader.result < 0)
        refuse_open(t, -t->x.reader.result);
    else
        start_session(t);
}

/* The upload is complete and on disk: that is its end in the log and for all limits. The session
 * lives on for a while to repeat a final ACK that was lost. */
static void log_published(struct transfer *t)
{
    if (t->logged || t->x.session.state != TFTP_STATE_DALLYING)
        return;
    t->x.session.outcome = TFTP_OUTCOME_OK;
    transfer_log_end(t, t->worker->now);
    gate_leave(t->worker, &t->x.peer, true);
    t->logged = true;
    t->stored_at = t->worker->now;
    list_push_back(&t->worker->stored, &t->stored);
}

static void on_sink_changed(struct store_sink *sink)
{
    struct transfer *t = sink->owner;
    struct worker *w = t->worker;
    struct addr peer = t->x.peer;
    bool published = sink->state == STORE_SINK_PUBLISHED;

    if (!t->opening) {
        xfer_sink_step(&t->x, w->now);
        if (published && transfer_find(w, &peer) == t)
            log_published(t);
    } else if (sink->state == STORE_SINK_FAILED)
        refuse_open(t, -sink->error);
    else if (sink->state == STORE_SINK_OPEN)
        start_session(t);
}

static void open_file(struct transfer *t, uint64_t size_hint)
{
    struct worker *w = t->worker;

    t->x.data = data_ops(t);
    t->x.check_tsize = t->writing && w->settings->write_check_tsize;
    if (t->writing) {
        t->x.sink.changed = on_sink_changed;
        t->x.sink.owner = t;
        store_sink_open(w->store, &t->x.sink, t->path, w->settings->write_overwrite,
                        w->settings->write_create, size_hint);
    } else {
        t->x.reader.wait.ready = on_reader_ready;
        int err = store_open_now(w->store, &t->x.reader, t->path);
        if (err == 0)
            start_session(t);
        else if (err != -EINPROGRESS)
            refuse_open(t, -err);
    }
}

int transfer_start(struct worker *w, const struct net_rx *rx, const struct tftp_request *request,
                   const char *path, uint64_t size_hint, uint32_t charge)
{
    size_t path_len = strlen(path);
    struct transfer *t = malloc(sizeof(*t) + rx->data.n + path_len + 1);

    if (!t)
        return -ENOMEM;
    memset(t, 0, sizeof(*t));
    xfer_init(&t->x, &w->env, &rx->peer, &rx->local);
    t->worker = w;
    t->listener = rx->socket;
    t->started = w->now;
    t->request_hash = hash_request(w, rx->data);
    t->writing = request->op == TFTP_WRQ;
    t->mode = request->mode;
    t->opening = true;
    t->charge = charge;
    t->request_len = (uint16_t)rx->data.n;
    memcpy(t->bytes, rx->data.p, rx->data.n);
    t->path = t->bytes + rx->data.n;
    memcpy(t->bytes + rx->data.n, path, path_len + 1);
    list_push_back(&w->unproven, &t->unproven);
    list_init(&t->stored);
    map_insert(&w->peers, &t->x.node, addr_hash(&rx->peer, w->hash_key));
    metric_set(&w->metrics, METRIC_TRANSFERS_ACTIVE, w->peers.count);
    open_file(t, size_hint);
    return 0;
}

bool transfer_is_request(const struct transfer *t, struct view datagram)
{
    return t->request_hash == hash_request(t->worker, datagram);
}

/* A repeat is answered like the first, so it costs as much. */
static bool charge_repeat(struct transfer *t, size_t request_len)
{
    size_t cost = tftp_session_allowance(request_len, t->x.session.first_reply_bytes) - request_len;

    if (!gate_unproven(t->worker, &t->x.peer, cost))
        return false;
    t->charge += (uint32_t)cost;
    return true;
}

/*
 * A copy that the client sent before it had an answer came before its first packet; so while
 * requests from that time wait to be read, silence tells nothing: it may be this machine that was
 * busy, or stood still. One socket for all keeps the order. In a lasting flood there is always
 * one that waits, but none for that long.
 */
static bool was_silent(const struct transfer *t)
{
    const struct worker *w = t->worker;

    return !t->opening && w->now - t->x.session.last_heard >= RESTART_SILENCE &&
           (t->x.socket == t->listener || w->requests_read > t->proven_at ||
            w->now - t->proven_at >= REQUEST_WAITS);
}

bool transfer_repeated(struct transfer *t, const struct net_rx *rx)
{
    struct worker *w = t->worker;
    bool same = transfer_is_request(t, rx->data);
    const struct tftp_session *s = &t->x.session;

    t->asked_twice = t->asked_twice || same;
    if (same && t->opening) {
        metric_inc(&w->metrics, METRIC_REQUESTS_REPEATED);
        return true;
    }
    bool silent = was_silent(t);
    bool over = t->logged || tftp_session_ended(s);
    if (same && over && !silent) {
        metric_inc(&w->metrics, METRIC_REQUESTS_REPEATED);
        return true; /* a late echo of the request that has just been served */
    }
    if (same && !over && !(s->proven && silent)) {
        metric_inc(&w->metrics, METRIC_REQUESTS_REPEATED);
        if (!s->proven && !charge_repeat(t, rx->data.n))
            return true;
        tftp_session_on_repeat(&t->x.session, rx->data.n, w->now);
        xfer_kick(&t->x, w->now);
        return true;
    }
    metric_inc(&w->metrics, METRIC_REQUESTS_REPLACED);
    transfer_log_replaced(t);
    transfer_drop(t);
    return false;
}
