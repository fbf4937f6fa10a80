/*
 * What net/net.h promises about errors and shortage, for each engine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config.h"
#include "loop/wrap_enter.h"
#include "net/net_impl.h"
#include "net/net_rig.h"

/*
 * The kernel's answers are overruled by the tests (linker --wrap): so many sendmmsg calls meet
 * a full send buffer; so many sends on the ring are said to have met one, though they went out;
 * so many times the ring has no room; the ring cannot be entered any more.
 */
static unsigned wrap_eagain, wrap_ring_eagain, wrap_ring_full;
static bool wrap_ring_broken;
int __real_sendmmsg(int fd, struct mmsghdr *msgs, unsigned count, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *msgs, unsigned count, int flags);

int __wrap_sendmmsg(int fd, struct mmsghdr *msgs, unsigned count, int flags)
{
    if (wrap_eagain > 0) {
        wrap_eagain--;
        errno = EAGAIN;
        return -1;
    }
    return __real_sendmmsg(fd, msgs, count, flags);
}

#if HAVE_IO_URING
int __wrap_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait, unsigned flags, void *arg,
                           size_t bytes)
{
    return wrap_ring_broken ? -EPERM : __real_io_uring_enter2(fd, submit, wait, flags, arg, bytes);
}
#endif

struct fake_op {
    struct ring_op op;
    struct ring_op *real;
};

static void fake_complete(struct ring_op *op, int res, uint32_t flags)
{
    struct fake_op *f = container_of(op, struct fake_op, op);

    assert_int_equal(res, 1);
    f->real->complete(f->real, -EAGAIN, flags);
}

struct io_uring_sqe *__real_ring_sqe(struct ring *r, struct ring_op *op);
struct io_uring_sqe *__wrap_ring_sqe(struct ring *r, struct ring_op *op);

struct io_uring_sqe *__wrap_ring_sqe(struct ring *r, struct ring_op *op)
{
    static struct fake_op fakes[16];

    if (wrap_ring_full > 0) {
        wrap_ring_full--;
        return NULL;
    }
    if (wrap_ring_eagain > 0 && op) {
        struct fake_op *f = &fakes[--wrap_ring_eagain];

        *f = (struct fake_op){.op = {fake_complete}, .real = op};
        op = &f->op;
    }
    return __real_ring_sqe(r, op);
}

/* A source address that is not ours fails the one datagram, and is no reason to give GSO up. */
static void test_refused_datagram(void **state)
{
    (void)state;
    struct rig r;
    static const uint8_t data[1000];
    char buf[16];

    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "0.0.0.0:0");
    int peer = peer_open("127.0.0.1");
    struct addr to = peer_addr(peer);
    bool gso = s->gso;
    for (unsigned i = 0; i < 2 * NET_GSO_REFUSALS; i++) {
        struct net_tx *tx = rig_tx(&r, s, &to);
        tx->local = rig_addr("198.51.100.77");
        if (i % 2)
            tx->segment = 500;
        tx_add(tx, data, sizeof(data));
        net_queue(r.net, tx);
        rig_send(&r, s, &to, "next", 4);
        rig_until(&r, &r.done_count, 2 * (i + 1));
        assert_int_equal(r.done_errors, i + 1);
        assert_int_equal(peer_recv(peer, buf, sizeof(buf), NULL), 4);
    }
    assert_int_equal(s->gso, gso);
    assert_int_equal(net_stats(r.net)->gso_withdrawn, 0);
    assert_int_equal(net_stats(r.net)->tx_errors, 2 * NET_GSO_REFUSALS);
    close(peer);
    rig_stop(&r);
}

static void unreachable_on(const char *host)
{
    struct rig r;
    struct net_rx rx[NET_BATCH];
    char any[ADDR_TEXT_MAX], buf[16];

    START(&r, NULL);
    struct net_socket *s = rig_open(&r, any_port(host, any));
    int live = peer_open(host), gone = peer_open(host);
    struct addr to_live = peer_addr(live), to_gone = peer_addr(gone);
    close(gone);

    for (unsigned i = 1; i <= 20; i++) {
        rig_send(&r, s, &to_live, "a", 1);
        rig_send(&r, s, &to_gone, "b", 1);
        rig_send(&r, s, &to_live, "c", 1);
        rig_send(&r, s, &to_live, "d", 1);
        rig_until(&r, &r.done_count, 4 * i);
        rig_until(&r, &r.unreachable_count, i);
        assert_true(addr_equal(&r.unreachable_peer, &to_gone));
        assert_int_equal(r.unreachable_err, ECONNREFUSED);
        for (unsigned k = 0; k < 3; k++)
            assert_int_equal(peer_recv(live, buf, sizeof(buf), NULL), 1);
        peer_send(live, &s->local, "e", 1);
        rig_receive(&r, rx, 1);
        assert_int_equal(rx[0].data.n, 1);
    }
    assert_int_equal(r.done_errors, 0);
    assert_int_equal(r.unreachable_count, 20);
    assert_int_equal(net_stats(r.net)->icmp_errors, 20);
    close(live);
    rig_stop(&r);
}

static void test_unreachable(void **state)
{
    (void)state;
    unreachable_on("127.0.0.1");
    unreachable_on("::1");
}

/*
 * Errors about several peers at once, told to whichever send or receive comes next: each is
 * reported, also where it fails a send in the middle of a batch.
 */
static void test_many_unreachable(void **state)
{
    enum { ROUNDS = 20, GONE = 7 };
    struct rig r;

    (void)state;
    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int gone = peer_open("127.0.0.1:0"), there = peer_open("127.0.0.1:0");
    struct addr to_gone[GONE], to_there = peer_addr(there);

    for (unsigned i = 0; i < GONE; i++)
        to_gone[i] = peer_addr(gone);
    for (unsigned i = 0; i < GONE; i++)
        to_gone[i].ip[3] = (uint8_t)(2 + i);
    close(gone);
    for (unsigned round = 1; round <= ROUNDS; round++) {
        for (unsigned i = 0; i < GONE; i++)
            rig_send(&r, s, &to_gone[i], "x", 1);
        rig_send(&r, s, &to_there, "y", 1);
        rig_until(&r, &r.done_count, round * (GONE + 1));
        rig_until(&r, &r.unreachable_count, round * GONE);
    }
    assert_int_equal(r.done_errors, 0);
    assert_int_equal(r.unreachable_count, ROUNDS * GONE);
    close(there);
    rig_stop(&r);
}

/* More than the path takes, with don't-fragment: an error for that datagram alone. */
static void test_too_large(void **state)
{
    (void)state;
    struct rig r;
    static const uint8_t data[NET_GSO_BYTES];
    char buf[16];

    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "[::1]:0");
    int peer = peer_open("::1");
    struct addr to = peer_addr(peer);
    int probe = IPV6_PMTUDISC_DO;
    assert_int_equal(setsockopt(s->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &probe, sizeof(probe)), 0);
    if (net_path_payload(&to, NULL) >= sizeof(data))
        skip();
    rig_send(&r, s, &to, data, sizeof(data));
    rig_send(&r, s, &to, "next", 4);
    rig_until(&r, &r.done_count, 2);
    assert_int_equal(r.done_errors, 1);
    assert_int_equal(peer_recv(peer, buf, sizeof(buf), NULL), 4);
    close(peer);
    rig_stop(&r);
}

/* A send buffer far too small for what is sent: every datagram ends one way or the other. */
static void test_small_send_buffer(void **state)
{
    (void)state;
    struct rig r;
    static uint8_t data[60000];
    struct net_config config = rig_config();

    config.sndbuf_bytes = 1;
    START(&r, &config);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    struct addr to = peer_addr(peer);
    for (unsigned i = 0; i < 40; i++) {
        rig_send(&r, s, &to, data, i % 4 == 0 ? sizeof(data) : 100);
        if (i % 4 == 1) {
            struct net_tx *tx = rig_tx(&r, s, &to);
            tx->segment = 1400;
            tx_add(tx, data, 28000);
            net_queue(r.net, tx);
        }
    }
    rig_until(&r, &r.done_count, 50);
    assert_true(r.done_datagrams >= 30);
    close(peer);
    rig_stop(&r);
}

static void test_would_block(void **state)
{
    (void)state;
    struct rig r;
    char buf[16];

    bool ring = engine == &net_uring_ops;
    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    struct addr to = peer_addr(peer);
    wrap_eagain = 5;
    wrap_ring_eagain = 5;
    for (unsigned i = 0; i < 100; i++)
        rig_send(&r, s, &to, &"0123456789"[i % 10], 1);
    net_flush(r.net);
    assert_int_equal(r.done_count, 0);
    (void)loop_wait(r.loop, 0);
    /* What comes now must not overtake what is waiting. */
    for (unsigned i = 100; i < 110; i++)
        rig_send(&r, s, &to, &"abcdefghij"[i % 10], 1);
    rig_until(&r, &r.done_count, 110);
    assert_int_equal(wrap_eagain + (ring ? wrap_ring_eagain : 0), 0);
    wrap_ring_eagain = 0;
    assert_int_equal(r.done_datagrams, 110);
    assert_int_equal(net_stats(r.net)->tx_retries, ring ? 10 : 5);
    for (unsigned i = 0; i < (ring ? 115 : 110); i++) {
        /* On the ring five are sent twice: first with the others, and then again in order. */
        unsigned late = ring ? 105 : 100;

        assert_int_equal(peer_recv(peer, buf, sizeof(buf), NULL), 1);
        assert_int_equal(buf[0],
                         (i < late ? '0' : 'a') + (int)((i < late ? i % 100 : i - late) % 10));
    }
    /* Writability is no longer asked for: an idle pass sleeps. */
    struct net_rx rx[NET_BATCH];
    (void)rig_pass(&r, rx);
    uint64_t waits = loop_stats(r.loop)->waits;
    (void)loop_wait(r.loop, loop_clock() + 5 * NSEC_PER_MSEC);
    assert_true(loop_stats(r.loop)->waits <= waits + 2);
    close(peer);
    rig_stop(&r);
}

/* No room in the ring: neither receives nor sends nor the end of a socket get lost. */
static void test_ring_full(void **state)
{
    (void)state;
    struct rig r;
    struct net_rx rx[NET_BATCH];
    char buf[16];

    if (engine != &net_uring_ops)
        skip();
    START(&r, NULL);
    wrap_ring_full = 3;
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    struct addr to = peer_addr(peer);
    for (unsigned i = 0; i < 50; i++)
        rig_send(&r, s, &to, &"0123456789"[i % 10], 1);
    rig_until(&r, &r.done_count, 50);
    assert_int_equal(wrap_ring_full, 0);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(peer_recv(peer, buf, sizeof(buf), NULL), 1);
        assert_int_equal(buf[0], '0' + (int)(i % 10));
    }
    peer_send(peer, &s->local, "x", 1);
    rig_receive(&r, rx, 1);
    wrap_ring_full = 2;
    net_close_socket(r.net, s);
    close(peer);
    rig_stop(&r);
    assert_int_equal(wrap_ring_full, 0);
}

/* What a ring that cannot be entered does not give back stays behind on purpose. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:ring_new\nleak:loop_uring_init\nleak:uring_add\n";
}

/* The ring breaks in the middle of it all: the sockets go on without it. */
static void test_ring_breaks(void **state)
{
    (void)state;
    struct rig r;
    struct net_rx rx[NET_BATCH];
    char buf[16];

    if (engine != &net_uring_ops)
        skip();
    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0"), *closed = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    struct addr to = peer_addr(peer);
    peer_send(peer, &s->local, "one", 3);
    rig_receive(&r, rx, 1);
    wrap_ring_broken = true;
    for (unsigned i = 0; i < 20; i++)
        rig_send(&r, i % 2 ? s : closed, &to, "x", 1);
    net_flush(r.net);
    net_close_socket(r.net, closed);
    rig_until(&r, &r.done_count, 20);
    /* What the closed socket had in the ring is lost with it. */
    assert_int_equal(r.done_errors, 10);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(peer_recv(peer, buf, sizeof(buf), NULL), 1);
    for (unsigned i = 0; i < 5; i++) {
        peer_send(peer, &s->local, "two", 3);
        rig_receive(&r, rx, 1);
        assert_memory_equal(rx[0].data.p, "two", 3);
    }
    assert_string_equal(net_name(r.net), "mmsg");
    struct net_socket *fresh = rig_open(&r, "127.0.0.1:0");
    rig_send(&r, fresh, &to, "y", 1);
    rig_until(&r, &r.done_count, 21);
    assert_int_equal(peer_recv(peer, buf, sizeof(buf), NULL), 1);
    close(peer);
    rig_stop(&r);
    wrap_ring_broken = false;
}

static void test_pool_exhaustion(void **state)
{
    (void)state;
    struct rig r;
    struct net_config config = rig_config();
    struct net_tx *tx[4];

    config.tx_slots = 3;
    START(&r, &config);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    struct addr to = peer_addr(peer);
    for (unsigned i = 0; i < 3; i++) {
        tx[i] = rig_tx(&r, s, &to);
        assert_non_null(tx[i]);
        tx_add(tx[i], "x", 1);
        tx[i]->segment = 7;
    }
    assert_null(net_tx_get(r.net));
    net_queue(r.net, tx[0]);
    net_queue(r.net, tx[1]);
    rig_until(&r, &r.done_count, 2);
    tx[0] = net_tx_get(r.net);
    tx[1] = net_tx_get(r.net);
    assert_non_null(tx[0]);
    assert_non_null(tx[1]);
    assert_int_equal(tx[0]->iov_count + tx[0]->segment + tx[0]->peer_len, 0);
    assert_null(tx[0]->done);
    assert_null(net_tx_get(r.net));
    for (unsigned i = 0; i < 3; i++)
        net_tx_put(r.net, tx[i]);
    assert_non_null(net_tx_get(r.net));
    close(peer);
    rig_stop(&r);
}

static void test_open_errors(void **state)
{
    (void)state;
    struct rig r;
    struct net_socket *s = NULL, *twin = NULL;
    struct addr a = rig_addr("198.51.100.77:0");

    START(&r, NULL);
    assert_int_equal(net_open(r.net, &a, false, NULL, &s), -EADDRNOTAVAIL);
    memset(&a, 0, sizeof(a));
    assert_int_equal(net_open(r.net, &a, false, NULL, &s), -EAFNOSUPPORT);
    assert_null(s);
    a = rig_addr("127.0.0.1:0");
    assert_int_equal(net_open(r.net, &a, true, NULL, &s), 0);
    assert_int_equal(net_open(r.net, &s->local, false, NULL, &twin), -EADDRINUSE);
    assert_int_equal(net_open(r.net, &s->local, true, NULL, &twin), 0);
    /* IPv6 sockets leave the port to IPv4. */
    int v6only = 0;
    socklen_t len = sizeof(v6only);
    a = rig_addr("[::]:0");
    assert_int_equal(net_open(r.net, &a, false, NULL, &s), 0);
    assert_int_equal(getsockopt(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &len), 0);
    assert_int_equal(v6only, 1);
    rig_stop(&r);
}

static void test_adopt(void **state)
{
    (void)state;
    struct rig r;
    struct net_rx rx[NET_BATCH];
    struct net_socket *s = NULL;
    int tcp = socket(AF_INET, SOCK_STREAM, 0);
    int dual = socket(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in6 any = {.sin6_family = AF_INET6};
    int off = 0;
    char buf[16];

    START(&r, NULL);
    assert_int_equal(net_adopt(r.net, tcp, NULL, &s), -EPROTOTYPE);
    close(tcp);
    assert_int_equal(net_adopt(r.net, -1, NULL, &s), -EBADF);
    assert_int_equal(setsockopt(dual, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)), 0);
    assert_int_equal(bind(dual, (struct sockaddr *)&any, sizeof(any)), 0);
    assert_int_equal(net_adopt(r.net, dual, NULL, &s), 0);

    /* A dual-stack socket speaks IPv4, in plain form to us. */
    int peer = peer_open("127.0.0.1");
    struct addr to = rig_addr("127.0.0.3"), from;
    to.port = s->local.port;
    peer_send(peer, &to, "q", 1);
    rig_receive(&r, rx, 1);
    assert_int_equal(rx[0].peer.family, AF_INET);
    assert_true(addr_equal(&rx[0].local, &to));
    struct net_tx *tx = rig_tx(&r, s, &rx[0].peer);
    tx->local = rx[0].local;
    tx_add(tx, "a", 1);
    net_queue(r.net, tx);
    rig_until(&r, &r.done_count, 1);
    assert_int_equal(r.done_last, 1);
    assert_int_equal(peer_recv(peer, buf, sizeof(buf), &from), 1);
    assert_true(addr_equal(&from, &to));
    close(peer);
    rig_stop(&r);
}

/* Datagrams that find the receive buffer full are counted once a later one gets in. */
static void test_drops_counted(void **state)
{
    (void)state;
    struct rig r;
    struct net_rx rx[NET_BATCH];
    struct net_config config = rig_config();
    uint8_t data[1400] = {0};

    config.rcvbuf_bytes = 4096;
    START(&r, &config);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    for (unsigned round = 1; round <= 3; round++) {
        for (unsigned i = 0; i < 200; i++)
            peer_send(peer, &s->local, data, sizeof(data));
        while (rig_pass(&r, rx) > 0)
            ;
        peer_send(peer, &s->local, data, sizeof(data));
        rig_receive(&r, rx, 1);
        assert_true(net_stats(r.net)->rx_drops > 0);
        assert_int_equal(net_stats(r.net)->rx_drops + net_stats(r.net)->rx_datagrams, round * 201);
        assert_int_equal(s->drops, net_stats(r.net)->rx_drops);
    }
    close(peer);
    rig_stop(&r);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_datagram),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_many_unreachable),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_small_send_buffer),
        cmocka_unit_test(test_would_block),
        cmocka_unit_test(test_ring_full),
        cmocka_unit_test(test_ring_breaks),
        cmocka_unit_test(test_pool_exhaustion),
        cmocka_unit_test(test_open_errors),
        cmocka_unit_test(test_adopt),
        cmocka_unit_test(test_drops_counted),
    };

    rig_choose(argc, argv);
    return cmocka_run_group_tests_name(engine->name, tests, NULL, NULL);
}
