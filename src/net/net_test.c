/*
 * The contract of net/net.h, once for each engine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net_impl.h"
#include "net/net_rig.h"

/* Which engine a group runs on. */
static const struct net_ops *engine;

#define START(r, config)                                                                           \
    do {                                                                                           \
        if (!rig_start(r, engine, config))                                                         \
            skip();                                                                                \
    } while (0)

/* sendmmsg and sendmsg results of the engine are overruled by the tests (linker --wrap). */
static unsigned wrap_eagain;
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

static void fill(uint8_t *p, size_t bytes, unsigned seed)
{
    for (size_t i = 0; i < bytes; i++)
        p[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

static void echo_on(const char *any, const char *host)
{
    struct rig r;
    struct net_rx rx[NET_BATCH];
    char buf[64];
    struct addr from;

    START(&r, NULL);
    struct net_socket *s = rig_open(&r, any);
    int peer = peer_open(host);
    struct addr to = rig_addr(host);

    to.port = s->local.port;
    peer_send(peer, &to, "question", 8);
    rig_receive(&r, rx, 1);
    assert_ptr_equal(rx[0].socket, s);
    assert_ptr_equal(rx[0].socket->owner, &r);
    assert_int_equal(rx[0].data.n, 8);
    assert_memory_equal(rx[0].data.p, "question", 8);
    assert_false(rx[0].truncated);
    struct addr expected = peer_addr(peer);
    assert_true(addr_equal(&rx[0].peer, &expected));
    assert_true(addr_equal(&rx[0].local, &to));
    assert_int_not_equal(rx[0].ifindex, 0);

    struct net_tx *tx = rig_tx(&r, s, &rx[0].peer);
    tx->local = rx[0].local;
    tx_add(tx, "ans", 3);
    tx_add(tx, "wer", 3);
    net_queue(r.net, tx);
    net_recv_done(r.net);
    rig_until(&r, &r.done_count, 1);
    assert_int_equal(r.done_last, 1);
    assert_int_equal(peer_recv(peer, buf, sizeof(buf), &from), 6);
    assert_memory_equal(buf, "answer", 6);
    assert_true(addr_equal(&from, &to));
    assert_int_equal(net_stats(r.net)->rx_datagrams, 1);
    assert_int_equal(net_stats(r.net)->rx_bytes, 8);
    assert_int_equal(net_stats(r.net)->tx_datagrams, 1);
    assert_int_equal(net_stats(r.net)->tx_bytes, 6);
    close(peer);
    rig_stop(&r);
}

static void test_echo_v4(void **state)
{
    (void)state;
    echo_on("0.0.0.0:0", "127.0.0.1");
}

static void test_echo_v6(void **state)
{
    (void)state;
    echo_on("[::]:0", "::1");
}

/* The answer leaves from the address that was asked, though the socket is a wildcard. */
static void test_answer_from_asked_address(void **state)
{
    (void)state;
    echo_on("0.0.0.0:0", "127.0.0.2");
}

#define MANY_SOCKETS 8
#define MANY_ROUNDS  40
#define MANY_EACH    16

static void check_many(struct net_rx *rx, unsigned got, struct net_socket **s, unsigned *next)
{
    for (unsigned i = 0; i < got; i++) {
        unsigned which = 0, number;

        while (s[which] != rx[i].socket)
            which++;
        assert_int_equal(rx[i].data.n, sizeof(number));
        memcpy(&number, rx[i].data.p, sizeof(number));
        assert_int_equal(number, next[which]++);
    }
}

/* Thousands of datagrams over several sockets arrive whole and in order. */
static void test_many_in(void **state)
{
    (void)state;
    struct rig r;
    struct net_rx rx[NET_BATCH];
    struct net_socket *s[MANY_SOCKETS];
    unsigned next[MANY_SOCKETS] = {0};
    unsigned total = 0;

    START(&r, NULL);
    for (unsigned i = 0; i < MANY_SOCKETS; i++)
        s[i] = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    for (unsigned round = 0; round < MANY_ROUNDS; round++) {
        for (unsigned i = 0; i < MANY_SOCKETS * MANY_EACH; i++) {
            unsigned number = round * MANY_EACH + i / MANY_SOCKETS;

            peer_send(peer, &s[i % MANY_SOCKETS]->local, &number, sizeof(number));
        }
        total += MANY_SOCKETS * MANY_EACH;
        nsec give_up = loop_clock() + RIG_PATIENCE;
        while (net_stats(r.net)->rx_datagrams < total) {
            check_many(rx, rig_pass(&r, rx), s, next);
            assert_true(loop_clock() < give_up);
        }
    }
    for (unsigned i = 0; i < MANY_SOCKETS; i++)
        assert_int_equal(next[i], MANY_ROUNDS * MANY_EACH);
    assert_int_equal(net_stats(r.net)->rx_drops, 0);
    if (engine == &net_mmsg_ops)
        assert_true(net_stats(r.net)->rx_calls < total / 4);
    close(peer);
    rig_stop(&r);
}

/* Thousands out through a small pool, in order, in few system calls. */
static void test_many_out(void **state)
{
    (void)state;
    struct rig r;
    struct net_config config = rig_config();
    static uint32_t numbers[4000];
    uint32_t got;

    config.tx_slots = 64;
    START(&r, &config);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    struct addr to = peer_addr(peer);
    for (unsigned i = 0, read = 0; read < ARRAY_LEN(numbers);) {
        for (; i < ARRAY_LEN(numbers); i++) {
            struct net_tx *tx = rig_tx(&r, s, &to);
            if (!tx)
                break;
            numbers[i] = i;
            tx_add(tx, &numbers[i], sizeof(numbers[i]));
            net_queue(r.net, tx);
        }
        rig_until(&r, &r.done_count, i);
        for (; read < i; read++) {
            assert_int_equal(peer_recv(peer, &got, sizeof(got), NULL), sizeof(got));
            assert_int_equal(got, read);
        }
    }
    assert_int_equal(r.done_datagrams, ARRAY_LEN(numbers));
    assert_int_equal(r.done_errors, 0);
    assert_true(net_stats(r.net)->tx_calls <= ARRAY_LEN(numbers) / 16);
    close(peer);
    rig_stop(&r);
}

static void test_truncation(void **state)
{
    (void)state;
    static const size_t sizes[] = {599, 600, 601, 700, 3000};
    struct rig r;
    struct net_config config = rig_config();
    struct net_rx rx[NET_BATCH];
    uint8_t data[3000];

    config.rx_bytes_max = 600;
    START(&r, &config);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        fill(data, sizes[i], i);
        peer_send(peer, &s->local, data, sizes[i]);
        rig_receive(&r, rx, 1);
        assert_int_equal(rx[0].truncated, sizes[i] > 600);
        assert_int_equal(rx[0].data.n, MIN(sizes[i], (size_t)600));
        assert_memory_equal(rx[0].data.p, data, rx[0].data.n);
    }
    assert_int_equal(net_stats(r.net)->rx_truncated, 3);
    close(peer);
    rig_stop(&r);
}

/* The largest datagram there is. */
static void test_large_in(void **state)
{
    (void)state;
    struct rig r;
    struct net_config config = rig_config();
    struct net_rx rx[NET_BATCH];
    static uint8_t data[65507];

    config.rx_bytes_max = 65507;
    START(&r, &config);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    fill(data, sizeof(data), 3);
    for (unsigned i = 0; i < 3; i++) {
        peer_send(peer, &s->local, data, sizeof(data));
        rig_receive(&r, rx, 1);
        assert_false(rx[0].truncated);
        assert_int_equal(rx[0].data.n, sizeof(data));
        assert_memory_equal(rx[0].data.p, data, sizeof(data));
    }
    close(peer);
    rig_stop(&r);
}

static void test_empty_datagrams(void **state)
{
    (void)state;
    struct rig r;
    struct net_rx rx[NET_BATCH];

    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    for (unsigned i = 0; i < 50; i++) {
        peer_send(peer, &s->local, "", 0);
        peer_send(peer, &s->local, "", 0);
        peer_send(peer, &s->local, "x", 1);
        size_t bytes = 0;
        for (unsigned got = 0; got < 3;) {
            unsigned n = rig_pass(&r, rx);
            for (unsigned k = 0; k < n; k++)
                bytes += rx[k].data.n;
            got += n;
            assert_true(got <= 3);
        }
        assert_int_equal(bytes, 1);
    }
    close(peer);
    rig_stop(&r);
}

/* A train of `segments` datagrams of 4 header bytes and a block, the last one shorter. */
static void train(struct rig *r, struct net_socket *s, int peer, unsigned segments, size_t block,
                  size_t last)
{
    static uint8_t file[65536];
    uint8_t buf[2048], header[4];
    struct addr to = peer_addr(peer);
    struct net_tx *tx = rig_tx(r, s, &to);
    unsigned before = r->done_count, datagrams = r->done_datagrams;

    fill(file, sizeof(file), segments);
    tx->segment = (uint16_t)(block + 4);
    for (unsigned i = 0; i < segments; i++) {
        memcpy(tx->small + 4 * i, (uint8_t[]){0, 3, (uint8_t)(i >> 8), (uint8_t)i}, 4);
        tx_add(tx, tx->small + 4 * i, 4);
        tx_add(tx, file + i * block, i + 1 < segments ? block : last);
    }
    net_queue(r->net, tx);
    rig_until(r, &r->done_count, before + 1);
    assert_int_equal(r->done_last, segments);
    assert_int_equal(r->done_datagrams, datagrams + segments);
    for (unsigned i = 0; i < segments; i++) {
        size_t expected = i + 1 < segments ? block : last;

        assert_int_equal(peer_recv(peer, buf, sizeof(buf), NULL), expected + 4);
        memcpy(header, (uint8_t[]){0, 3, (uint8_t)(i >> 8), (uint8_t)i}, 4);
        assert_memory_equal(buf, header, 4);
        assert_memory_equal(buf + 4, file + i * block, expected);
    }
}

static void trains(bool gso, const char *host)
{
    struct rig r;
    struct net_config config = rig_config();
    char any[32];

    config.gso = gso;
    START(&r, &config);
    (void)snprintf(any, sizeof(any), strchr(host, ':') ? "[%s]:0" : "%s:0", host);
    struct net_socket *s = rig_open(&r, any);
    int peer = peer_open(host);
    unsigned count = 0;

    if (!gso)
        assert_false(s->gso);
    for (unsigned segments = 2; segments <= 64; segments += segments < 8 ? 1 : 7) {
        train(&r, s, peer, segments, 512, 512);
        train(&r, s, peer, segments, 512, 1);
        train(&r, s, peer, segments, 512, 0);
        train(&r, s, peer, segments, 900, 450);
        count += 4;
    }
    train(&r, s, peer, 45, 1428, 1428);
    train(&r, s, peer, 1, 512, 100);
    count++;
    assert_int_equal(net_stats(r.net)->gso_trains, s->gso ? count : 0);
    assert_int_equal(net_stats(r.net)->gso_withdrawn, 0);
    close(peer);
    rig_stop(&r);
}

static void test_trains_gso(void **state)
{
    (void)state;
    trains(true, "127.0.0.1");
    trains(true, "::1");
}

static void test_trains_split(void **state)
{
    (void)state;
    trains(false, "127.0.0.1");
    trains(false, "::1");
}

/* A socket without checksums is refused trains with EINVAL: the datagrams go out all the same. */
static void test_gso_withdrawn(void **state)
{
    (void)state;
    struct rig r;
    int on = 1, off = 0;

    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    if (!s->gso)
        skip();
    for (unsigned i = 1; i < NET_GSO_REFUSALS; i++) {
        assert_int_equal(setsockopt(s->fd, SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on)), 0);
        train(&r, s, peer, 20, 512, 30);
        assert_true(r.done_gso_refused);
        assert_true(s->gso);
        assert_int_equal(net_stats(r.net)->gso_withdrawn, i);
    }
    /* One success between, and the count starts again. */
    assert_int_equal(setsockopt(s->fd, SOL_SOCKET, SO_NO_CHECK, &off, sizeof(off)), 0);
    train(&r, s, peer, 20, 512, 30);
    assert_false(r.done_gso_refused);
    assert_int_equal(setsockopt(s->fd, SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on)), 0);
    for (unsigned i = 0; i < NET_GSO_REFUSALS; i++) {
        assert_true(s->gso);
        train(&r, s, peer, 64, 512, 30);
    }
    assert_false(s->gso);
    train(&r, s, peer, 64, 512, 30);
    assert_int_equal(net_stats(r.net)->gso_withdrawn, 2 * NET_GSO_REFUSALS - 1);
    assert_int_equal(net_stats(r.net)->gso_trains, 1);
    close(peer);
    rig_stop(&r);
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
    char any[32], buf[16];

    START(&r, NULL);
    (void)snprintf(any, sizeof(any), strchr(host, ':') ? "[%s]:0" : "%s:0", host);
    struct net_socket *s = rig_open(&r, any);
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

    if (engine != &net_mmsg_ops)
        skip();
    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    struct addr to = peer_addr(peer);
    wrap_eagain = 5;
    for (unsigned i = 0; i < 100; i++)
        rig_send(&r, s, &to, &"0123456789"[i % 10], 1);
    net_flush(r.net);
    assert_int_equal(r.done_count, 0);
    rig_until(&r, &r.done_count, 100);
    assert_int_equal(wrap_eagain, 0);
    assert_int_equal(r.done_datagrams, 100);
    assert_int_equal(net_stats(r.net)->tx_retries, 5);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(peer_recv(peer, buf, sizeof(buf), NULL), 1);
        assert_int_equal(buf[0], '0' + (int)(i % 10));
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

static void test_close_with_queue(void **state)
{
    (void)state;
    struct rig r;
    char buf[16];

    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    struct net_socket *other = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    struct addr to = peer_addr(peer);
    for (unsigned i = 0; i < 50; i++)
        rig_send(&r, i % 2 ? s : other, &to, "x", 1);
    net_close_socket(r.net, s);
    rig_until(&r, &r.done_count, 50);
    assert_int_equal(r.done_errors, 0);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(peer_recv(peer, buf, sizeof(buf), NULL), 1);
    close(peer);
    rig_stop(&r);
}

struct closer {
    struct rig *r;
    struct net_socket *victim;
    unsigned calls;
};

static void close_in_done(struct net_tx *tx, int res)
{
    struct closer *c = tx->owner;

    (void)res;
    c->calls++;
    if (c->victim) {
        struct net_socket *victim = c->victim;
        c->victim = NULL;
        net_close_socket(c->r->net, victim);
    }
}

/* done() closes its own socket while others of it are queued and on their way. */
static void test_close_in_done(void **state)
{
    (void)state;
    struct rig r;

    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    struct addr to = peer_addr(peer);
    struct closer c = {.r = &r, .victim = s};
    for (unsigned i = 0; i < 80; i++) {
        struct net_tx *tx = rig_tx(&r, s, &to);
        tx->owner = &c;
        tx->done = close_in_done;
        tx_add(tx, "x", 1);
        net_queue(r.net, tx);
    }
    rig_until(&r, &c.calls, 80);
    assert_null(c.victim);
    close(peer);
    rig_stop(&r);
}

static void close_in_unreachable(void *arg, struct net_socket *s, const struct addr *peer, int err)
{
    struct closer *c = arg;

    (void)peer;
    (void)err;
    c->calls++;
    assert_ptr_equal(s, c->victim);
    net_close_socket(c->r->net, s);
}

static void test_close_in_unreachable(void **state)
{
    (void)state;
    struct rig r;

    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int gone = peer_open("127.0.0.1");
    struct addr to = peer_addr(gone);
    struct closer c = {.r = &r, .victim = s};
    close(gone);
    net_on_unreachable(r.net, close_in_unreachable, &c);
    for (unsigned i = 0; i < 10; i++)
        rig_send(&r, s, &to, "x", 1);
    rig_until(&r, &c.calls, 1);
    rig_until(&r, &r.done_count, 10);
    assert_int_equal(c.calls, 1);
    rig_stop(&r);
}

/* The batch in hand outlives its socket; a datagram queued on a closed socket is called off. */
static void test_close_in_batch(void **state)
{
    (void)state;
    struct rig r;
    struct net_rx rx[NET_BATCH];

    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    struct addr from = peer_addr(peer);
    peer_send(peer, &s->local, "one", 3);
    rig_receive(&r, rx, 1);
    peer_send(peer, &s->local, "two", 3);
    net_close_socket(r.net, s);
    assert_ptr_equal(rx[0].socket->owner, &r);
    assert_memory_equal(rx[0].data.p, "one", 3);
    rig_send(&r, rx[0].socket, &from, "late", 4);
    net_recv_done(r.net);
    rig_until(&r, &r.done_count, 1);
    assert_int_equal(r.done_last, -ECANCELED);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(rig_pass(&r, rx), 0);
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
    for (unsigned i = 0; i < 200; i++)
        peer_send(peer, &s->local, data, sizeof(data));
    while (rig_pass(&r, rx) > 0)
        ;
    peer_send(peer, &s->local, data, sizeof(data));
    rig_receive(&r, rx, 1);
    assert_true(net_stats(r.net)->rx_drops > 0);
    assert_int_equal(net_stats(r.net)->rx_drops + net_stats(r.net)->rx_datagrams, 201);
    assert_int_equal(s->drops, net_stats(r.net)->rx_drops);
    close(peer);
    rig_stop(&r);
}

static void test_path_payload(void **state)
{
    (void)state;
    struct addr v4 = rig_addr("127.0.0.1"), v6 = rig_addr("::1"), none = {0};
    struct addr local = rig_addr("127.0.0.2:69");
    unsigned n4 = net_path_payload(&v4, NULL);

    assert_in_range(n4, 1000, 65507);
    assert_int_equal(net_path_payload(&v4, &local), n4);
    assert_int_equal(net_path_payload(&v6, NULL), n4 - 20);
    assert_int_equal(net_path_payload(&none, NULL), 0);
    local = rig_addr("198.51.100.77");
    assert_int_equal(net_path_payload(&v4, &local), 0);
}

static int run(const char *name, const struct net_ops *ops)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_v4),
        cmocka_unit_test(test_echo_v6),
        cmocka_unit_test(test_answer_from_asked_address),
        cmocka_unit_test(test_many_in),
        cmocka_unit_test(test_many_out),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_large_in),
        cmocka_unit_test(test_empty_datagrams),
        cmocka_unit_test(test_trains_gso),
        cmocka_unit_test(test_trains_split),
        cmocka_unit_test(test_gso_withdrawn),
        cmocka_unit_test(test_refused_datagram),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_small_send_buffer),
        cmocka_unit_test(test_would_block),
        cmocka_unit_test(test_pool_exhaustion),
        cmocka_unit_test(test_close_with_queue),
        cmocka_unit_test(test_close_in_done),
        cmocka_unit_test(test_close_in_unreachable),
        cmocka_unit_test(test_close_in_batch),
        cmocka_unit_test(test_open_errors),
        cmocka_unit_test(test_adopt),
        cmocka_unit_test(test_drops_counted),
        cmocka_unit_test(test_path_payload),
    };

    engine = ops;
    return _cmocka_run_group_tests(name, tests, ARRAY_LEN(tests), NULL, NULL);
}

int main(void)
{
    int failed = run("mmsg", &net_mmsg_ops);

    return failed + run("io_uring", &net_uring_ops) > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
