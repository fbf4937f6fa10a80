/*
 * Closing sockets at every moment a callback can, for each engine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <unistd.h>

#include "net/net_rig.h"

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

static void close_victim(void *arg, struct net_socket *s, const struct addr *peer, int err)
{
    struct closer *c = arg;

    (void)s;
    (void)peer;
    (void)err;
    if (c->calls++ == 0)
        net_close_socket(c->r->net, c->victim);
}

/* A callback closes a socket of which the batch being filled has datagrams: they are left out. */
static void test_close_while_filling(void **state)
{
    (void)state;
    struct rig r;
    struct net_rx rx[NET_BATCH];
    nsec give_up = loop_clock() + RIG_PATIENCE;

    START(&r, NULL);
    struct net_socket *victim = rig_open(&r, "127.0.0.1:0"), *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1"), gone = peer_open("127.0.0.1");
    struct addr to = peer_addr(gone);
    struct closer c = {.r = &r, .victim = victim};
    close(gone);
    net_on_unreachable(r.net, close_victim, &c);
    peer_send(peer, &victim->local, "x", 1);
    rig_send(&r, s, &to, "y", 1);
    net_flush(r.net);
    while (c.calls == 0) {
        (void)loop_wait(r.loop, loop_clock() + NSEC_PER_MSEC);
        unsigned n = net_recv(r.net, rx, NET_BATCH);
        for (unsigned i = 0; i < n && c.calls > 0; i++)
            assert_ptr_not_equal(rx[i].socket, victim);
        assert_true(loop_clock() < give_up);
    }
    close(peer);
    rig_stop(&r);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_close_with_queue),     cmocka_unit_test(test_close_in_done),
        cmocka_unit_test(test_close_in_unreachable), cmocka_unit_test(test_close_in_batch),
        cmocka_unit_test(test_close_while_filling),
    };

    rig_choose(argc, argv);
    return cmocka_run_group_tests_name(engine->name, tests, NULL, NULL);
}
