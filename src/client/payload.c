/*
 * Payload of the client. What is received goes to a sink of the store (a file that appears
 * whole), or to a stream. Unlike a server we may acknowledge what has reached a buffer of ours:
 * nobody but us relies on the file before the end, and the final ACK still waits for it.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/client.h"

#define STREAM_BYTES (64 * 1024)

static struct client_transfer *of(struct xfer *x)
{
    return container_of(x, struct client_transfer, x);
}

static bool to_stream(const struct client_transfer *t)
{
    return t->client->plan->stream >= 0;
}

static size_t window_bytes(const struct client_transfer *t)
{
    const struct tftp_params *p = &t->x.session.params;

    return (size_t)p->blksize * p->windowsize;
}

int client_payload_init(struct client_transfer *t)
{
    netascii_decoder_init(&t->decoder);
    sha256_init(&t->sha);
    if (t->item->mode == TFTP_NETASCII && !t->scratch)
        t->scratch = malloc(TFTP_BLKSIZE_MAX + 1);
    if (to_stream(t) && !t->stream)
        t->stream = malloc(STREAM_BYTES);
    if ((t->item->mode == TFTP_NETASCII && !t->scratch) || (to_stream(t) && !t->stream))
        return -ENOMEM;
    return 0;
}

void client_payload_fini(struct client_transfer *t)
{
    free(t->scratch);
    free(t->stream);
    t->scratch = t->stream = NULL;
}

/* ---- The stream ---- */

/* Blocks while the reader of a pipe takes its time; the server waits as long for our ACK. */
static int stream_flush(struct client_transfer *t)
{
    int fd = t->client->plan->stream;
    size_t done = 0;

    while (done < t->stream_used) {
        ssize_t n = write(fd, t->stream + done, t->stream_used - done);
        if (n >= 0) {
            done += (size_t)n;
        } else if (errno == EAGAIN) {
            (void)poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        } else if (errno != EINTR) {
            return -errno;
        }
        if (client_interrupted)
            return -EINTR;
    }
    t->stream_used = 0;
    return 0;
}

static int stream_write(struct client_transfer *t, const uint8_t *p, size_t n)
{
    while (n > 0) {
        size_t piece = MIN(n, STREAM_BYTES - t->stream_used);
        memcpy(t->stream + t->stream_used, p, piece);
        t->stream_used += piece;
        p += piece;
        n -= piece;
        if (t->stream_used == STREAM_BYTES) {
            int err = stream_flush(t);
            if (err < 0)
                return err;
        }
    }
    return 0;
}

static void local_failure(struct client_transfer *t, int err)
{
    if (t->local_error == 0)
        t->local_error = err;
    tftp_session_fail(&t->x.session, tftp_error_from_errno(-err, true),
                      tftp_error_text_from_errno(-err), t->client->now);
}

/* ---- Receiving ---- */

static bool receive_room(struct xfer *x, size_t bytes)
{
    struct client_transfer *t = of(x);

    if (to_stream(t) || t->failed)
        return true;
    return x->sink.state != STORE_SINK_OPEN || store_sink_room(&x->sink) >= bytes + 1;
}

static void put_bytes(struct client_transfer *t, const uint8_t *p, size_t n)
{
    if (n == 0)
        return;
    if (t->client->options->check_sha256)
        sha256_add(&t->sha, p, n);
    if (!to_stream(t)) {
        if (t->x.sink.state == STORE_SINK_OPEN)
            store_sink_write(&t->x.sink, p, n);
        return;
    }
    int err = stream_write(t, p, n);
    if (err < 0)
        local_failure(t, err);
}

/* A server may say how long the file is, but not send more than that or than we are ready for. */
static bool is_acceptable(struct client_transfer *t, uint64_t bytes)
{
    const struct tftp_params *p = &t->x.session.params;
    uint64_t max = t->client->options->max_size;

    if (bytes > max) {
        client_transfer_fail(t, CLIENT_TOO_LARGE, TFTP_ERR_DISK_FULL, "File too large",
                             "the file is larger than --max-size (%llu bytes)",
                             (unsigned long long)max);
        return false;
    }
    if (p->tsize_given && t->item->mode == TFTP_OCTET && bytes > p->tsize) {
        client_transfer_fail(t, CLIENT_MISMATCH, TFTP_ERR_UNDEFINED, "Longer than announced",
                             "the server announced %llu bytes and sends more; try --no-tsize if "
                             "that is known to be harmless",
                             (unsigned long long)p->tsize);
        return false;
    }
    return true;
}

/* What has come may be acknowledged when there is room for the next window. */
static bool has_room_for_window(const struct client_transfer *t)
{
    const struct store_sink *sink = &t->x.sink;

    if (to_stream(t) || sink->state != STORE_SINK_OPEN)
        return true;
    return store_sink_room(sink) > MIN(window_bytes(t), t->client->window_bytes);
}

static void receive_accept(struct xfer *x, struct view data)
{
    struct client_transfer *t = of(x);

    if (t->failed || t->local_error || !is_acceptable(t, x->accepted + data.n))
        return;
    if (t->item->mode == TFTP_NETASCII) {
        size_t n = netascii_decode(&t->decoder, data.p, data.n, t->scratch);
        put_bytes(t, t->scratch, n);
    } else {
        put_bytes(t, data.p, data.n);
    }
    if (has_room_for_window(t)) /* even a window that is cut short by the timer */
        tftp_session_stored(&x->session, x->accepted + data.n, t->client->now);
}

static void acknowledge(struct client_transfer *t)
{
    t->flush_due = false;
    tftp_session_stored(&t->x.session, t->x.accepted, t->client->now);
}

static void receive_flush(struct xfer *x)
{
    struct client_transfer *t = of(x);

    t->flush_due = true;
    if (has_room_for_window(t))
        acknowledge(t);
    else
        store_sink_flush(&x->sink);
}

/* True when the file is what was announced and expected. */
static bool is_whole(struct client_transfer *t)
{
    const struct tftp_params *p = &t->x.session.params;
    uint8_t sum[32];

    if (p->tsize_given && t->item->mode == TFTP_OCTET && t->x.accepted != p->tsize) {
        client_transfer_fail(t, CLIENT_MISMATCH, TFTP_ERR_UNDEFINED, "Shorter than announced",
                             "the server announced %llu bytes and sent %llu; the file is not kept",
                             (unsigned long long)p->tsize, (unsigned long long)t->x.accepted);
        return false;
    }
    if (!t->client->options->check_sha256)
        return true;
    sha256_end(&t->sha, sum);
    if (memcmp(sum, t->client->options->sha256, sizeof(sum)) == 0)
        return true;
    client_transfer_fail(t, CLIENT_MISMATCH, TFTP_ERR_UNDEFINED, "Wrong checksum",
                         "the file does not have the SHA-256 sum asked for; it was damaged on the "
                         "way or is another one");
    return false;
}

static void receive_publish(struct xfer *x)
{
    struct client_transfer *t = of(x);
    uint8_t last;

    if (t->failed || t->local_error)
        return;
    if (t->item->mode == TFTP_NETASCII && netascii_decode_end(&t->decoder, &last) > 0)
        put_bytes(t, &last, 1);
    if (!is_whole(t))
        return;
    if (!to_stream(t)) {
        if (x->sink.state == STORE_SINK_OPEN)
            store_sink_publish(&x->sink);
        return;
    }
    int err = t->local_error ? t->local_error : stream_flush(t);
    if (err < 0) {
        local_failure(t, err);
        return;
    }
    tftp_session_stored(&x->session, x->accepted, t->client->now);
    tftp_session_published(&x->session, t->client->now);
}

static void receive_close(struct xfer *x)
{
    if (!to_stream(of(x)))
        store_sink_close(x->env->store, &x->sink);
}

const struct xfer_data_ops client_receive = {
    .room = receive_room,
    .accept = receive_accept,
    .flush = receive_flush,
    .publish = receive_publish,
    .close = receive_close,
};

void client_payload_step(struct client_transfer *t)
{
    struct xfer *x = &t->x;
    const struct store_sink *sink = &x->sink;

    if (tftp_session_ended(&x->session))
        return;
    if (sink->state == STORE_SINK_FAILED) {
        local_failure(t, sink->error);
    } else if (sink->state == STORE_SINK_PUBLISHED) {
        tftp_session_stored(&x->session, x->accepted, t->client->now);
        tftp_session_published(&x->session, t->client->now);
    } else if (t->flush_due && has_room_for_window(t)) {
        acknowledge(t);
    }
    xfer_kick(x, t->client->now);
}

/* ---- Sending ---- */

static int keep_error(struct client_transfer *t, int n)
{
    if (n < 0 && n != -EAGAIN && t->local_error == 0)
        t->local_error = n;
    return n;
}

static int octet_read(struct xfer *x, uint64_t offset, uint64_t bytes, struct store_slice *slices,
                      unsigned max)
{
    return keep_error(of(x), xfer_send_octet.read(x, offset, bytes, slices, max));
}

static int ascii_read(struct xfer *x, uint64_t offset, uint64_t bytes, struct store_slice *slices,
                      unsigned max)
{
    /* Only now is it certain what blocks and windows were agreed on. */
    int err = x->ascii ? 0 : xfer_ascii_init(x);
    return keep_error(of(x), err < 0 ? err : xfer_send_ascii.read(x, offset, bytes, slices, max));
}

static void send_close(struct xfer *x)
{
    store_close(x->env->store, &x->reader);
}

const struct xfer_data_ops client_send_octet = {.read = octet_read, .close = send_close};
const struct xfer_data_ops client_send_ascii = {.read = ascii_read, .close = send_close};
