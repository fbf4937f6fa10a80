#include "client/trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/escape.h"
#include "client/client.h"

#define LINE_MAX_BYTES 900

static void add(char *buf, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void add(char *buf, size_t size, const char *fmt, ...)
{
    size_t used = strlen(buf);
    va_list args;

    va_start(args, fmt);
    vsnprintf(buf + used, size - used, fmt, args);
    va_end(args);
}

static void add_bytes(char *buf, size_t size, const char *before, struct view v)
{
    char text[200];

    add(buf, size, "%s%s", before, escape_bytes(v, text, sizeof(text)));
}

static void add_options(char *buf, size_t size, const struct tftp_option *options, int count)
{
    for (int i = 0; i < count; i++) {
        add_bytes(buf, size, " ", options[i].name);
        add_bytes(buf, size, "=", options[i].value);
    }
}

static void add_request(char *buf, size_t size, struct view packet)
{
    struct tftp_request r;

    if (tftp_request_parse(&r, packet) < 0) {
        add(buf, size, "request");
        return;
    }
    add(buf, size, r.op == TFTP_RRQ ? "RRQ" : "WRQ");
    add_bytes(buf, size, " ", r.filename);
    add(buf, size, r.mode == TFTP_OCTET ? " octet" : " netascii");
    add_options(buf, size, r.options, (int)r.option_count);
}

char *client_packet_text(struct view packet, char *buf, size_t size)
{
    struct tftp_option options[TFTP_OPTIONS_MAX];
    struct view text;
    unsigned code;

    buf[0] = '\0';
    switch (tftp_packet_opcode(packet)) {
    case TFTP_RRQ:
    case TFTP_WRQ:
        add_request(buf, size, packet);
        break;
    case TFTP_DATA:
        add(buf, size, "DATA %u, %zu bytes", tftp_packet_block(packet), packet.n - TFTP_HEADER_LEN);
        break;
    case TFTP_ACK:
        add(buf, size, "ACK %u", tftp_packet_block(packet));
        break;
    case TFTP_ERROR:
        code = tftp_error_parse(packet, &text);
        add(buf, size, "ERROR %u ", code);
        add_bytes(buf, size, "", text);
        break;
    case TFTP_OACK:
        add(buf, size, "OACK");
        add_options(buf, size, options, tftp_oack_parse(options, packet));
        break;
    default:
        add(buf, size, "%zu bytes that are no TFTP packet", packet.n);
    }
    return buf;
}

void client_trace(struct client_transfer *t, bool out, struct view packet, unsigned count)
{
    char text[LINE_MAX_BYTES];

    if (!t->client->options->verbose)
        return;
    client_packet_text(packet, text, sizeof(text));
    if (count > 1)
        client_note(t->client, t, "%s %s, and %u blocks more", out ? ">" : "<", text, count - 1);
    else
        client_note(t->client, t, "%s %s", out ? ">" : "<", text);
}

void client_trace_sent(struct xfer *x, const struct tftp_out *out, uint32_t blocks)
{
    struct client_transfer *t = container_of(x, struct client_transfer, x);
    const struct tftp_params *p = &x->session.params;

    if (!t->client->options->verbose)
        return;
    if (out->kind == TFTP_OUT_CONTROL) {
        client_trace(t, true, out->control, 1);
        return;
    }
    unsigned first = tftp_block_wire(out->block, p->rollover);
    unsigned long long bytes = MIN(out->bytes, (uint64_t)blocks * p->blksize);
    if (blocks > 1)
        client_note(t->client, t, "> DATA %u to %u, %llu bytes", first,
                    tftp_block_wire(out->block + blocks - 1, p->rollover), bytes);
    else
        client_note(t->client, t, "> DATA %u, %llu bytes", first, bytes);
}
