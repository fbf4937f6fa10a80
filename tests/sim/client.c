/*
 * Clients on the protocol's own core, and those that do what no client should.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/netascii.h"
#include "sim.h"

#define CLIENT_PATIENCE (60 * NSEC_PER_SEC)

/* ---- Asking ---- */

static const unsigned blksizes[] = {0, 8, 511, 512, 513, 1024, 1428, 1468, 4096, 65464};

static struct view number(char *text, size_t size, uint64_t v)
{
    return view_of(text, (size_t)snprintf(text, size, "%llu", (unsigned long long)v));
}

static void add_option(struct tftp_request *r, const char *name, struct view value)
{
    r->options[r->option_count++] = (struct tftp_option){view_of(name, strlen(name)), value};
}

/* Draws options; the request points into `text`. */
static void draw_request(struct sim *s, struct sim_client *c, struct tftp_request *r,
                         char (*text)[24])
{
    struct prng *p = &s->prng;

    *r = (struct tftp_request){
        .op = c->writing ? TFTP_WRQ : TFTP_RRQ,
        .mode = c->ascii ? TFTP_NETASCII : TFTP_OCTET,
        .filename = view_of(c->name, strlen(c->name)),
    };
    c->blksize = blksizes[prng_below(p, ARRAY_LEN(blksizes))];
    c->windowsize = prng_chance(p, 500000) ? (unsigned)(1 + prng_below(p, 16)) : 0;
    if (c->blksize == 8) /* many small blocks take long enough */
        c->windowsize = 16;
    if (c->kind == SIM_GRUB) { /* it knows no windows */
        c->windowsize = 0;
        c->blksize = MAX(c->blksize, 512u);
    }
    if (c->blksize)
        add_option(r, "blksize", number(text[0], 24, c->blksize));
    if (c->windowsize)
        add_option(r, "windowsize", number(text[1], 24, c->windowsize));
    if (!c->ascii && prng_chance(p, 400000))
        add_option(r, "tsize", number(text[2], 24, c->writing ? c->upload_size : 0));
    if (prng_chance(p, 100000))
        add_option(r, "timeout", number(text[3], 24, 1 + prng_below(p, 4)));
}

static void draw_task(struct sim *s, struct sim_client *c)
{
    struct prng *p = &s->prng;

    c->writing = !client_is_model(c) && prng_chance(p, 300000);
    c->file = (unsigned)prng_below(p, SIM_FILES);
    c->ascii = !client_is_model(c) && prng_chance(p, 150000);
    if (c->writing) {
        c->upload_size = prng_below(p, prng_chance(p, 200000) ? 100000 : 4000);
        snprintf(c->name, sizeof(c->name), "up/%u", ++s->serial);
    } else {
        snprintf(c->name, sizeof(c->name), "%s", s->file[c->file].name);
    }
}

void client_init(struct sim *s, struct sim_client *c, enum sim_kind kind)
{
    struct prng *p = &s->prng;
    unsigned index = (unsigned)(c - s->client);

    memset(c, 0, sizeof(*c));
    c->kind = kind;
    c->index = index;
    c->at = (struct addr){.family = AF_INET, .ip = {10, 0, 0, (uint8_t)(10 + index)}};
    if (prng_chance(p, 300000)) /* no trusted network: a private port */
        c->at.ip[0] = 198;
    c->at.port = (uint16_t)(1024 + prng_below(p, 60000));
    c->next_at = NSEC_NEVER;
    c->turn_at = NSEC_NEVER;
    c->start_at = s->now + prng_below(p, 2 * NSEC_PER_SEC);
    draw_task(s, c);
}

/* ---- Payload ---- */

static uint8_t byte_of(const struct sim *s, const struct sim_client *c, unsigned version,
                       uint64_t offset)
{
    if (c->writing)
        return sim_byte(100 + c->index, c->ascii, 0, offset);
    return sim_byte(c->file, s->file[c->file].text, version, offset);
}

void client_take(struct sim *s, struct sim_client *c, const uint8_t *p, size_t n, bool last)
{
    const struct sim_file *f = &s->file[c->file];
    static uint8_t text[65536 + 2];

    c->taken += n;
    if (c->ascii) {
        n = netascii_decode(&c->decoder, p, n, text);
        if (last)
            n += netascii_decode_end(&c->decoder, text + n);
        p = text;
    }
    for (unsigned v = 0; v < f->versions; v++) {
        if (!(c->candidates >> v & 1))
            continue;
        bool same = c->got + n <= f->size[v] && (!last || c->got + n == f->size[v]);
        for (size_t i = 0; same && i < n; i++)
            same = p[i] == byte_of(s, c, v, c->got + i);
        if (!same)
            c->candidates &= ~(1u << v);
    }
    c->got += n;
    if (c->candidates == 0 && !s->damaging && !c->confused)
        sim_fail(s, "client %u: wrong content of %s before byte %llu", c->index, c->name,
                 (unsigned long long)c->got);
}

/* ---- The core ---- */

void client_send(struct sim *s, struct sim_client *c, const struct addr *to, const void *bytes,
                 size_t len)
{
    if (!c->gone)
        link_send(s, true, &c->at, to, bytes, len);
}

/* The bytes of an upload as they are on the wire, made once. */
static void make_wire(struct sim *s, struct sim_client *c)
{
    struct netascii_encoder e;
    size_t used, made;

    free(c->wire);
    c->wire_size = 0;
    c->wire = malloc(2 * c->upload_size + 2);
    if (!c->wire)
        abort();
    netascii_encoder_init(&e);
    for (uint64_t i = 0; i < c->upload_size; i++) {
        uint8_t in = byte_of(s, c, 0, i);

        if (c->ascii) {
            netascii_encode(&e, &in, 1, &used, c->wire + c->wire_size, 2, &made);
            c->wire_size += made;
        } else {
            c->wire[c->wire_size++] = in;
        }
    }
}

static void send_run(struct sim *s, struct sim_client *c, const struct tftp_out *out)
{
    static uint8_t packet[TFTP_HEADER_LEN + TFTP_BLKSIZE_MAX];
    const struct tftp_params *p = &c->session.params;
    uint64_t left = out->bytes, offset = out->offset;

    for (uint32_t i = 0; i < out->count; i++) {
        size_t n = (size_t)MIN(left, (uint64_t)p->blksize);

        tftp_build_data_header(packet, TFTP_HEADER_LEN,
                               tftp_block_wire(out->block + i, p->rollover));
        memcpy(packet + TFTP_HEADER_LEN, c->wire + offset, n);
        client_send(s, c, &c->server, packet, TFTP_HEADER_LEN + n);
        offset += n;
        left -= n;
    }
}

static void pump(struct sim *s, struct sim_client *c)
{
    struct tftp_out out;

    while (tftp_session_next(&c->session, s->now, &out)) {
        if (out.kind == TFTP_OUT_CONTROL)
            client_send(s, c, &c->server, out.control.p, out.control.n);
        else
            send_run(s, c, &out);
        tftp_session_sent(&c->session, out.kind == TFTP_OUT_DATA ? out.count : 0, s->now);
    }
    if (c->session.state == TFTP_STATE_DALLYING && !c->ok)
        client_end(s, c, true);
    if (tftp_session_ended(&c->session) && !c->ended) {
        if (!c->ok)
            client_end(s, c, c->session.outcome == TFTP_OUTCOME_OK);
        c->ended = true;
    }
}

void client_end(struct sim *s, struct sim_client *c, bool ok)
{
    const struct sim_file *f = &s->file[c->file];
    bool whole = false;

    c->ok = ok;
    c->failed = !ok;
    c->ended_at = s->now;
    s->transfers++;
    s->succeeded += ok;
    sim_say(s, "client %u: %s %s %s: %s, error %u", c->index, c->writing ? "put" : "get", c->name,
            c->ascii ? "netascii" : "octet", ok ? "ok" : "failed", c->error);
    if (c->must_succeed && !ok)
        sim_fail(s, "client %u: no faults any more, yet %s failed", c->index, c->name);
    if (c->must_succeed)
        check_pace(s, c);
    check_doubling(s, c);
    check_recovery(s, c);
    if (!ok || s->damaging || c->confused)
        return;
    if (c->writing) {
        check_upload(s, c);
        return;
    }
    for (unsigned v = 0; v < f->versions; v++)
        whole |= (c->candidates >> v & 1) && f->size[v] == c->got;
    if (!whole)
        sim_fail(s, "client %u: %s ended after %llu bytes", c->index, c->name,
                 (unsigned long long)c->got);
}

void client_start(struct sim *s, struct sim_client *c)
{
    struct tftp_limits limits = {
        .blksize_max = TFTP_BLKSIZE_MAX,
        .windowsize_max = 64,
        .window_bytes_max = 1u << 30,
        .timeout_max_s = 255,
        .options_enabled = true,
        .rollover = (enum tftp_rollover)s->conf.protocol_rollover,
    };
    struct tftp_manners manners = tftp_manners_default;
    struct tftp_request request;
    char text[4][24];

    c->started = true;
    c->start_at = s->now;
    c->ended = c->ok = c->failed = false;
    c->candidates = ~0u;
    c->got = c->taken = 0;
    netascii_decoder_init(&c->decoder);
    c->server = s->server;
    c->server.port = SIM_LISTEN_PORT;
    if (c->writing)
        make_wire(s, c);
    draw_request(s, c, &request, text);
    manners.patience = CLIENT_PATIENCE;
    int err = tftp_session_request(&c->session, &request, &limits, &manners,
                                   c->writing ? c->wire_size : TFTP_SIZE_UNKNOWN, s->now);
    if (err < 0)
        sim_fail(s, "client %u: request does not fit", c->index);
    c->request_len = c->session.control_len;
    memcpy(c->request, c->session.control, c->request_len);
    sim_say(s, "client %u: kind %u asks for %s, blksize %u, windowsize %u", c->index, c->kind,
            c->name, c->blksize, c->windowsize);
    switch (c->kind) {
    case SIM_VANISH:
    case SIM_RESTART:
        c->turn_at = s->now + prng_below(&s->prng, 400 * NSEC_PER_MSEC);
        break;
    case SIM_VICTIM:
    case SIM_REFUSER:
    case SIM_SPRAY:
        c->next_at = s->now;
        return;
    default:
        break;
    }
    if (client_is_model(c))
        model_timer(s, c);
    else
        pump(s, c);
}

/* ---- Those who are no clients ---- */

static void spray(struct sim *s, struct sim_client *c)
{
    struct prng *p = &s->prng;
    uint8_t bytes[600];
    size_t len = prng_below(p, prng_chance(p, 500000) ? 40 : sizeof(bytes));
    struct addr to = s->server;

    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(prng_chance(p, 300000) ? 0 : prng_next(p));
    if (len > 1 && prng_chance(p, 900000)) {
        bytes[0] = 0;
        bytes[1] = (uint8_t)prng_below(p, 8);
    }
    to.port = SIM_LISTEN_PORT;
    if (prng_chance(p, 600000) && s->engine.socket_count > 0)
        to.port = s->engine.sockets[prng_below(p, s->engine.socket_count)]->local.port;
    client_send(s, c, &to, bytes, len);
}

static void misbehave(struct sim *s, struct sim_client *c)
{
    bool spraying = c->kind == SIM_SPRAY;

    if (spraying)
        spray(s, c);
    else
        client_send(s, c, &c->server, c->request, c->request_len);
    c->next_at = s->now + prng_below(&s->prng, (spraying ? 20 : 3000) * NSEC_PER_MSEC);
    if (++c->tries > (spraying ? 100 : 6) || s->healed) {
        c->next_at = NSEC_NEVER;
        c->ended = true;
    }
}

/* What the kinds are known for, once. */
static void take_turn(struct sim *s, struct sim_client *c)
{
    c->turn_at = NSEC_NEVER;
    if (c->kind == SIM_VANISH) {
        c->gone = c->ended = true;
        sim_say(s, "client %u: is gone", c->index);
        return;
    }
    if (c->ended)
        return;
    c->old_port = c->server.port;
    c->confused = true;
    draw_task(s, c);
    c->kind = SIM_CORE;
    client_start(s, c);
}

nsec client_deadline(const struct sim_client *c)
{
    if (!c->started)
        return c->start_at;
    if (c->ended)
        return NSEC_NEVER;
    nsec at = nsec_min(c->turn_at, c->next_at);
    if (client_is_model(c) || c->kind >= SIM_VICTIM)
        return at;
    return nsec_min(at, tftp_session_deadline(&c->session));
}

void client_timer(struct sim *s, struct sim_client *c)
{
    if (!c->started) {
        client_start(s, c);
        return;
    }
    if (s->now >= c->turn_at) {
        take_turn(s, c);
    } else if (c->kind >= SIM_VICTIM) {
        misbehave(s, c);
    } else if (client_is_model(c)) {
        model_timer(s, c);
    } else {
        tftp_session_on_timer(&c->session, s->now);
        pump(s, c);
    }
}

/* The server's TID is that of its first answer (RFC 1350 section 4). */
static bool is_servers(struct sim_client *c, const struct sim_datagram *d)
{
    if (c->server.port == SIM_LISTEN_PORT && d->from.port != c->old_port)
        c->server.port = d->from.port;
    return d->from.port == c->server.port;
}

/* To all ports but the transfer's: it does not end by that (RFC 1350 section 4). */
static void send_astray(struct sim *s, struct sim_client *c)
{
    static const uint8_t error[] = {0, TFTP_ERROR, 0, 0, 0};
    struct addr to = s->server;

    for (unsigned i = 0; i < s->engine.socket_count; i++) {
        to.port = s->engine.sockets[i]->local.port;
        if (to.port != c->server.port)
            client_send(s, c, &to, error, sizeof(error));
    }
}

void client_datagram(struct sim *s, struct sim_client *c, const struct sim_datagram *d)
{
    bool first = c->server.port == SIM_LISTEN_PORT;
    struct tftp_in in;
    struct view v = view_of(d->bytes, d->len);

    if (c->gone || !c->started || c->kind >= SIM_VICTIM || d->to.port != c->at.port) {
        bool refuses = c->kind == SIM_REFUSER || (c->gone && c->index % 2);
        if (refuses && !d->unreachable)
            link_send_unreachable(s, true, &d->to, &d->from);
        return;
    }
    if (c->ended || d->unreachable || !is_servers(c, d))
        return;
    if (tftp_packet_opcode(v) == TFTP_ERROR)
        c->error = (uint16_t)(d->bytes[2] << 8 | d->bytes[3]);
    if (client_is_model(c)) {
        model_datagram(s, c, d);
        return;
    }
    tftp_session_on_packet(&c->session, v, s->now, &in);
    if (in.accepted)
        client_take(s, c, in.data.p, in.data.n, in.last);
    if (in.accepted || in.flush)
        tftp_session_stored(&c->session, c->taken, s->now);
    if (in.accepted && in.last)
        tftp_session_published(&c->session, s->now);
    pump(s, c);
    if (first && c->must_succeed)
        send_astray(s, c);
}
