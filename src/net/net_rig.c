/*
 * See net_rig.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "net/net_rig.h"

const struct net_ops *engine;

void rig_choose(int argc, char **argv)
{
    engine = argc > 1 && strcmp(argv[1], "io_uring") == 0 ? &net_uring_ops : &net_mmsg_ops;
}

struct net_config rig_config(void)
{
    return (struct net_config){
        .batch = 32,
        .rcvbuf_bytes = 1 << 20,
        .gso = true,
        .mtu_discover = IP_PMTUDISC_WANT,
        .rx_bytes_max = 2048,
        .tx_slots = 128,
    };
}

static void on_unreachable(void *arg, struct net_socket *socket, const struct addr *peer, int err)
{
    struct rig *r = arg;

    assert_non_null(socket);
    r->unreachable_count++;
    r->unreachable_peer = *peer;
    r->unreachable_err = err;
}

bool rig_start(struct rig *r, const struct net_ops *ops, const struct net_config *config)
{
    memset(r, 0, sizeof(*r));
    r->ops = ops;
    r->config = config ? *config : rig_config();
    if (ops == &net_uring_ops) {
        struct ring_config ring_config = {.queue_depth = 256, .sq_thread_cpu = -1};

        r->ring = ring_new(&ring_config);
        if (!r->ring)
            return false;
    }
    r->loop = loop_new(r->ring);
    assert_non_null(r->loop);
    r->net = net_new(ops, r->loop, &r->config);
    if (!r->net && (errno == ENOSYS || errno == EOPNOTSUPP)) {
        rig_stop(r);
        return false;
    }
    assert_non_null(r->net);
    net_on_unreachable(r->net, on_unreachable, r);
    return true;
}

void rig_stop(struct rig *r)
{
    net_free(r->net);
    loop_free(r->loop);
    if (r->ring)
        ring_free(r->ring);
}

struct addr rig_addr(const char *text)
{
    struct addr a;

    assert_int_equal(addr_parse(&a, text, 0), 0);
    return a;
}

struct net_socket *rig_open(struct rig *r, const char *text)
{
    struct addr a = rig_addr(text);
    struct net_socket *s = NULL;

    assert_int_equal(net_open(r->net, &a, false, r, &s), 0);
    assert_non_null(s);
    assert_int_not_equal(s->local.port, 0);
    return s;
}

unsigned rig_pass(struct rig *r, struct net_rx *rx)
{
    net_recv_done(r->net); /* the buffers of the last batch may be all there are */
    net_flush(r->net);
    (void)loop_wait(r->loop, net_pending(r->net) ? 0 : loop_clock() + 20 * NSEC_PER_MSEC);
    return net_recv(r->net, rx, NET_BATCH);
}

void rig_until(struct rig *r, const unsigned *counter, unsigned target)
{
    struct net_rx rx[NET_BATCH];
    nsec give_up = loop_clock() + RIG_PATIENCE;

    for (;;) {
        net_flush(r->net); /* often all there is to do */
        if (*counter >= target)
            break;
        (void)rig_pass(r, rx);
        assert_true(loop_clock() < give_up);
    }
    net_recv_done(r->net);
}

void rig_receive(struct rig *r, struct net_rx *rx, unsigned count)
{
    nsec give_up = loop_clock() + RIG_PATIENCE;
    unsigned got = 0;

    while (got < count) {
        got += rig_pass(r, rx);
        assert_true(loop_clock() < give_up);
    }
    assert_int_equal(got, count);
}

int peer_open(const char *text)
{
    struct timeval patience = {.tv_sec = RIG_PATIENCE / NSEC_PER_SEC};
    struct addr a = rig_addr(text);
    union addr_sock sa;
    socklen_t len = addr_to_sock(&a, a.family, &sa);
    int big = 4 << 20;
    int fd = socket(a.family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, &sa.sa, len), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &big, sizeof(big));
    return fd;
}

struct addr peer_addr(int fd)
{
    union addr_sock sa = {0};
    socklen_t len = sizeof(sa);
    struct addr a;

    assert_int_equal(getsockname(fd, &sa.sa, &len), 0);
    assert_int_equal(addr_from_sock(&a, &sa), 0);
    return a;
}

void peer_send(int fd, const struct addr *to, const void *data, size_t bytes)
{
    union addr_sock sa;
    socklen_t len = addr_to_sock(to, to->family, &sa);

    assert_int_equal(sendto(fd, data, bytes, 0, &sa.sa, len), (ssize_t)bytes);
}

size_t peer_recv(int fd, void *buf, size_t room, struct addr *from)
{
    union addr_sock sa = {0};
    socklen_t len = sizeof(sa);
    ssize_t n = recvfrom(fd, buf, room, MSG_TRUNC, &sa.sa, &len);

    assert_true(n >= 0);
    if (from)
        assert_int_equal(addr_from_sock(from, &sa), 0);
    return (size_t)n;
}

static void on_done(struct net_tx *tx, int res)
{
    struct rig *r = tx->owner;

    r->done_count++;
    r->done_last = res;
    r->done_gso_refused = tx->gso_refused;
    if (res < 0)
        r->done_errors++;
    else
        r->done_datagrams += (unsigned)res;
}

struct net_tx *rig_tx(struct rig *r, struct net_socket *s, const struct addr *to)
{
    struct net_tx *tx = net_tx_get(r->net);

    if (!tx)
        return NULL;
    tx->socket = s;
    tx->peer_len = addr_to_sock(to, s->local.family, &tx->peer);
    tx->done = on_done;
    tx->owner = r;
    return tx;
}

void tx_add(struct net_tx *tx, const void *data, size_t bytes)
{
    tx->iov[tx->iov_count++] = (struct iovec){(void *)(uintptr_t)data, bytes};
}

void rig_send(struct rig *r, struct net_socket *s, const struct addr *to, const void *data,
              size_t bytes)
{
    struct net_tx *tx = rig_tx(r, s, to);

    assert_non_null(tx);
    tx_add(tx, data, bytes);
    net_queue(r->net, tx);
}

void fill(uint8_t *p, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++)
        p[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

const char *any_port(const char *host, char *buf)
{
    (void)snprintf(buf, ADDR_TEXT_MAX, strchr(host, ':') ? "[%s]:0" : "%s:0", host);
    return buf;
}
