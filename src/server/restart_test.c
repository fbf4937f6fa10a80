/*
 * When a request that comes again means that the client has started over, and when it is an old
 * copy: a worker on a loopback socket, with a clock that is made up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "file/mem.h"
#include "loop/loop.h"
#include "net/net.h"
#include "server/worker.h"

#define REQUEST "\0\1file\0octet\0blksize\000600"
#define OACK    "\0\6blksize\000600"

static struct rig {
    struct net_ops ops;
    struct conf conf;
    struct loop *loop;
    struct worker w;
    nsec now;
    nsec last_read;
    bool unread; /* requests have been found that were not read */
    int fd;
    union addr_sock listen, tid;
} rig;

static nsec rig_clock(void)
{
    return rig.now;
}

static unsigned path_payload(const struct addr *peer, const struct addr *local)
{
    (void)peer;
    (void)local;
    return 1472;
}

static nsec last_read(struct net *n, nsec now)
{
    (void)n;
    if (!rig.unread)
        rig.last_read = now;
    return rig.last_read;
}

static int set_up(void **state)
{
    struct addr listen;
    struct worker *w = &rig.w;

    (void)state;
    memset(&rig, 0, sizeof(rig));
    rig.now = 1000 * NSEC_PER_SEC;
    assert_int_equal(addr_parse(&listen, "127.0.0.1:0", 0), 0);
    assert_int_equal(conf_init(&rig.conf), 0);
    rig.conf.performance_workers = 1;
    rig.loop = loop_new(NULL);
    assert_non_null(rig.loop);
    rig.ops = net_mmsg_ops;
    rig.ops.last_read = last_read;
    struct net_config config = settings_net_config(&rig.conf);
    w->conf = &rig.conf;
    w->root_fd = -1;
    w->settings = settings_new(&rig.conf, 1);
    w->limiter = calloc(1, sizeof(*w->limiter));
    w->listen_count = 1;
    w->parts = (struct worker_parts){
        .net = net_new(&rig.ops, rig.loop, &config),
        .files = file_io_new_mem(NULL),
        .listen = &listen,
        .clock = rig_clock,
        .path_payload = path_payload,
        .seed = 1,
    };
    assert_int_equal(worker_set_up(w), 0);
    uint8_t content[3000] = {0};
    file_mem_put(w->parts.files, "file", content, sizeof(content));

    struct net_socket *s = w->listeners[0];
    assert_int_equal(addr_to_sock(&s->local, AF_INET, &rig.listen), sizeof(rig.listen.in));
    rig.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(rig.fd >= 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(rig.fd);
    worker_tear_down(&rig.w);
    free(rig.w.limiter);
    loop_free(rig.loop);
    conf_fini(&rig.conf);
    return 0;
}

/* What is there is read, and files answer. */
static void turns(void)
{
    for (unsigned i = 0; i < 4; i++) {
        (void)loop_wait(rig.loop, 0);
        file_mem_advance(rig.w.parts.files, rig.now);
        (void)worker_pass(&rig.w, rig.now);
    }
}

static void send_to(const union addr_sock *to, const void *bytes, size_t n)
{
    assert_int_equal(sendto(rig.fd, bytes, n, 0, &to->sa, sizeof(to->in)), n);
    turns();
}

/* All answers that wait are read; the last one is of this kind. */
static void expect(const void *start, size_t n)
{
    uint8_t bytes[1500];
    socklen_t len = sizeof(rig.tid);
    ssize_t got = -1, r;

    while ((r = recvfrom(rig.fd, bytes, sizeof(bytes), 0, &rig.tid.sa, &len)) >= 0)
        got = r;
    assert_true(got >= (ssize_t)n);
    assert_memory_equal(bytes, start, n);
}

/* So many transfers have been replaced by then. */
static void asks_again(uint64_t replaced)
{
    send_to(&rig.listen, REQUEST, sizeof(REQUEST));
    assert_int_equal(rig.w.metrics.v[METRIC_REQUESTS_REPLACED], replaced);
}

/* A transfer whose client has had the OACK and DATA 1. */
static void begin(void)
{
    send_to(&rig.listen, REQUEST, sizeof(REQUEST));
    expect(OACK, sizeof(OACK));
    send_to(&rig.tid, "\0\4\0\0", 4);
    expect("\0\3\0\1", 4);
}

static void silent_client_starts_over(void **state)
{
    (void)state;
    begin();
    rig.now += 900 * NSEC_PER_MSEC;
    asks_again(0);
    rig.now += 100 * NSEC_PER_MSEC;
    asks_again(1);
    expect(OACK, sizeof(OACK));
}

/* The server was busy, or stood still: a copy from before the first ACK is read long after it. */
static void copy_read_late_is_none(void **state)
{
    (void)state;
    rig.unread = true;
    begin();
    rig.now += 5 * NSEC_PER_SEC;
    asks_again(0);
    send_to(&rig.tid, "\0\4\0\1", 4);
    expect("\0\3\0\2", 4);
    /* Now those from that time have been read. */
    rig.unread = false;
    turns();
    rig.now += NSEC_PER_SEC;
    asks_again(1);
}

/* In a flood there is always a request that was not read yet. */
static void a_flood_hides_no_restart_for_long(void **state)
{
    (void)state;
    rig.unread = true;
    begin();
    rig.now += 9 * NSEC_PER_SEC;
    asks_again(0);
    rig.now += NSEC_PER_SEC;
    asks_again(1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(silent_client_starts_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(copy_read_late_is_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flood_hides_no_restart_for_long, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
