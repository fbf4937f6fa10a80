/*
 * What net/net.h promises while all goes well, for each engine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net_impl.h"
#include "net/net_rig.h"

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

/* Far more datagrams than receive buffers: they wait in the sockets, and none is lost. */
static void test_few_buffers(void **state)
{
    (void)state;
    struct rig r;
    struct net_config config = rig_config();
    struct net_rx rx[NET_BATCH];
    struct net_socket *s[MANY_SOCKETS];
    unsigned next[MANY_SOCKETS] = {0};

    config.rx_slots = 8;
    START(&r, &config);
    for (unsigned i = 0; i < MANY_SOCKETS; i++)
        s[i] = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    for (unsigned i = 0; i < MANY_SOCKETS * 60; i++) {
        unsigned number = i / MANY_SOCKETS;

        peer_send(peer, &s[i % MANY_SOCKETS]->local, &number, sizeof(number));
    }
    nsec give_up = loop_clock() + RIG_PATIENCE;
    while (net_stats(r.net)->rx_datagrams < MANY_SOCKETS * 60) {
        check_many(rx, rig_pass(&r, rx), s, next);
        assert_true(loop_clock() < give_up);
    }
    if (engine == &net_uring_ops)
        assert_true(net_stats(r.net)->no_buffers > 0);
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

/* What came for sockets marked `last` is handed out after all that came for others. */
static void test_last(void **state)
{
    (void)state;
    struct rig r;
    struct net_rx rx[NET_BATCH];
    unsigned got = 0;

    START(&r, NULL);
    struct net_socket *last = rig_open(&r, "127.0.0.1:0"), *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    last->last = true;
    for (unsigned i = 0; i < 10; i++) {
        peer_send(peer, &last->local, "last", 4);
        peer_send(peer, &s->local, "first", 5);
    }
    /* A turn of the loop finds them all, as they are there already; one more does no harm. */
    for (unsigned i = 0; i < 2; i++)
        (void)loop_wait(r.loop, 0);
    while (got < 20) {
        unsigned n = net_recv(r.net, rx, 3);

        assert_int_not_equal(n, 0);
        for (unsigned i = 0; i < n; i++, got++)
            assert_ptr_equal(rx[i].socket, got < 10 ? s : last);
    }
    close(peer);
    rig_stop(&r);
}

/* ... but a flood on the others does not keep them waiting until it ends. */
static void test_last_under_flood(void **state)
{
    (void)state;
    struct rig r;
    struct net_rx rx[NET_BATCH];
    unsigned before = 0;
    bool seen = false;

    if (engine != &net_mmsg_ops)
        skip(); /* the ring takes a bounded number of each socket in a turn */
    START(&r, NULL);
    struct net_socket *last = rig_open(&r, "127.0.0.1:0"), *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    last->last = true;
    peer_send(peer, &last->local, "last", 4);
    for (unsigned i = 0; i < NET_PASS_DATAGRAMS; i++)
        peer_send(peer, &s->local, "flood", 5);
    (void)loop_wait(r.loop, 0);
    while (!seen) {
        unsigned n = net_recv(r.net, rx, NET_BATCH);

        assert_int_not_equal(n, 0);
        for (unsigned i = 0; i < n && !seen; i++) {
            seen = rx[i].socket == last;
            before += !seen;
        }
    }
    assert_in_range(before, NET_PASS_DATAGRAMS / 2, NET_PASS_DATAGRAMS - 1);
    close(peer);
    rig_stop(&r);
}

/* ... nor do answers to what was read, as they come while many transfers run. */
static void test_last_among_answers(void **state)
{
    (void)state;
    struct rig r;
    struct net_rx rx[NET_BATCH];
    unsigned backlog = 8, batch = 4, before = 0;
    unsigned bound = engine == &net_mmsg_ops ? NET_PASS_DATAGRAMS : backlog;
    nsec turn = 0, read = 0;
    bool seen = false;

    START(&r, NULL);
    struct net_socket *last = rig_open(&r, "127.0.0.1:0"), *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    last->last = true;
    for (unsigned i = 0; i < backlog; i++)
        peer_send(peer, &s->local, "ack", 3);
    peer_send(peer, &last->local, "last", 4);
    for (unsigned i = 0; i < 2; i++)
        (void)loop_wait(r.loop, 0);
    for (; !seen && before <= bound; (void)loop_wait(r.loop, 0)) {
        unsigned n = net_recv(r.net, rx, batch);

        for (unsigned i = 0; i < n && !seen; i++) {
            seen = rx[i].socket == last;
            before += !seen;
        }
        net_recv_done(r.net);
        assert_int_equal(read, 0);
        read = net_last_read(r.net, ++turn);
        if (turn == 1)
            peer_send(peer, &last->local, "more", 4);
        for (unsigned i = 0; i < n; i++)
            peer_send(peer, &s->local, "ack", 3);
    }
    assert_in_range(before, backlog, bound);
    assert_in_range(read, 1, engine == &net_mmsg_ops ? turn : 1); /* "more" waits still */
    close(peer);
    rig_stop(&r);
}

/* What is queued goes out with the next wait, flushed or not. */
static void test_wait_flushes(void **state)
{
    (void)state;
    struct rig r;
    char buf[8];

    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    struct addr to = peer_addr(peer);
    rig_send(&r, s, &to, "x", 1);
    (void)loop_wait(r.loop, 0);
    assert_int_equal(peer_recv(peer, buf, sizeof(buf), NULL), 1);
    close(peer);
    rig_stop(&r);
}

struct chain {
    struct rig *r;
    struct net_socket *socket;
    struct addr to;
    unsigned sent;
};

static void chain_done(struct net_tx *tx, int res);

static void chain_send(struct chain *c)
{
    struct net_tx *tx = rig_tx(c->r, c->socket, &c->to);

    assert_non_null(tx);
    tx->done = chain_done;
    tx->owner = c;
    tx_add(tx, "x", 1);
    net_queue(c->r->net, tx);
}

static void chain_done(struct net_tx *tx, int res)
{
    struct chain *c = tx->owner;

    assert_int_equal(res, 1);
    if (c->sent++ % 500 < 450)
        chain_send(c);
}

/* done() queues the next, more often than one flush goes along with. */
static void test_queue_in_done(void **state)
{
    (void)state;
    struct rig r;
    struct net_config config = rig_config();

    config.tx_slots = 2; /* the one that is done is not back in the pool yet */
    START(&r, &config);
    int peer = peer_open("127.0.0.1");
    struct chain c = {.r = &r, .socket = rig_open(&r, "127.0.0.1:0"), .to = peer_addr(peer)};
    chain_send(&c);
    rig_until(&r, &c.sent, 451);
    assert_int_equal(net_stats(r.net)->tx_datagrams, 451);
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
    char any[ADDR_TEXT_MAX];

    config.gso = gso;
    START(&r, &config);
    struct net_socket *s = rig_open(&r, any_port(host, any));
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

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_v4),
        cmocka_unit_test(test_echo_v6),
        cmocka_unit_test(test_answer_from_asked_address),
        cmocka_unit_test(test_many_in),
        cmocka_unit_test(test_few_buffers),
        cmocka_unit_test(test_many_out),
        cmocka_unit_test(test_last),
        cmocka_unit_test(test_last_under_flood),
        cmocka_unit_test(test_last_among_answers),
        cmocka_unit_test(test_wait_flushes),
        cmocka_unit_test(test_queue_in_done),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_large_in),
        cmocka_unit_test(test_empty_datagrams),
        cmocka_unit_test(test_trains_gso),
        cmocka_unit_test(test_trains_split),
        cmocka_unit_test(test_gso_withdrawn),
        cmocka_unit_test(test_path_payload),
    };

    rig_choose(argc, argv);
    return cmocka_run_group_tests_name(engine->name, tests, NULL, NULL);
}
