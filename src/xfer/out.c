/*
 * Output: what the session wants sent becomes datagrams. A run of DATA blocks is one train when
 * the socket and the path allow it (UDP_SEGMENT), else one datagram for each block. Payload is
 * not copied: iovecs point into the store's chunks, which the datagram holds references to until
 * the kernel has taken the bytes.
 */
#include "xfer/out.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* A reference in net_tx.refs: a chunk, or with the low bit set a netascii buffer. */
#define REF_ASCII ((uintptr_t)1)

static void release_refs(struct xfer_env *env, struct net_tx *tx)
{
    for (unsigned i = 0; i < tx->ref_count; i++) {
        uintptr_t ref = (uintptr_t)tx->refs[i];
        if (ref & REF_ASCII)
            xfer_ascii_release((struct xfer_ascii *)(ref & ~REF_ASCII));
        else
            store_release(env->store, (struct store_chunk *)ref);
    }
    tx->ref_count = 0;
}

static void on_sent(struct net_tx *tx, int res)
{
    struct xfer_env *env = tx->owner;

    release_refs(env, tx);
    if (res < 0 && env->send_failed) {
        struct addr peer;
        if (addr_from_sock(&peer, &tx->peer) == 0)
            env->send_failed(env, tx->socket, &peer, -res);
    }
}

static void address(struct net_tx *tx, struct xfer *x)
{
    tx->socket = x->socket;
    tx->peer = x->peer_sock;
    tx->peer_len = x->peer_sock_len;
    tx->local = x->local;
    tx->ifindex = 0; /* routing decides; a link-local source has its scope */
    tx->segment = 0;
    tx->iov_count = 0;
    tx->ref_count = 0;
    tx->done = on_sent;
    tx->owner = x->env;
}

bool out_control(struct xfer *x, struct view packet)
{
    struct net_tx *tx = net_tx_get(x->env->net);
    if (!tx)
        return false;
    assert(packet.n <= sizeof(tx->small));
    address(tx, x);
    memcpy(tx->small, packet.p, packet.n);
    tx->iov[0] = (struct iovec){tx->small, packet.n};
    tx->iov_count = 1;
    net_queue(x->env->net, tx);
    return true;
}

/* The slices of a run while blocks are cut out of them. */
struct cutter {
    struct store_slice slices[NET_TX_REFS];
    unsigned count, at;
    uint32_t used; /* bytes of slices[at] already cut */
    uint64_t left; /* bytes not yet cut */
};

/* Appends the next `n` bytes of the slices to the datagram's iovecs. */
static void cut(struct cutter *c, struct net_tx *tx, uint64_t n)
{
    c->left -= n;
    while (n > 0) {
        struct store_slice *s = &c->slices[c->at];
        uint32_t piece = (uint32_t)MIN(n, (uint64_t)(s->n - c->used));
        tx->iov[tx->iov_count++] = (struct iovec){(void *)(uintptr_t)(s->p + c->used), piece};
        c->used += piece;
        n -= piece;
        if (c->used == s->n) {
            c->at++;
            c->used = 0;
        }
    }
}

static void add_ref(struct xfer *x, struct net_tx *tx, const struct store_slice *s)
{
    if (s->chunk) {
        store_retain(s->chunk);
        tx->refs[tx->ref_count++] = s->chunk;
    } else {
        xfer_ascii_retain(x->ascii);
        tx->refs[tx->ref_count++] = (void *)((uintptr_t)x->ascii | REF_ASCII);
    }
}

/* Puts the headers and payload of blocks [block, block + count) into one datagram or train. */
static void fill(struct xfer *x, struct net_tx *tx, struct cutter *c, uint64_t block,
                 uint32_t count)
{
    const struct tftp_params *p = &x->session.params;
    unsigned first = c->at;

    for (uint32_t i = 0; i < count; i++) {
        uint8_t *header = tx->small + i * TFTP_HEADER_LEN;
        tftp_build_data_header(header, TFTP_HEADER_LEN, tftp_block_wire(block + i, p->rollover));
        tx->iov[tx->iov_count++] = (struct iovec){header, TFTP_HEADER_LEN};
        cut(c, tx, MIN(c->left, (uint64_t)p->blksize));
    }
    unsigned last = c->used > 0 || c->at == first ? c->at : c->at - 1;
    for (unsigned i = first; i <= last && i < c->count; i++)
        add_ref(x, tx, &c->slices[i]);
}

/* How many blocks of the run may travel in one train. */
static uint32_t train_length(const struct xfer *x, uint32_t count)
{
    if (!x->gso || !x->socket->gso || count < 2)
        return 1;
    uint32_t segment = x->session.params.blksize + (uint32_t)TFTP_HEADER_LEN;
    uint32_t fit = NET_GSO_BYTES / segment;
    return MAX(1, MIN(MIN(count, fit), NET_GSO_SEGMENTS));
}

/* The most blocks one store_read() of NET_TX_REFS slices should be asked for. */
static uint32_t ask_length(const struct xfer *x, uint32_t count)
{
    uint32_t fit = NET_GSO_BYTES / (x->session.params.blksize + (uint32_t)TFTP_HEADER_LEN);
    return MIN(count, MAX(1, MIN(fit, NET_GSO_SEGMENTS)));
}

static void release_slices(struct xfer *x, struct cutter *c)
{
    for (unsigned i = 0; i < c->count; i++)
        if (c->slices[i].chunk)
            store_release(x->env->store, c->slices[i].chunk);
}

static void wait_for_tx(struct xfer *x)
{
    if (list_empty(&x->link))
        list_push_back(&x->env->starved, &x->link);
}

int out_data(struct xfer *x, const struct tftp_out *out, nsec now)
{
    const uint64_t blksize = x->session.params.blksize;
    uint32_t count = ask_length(x, out->count);
    uint64_t bytes = MIN(out->bytes, count * blksize);
    struct cutter c = {.left = 0};

    /* Who reads gives back what the store has kept for him, so not before it can be sent. */
    if (!net_tx_free(x->env->net)) {
        wait_for_tx(x);
        return 0;
    }
    if (bytes > 0) {
        int n = x->data->read(x, out->offset, bytes, c.slices, NET_TX_REFS);
        if (n < 0)
            return n;
        c.count = (unsigned)n;
        for (unsigned i = 0; i < c.count; i++)
            c.left += c.slices[i].n;
        if (c.left < bytes) {
            count = (uint32_t)(c.left / blksize);
            c.left = count * blksize;
        }
    }

    uint32_t done = 0;
    while (done < count) {
        struct net_tx *tx = net_tx_get(x->env->net);
        if (!tx) {
            wait_for_tx(x);
            break;
        }
        uint32_t blocks = train_length(x, count - done);
        address(tx, x);
        fill(x, tx, &c, out->block + done, blocks);
        if (blocks > 1)
            tx->segment = (uint16_t)(blksize + TFTP_HEADER_LEN);
        net_queue(x->env->net, tx);
        done += blocks;
    }
    release_slices(x, &c);
    if (done > 0)
        tftp_session_sent(&x->session, done, now);
    return (int)done;
}

void xfer_send_control(struct xfer_env *env, struct net_socket *socket, const struct addr *peer,
                       const struct addr *local, const void *packet, size_t len)
{
    struct net_tx *tx = net_tx_get(env->net);
    if (!tx)
        return;
    assert(len <= sizeof(tx->small));
    tx->socket = socket;
    tx->peer_len = addr_to_sock(peer, socket->local.family, &tx->peer);
    tx->local = *local;
    tx->ifindex = 0;
    tx->segment = 0;
    tx->ref_count = 0;
    tx->done = on_sent;
    tx->owner = env;
    memcpy(tx->small, packet, len);
    tx->iov[0] = (struct iovec){tx->small, len};
    tx->iov_count = 1;
    net_queue(env->net, tx);
}
