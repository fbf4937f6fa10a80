/*
 * How clients differ from the rule: reactions of known clients to blocks out of order, and
 * those of clients that misbehave; see bench/client.h and bench/profile.h.
 */
#include "bench/client_impl.h"

static void send_ack(struct bench_client *c, uint16_t block, nsec now)
{
    uint8_t packet[TFTP_HEADER_LEN];

    tftp_build_ack(packet, sizeof(packet), block);
    c->env->result->acks_resent++;
    client_send(c, view_of(packet, sizeof(packet)), now);
}

bool client_reacts(struct bench_client *c, struct view datagram, nsec now)
{
    const struct bench_profile *profile = c->kind->profile;
    struct tftp_session *s = &c->session;

    if (tftp_packet_opcode(datagram) != TFTP_DATA || s->sending)
        return false;
    if (s->state == TFTP_STATE_REQUESTING && profile->needs_oack &&
        tftp_packet_block(datagram) == 1) {
        uint8_t packet[64];
        size_t n = tftp_build_error(packet, sizeof(packet), TFTP_ERR_ILLEGAL, "No options");
        client_send(c, view_of(packet, n), now);
        client_finish(c, BENCH_FAIL_PROTOCOL, now);
        return true;
    }
    if (s->state != TFTP_STATE_RECEIVING)
        return false;
    uint16_t block = tftp_packet_block(datagram);
    uint16_t expected = tftp_block_wire(s->receiver.expected, s->params.rollover);
    if (block == expected)
        return false;
    enum bench_reaction reaction =
        (uint16_t)(block - expected) < 32768 ? profile->on_gap : profile->on_old;
    if (reaction == BENCH_BY_RULE)
        return false;
    s->counts.duplicates++;
    if (reaction == BENCH_IGNORES)
        return true;
    if (reaction == BENCH_ECHOES) {
        send_ack(c, block, now);
        return true;
    }
    /* The window is counted from this ACK on. */
    s->receiver.acked = s->receiver.expected - 1;
    send_ack(c, tftp_block_wire(s->receiver.expected - 1, s->params.rollover), now);
    return true;
}

bool client_misbehaves(struct bench_client *c, struct view datagram, nsec now)
{
    (void)datagram;
    switch (c->misbehaviour) {
    case BENCH_NEVER_ACK:
        c->phase = BENCH_SILENT;
        c->wake = now + c->env->plan->late_ack;
        client_arm(c);
        return true;
    case BENCH_VANISH:
        if (c->session.counts.bytes_acked < c->vanish_at)
            return false;
        client_finish(c, CLIENT_NO_FAILURE, now);
        return true;
    default:
        return false;
    }
}
