/*
 * While the loop waits in one socket alone, nothing gets lost: not its datagrams, not its errors,
 * and not what comes to the others. For each engine; one that has no such way must not mind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "net/net_rig.h"

#define QUESTIONS 200

static void test_lock_step(void **state)
{
    (void)state;
    struct rig r;
    struct net_rx rx[NET_BATCH];
    char buf[16];

    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    struct addr to = peer_addr(peer);

    net_wait_in(r.net, s);
    for (unsigned i = 0; i < QUESTIONS; i++) {
        peer_send(peer, &s->local, &i, sizeof(i));
        rig_receive(&r, rx, 1);
        assert_ptr_equal(rx[0].socket, s);
        assert_true(addr_equal(&rx[0].peer, &to));
        assert_int_equal(rx[0].data.n, sizeof(i));
        assert_memory_equal(rx[0].data.p, &i, sizeof(i));
        assert_int_not_equal(rx[0].ifindex, 0);
        rig_send(&r, s, &to, "answer", 6);
        rig_until(&r, &r.done_count, i + 1);
        assert_int_equal(peer_recv(peer, buf, sizeof(buf), NULL), 6);
    }
    assert_int_equal(net_stats(r.net)->rx_datagrams, QUESTIONS);
    assert_int_equal(net_stats(r.net)->rx_bytes, QUESTIONS * sizeof(unsigned));
    close(peer);
    rig_stop(&r);
}

/* What came before, and several at once. */
static void test_turns_to_one_and_back(void **state)
{
    (void)state;
    struct rig r;
    struct net_rx rx[NET_BATCH];

    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");

    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 10; i++)
            peer_send(peer, &s->local, "x", 1);
        net_wait_in(r.net, round % 2 ? NULL : s);
        rig_receive(&r, rx, 10);
    }
    close(peer);
    rig_stop(&r);
}

static void test_others_are_heard(void **state)
{
    (void)state;
    struct rig r;
    struct net_rx rx[NET_BATCH];

    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    struct net_socket *other = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");

    net_wait_in(r.net, s);
    peer_send(peer, &other->local, "x", 1);
    rig_receive(&r, rx, 1);
    assert_ptr_equal(rx[0].socket, other);
    close(peer);
    rig_stop(&r);
}

static void test_unreachable(void **state)
{
    (void)state;
    struct rig r;

    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");
    struct addr gone = peer_addr(peer);

    close(peer);
    net_wait_in(r.net, s);
    for (unsigned i = 1; i <= 5; i++) {
        rig_send(&r, s, &gone, "x", 1);
        rig_until(&r, &r.unreachable_count, i);
        assert_true(addr_equal(&r.unreachable_peer, &gone));
        assert_int_equal(r.unreachable_err, ECONNREFUSED);
    }
    rig_stop(&r);
}

/* Its datagram has been taken from the kernel already when the socket is closed. */
static void test_close_before_receive(void **state)
{
    (void)state;
    struct rig r;
    struct net_rx rx[NET_BATCH];

    START(&r, NULL);
    struct net_socket *s = rig_open(&r, "127.0.0.1:0");
    struct net_socket *other = rig_open(&r, "127.0.0.1:0");
    int peer = peer_open("127.0.0.1");

    net_wait_in(r.net, s);
    peer_send(peer, &s->local, "old", 3);
    (void)loop_wait(r.loop, loop_clock() + RIG_PATIENCE);
    (void)loop_wait(r.loop, loop_clock() + RIG_PATIENCE); /* has one already */
    net_close_socket(r.net, s);
    peer_send(peer, &other->local, "new", 3);
    rig_receive(&r, rx, 1);
    assert_ptr_equal(rx[0].socket, other);
    assert_memory_equal(rx[0].data.p, "new", 3);
    close(peer);
    rig_stop(&r);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lock_step),
        cmocka_unit_test(test_turns_to_one_and_back),
        cmocka_unit_test(test_others_are_heard),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_close_before_receive),
    };

    rig_choose(argc, argv);
    return cmocka_run_group_tests_name(engine->name, tests, NULL, NULL);
}
