/*
 * --verbose: each packet as a line.
 */
#ifndef CLIENT_TRACE_H
#define CLIENT_TRACE_H

#include <stdbool.h>

#include "base/wire.h"
#include "client/transfer.h"

/* One packet; of DATA the first bytes are enough. `count` > 1: the first of so many blocks. */
void client_trace(struct client_transfer *t, bool out, struct view packet, unsigned count);
/* env->sent of all transfers. */
void client_trace_sent(struct xfer *x, const struct tftp_out *out, uint32_t blocks);

/* The packet in words, escaped, at most size - 1 bytes. Returns buf. */
char *client_packet_text(struct view packet, char *buf, size_t size);

#endif
