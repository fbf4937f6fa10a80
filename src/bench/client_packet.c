/*
 * What a client says and how it takes what it is told; see bench/client.h.
 */
#include <errno.h>
#include <string.h>

#include "bench/client_impl.h"
#include "bench/impair.h"
#include "net/net.h"

/* A client that is connected hears only its TID; that takes a call, so only for long transfers. */
#define CONNECT_BYTES 16384

void client_send(struct bench_client *c, struct view packet, nsec now)
{
    struct bench_env *env = c->env;
    nsec extra = 0;

    if (!env->impair) {
        bench_io_send(env->io, &c->at, &c->peer, packet.p, packet.n);
        return;
    }
    if (c->misbehaviour == BENCH_LATE_ACK && tftp_packet_opcode(packet) == TFTP_ACK)
        extra = env->plan->late_ack;
    bench_impair_send(env->impair, c, packet, extra, now);
}

/* Blocks of an upload, one by one, each whole in one buffer. */
static void send_block(struct bench_client *c, const struct tftp_out *out, unsigned i, nsec now)
{
    uint8_t packet[TFTP_HEADER_LEN + TFTP_BLKSIZE_MAX];
    uint64_t at = out->offset + (uint64_t)i * c->session.params.blksize;
    uint64_t len = MIN(c->session.params.blksize, out->offset + out->bytes - at);

    tftp_build_data_header(packet, TFTP_HEADER_LEN,
                           tftp_block_wire(out->block + i, c->session.params.rollover));
    if (len > 0)
        memcpy(packet + TFTP_HEADER_LEN, c->file->bytes + at, len);
    bench_impair_send(c->env->impair, c, view_of(packet, TFTP_HEADER_LEN + (size_t)len), 0, now);
}

/* As many blocks as one train takes; returns how many. */
static uint32_t send_train(struct bench_client *c, const struct tftp_out *out)
{
    const struct tftp_params *params = &c->session.params;
    uint8_t headers[NET_GSO_SEGMENTS][TFTP_HEADER_LEN];
    struct iovec iov[2 * NET_GSO_SEGMENTS];
    uint32_t segment = params->blksize + TFTP_HEADER_LEN;
    uint32_t fit = MIN(NET_GSO_BYTES / segment, NET_GSO_SEGMENTS);
    uint32_t count = c->env->no_trains ? 1 : MAX(1U, MIN(out->count, fit));
    unsigned pieces = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = out->offset + (uint64_t)i * params->blksize;
        uint64_t len = MIN(params->blksize, out->offset + out->bytes - at);
        tftp_build_data_header(headers[i], TFTP_HEADER_LEN,
                               tftp_block_wire(out->block + i, params->rollover));
        iov[pieces++] = (struct iovec){headers[i], TFTP_HEADER_LEN};
        if (len > 0)
            iov[pieces++] = (struct iovec){(void *)(uintptr_t)(c->file->bytes + at), len};
    }
    if (bench_io_send_pieces(c->env->io, &c->at, &c->peer, iov, pieces,
                             count > 1 ? (uint16_t)segment : 0) < 0 &&
        count > 1) {
        c->env->no_trains = true; /* the kernel or the path does not take them */
        return 0;
    }
    return count;
}

static void send_data(struct bench_client *c, const struct tftp_out *out, nsec now)
{
    uint32_t count = 0;

    if (c->env->impair) {
        for (; count < out->count; count++)
            send_block(c, out, count, now);
    } else {
        while (count == 0)
            count = send_train(c, out);
    }
    tftp_session_sent(&c->session, count, now);
}

static void count_ack(struct bench_client *c)
{
    c->env->result->acks_resent++;
    c->env->result->acks_resent_timer += c->in_timer;
}

static void count_control(struct bench_client *c)
{
    if (c->session.repeats == 0)
        return;
    if (c->session.state == TFTP_STATE_REQUESTING)
        c->env->result->requests_resent++;
    else
        count_ack(c);
}

/* At once, soon, and when the transfer is under way or over. */
static void repeat_request(struct bench_client *c, nsec now)
{
    static const nsec later[] = {0, BENCH_REPEAT_LAST / 10, BENCH_REPEAT_LAST};

    for (unsigned i = 0; i < ARRAY_LEN(later); i++)
        bench_impair_send(c->env->impair, c, view_of(c->session.control, c->session.control_len),
                          later[i], now);
}

void client_pump(struct bench_client *c, nsec now)
{
    struct tftp_session *s = &c->session;
    struct tftp_out out;

    while (tftp_session_next(s, now, &out)) {
        if (out.kind == TFTP_OUT_DATA) {
            send_data(c, &out, now);
            continue;
        }
        count_control(c);
        client_send(c, out.control, now);
        tftp_session_sent(s, 0, now);
        client_wait(c, now);
        if (c->misbehaviour == BENCH_REPEAT_REQUEST && s->state == TFTP_STATE_REQUESTING)
            repeat_request(c, now);
    }
    /* Real clients are gone after their last ACK, so nobody dallies here. */
    if (tftp_session_ended(s) || s->state == TFTP_STATE_DALLYING)
        client_finish_session(c, now);
    else
        client_arm(c);
}

static bool same_host(const union addr_sock *a, const union addr_sock *b)
{
    if (a->sa.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, 16) == 0;
}

/* Is this our server's TID? The first answer tells which that is (RFC 1350 section 4). */
static bool is_peer(struct bench_client *c, const union addr_sock *from, struct view datagram)
{
    if (!from)
        return true;
    if (c->answered)
        return bench_same_peer(&c->peer, from);
    if (!same_host(&c->peer, from) || tftp_packet_opcode(datagram) < TFTP_DATA)
        return false;
    c->peer = *from; /* until answered() says otherwise */
    return true;
}

/* After a packet was taken: was it the answer? What is left of an earlier transfer may come from
 * another port of the server, and must not be taken for it. */
static void answered(struct bench_client *c, const union addr_sock *from)
{
    if (c->answered || !from)
        return;
    c->answered = c->session.state != TFTP_STATE_REQUESTING;
    if (!c->answered)
        c->peer = c->env->server;
    else if (!c->env->impair && c->file->size > CONNECT_BYTES && !tftp_session_ended(&c->session))
        bench_io_connect(c->env->io, &c->at, &c->peer);
}

/* More datagrams in one go than the client has room for. */
static bool overflows(struct bench_client *c, nsec now)
{
    unsigned room = c->env->plan->rcvbuf_packets;

    if (room == 0)
        return false;
    if (c->burst_at != now) {
        c->burst_at = now;
        c->burst = 0;
    }
    if (++c->burst <= room)
        return false;
    c->env->result->rcvbuf_lost++;
    return true;
}

/* The answer to a probe, which wants no more than that. */
static void on_probe(struct bench_client *c, struct view datagram, nsec now)
{
    uint8_t packet[64];
    size_t n;

    switch (tftp_packet_opcode(datagram)) {
    case TFTP_OACK:
        n = tftp_build_error(packet, sizeof(packet), TFTP_ERR_OPTION, "User aborted the transfer");
        client_send(c, view_of(packet, n), now);
        client_ask_again(c, now);
        break;
    case TFTP_ERROR:
        c->env->result
            ->errors[MIN(tftp_error_parse(datagram, &(struct view){0}), BENCH_ERROR_CODES - 1)]++;
        client_finish(c, BENCH_FAIL_REFUSED, now);
        break;
    default:
        n = tftp_build_error(packet, sizeof(packet), TFTP_ERR_ILLEGAL, "User aborted download");
        client_send(c, view_of(packet, n), now);
        client_finish(c, BENCH_FAIL_PROTOCOL, now);
        break;
    }
}

static void began(struct bench_client *c, nsec now)
{
    if (c->began)
        return;
    c->began = true;
    hist_add(&c->env->result->first_byte, now > c->intended ? now - c->intended : 0);
}

/* A block in order. */
static void take_block(struct bench_client *c, const struct tftp_in *in, nsec now)
{
    began(c, now);
    c->env->result->payload += in->data.n;
    if (!bench_check_add(&c->check, in->data))
        c->wrong = true;
    tftp_session_stored(&c->session, in->offset + in->data.n, now);
    if (in->last)
        tftp_session_published(&c->session, now);
}

void bench_client_take_packet(struct bench_client *c, const union addr_sock *from,
                              struct view datagram, nsec now)
{
    struct tftp_session *s = &c->session;
    struct tftp_in in;

    if (c->phase == BENCH_SILENT || c->phase == BENCH_LINGERING)
        return;
    if ((c->phase != BENCH_RUNNING && c->phase != BENCH_PROBING) || !is_peer(c, from, datagram)) {
        c->env->result->strays++;
        return;
    }
    if (overflows(c, now))
        return;
    if (c->phase == BENCH_PROBING) {
        on_probe(c, datagram, now);
        return;
    }
    if (c->misbehaviour != BENCH_BEHAVES && client_misbehaves(c, datagram, now))
        return;
    if (client_reacts(c, datagram, now))
        return;
    tftp_session_on_packet(s, datagram, now, &in);
    answered(c, from);
    if (in.accepted)
        take_block(c, &in, now);
    else if (s->state == TFTP_STATE_SENDING)
        began(c, now);
    client_pump(c, now);
}

void bench_client_on_packet(struct bench_client *c, const union addr_sock *from,
                            struct view datagram, nsec now)
{
    if (c->env->impair && from)
        bench_impair_receive(c->env->impair, c, from, datagram, now);
    else
        bench_client_take_packet(c, from, datagram, now);
}
