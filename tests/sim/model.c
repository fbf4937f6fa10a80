/*
 * Models of real clients, as far as it matters to a server: when they acknowledge, what they do
 * about blocks they did not expect, and how they repeat themselves.
 *
 *   GRUB    acknowledges every block that is not new, never repeats an ACK by time; repeats its
 *           request
 *   EDK2    acknowledges every unexpected block, repeats its last packet by time
 *   U-Boot  reports a gap once, repeats its last ACK by time
 */
#include <string.h>

#include "sim.h"

#define TRIES_MAX 15

bool client_is_model(const struct sim_client *c)
{
    return c->kind >= SIM_GRUB && c->kind <= SIM_UBOOT;
}

static nsec interval(const struct sim_client *c)
{
    return (c->kind == SIM_EDK2 ? 4 : c->kind == SIM_UBOOT ? 5 : 2) * NSEC_PER_SEC;
}

static void send_ack(struct sim *s, struct sim_client *c, uint64_t block)
{
    uint8_t packet[TFTP_HEADER_LEN];

    c->last_acked = block;
    uint16_t wire = tftp_block_wire(block, (enum tftp_rollover)s->conf.protocol_rollover);
    client_send(s, c, &c->server, packet, tftp_build_ack(packet, sizeof(packet), wire));
}

void model_timer(struct sim *s, struct sim_client *c)
{
    if (c->finished || ++c->tries > TRIES_MAX) {
        if (!c->finished)
            client_end(s, c, false);
        c->ended = true;
        return;
    }
    c->next_at = s->now + interval(c);
    if (c->have == 0 && !c->options_agreed)
        client_send(s, c, &c->server, c->request, c->request_len);
    else if (c->kind != SIM_GRUB)
        send_ack(s, c, c->last_acked);
}

/* A number behind the option's name. */
static unsigned granted(const struct tftp_option *o)
{
    uint64_t v;

    return tftp_parse_decimal(o->value, &v) == 0 ? (unsigned)MIN(v, (uint64_t)65535) : 0;
}

static void on_oack(struct sim *s, struct sim_client *c, struct view v)
{
    struct tftp_option options[TFTP_OPTIONS_MAX];
    int n = tftp_oack_parse(options, v);

    if (c->have > 0)
        return;
    /* Of two, as after a request that was mutilated on its way, the last one counts: it is the
     * server's last word. */
    c->blksize = TFTP_BLKSIZE_DEFAULT;
    c->windowsize = 1;
    for (int i = 0; i < n; i++) {
        if (tftp_is_word(options[i].name, "blksize"))
            c->blksize = granted(&options[i]);
        if (tftp_is_word(options[i].name, "windowsize"))
            c->windowsize = granted(&options[i]);
    }
    c->options_agreed = true;
    c->next_ack = c->windowsize;
    send_ack(s, c, 0);
}

/* The index that the wire number stands for, near what we have; 0 for none. */
static uint64_t index_of(const struct sim *s, const struct sim_client *c, uint16_t wire)
{
    uint64_t from = c->have > 30000 ? c->have - 30000 : 0;
    uint64_t block = tftp_block_resolve(wire, from, c->have + 30000,
                                        (enum tftp_rollover)s->conf.protocol_rollover);

    return block == TFTP_BLOCK_NONE ? 0 : block;
}

static void unexpected(struct sim *s, struct sim_client *c, uint64_t block)
{
    bool old = (int64_t)(block - c->have) <= 0;

    switch (c->kind) {
    case SIM_GRUB:
        if (old)
            send_ack(s, c, block);
        return;
    case SIM_EDK2:
        c->next_ack = c->have + c->windowsize;
        send_ack(s, c, c->have);
        return;
    default:
        if (c->nacked == c->have + 1)
            return;
        c->nacked = c->have + 1;
        c->next_ack = c->have + c->windowsize;
        send_ack(s, c, c->have);
    }
}

static void on_data(struct sim *s, struct sim_client *c, const struct sim_datagram *d)
{
    uint64_t block = index_of(s, c, (uint16_t)(d->bytes[2] << 8 | d->bytes[3]));
    size_t n = d->len - TFTP_HEADER_LEN;

    if (c->have == 0 && !c->options_agreed) { /* no OACK: RFC 1350 */
        if (block != 1)
            return;
        c->blksize = TFTP_BLKSIZE_DEFAULT;
        c->windowsize = 1;
        c->next_ack = 1;
        c->options_agreed = true;
    }
    if (c->finished || block != c->have + 1 || n > c->blksize) {
        unexpected(s, c, block);
        return;
    }
    c->have++;
    c->tries = 0;
    c->next_at = s->now + interval(c);
    client_take(s, c, d->bytes + TFTP_HEADER_LEN, n, n < c->blksize);
    if (n < c->blksize) {
        send_ack(s, c, c->have);
        c->finished = true;
        c->next_at = s->now + 3 * NSEC_PER_SEC; /* stays to answer the last block again */
        client_end(s, c, true);
    } else if (c->have == c->next_ack) {
        c->next_ack = c->have + c->windowsize;
        send_ack(s, c, c->have);
    }
}

void model_datagram(struct sim *s, struct sim_client *c, const struct sim_datagram *d)
{
    struct view v = view_of(d->bytes, d->len);

    switch (tftp_packet_opcode(v)) {
    case TFTP_OACK:
        on_oack(s, c, v);
        break;
    case TFTP_DATA:
        on_data(s, c, d);
        break;
    case TFTP_ERROR:
        if (!c->finished)
            client_end(s, c, false);
        c->ended = true;
        break;
    default:
        break;
    }
}
