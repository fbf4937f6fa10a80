/*
 * When a transfer turns to its bytes. What it does with them is tested with the store, the server
 * and the simulator.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "file/file.h"
#include "file/mem.h"
#include "loop/loop.h"
#include "proto/session_fixture.h"
#include "xfer/xfer.h"

#define T0 (1000 * NSEC_PER_SEC)

static unsigned reads, flushes;

static int count_read(struct xfer *x, uint64_t offset, uint64_t bytes, struct store_slice *slices,
                      unsigned max)
{
    (void)x, (void)offset, (void)bytes, (void)slices, (void)max;
    reads++;
    return 0; /* they will come */
}

static void count_flush(struct xfer *x)
{
    (void)x;
    flushes++;
}

static void no_close(struct xfer *x)
{
    (void)x;
}

static const struct xfer_data_ops counting = {
    .read = count_read,
    .flush = count_flush,
    .close = no_close,
};

/* A transfer of a worker with one net_tx. */
struct rig {
    struct loop *loop;
    struct wheel wheel;
    struct xfer_env env;
    struct net_socket socket;
    struct xfer x;
};

static void set_up(struct rig *r)
{
    struct net_config config = {.batch = 1, .rx_bytes_max = 2048, .tx_slots = 1};
    struct addr peer = {.family = AF_INET, .ip = {127, 0, 0, 1}, .port = 1024};

    memset(r, 0, sizeof(*r));
    reads = flushes = 0;
    r->loop = loop_new(NULL);
    wheel_init(&r->wheel, T0);
    xfer_env_init(&r->env);
    r->env.net = net_new(&net_mmsg_ops, r->loop, &config);
    r->env.wheel = &r->wheel;
    assert_non_null(r->env.net);
    r->socket.local.family = AF_INET;
    xfer_init(&r->x, &r->env, &peer, &peer);
    xfer_set_socket(&r->x, &r->socket);
    r->x.data = &counting;
}

static void tear_down(struct rig *r)
{
    xfer_fini(&r->x);
    net_free(r->env.net);
    loop_free(r->loop);
}

/*
 * Bytes that are read and cannot be sent are given up again. With few buffers, some transfers took
 * them from each other like that, and read from the disk for as long as no net_tx was free.
 */
static void nothing_is_read_that_cannot_be_sent(void **state)
{
    struct fixture_options o = {0};
    struct rig r;

    (void)state;
    set_up(&r);
    assert_int_equal(fixture_serve(&r.x.session, TFTP_RRQ, &o, 5000, NULL, T0), 0);
    struct net_tx *tx = net_tx_get(r.env.net);
    xfer_kick(&r.x, T0);
    xfer_env_resume(&r.env, T0);
    assert_int_equal(reads, 0);
    net_tx_put(r.env.net, tx);
    xfer_env_resume(&r.env, T0);
    assert_int_equal(reads, 1);
    xfer_env_resume(&r.env, T0);
    assert_int_equal(reads, 1); /* now it waits for the disk */
    tear_down(&r);
}

/* A window that ends early: what came of it is written, so that it can be acknowledged. */
static void the_timer_has_the_rest_of_a_window_stored(void **state)
{
    struct fixture_options o = {.blksize = 512, .windowsize = 8};
    struct tftp_session *s;
    struct rig r;

    (void)state;
    set_up(&r);
    s = &r.x.session;
    assert_int_equal(fixture_serve(s, TFTP_WRQ, &o, 0, NULL, T0), 0);
    fixture_take(s, T0);
    assert_true(fixture_data(s, 1, 512, T0).accepted);
    xfer_on_timer(&r.x, T0);
    assert_int_equal(flushes, 0);
    xfer_on_timer(&r.x, tftp_session_deadline(s));
    assert_int_equal(flushes, 1);
    tear_down(&r);
}

static void no_ready(struct store_wait *w)
{
    (void)w;
}

static void settle(struct file_io *io, const struct store *s, nsec now)
{
    do {
        file_mem_advance(io, now);
        file_complete(io, UINT32_MAX);
        now = file_mem_next(io);
    } while (!store_idle(s) || !file_io_idle(io));
}

/* The kernel has the bytes of a datagram that waits to be sent, even when its transfer is over and
 * memory is asked for. */
static void bytes_stay_until_their_datagram_has_left(void **state)
{
    const struct store_config config = {
        .chunk_bytes = 4096, .cache_bytes = 4 * 4096, .files_max = 4, .upload_mode = 0644};
    const struct addr here = {.family = AF_INET, .ip = {127, 0, 0, 1}};
    struct fixture_options o = {0};
    struct net_socket *socket;
    struct rig r;
    uint8_t content[300] = {1};

    (void)state;
    set_up(&r);
    assert_int_equal(net_open(r.env.net, &here, false, NULL, &socket), 0);
    xfer_set_socket(&r.x, socket);
    struct file_io *io = file_io_new_mem(r.loop);
    file_mem_put(io, "f", content, sizeof(content));
    struct store *s = r.env.store = store_new(io, &config);
    r.x.data = &xfer_send_octet;
    r.x.reader.wait.ready = no_ready;
    store_open(s, &r.x.reader, "f");
    settle(io, s, T0);
    assert_int_equal(fixture_serve(&r.x.session, TFTP_RRQ, &o, sizeof(content), NULL, T0), 0);
    xfer_kick(&r.x, T0);
    settle(io, s, T0);
    xfer_kick(&r.x, T0);
    assert_null(net_tx_get(r.env.net)); /* it has the only one */
    xfer_fini(&r.x);
    store_trim(s);
    settle(io, s, T0);
    assert_int_equal(store_stats(s)->chunks_used, 1);
    net_flush(r.env.net);
    store_trim(s);
    settle(io, s, T0);
    assert_int_equal(store_stats(s)->chunks_used, 0);
    store_free(s);
    file_io_free(io);
    net_free(r.env.net);
    loop_free(r.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_read_that_cannot_be_sent),
        cmocka_unit_test(the_timer_has_the_rest_of_a_window_stored),
        cmocka_unit_test(bytes_stay_until_their_datagram_has_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
