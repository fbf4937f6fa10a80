#include "client/transfer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "client/attempt.h"
#include "client/client.h"
#include "client/trace.h"

#define STRANGERS_MAX 16 /* ERROR 5 packets of one transfer */
/* So much lost is a reason to ask for smaller windows next time: one block in so many. */
#define LOSS_SHARE   50
#define WINDOW_LEAST 4
/* A server that has answered is asked again at least this often: with heavy losses on the way,
 * longer pauses add up to minutes. */
#define FLOW_RTO_MAX (2 * NSEC_PER_SEC)

static bool is_get(const struct client_transfer *t)
{
    return t->client->options->command != CLIENT_PUT;
}

static bool is_probe(const struct client_transfer *t)
{
    return t->client->options->command == CLIENT_PROBE;
}

uint64_t client_transfer_bytes(const struct client_transfer *t)
{
    const struct tftp_session *s = &t->x.session;

    if (t->phase == CLIENT_OPENING || s->state == TFTP_STATE_REQUESTING)
        return 0;
    if (s->sending)
        return s->outcome == TFTP_OUTCOME_OK ? s->sender.size : s->counts.bytes_acked;
    return s->receiver.size;
}

uint64_t client_transfer_total(const struct client_transfer *t)
{
    const struct tftp_params *p = &t->x.session.params;

    if (!is_get(t))
        return t->item->mode == TFTP_OCTET && t->opened ? t->size : TFTP_SIZE_UNKNOWN;
    return t->phase != CLIENT_OPENING && p->tsize_given && t->item->mode == TFTP_OCTET
               ? p->tsize
               : TFTP_SIZE_UNKNOWN;
}

uint64_t client_counts_resent(const struct tftp_counts *counts, bool sending)
{
    return sending ? counts->blocks_resent : counts->control_resent + counts->duplicates;
}

/* ---- The end ---- */

static void finish(struct client_transfer *t)
{
    if (t->phase == CLIENT_FINISHED)
        return;
    if (t->phase == CLIENT_LINGERING)
        t->client->lingering_count--;
    list_del(&t->link);
    list_push_back(&t->client->ended, &t->link);
    t->phase = CLIENT_FINISHED;
}

void client_transfer_ended(struct xfer *x, nsec now)
{
    (void)now;
    finish(container_of(x, struct client_transfer, x));
}

void client_transfer_fail(struct client_transfer *t, enum client_status status,
                          enum tftp_error code, const char *text, const char *fmt, ...)
{
    va_list args;

    if (t->failed)
        return;
    t->failed = true;
    t->item->result.status = status;
    va_start(args, fmt);
    vsnprintf(t->item->result.message.text, sizeof(t->item->result.message.text), fmt, args);
    va_end(args);
    if (t->phase == CLIENT_OPENING || t->socket == NULL)
        finish(t);
    else
        tftp_session_fail(&t->x.session, code, text, t->client->now);
}

/* The session is over for the user once the file stands under its name. */
static void look_for_end(struct client_transfer *t)
{
    if (t->phase == CLIENT_RUNNING && t->x.session.state == TFTP_STATE_DALLYING &&
        !t->x.session.control_ready)
        finish(t);
}

/* ---- Packets ---- */

static void stranger(struct client_transfer *t, const struct net_rx *rx)
{
    uint8_t packet[TFTP_HEADER_LEN + TFTP_ERROR_TEXT_MAX + 1];
    int opcode = tftp_packet_opcode(rx->data);

    client_note(t->client, t, "a packet from somebody else is turned away");
    /* RFC 1350 section 4: ERROR 5 to that source, this transfer goes on. Never for an ERROR. */
    if (opcode != TFTP_DATA && opcode != TFTP_ACK && opcode != TFTP_OACK)
        return;
    if (t->strangers++ >= STRANGERS_MAX)
        return;
    size_t n = tftp_build_error(packet, sizeof(packet), TFTP_ERR_UNKNOWN_TID, "Unknown transfer");
    xfer_send_control(&t->client->env, rx->socket, &rx->peer, &t->x.local, packet, n);
}

static void keep_error_text(struct client_transfer *t, struct view datagram)
{
    struct view text;

    (void)tftp_error_parse(datagram, &text);
    escape_bytes(text, t->peer_text, sizeof(t->peer_text));
    t->peer_spoke = true;
}

/* Asks no more: what the server said is the result. */
static void conclude_probe(struct client_transfer *t)
{
    struct tftp_session *s = &t->x.session;

    if (s->state != TFTP_STATE_RECEIVING && s->state != TFTP_STATE_PUBLISHING)
        return;
    t->failed = true; /* for the session; the result is good */
    t->item->result.status = CLIENT_OK;
    /* Boot ROMs that only ask for the size end it like this, too. */
    tftp_session_fail(s, TFTP_ERR_OPTION, "Only asking", t->client->now);
}

static void take_packet(struct client_transfer *t, const struct net_rx *rx)
{
    struct tftp_in in;

    if (!is_probe(t)) {
        xfer_on_packet(&t->x, rx->data, t->client->now);
        return;
    }
    tftp_session_on_packet(&t->x.session, rx->data, t->client->now, &in);
    if (in.last && !t->x.session.params.tsize_given) {
        t->x.session.params.tsize_given = true; /* the whole file was in one block */
        t->x.session.params.tsize = in.data.n;
    }
    conclude_probe(t);
    xfer_kick(&t->x, t->client->now);
}

/*
 * The first sensible answer names the server's TID (RFC 1350 section 4); until then any port of
 * the host will do, and what makes no sense is forgotten.
 */
static void take_first(struct client_transfer *t, const struct net_rx *rx)
{
    struct tftp_session *s = &t->x.session;

    t->x.peer = rx->peer;
    xfer_set_socket(&t->x, t->socket);
    take_packet(t, rx);
    if (s->state == TFTP_STATE_REQUESTING) {
        t->x.peer = t->service;
        xfer_set_socket(&t->x, t->socket);
        return;
    }
    t->pinned = true;
    if (!s->params.timeout_s)
        tftp_rto_cap(&s->rto, FLOW_RTO_MAX);
    t->item->host->addr_good = t->address;
    t->item->result.server = rx->peer;
    if (is_get(t) && !is_probe(t) && s->params.tsize_given && t->item->mode == TFTP_OCTET &&
        s->params.tsize > t->client->options->max_size) {
        client_transfer_fail(t, CLIENT_TOO_LARGE, TFTP_ERR_DISK_FULL, "File too large",
                             "the file has %llu bytes, more than --max-size",
                             (unsigned long long)s->params.tsize);
        xfer_kick(&t->x, t->client->now);
    }
}

void client_transfer_packet(struct client_transfer *t, const struct net_rx *rx)
{
    if ((t->phase != CLIENT_RUNNING && t->phase != CLIENT_LINGERING) || rx->socket != t->socket)
        return;
    if (t->pinned ? !addr_equal(&rx->peer, &t->x.peer) : !addr_same_host(&rx->peer, &t->service)) {
        stranger(t, rx);
        return;
    }
    client_trace(t, false, rx->data, 1);
    if (tftp_packet_opcode(rx->data) == TFTP_ERROR && t->phase == CLIENT_RUNNING)
        keep_error_text(t, rx->data);
    if (t->pinned)
        take_packet(t, rx);
    else
        take_first(t, rx);
    look_for_end(t);
}

void client_transfer_unreachable(struct client_transfer *t, const struct addr *peer, int err)
{
    if ((t->phase != CLIENT_RUNNING && t->phase != CLIENT_LINGERING) ||
        !addr_equal(peer, &t->x.peer))
        return;
    if (err == EMSGSIZE) {
        /* Somewhere on the way packets have to be smaller, as the kernel knows from now on: what
         * was lost goes out again in fragments, and the next file is asked for in blocks that
         * fit. */
        client_note(t->client, t, "the path takes smaller packets only; they go in fragments");
        t->item->host->payloads[t->address] = 0;
        return;
    }
    t->send_error = err;
    xfer_on_unreachable(&t->x, t->client->now);
}

void client_transfer_timer(struct client_transfer *t)
{
    if (t->phase != CLIENT_RUNNING && t->phase != CLIENT_LINGERING)
        return;
    if (t->phase == CLIENT_RUNNING && tftp_session_deadline(&t->x.session) <= t->client->now)
        attempt_overdue(t);
    xfer_on_timer(&t->x, t->client->now);
    look_for_end(t);
}

/* ---- The result ---- */

/* The next file from this host begins with windows that this one could have lived with. */
static void learn(struct client_transfer *t)
{
    const struct tftp_session *s = &t->x.session;
    struct client_host *host = t->item->host;
    uint64_t blocks = client_transfer_bytes(t) / s->params.blksize + 1;
    uint64_t trouble =
        s->sending ? s->counts.blocks_resent : s->counts.control_resent + s->counts.duplicates;

    if (t->client->options->windowsize || s->params.windowsize <= 1)
        return;
    if (trouble * LOSS_SHARE > blocks)
        host->window_cap = MAX(WINDOW_LEAST, s->params.windowsize / 2U);
    else if (trouble == 0 && host->window_cap)
        host->window_cap = s->params.windowsize * 2U;
}

static void settle(struct client_transfer *t)
{
    struct client_result *r = &t->item->result;
    const struct tftp_session *s = &t->x.session;

    r->seconds_ns = t->client->now - r->started;
    r->ended = true;
    if (t->socket) {
        r->bytes = client_transfer_bytes(t);
        r->params = s->params;
        r->counts = s->counts;
        r->oack = s->oack_used;
        r->round_trip = s->rto.srtt;
        learn(t);
        if (!t->failed)
            client_verdict(t);
        if (r->status == CLIENT_OK && !t->wish.options && !t->client->options->no_options)
            t->item->host->answers_plain = true;
    } else if (!t->failed) {
        client_verdict(t);
    }
}

bool client_transfer_conclude(struct client_transfer *t)
{
    if (t->item->result.ended) /* has lingered to its end */
        return true;
    if (!t->failed && !t->client->stopping && t->socket && attempt_again(t))
        return false;
    settle(t);
    return true;
}

/* ---- The local side ---- */

static void on_reader_ready(struct store_wait *wait)
{
    struct client_transfer *t = container_of(
        container_of(container_of(wait, struct store_reader, wait), struct xfer, reader),
        struct client_transfer, x);

    if (t->phase == CLIENT_RUNNING) {
        xfer_kick(&t->x, t->client->now);
        return;
    }
    if (t->phase != CLIENT_OPENING)
        return;
    if (t->x.reader.result < 0) {
        t->local_error = t->x.reader.result;
        finish(t);
        return;
    }
    t->opened = true;
    t->size = t->x.reader.size;
    if (t->size > t->client->options->max_size)
        client_transfer_fail(t, CLIENT_TOO_LARGE, 0, NULL, "larger than --max-size");
    else
        attempt_request(t);
}

static void on_sink_changed(struct store_sink *sink)
{
    struct client_transfer *t = sink->owner;

    if (t->phase == CLIENT_RUNNING) {
        client_payload_step(t);
        look_for_end(t);
        return;
    }
    if (t->phase != CLIENT_OPENING)
        return;
    if (sink->state == STORE_SINK_FAILED) {
        t->local_error = sink->error;
        finish(t);
    } else if (sink->state == STORE_SINK_OPEN) {
        t->opened = true;
        attempt_request(t);
    }
}

void transfer_open_local(struct client_transfer *t)
{
    struct client *c = t->client;

    t->phase = CLIENT_OPENING;
    t->opened = false;
    if (c->options->command == CLIENT_PUT) {
        t->x.data = t->item->mode == TFTP_NETASCII ? &client_send_ascii : &client_send_octet;
        t->x.reader.wait.ready = on_reader_ready;
        store_open(c->store, &t->x.reader, t->item->local);
    } else if (is_probe(t) || c->plan->stream >= 0) {
        t->opened = true;
        attempt_request(t);
    } else {
        t->x.data = &client_receive;
        t->x.sink.changed = on_sink_changed;
        t->x.sink.owner = t;
        store_sink_open(c->store, &t->x.sink, t->item->local, !c->options->no_clobber, true,
                        STORE_SIZE_UNKNOWN);
    }
}

int client_transfer_new(struct client *c, struct client_item *item)
{
    struct client_transfer *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    t->client = c;
    t->item = item;
    t->address = item->host->addr_good;
    item->result.started = c->now;
    list_push_back(&c->running, &t->link);
    c->running_count++;
    attempt_first(t);
    return 0;
}

void client_transfer_free(struct client_transfer *t)
{
    list_del(&t->link);
    xfer_fini(&t->x);
    if (t->socket) {
        t->socket->owner = NULL; /* packets that are dropped now have nobody to tell */
        net_close_socket(t->client->net, t->socket);
    }
    client_payload_fini(t);
    free(t);
}
