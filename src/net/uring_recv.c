/*
 * Receiving: one multishot recvmsg per socket, all into one ring of provided buffers. A
 * receive ends (no IORING_CQE_F_MORE) for many reasons that anybody on the network can bring
 * about, an empty datagram among them: it is armed again quietly. io_uring_multishot(7).
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "net/uring_impl.h"

/* Buffers: enough for a burst between two turns of the loop; their addresses are reserved, and
 * only what datagrams fill becomes memory. */
#define SLOTS_DEFAULT   1024
#define SLOTS_MIN       64
#define SLOTS_MAX       32768
#define SLOTS_BYTES_MAX ((size_t)64 << 20)
#define GROUP_MAX       1024

static size_t pages(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (bytes + page - 1) / page * page;
}

static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static unsigned slot_count(const struct net_config *config, size_t slot_bytes)
{
    unsigned want = config->rx_slots ? MIN(config->rx_slots, (unsigned)SLOTS_MAX) : SLOTS_DEFAULT;
    unsigned count = config->rx_slots ? 2 : SLOTS_MIN;

    while (count < want && 2 * count * slot_bytes <= SLOTS_BYTES_MAX)
        count *= 2;
    return count;
}

static void put_buffer(struct uring *u, uint16_t id, unsigned offset)
{
    io_uring_buf_ring_add(u->buffers, u->slots + id * u->slot_bytes, (unsigned)u->slot_bytes, id,
                          io_uring_buf_ring_mask(u->slot_count), (int)offset);
}

static void return_buffer(struct uring *u, uint16_t id)
{
    put_buffer(u, id, 0);
    io_uring_buf_ring_advance(u->buffers, 1);
    u->held--;
}

/* Others on this ring may have buffer groups too: the first free number is ours. */
static int register_group(struct uring *u)
{
    struct io_uring_buf_reg reg = {
        .ring_addr = (uint64_t)(uintptr_t)u->buffers,
        .ring_entries = u->slot_count,
    };
    int r = -EEXIST;

    for (uint16_t group = 0; r == -EEXIST && group < GROUP_MAX; group++) {
        reg.bgid = group;
        r = io_uring_register_buf_ring(ring_raw(u->ring), &reg, 0);
        u->group = group;
    }
    return r;
}

int uring_recv_init(struct uring *u)
{
    const struct net_config *config = &u->net->config;

    u->layout.msg_namelen = sizeof(struct sockaddr_in6);
    /* Keeps the control messages behind the name aligned. */
    u->layout.msg_namelen = (socklen_t)CMSG_ALIGN(u->layout.msg_namelen);
    u->layout.msg_controllen = NET_CONTROL_BYTES;
    u->slot_bytes = sizeof(struct io_uring_recvmsg_out) + u->layout.msg_namelen +
                    u->layout.msg_controllen + config->rx_bytes_max + 1;
    u->slot_bytes = (u->slot_bytes + 63) & ~(size_t)63;
    u->slot_count = slot_count(config, u->slot_bytes);
    u->slots_bytes = pages(u->slot_count * u->slot_bytes);
    u->buffers_bytes = pages(u->slot_count * sizeof(struct io_uring_buf));

    u->filled.entries = calloc(2 * u->slot_count, sizeof(*u->filled.entries));
    u->slots = reserve(u->slots_bytes);
    u->buffers = reserve(u->buffers_bytes);
    if (!u->filled.entries || !u->slots || !u->buffers) {
        uring_recv_fini(u, false);
        return -ENOMEM;
    }
    (void)madvise(u->slots, u->slots_bytes, MADV_NOHUGEPAGE);
    io_uring_buf_ring_init(u->buffers);
    int r = register_group(u);
    if (r < 0) {
        u->group = GROUP_MAX;
        uring_recv_fini(u, false);
        return r;
    }
    u->filled_last.entries = u->filled.entries + u->slot_count;
    for (unsigned i = 0; i < u->slot_count; i++)
        put_buffer(u, (uint16_t)i, i);
    io_uring_buf_ring_advance(u->buffers, (int)u->slot_count);
    return 0;
}

void uring_recv_fini(struct uring *u, bool orphans)
{
    free(u->filled.entries);
    if (orphans)
        return;
    if (u->buffers && u->group != GROUP_MAX)
        (void)io_uring_unregister_buf_ring(ring_raw(u->ring), u->group);
    if (u->buffers)
        (void)munmap(u->buffers, u->buffers_bytes);
    if (u->slots)
        (void)munmap(u->slots, u->slots_bytes);
}

/* Why a receive ended decides what has to happen before the next. */
static void receive_ended(struct uring *u, struct uring_sock *us, int res)
{
    us->armed = false;
    if (us->sock->closing) {
        list_del(&us->rearm_link);
        return;
    }
    u->net->stats.rearmed++;
    if (res == -ENOBUFS) {
        u->net->stats.no_buffers++;
        list_push_back(&u->starved, &us->rearm_link);
        return;
    }
    if (res < 0 && res != -ECANCELED && list_empty(&us->error_link))
        list_push_back(&u->errors, &us->error_link);
    list_push_back(&u->rearm, &us->rearm_link);
}

static void fifo_push(struct uring *u, struct uring_fifo *f, struct uring_filled entry)
{
    assert(f->tail - f->head < u->slot_count);
    f->entries[f->tail++ & (u->slot_count - 1)] = entry;
}

bool uring_has_filled(const struct uring *u)
{
    return u->filled.head != u->filled.tail || u->filled_last.head != u->filled_last.tail;
}

/*
 * What came for sockets marked `last` waits for all that was there with it, but not for what comes
 * later: the answers to what is read now would keep it waiting as long as there are any.
 */
static bool last_is_due(struct uring *u)
{
    struct uring_fifo *f = &u->filled_last;
    unsigned mask = u->slot_count - 1;

    while (u->last_seen != f->tail)
        f->entries[u->last_seen++ & mask].after = u->filled.tail;
    return f->head != f->tail && (int)(u->filled.head - f->entries[f->head & mask].after) >= 0;
}

bool uring_next_filled(struct uring *u, struct uring_filled *ret)
{
    struct uring_fifo *f = last_is_due(u) ? &u->filled_last : &u->filled;

    if (f->head == f->tail)
        return false;
    *ret = f->entries[f->head++ & (u->slot_count - 1)];
    return true;
}

/* There may always be some that have come since: so a mark tells, from the time it was set. */
nsec uring_last_read(struct net *n, nsec now)
{
    struct uring *u = n->engine;
    const struct uring_fifo *f = &u->filled_last;

    if ((int)(f->head - u->last_mark) >= 0) {
        u->last_read = f->head == f->tail ? now : u->last_marked;
        u->last_mark = f->tail;
        u->last_marked = now;
    }
    return u->last_read;
}

void uring_recv_complete(struct ring_op *op, int res, uint32_t flags)
{
    struct uring_sock *us = container_of(op, struct uring_sock, recv);
    struct net_sock *sock = us->sock;

    if (us->orphaned) {
        if (!(flags & IORING_CQE_F_MORE))
            free(us);
        return;
    }
    struct uring *u = sock->net->engine;

    if (flags & IORING_CQE_F_BUFFER) {
        uint16_t id = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);

        u->held++;
        if (res >= 0 && !sock->closing) {
            fifo_push(u, sock->pub.last ? &u->filled_last : &u->filled,
                      (struct uring_filled){.sock = sock, .res = res, .buffer = id});
            sock->busy++;
        } else {
            return_buffer(u, id);
        }
    }
    if (!(flags & IORING_CQE_F_MORE)) {
        receive_ended(u, us, res);
        uring_drop_busy(sock);
    }
}

static bool arm(struct uring *u, struct uring_sock *us)
{
    struct io_uring_sqe *sqe = ring_sqe(u->ring, &us->recv);

    if (!sqe)
        return false;
    io_uring_prep_recvmsg_multishot(sqe, us->sock->pub.fd, &u->layout, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = u->group;
    us->armed = true;
    us->sock->busy++;
    return true;
}

static bool cancel(struct uring *u, struct uring_sock *us)
{
    struct io_uring_sqe *sqe = ring_sqe(u->ring, NULL);

    if (!sqe)
        return false;
    io_uring_prep_cancel(sqe, &us->recv, 0);
    us->cancelled = true;
    return true;
}

void uring_recv_arm(struct uring *u)
{
    while (!list_empty(&u->cancel)) {
        struct list *first = u->cancel.next;

        if (!cancel(u, container_of(first, struct uring_sock, rearm_link)))
            return;
        list_del(first);
    }
    if (u->held == 0)
        list_splice_back(&u->rearm, &u->starved);
    while (!list_empty(&u->rearm)) {
        struct list *first = u->rearm.next;

        if (!arm(u, container_of(first, struct uring_sock, rearm_link)))
            return;
        list_del(first);
    }
}

/* False when the buffer does not hold a datagram in the agreed layout. */
static bool take_datagram(struct net *n, const struct uring_filled *f, struct net_rx *rx)
{
    struct uring *u = n->engine;
    uint8_t *slot = u->slots + f->buffer * u->slot_bytes;
    struct io_uring_recvmsg_out *out = io_uring_recvmsg_validate(slot, f->res, &u->layout);

    if (!out || out->namelen > u->layout.msg_namelen ||
        out->controllen > u->layout.msg_controllen ||
        addr_from_sock(&rx->peer, io_uring_recvmsg_name(out)) < 0)
        return false;

    unsigned max = n->config.rx_bytes_max;
    unsigned bytes = io_uring_recvmsg_payload_length(out, f->res, &u->layout);
    struct msghdr control = {
        .msg_control = slot + sizeof(*out) + u->layout.msg_namelen,
        .msg_controllen = out->controllen,
    };

    rx->socket = &f->sock->pub;
    rx->truncated = (out->flags & MSG_TRUNC) != 0 || bytes > max;
    rx->data = view_of(io_uring_recvmsg_payload(out, &u->layout), MIN(bytes, max));
    net_control_parse(n, f->sock, &control, rx);
    n->stats.rx_datagrams++;
    n->stats.rx_bytes += bytes;
    n->stats.rx_truncated += rx->truncated;
    return true;
}

static void read_errors(struct net *n, struct uring *u)
{
    struct list *first;

    while ((first = list_pop_front(&u->errors)) != NULL)
        net_errors_drain(n, container_of(first, struct uring_sock, error_link)->sock);
}

unsigned uring_recv(struct net *n, struct net_rx *rx, unsigned max)
{
    struct uring *u = n->engine;
    struct uring_filled f;
    unsigned got = 0;

    if (uring_hand_over(n))
        return n->ops->recv(n, rx, max);
    read_errors(n, u);
    while (got < max && uring_next_filled(u, &f)) {
        if (!f.sock->closing && take_datagram(n, &f, &rx[got])) {
            u->batch[u->batch_count++] = f.buffer;
            got++;
        } else {
            return_buffer(u, f.buffer);
        }
        uring_drop_busy(f.sock);
    }
    uring_recv_arm(u);
    return got;
}

void uring_recv_done(struct net *n)
{
    struct uring *u = n->engine;

    for (unsigned i = 0; i < u->batch_count; i++)
        put_buffer(u, u->batch[i], i);
    io_uring_buf_ring_advance(u->buffers, (int)u->batch_count);
    u->held -= u->batch_count;
    if (u->batch_count > 0)
        list_splice_back(&u->rearm, &u->starved);
    u->batch_count = 0;
    uring_recv_arm(u);
}
