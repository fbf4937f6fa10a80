/*
 * Octet payload: straight from the store's chunks, straight into a store sink.
 */
#include <errno.h>

#include "xfer/xfer.h"

static int send_read(struct xfer *x, uint64_t offset, uint64_t bytes, struct store_slice *slices,
                     unsigned max)
{
    return store_read(x->env->store, &x->reader, offset, bytes, slices, max);
}

static void send_close(struct xfer *x)
{
    store_close(x->env->store, &x->reader);
}

const struct xfer_data_ops xfer_send_octet = {
    .read = send_read,
    .close = send_close,
};

static bool receive_room(struct xfer *x, size_t bytes)
{
    return x->sink.state != STORE_SINK_OPEN || store_sink_room(&x->sink) >= bytes;
}

static void receive_accept(struct xfer *x, struct view data)
{
    if (x->sink.state == STORE_SINK_OPEN)
        store_sink_write(&x->sink, data.p, data.n);
}

static void receive_flush(struct xfer *x)
{
    /* `accepted` already counts the block that made the flush due. */
    x->flush_accepted = x->accepted;
    x->flush_received = x->sink.received;
    if (x->sink.state == STORE_SINK_OPEN)
        store_sink_flush(&x->sink);
}

/* RFC 2349: the size announced by the client. In netascii it counts other bytes. */
static bool size_differs(const struct xfer *x)
{
    const struct tftp_params *p = &x->session.params;

    return x->check_tsize && !x->ascii && p->tsize_given && p->tsize != x->accepted;
}

static void receive_publish(struct xfer *x)
{
    if (size_differs(x)) {
        tftp_session_fail(&x->session, TFTP_ERR_UNDEFINED, "Size differs from tsize",
                          x->session.last_heard);
        return;
    }
    if (x->sink.state == STORE_SINK_OPEN)
        store_sink_publish(&x->sink);
}

static void receive_close(struct xfer *x)
{
    store_sink_close(x->env->store, &x->sink);
}

const struct xfer_data_ops xfer_receive_octet = {
    .room = receive_room,
    .accept = receive_accept,
    .flush = receive_flush,
    .publish = receive_publish,
    .close = receive_close,
};

void xfer_sink_step(struct xfer *x, nsec now)
{
    const struct store_sink *sink = &x->sink;

    if (tftp_session_ended(&x->session))
        return;
    if (sink->state == STORE_SINK_FAILED) {
        tftp_session_fail(&x->session, tftp_error_from_errno(-sink->error, true),
                          tftp_error_text_from_errno(-sink->error), now);
    } else if (sink->state == STORE_SINK_PUBLISHED) {
        tftp_session_stored(&x->session, x->accepted, now);
        tftp_session_published(&x->session, now);
    } else if (x->flush_accepted > 0 && sink->stored >= x->flush_received) {
        tftp_session_stored(&x->session, x->flush_accepted, now);
    }
    xfer_kick(x, now);
}
