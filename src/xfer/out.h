/*
 * Output of one transfer; private to xfer/.
 */
#ifndef XFER_OUT_H
#define XFER_OUT_H

#include "xfer/xfer.h"

/* Queues a control packet; false when no net_tx is free. */
bool out_control(struct xfer *x, struct view packet);

/*
 * Queues as much of a DATA run as there are bytes and room for, and tells the session. Returns the
 * number of blocks; 0: bytes or room will come (xfer_kick(), xfer_env_resume()); -EAGAIN: ask the
 * session again; other -errno: the bytes cannot be had.
 */
int out_data(struct xfer *x, const struct tftp_out *out, nsec now);

void xfer_ascii_retain(struct xfer_ascii *a);

#endif
