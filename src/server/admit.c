#include "server/admit.h"

#include <errno.h>

#include "policy/path.h"
#include "server/gate.h"
#include "server/transfer.h"
#include "server/transfer_log.h"

#define PATH_BYTES_MAX    1024 /* a request has at most 512 */
#define STRANGERS_PER_SEC 100  /* ERROR 5 packets of one worker */

/* One of the ports we listen on, at an address of ours: whichever that is, listening everywhere is
 * listening there. */
static bool is_ourselves(struct worker *w, const struct net_rx *rx)
{
    const struct addr *peer = &rx->peer;

    for (unsigned i = 0; i < w->listen_count; i++) {
        const struct net_socket *s = w->listeners[i];

        if (s->local.port != peer->port || (s != rx->socket && s->local.family != peer->family))
            continue;
        if (addr_same_host(peer, &s->local) || addr_same_host(peer, &rx->local) ||
            (addr_is_unspecified(&s->local) && net_own_has(&w->own, peer)))
            return true;
    }
    return false;
}

/*
 * Sources that no client can have. Port 69 would be another server (an ERROR sent there may
 * start two servers talking); a port of ours would be ourselves.
 */
static bool answerable(struct worker *w, const struct net_rx *rx)
{
    const struct addr *peer = &rx->peer;

    if (peer->port == 0 || peer->port == 69 || peer->port < w->settings->source_port_min)
        return false;
    if (addr_is_unspecified(peer) || addr_is_multicast(peer) || addr_is_broadcast(peer))
        return false;
    /* RFC 1123 section 4.2.3.5: a request to a broadcast address is silently ignored. */
    if (rx->broadcast || addr_is_multicast(&rx->local) || addr_is_broadcast(&rx->local))
        return false;
    return !is_ourselves(w, rx);
}

/* Beyond the length of what it answers, an ERROR has to be paid for: the source may be forged. */
static void send_error(struct worker *w, const struct net_rx *rx, struct net_socket *from,
                       enum tftp_error code, const char *text)
{
    uint8_t packet[TFTP_HEADER_LEN + TFTP_ERROR_TEXT_MAX + 1];
    size_t n = tftp_build_error(packet, sizeof(packet), code, text);

    if (!gate_unproven(w, &rx->peer, n > rx->data.n ? n - rx->data.n : 0))
        return;
    xfer_send_control(&w->env, from, &rx->peer, &rx->local, packet, n);
}

static void refuse(struct worker *w, const struct net_rx *rx, enum tftp_error code,
                   const char *text)
{
    send_error(w, rx, ports_for_error(&w->ports, w->settings, rx->socket, &rx->peer), code, text);
}

static void deny(struct worker *w, const struct net_rx *rx, const struct tftp_request *request,
                 int err)
{
    bool writing = request->op == TFTP_WRQ;
    enum tftp_error code = tftp_error_from_errno(err, writing);

    refuse(w, rx, code, transfer_error_text(code, err));
    transfer_log_denied(w, rx, writing, request->filename, err, code);
}

/* 0, or the errno that names the refusal. Also finds the announced size of an upload. */
static int check_write(struct worker *w, const struct tftp_request *request, const char *path,
                       uint64_t *ret_size, enum tftp_error *ret_code)
{
    const struct settings *s = w->settings;
    struct tftp_params params;
    uint8_t oack[TFTP_REQUEST_MAX + 24];
    size_t oack_len;

    if (!s->write_enabled || !settings_may_write(s, path))
        return EACCES;
    int err = tftp_negotiate(&params, request, &s->limits, TFTP_SIZE_UNKNOWN, oack, sizeof(oack),
                             &oack_len);
    if (err == -EFBIG)
        return EFBIG;
    if (err < 0) {
        *ret_code = TFTP_ERR_OPTION;
        return EINVAL;
    }
    *ret_size = params.tsize_given && params.tsize > 0 ? params.tsize : STORE_SIZE_UNKNOWN;
    if (*ret_size != STORE_SIZE_UNKNOWN && !gate_upload_fits(w, *ret_size))
        return EDQUOT;
    return 0;
}

/*
 * True: access.rules let it through. Else the request has had all the answer it gets. `path` is
 * NULL where the request names none.
 */
static bool pass_access(struct worker *w, const struct net_rx *rx, const struct view name,
                        const char *path)
{
    bool writing = tftp_packet_opcode(rx->data) == TFTP_WRQ;
    enum access_verdict verdict = access_check(&w->settings->access, &rx->peer, writing, path);

    if (verdict == ACCESS_ALLOW)
        return true;
    if (verdict == ACCESS_IGNORE) {
        metric_inc(&w->metrics, METRIC_ACCESS_IGNORED);
        return false;
    }
    metric_inc(&w->metrics, METRIC_ACCESS_DENIED);
    refuse(w, rx, TFTP_ERR_ACCESS, tftp_error_text(TFTP_ERR_ACCESS));
    transfer_log_denied(w, rx, writing, name, EACCES, TFTP_ERR_ACCESS);
    return false;
}

/*
 * At a limit a client is told nothing, unless the configuration says so: it repeats its request and
 * is served when there is room, where an ERROR would make its boot fail.
 */
static void turn_away(struct worker *w, const struct net_rx *rx)
{
    metric_inc(&w->metrics, METRIC_REQUESTS_BUSY);
    if (w->settings->answer_busy)
        refuse(w, rx, TFTP_ERR_UNDEFINED, "Server busy, try again later");
}

/* All that may be asked before a file is touched has been. */
static void begin(struct worker *w, const struct net_rx *rx, const struct tftp_request *request,
                  const char *path, uint64_t size)
{
    /* Not yet known is what the first answer will be: it is no longer than this. */
    size_t charge =
        tftp_session_allowance(rx->data.n, TFTP_HEADER_LEN + TFTP_BLKSIZE_DEFAULT) - rx->data.n;
    bool writing = request->op == TFTP_WRQ;

    if (!gate_unproven(w, &rx->peer, charge))
        return;
    if (gate_enter(w, &rx->peer, writing)) {
        /* Only who has passed all else may push another one out. */
        bool full = w->peers.count >= w->settings->transfers_max && !transfer_evict(w, NULL);
        if (!full && transfer_start(w, rx, request, path, size, (uint32_t)charge) == 0)
            return;
        gate_leave(w, &rx->peer, writing);
    }
    gate_unproven_return(w, &rx->peer, charge);
    turn_away(w, rx);
}

static void start(struct worker *w, const struct net_rx *rx, const struct tftp_request *request)
{
    char path[PATH_BYTES_MAX];
    uint64_t size = STORE_SIZE_UNKNOWN;
    enum tftp_error code = TFTP_ERR_UNDEFINED;

    int err = -path_normalise(request->filename, path, sizeof(path));
    if (!pass_access(w, rx, request->filename, err == 0 ? path : NULL))
        return;
    if (err == 0 && request->op == TFTP_WRQ)
        err = check_write(w, request, path, &size, &code);
    if (code == TFTP_ERR_OPTION) {
        refuse(w, rx, code, "Option given twice");
        transfer_log_denied(w, rx, true, request->filename, EINVAL, code);
        return;
    }
    if (err != 0) {
        deny(w, rx, request, err);
        return;
    }
    begin(w, rx, request, path, size);
}

/* It has been dealt with as part of a transfer that is running or has just ended. */
static bool is_repeat(struct worker *w, const struct net_rx *rx)
{
    struct transfer *t = transfer_find(w, &rx->peer);
    bool same = t && transfer_is_request(t, rx->data);

    if (!same && transfer_is_late_copy(w, rx)) {
        metric_inc(&w->metrics, METRIC_REQUESTS_REPEATED);
        return true;
    }
    return t && transfer_repeated(t, rx);
}

void admit_request(struct worker *w, const struct net_rx *rx)
{
    struct tftp_request request;

    if (!answerable(w, rx)) {
        metric_inc(&w->metrics, METRIC_LISTEN_BAD_SOURCE);
        return;
    }
    if (w->drain_until) {
        metric_inc(&w->metrics, METRIC_REQUESTS_STOPPING);
        return;
    }
    int err = tftp_request_parse(&request, rx->data);
    if (err == -ENOMSG) {
        metric_inc(&w->metrics, METRIC_LISTEN_IGNORED);
        return;
    }
    bool malformed = err < 0 || rx->truncated;
    if (!malformed)
        metric_inc(&w->metrics,
                   request.op == TFTP_RRQ ? METRIC_REQUESTS_READ : METRIC_REQUESTS_WRITE);
    if (!malformed && is_repeat(w, rx))
        return;
    if (!gate_request(w, &rx->peer))
        return;
    if (malformed) {
        if (!pass_access(w, rx, view_of(NULL, 0), NULL))
            return;
        metric_inc(&w->metrics, METRIC_REQUESTS_MALFORMED);
        refuse(w, rx, TFTP_ERR_ILLEGAL,
               err == -ENOTSUP ? "Unknown transfer mode" : "Malformed request");
        return;
    }
    start(w, rx, &request);
}

/* Nothing that this peer could ask for would be answered. */
static bool ignored(const struct worker *w, const struct addr *peer)
{
    const struct access_rules *rules = &w->settings->access;

    return access_check(rules, peer, false, NULL) == ACCESS_IGNORE &&
           access_check(rules, peer, true, NULL) == ACCESS_IGNORE;
}

void admit_stranger(struct worker *w, const struct net_rx *rx)
{
    int opcode = tftp_packet_opcode(rx->data);

    metric_inc(&w->metrics, METRIC_UNKNOWN_TID);
    if (opcode != TFTP_ACK && opcode != TFTP_DATA)
        return;
    if (!answerable(w, rx) || worker_grave(w, &rx->peer) || ignored(w, &rx->peer))
        return;
    if (w->now - w->stranger_window >= NSEC_PER_SEC) {
        w->stranger_window = w->now;
        w->stranger_count = 0;
    }
    if (w->stranger_count >= STRANGERS_PER_SEC || !gate_stranger(w, &rx->peer)) {
        metric_inc(&w->metrics, METRIC_UNKNOWN_TID_LIMITED);
        return;
    }
    w->stranger_count++;
    metric_inc(&w->metrics, METRIC_UNKNOWN_TID_ANSWERED);
    send_error(w, rx, rx->socket, TFTP_ERR_UNKNOWN_TID, "bad TID");
}
