#include "server/admit.h"

#include <errno.h>

#include "policy/path.h"
#include "server/transfer.h"
#include "server/transfer_log.h"

#define PATH_BYTES_MAX    1024 /* a request has at most 512 */
#define STRANGERS_PER_SEC 100  /* ERROR 5 packets of one worker */

/*
 * Sources that no client can have. Port 69 would be another server (an ERROR sent there may
 * start two servers talking); a port of ours would be ourselves.
 */
static bool answerable(const struct worker *w, const struct net_rx *rx)
{
    const struct addr *peer = &rx->peer;

    if (peer->port == 0 || peer->port == 69)
        return false;
    if (addr_is_unspecified(peer) || addr_is_multicast(peer) || addr_is_broadcast(peer))
        return false;
    /* RFC 1123 section 4.2.3.5: a request to a broadcast address is silently ignored. */
    if (rx->broadcast || addr_is_multicast(&rx->local) || addr_is_broadcast(&rx->local))
        return false;
    if (addr_same_host(peer, &rx->local))
        for (unsigned i = 0; i < w->listen_count; i++)
            if (w->listeners[i]->local.port == peer->port)
                return false;
    return true;
}

static void send_error(struct worker *w, const struct net_rx *rx, struct net_socket *from,
                       enum tftp_error code, const char *text)
{
    uint8_t packet[TFTP_HEADER_LEN + TFTP_ERROR_TEXT_MAX + 1];
    size_t n = tftp_build_error(packet, sizeof(packet), code, text);

    xfer_send_control(&w->env, from, &rx->peer, &rx->local, packet, n);
}

static void refuse(struct worker *w, const struct net_rx *rx, enum tftp_error code,
                   const char *text)
{
    send_error(w, rx, ports_for_error(&w->ports, w->settings, rx->socket), code, text);
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
static int check_write(const struct worker *w, const struct tftp_request *request, const char *path,
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
    return 0;
}

static void start(struct worker *w, const struct net_rx *rx, const struct tftp_request *request)
{
    char path[PATH_BYTES_MAX];
    uint64_t size = STORE_SIZE_UNKNOWN;
    enum tftp_error code = TFTP_ERR_UNDEFINED;

    int err = -path_normalise(request->filename, path, sizeof(path));
    if (err == 0 && request->op == TFTP_WRQ)
        err = check_write(w, request, path, &size, &code);
    if (code == TFTP_ERR_OPTION) {
        metric_inc(&w->metrics, METRIC_REQUESTS_MALFORMED);
        refuse(w, rx, code, "Option given twice");
        transfer_log_denied(w, rx, true, request->filename, EINVAL, code);
        return;
    }
    if (err != 0) {
        deny(w, rx, request, err);
        return;
    }
    /* At the limit a client is told nothing: it repeats its request and is served when there is
     * room, where an ERROR would make its boot fail. */
    bool full = w->peers.count >= w->settings->transfers_max && !transfer_evict(w);
    if (full || transfer_start(w, rx, request, path, size) < 0)
        metric_inc(&w->metrics, METRIC_REQUESTS_BUSY);
}

void admit_request(struct worker *w, const struct net_rx *rx)
{
    struct tftp_request request;

    if (!answerable(w, rx)) {
        metric_inc(&w->metrics, METRIC_LISTEN_BAD_SOURCE);
        return;
    }
    if (w->drain_until)
        return; /* the server is stopping */
    int err = tftp_request_parse(&request, rx->data);
    if (err == -ENOMSG) {
        metric_inc(&w->metrics, METRIC_LISTEN_IGNORED);
        return;
    }
    if (err < 0 || rx->truncated) {
        metric_inc(&w->metrics, METRIC_REQUESTS_MALFORMED);
        refuse(w, rx, TFTP_ERR_ILLEGAL,
               err == -ENOTSUP ? "Unknown transfer mode" : "Malformed request");
        return;
    }
    metric_inc(&w->metrics, request.op == TFTP_RRQ ? METRIC_REQUESTS_READ : METRIC_REQUESTS_WRITE);
    struct transfer *t = transfer_find(w, &rx->peer);
    bool same = t && transfer_is_request(t, rx->data);
    if (!same && transfer_is_late_copy(w, rx)) {
        metric_inc(&w->metrics, METRIC_REQUESTS_REPEATED);
        return;
    }
    if (t && transfer_repeated(t, rx))
        return;
    start(w, rx, &request);
}

void admit_stranger(struct worker *w, const struct net_rx *rx)
{
    int opcode = tftp_packet_opcode(rx->data);

    metric_inc(&w->metrics, METRIC_UNKNOWN_TID);
    if (opcode != TFTP_ACK && opcode != TFTP_DATA)
        return;
    if (!answerable(w, rx) || worker_grave(w, &rx->peer))
        return;
    if (w->now - w->stranger_window >= NSEC_PER_SEC) {
        w->stranger_window = w->now;
        w->stranger_count = 0;
    }
    if (w->stranger_count++ >= STRANGERS_PER_SEC)
        return;
    metric_inc(&w->metrics, METRIC_UNKNOWN_TID_ANSWERED);
    send_error(w, rx, rx->socket, TFTP_ERR_UNKNOWN_TID, "bad TID");
}
