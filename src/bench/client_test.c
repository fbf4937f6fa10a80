/* One client against a server made of single packets: what each kind says, and when. Time is the
 * test's own; only the bytes travel over loopback. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "bench/impair.h"
#include "bench/profile.h"

#define MSEC NSEC_PER_MSEC

struct rig {
    struct bench_plan plan;
    struct bench_result result;
    struct bench_env env;
    struct bench_client client;
    struct bench_file file;
    uint8_t content[4096];
    int server;          /* what the client sends arrives here */
    union addr_sock tid; /* where answers come from */
    uint8_t packet[600]; /* the last one of the client */
    size_t len;
    uint64_t taken; /* packets of the client so far */
    nsec now;
    unsigned idle;
};

static void on_idle(struct bench_client *c, nsec now)
{
    struct rig *r = c->env->owner;

    (void)now;
    r->idle++;
}

static void ignore_packet(void *owner, const union addr_sock *from, struct view d, nsec now)
{
    (void)owner;
    (void)from;
    (void)d;
    (void)now;
}

static void ignore_error(void *owner, nsec now)
{
    (void)owner;
    (void)now;
}

static void fire(struct timer *t, nsec now, void *arg)
{
    (void)arg;
    bench_client_on_timer(container_of(t, struct bench_client, timer), now);
}

static struct rig *rig_new(const char *kind)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct timeval patience = {.tv_sec = 10};
    socklen_t len = sizeof(r->tid);
    char error[200];

    assert_non_null(r);
    r->server = socket(AF_INET, SOCK_DGRAM, 0);
    r->tid.in =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(r->server, &r->tid.sa, sizeof(r->tid.in)), 0);
    assert_int_equal(getsockname(r->server, &r->tid.sa, &len), 0);
    setsockopt(r->server, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    for (size_t i = 0; i < sizeof(r->content); i++)
        r->content[i] = (uint8_t)(i * 7 + i / 256);
    r->file = (struct bench_file){
        .name = (char *)(uintptr_t) "boot", .bytes = r->content, .known = true, .weight = 1};
    r->file.size = 2500;
    r->plan.corpus = (struct bench_corpus){&r->file, 1, 1, 1};
    assert_int_equal(addr_from_sock(&r->plan.server, &r->tid), 0);
    r->plan.class_count = 1;
    r->plan.classes[0] = (struct bench_class){.profile = bench_profile_find(kind),
                                              .weight = 1,
                                              .blksize = -1,
                                              .windowsize = -1,
                                              .timeout_s = -1,
                                              .tsize = -1};
    assert_int_equal(bench_class_build(&r->plan.classes[0]), 0);
    r->plan.verify = true;
    r->plan.clients = r->plan.threads = 1;
    r->plan.retry = 1000 * MSEC;
    r->plan.patience = 60000 * MSEC;
    r->plan.put_name = "%f.%c.%n%%";
    r->now = 1000 * MSEC;
    r->env = (struct bench_env){
        .plan = &r->plan, .result = &r->result, .server = r->tid, .idle = on_idle, .owner = r};
    wheel_init(&r->env.wheel, r->now);
    prng_seed(&r->env.prng, 5);
    assert_int_equal(bench_io_new(&r->env.io, &r->plan, 1, &r->result, ignore_packet, ignore_error,
                                  error, sizeof(error)),
                     0);
    bench_client_init(&r->client, &r->env, 3);
    return r;
}

static void rig_free(struct rig *r)
{
    bench_impair_free(r->env.impair);
    bench_io_free(r->env.io);
    close(r->server);
    free(r);
}

/* The client has said nothing more. */
static void silent(struct rig *r)
{
    bench_io_flush(r->env.io);
    assert_int_equal(r->result.packets_out, r->taken);
}

/* The next packet of the client is these bytes. */
static void says(struct rig *r, const void *bytes, size_t n)
{
    bench_io_flush(r->env.io);
    assert_true(r->result.packets_out > r->taken);
    ssize_t len = recv(r->server, r->packet, sizeof(r->packet), 0);
    assert_int_equal(len, n);
    assert_memory_equal(r->packet, bytes, n);
    r->taken++;
}

#define SAYS(r, text) says(r, text, sizeof(text) - 1)

static void says_ack(struct rig *r, uint16_t block)
{
    uint8_t ack[4] = {0, 4, (uint8_t)(block >> 8), (uint8_t)block};

    says(r, ack, sizeof(ack));
}

static void receives(struct rig *r, const void *bytes, size_t n)
{
    r->now += MSEC;
    bench_client_on_packet(&r->client, &r->tid, view_of(bytes, n), r->now);
}

#define GETS(r, text) receives(r, text, sizeof(text) - 1)

static void gets_data(struct rig *r, uint16_t block, size_t blksize)
{
    uint8_t packet[1500] = {0, 3, (uint8_t)(block >> 8), (uint8_t)block};
    size_t at = (block - 1U) * blksize;
    size_t n = MIN(blksize, r->file.size - at);

    memcpy(packet + 4, r->content + at, n);
    receives(r, packet, n + 4);
}

static void waits(struct rig *r, nsec t)
{
    r->now += t;
    if (r->env.impair)
        bench_impair_fire(r->env.impair, r->now);
    wheel_fire(&r->env.wheel, r->now, fire, NULL);
}

static void starts(struct rig *r)
{
    bench_client_start(&r->client, r->now, r->now);
}

static void test_plain(void **state)
{
    struct rig *r = rig_new("plain");

    (void)state;
    bench_client_start(&r->client, r->now - 50 * MSEC, r->now); /* it should have begun earlier */
    SAYS(r, "\0\1boot\0octet\0");
    for (uint16_t block = 1; block <= 5; block++) {
        gets_data(r, block, 512);
        says_ack(r, block);
    }
    assert_int_equal(r->idle, 1);
    assert_int_equal(r->result.succeeded, 1);
    assert_int_equal(r->result.bytes, 2500);
    assert_in_range(r->result.first_byte.max, 51 * MSEC, 52 * MSEC);
    assert_in_range(r->result.transfer.max, 55 * MSEC, 56 * MSEC);
    rig_free(r);
}

/* Answers that are not: from another host, of another kind, of a transfer that is over. */
static void test_strays(void **state)
{
    struct rig *r = rig_new("plain");
    union addr_sock right = r->tid, stale = r->tid, elsewhere = r->tid;

    (void)state;
    stale.in.sin_port ^= 1;
    elsewhere.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
    starts(r);
    SAYS(r, "\0\1boot\0octet\0");
    r->tid = elsewhere;
    gets_data(r, 1, 512);
    assert_int_equal(r->result.strays, 1);
    r->tid = stale;
    gets_data(r, 4, 512);
    silent(r);
    r->tid = right;
    gets_data(r, 1, 512);
    says_ack(r, 1);
    r->tid = stale;
    gets_data(r, 2, 512);
    assert_int_equal(r->result.strays, 2);
    silent(r);
    rig_free(r);
}

static void test_wrong_content(void **state)
{
    struct rig *r = rig_new("plain");

    (void)state;
    starts(r);
    SAYS(r, "\0\1boot\0octet\0");
    gets_data(r, 1, 512);
    r->content[700] ^= 1;
    r->file.bytes = memcpy(r->content + 2600, r->content, 1000);
    ((uint8_t *)(uintptr_t)r->file.bytes)[700] ^= 1;
    r->file.size = 1000;
    gets_data(r, 2, 512);
    assert_int_equal(r->result.failed[BENCH_FAIL_CONTENT], 1);
    assert_int_equal(r->result.succeeded, 0);
    rig_free(r);
}

static void test_refused(void **state)
{
    struct rig *r = rig_new("plain");

    (void)state;
    starts(r);
    GETS(r, "\0\5\0\1no\0");
    assert_int_equal(r->result.failed[BENCH_FAIL_REFUSED], 1);
    assert_int_equal(r->result.errors[1], 1);
    starts(r);
    bench_client_on_unreachable(&r->client, r->now);
    assert_int_equal(r->result.failed[BENCH_FAIL_UNREACHABLE], 1);
    assert_int_equal(r->idle, 2);
    rig_free(r);
}

/* The probe, its ERROR 8, the second request from another port, and an ACK for every block that
 * is not the next one. */
static void test_edk2(void **state)
{
    struct rig *r = rig_new("edk2");

    (void)state;
    starts(r);
    SAYS(r, "\0\1boot\0octet\0tsize\0000\0blksize\0001468\0windowsize\0004\0");
    waits(r, 4000 * MSEC);
    SAYS(r, "\0\1boot\0octet\0tsize\0000\0blksize\0001468\0windowsize\0004\0");
    GETS(r, "\0\6tsize\0002500\0blksize\000100\0windowsize\0004\0");
    SAYS(r, "\0\5\0\10User aborted the transfer\0");
    silent(r);
    waits(r, 6 * MSEC);
    SAYS(r, "\0\1boot\0octet\0blksize\0001468\0windowsize\0004\0");
    GETS(r, "\0\6blksize\000100\0windowsize\0004\0");
    says_ack(r, 0);
    gets_data(r, 1, 100);
    silent(r);
    gets_data(r, 3, 100);
    says_ack(r, 1);
    gets_data(r, 4, 100);
    says_ack(r, 1);
    gets_data(r, 1, 100);
    says_ack(r, 1);
    for (uint16_t block = 2; block <= 5; block++)
        gets_data(r, block, 100);
    says_ack(r, 5);
    waits(r, 4000 * MSEC);
    says_ack(r, 5);
    assert_int_equal(r->result.requests_resent, 1);
    for (unsigned i = 0; i < 6; i++)
        waits(r, 4100 * MSEC);
    assert_int_equal(r->result.failed[BENCH_FAIL_TIMEOUT], 1);
    rig_free(r);
}

/* Acknowledges an old block by its own number, never repeats an ACK, needs an OACK. */
static void test_grub(void **state)
{
    struct rig *r = rig_new("grub");

    (void)state;
    starts(r);
    SAYS(r, "\0\1/boot\0octet\0blksize\0001024\0tsize\0000\0");
    waits(r, 399 * MSEC);
    silent(r);
    waits(r, 2 * MSEC);
    SAYS(r, "\0\1/boot\0octet\0blksize\0001024\0tsize\0000\0");
    GETS(r, "\0\6blksize\0001024\0tsize\0002500\0");
    says_ack(r, 0);
    gets_data(r, 1, 1024);
    says_ack(r, 1);
    gets_data(r, 2, 1024);
    says_ack(r, 2);
    gets_data(r, 1, 1024);
    says_ack(r, 1);
    waits(r, 20000 * MSEC);
    silent(r);
    gets_data(r, 3, 1024);
    says_ack(r, 3);
    assert_int_equal(r->result.succeeded, 1);
    starts(r);
    SAYS(r, "\0\1/boot\0octet\0blksize\0001024\0tsize\0000\0");
    gets_data(r, 1, 512);
    assert_int_equal(r->result.failed[BENCH_FAIL_PROTOCOL], 1);
    rig_free(r);
}

static void test_busybox(void **state)
{
    struct rig *r = rig_new("busybox");

    (void)state;
    starts(r);
    SAYS(r, "\0\1boot\0octet\0tsize\0000\0");
    waits(r, 101 * MSEC);
    SAYS(r, "\0\1boot\0octet\0tsize\0000\0");
    GETS(r, "\0\6tsize\0002500\0");
    says_ack(r, 0);
    gets_data(r, 1, 512);
    says_ack(r, 1);
    gets_data(r, 1, 512);
    gets_data(r, 3, 512);
    silent(r);
    waits(r, 101 * MSEC);
    says_ack(r, 1);
    rig_free(r);
}

static void test_put(void **state)
{
    struct rig *r = rig_new("plain");

    (void)state;
    r->plan.put = true;
    r->plan.classes[0].tsize = 1;
    assert_int_equal(bench_class_build(&r->plan.classes[0]), 0);
    r->file.size = 600;
    starts(r);
    SAYS(r, "\0\2boot.3.1%\0octet\0tsize\000600\0");
    GETS(r, "\0\6tsize\000600\0");
    uint8_t data[516] = {0, 3, 0, 1};
    memcpy(data + 4, r->content, 512);
    says(r, data, sizeof(data));
    GETS(r, "\0\4\0\1");
    data[3] = 2;
    memcpy(data + 4, r->content + 512, 88);
    says(r, data, 92);
    GETS(r, "\0\4\0\2");
    assert_int_equal(r->result.succeeded, 1);
    assert_int_equal(r->result.bytes, 600);
    rig_free(r);
}

static void test_small_buffers(void **state)
{
    struct rig *r = rig_new("uboot");

    (void)state;
    r->plan.rcvbuf_packets = 2;
    starts(r);
    r->taken = r->result.packets_out;
    for (unsigned i = 0; i < 5; i++) /* all at one instant */
        bench_client_on_packet(&r->client, &r->tid, view_of("\0\3\0\7", 4), r->now);
    assert_int_equal(r->result.rcvbuf_lost, 3);
    rig_free(r);
}

static void test_misbehaviour(void **state)
{
    struct rig *r = rig_new("plain");

    (void)state;
    r->plan.misbehave_share = 1000000;
    r->plan.misbehave = BENCH_NEVER_ACK;
    r->plan.late_ack = 500 * MSEC;
    starts(r);
    SAYS(r, "\0\1boot\0octet\0");
    gets_data(r, 1, 512);
    gets_data(r, 1, 512);
    silent(r);
    assert_int_equal(r->idle, 0);
    waits(r, 501 * MSEC);
    assert_int_equal(r->idle, 1);
    assert_int_equal(r->result.misbehaved, 1);
    r->plan.misbehave = BENCH_VANISH;
    starts(r);
    SAYS(r, "\0\1boot\0octet\0");
    for (uint16_t block = 1; block <= 5 && r->idle == 1; block++)
        gets_data(r, block, 512);
    assert_int_equal(r->idle, 2);
    assert_int_equal(r->result.misbehaved, 2);
    assert_int_equal(r->result.succeeded, 0);
    assert_int_equal(bench_result_failures(&r->result), 0);
    rig_free(r);
}

/* The endpoint is kept until the delayed last ACK is out. */
static void test_delay(void **state)
{
    struct rig *r = rig_new("plain");

    (void)state;
    r->plan.in.delay = 30 * MSEC;
    r->plan.out.delay = 20 * MSEC;
    r->file.size = 100;
    r->env.impair = bench_impair_new(&r->env);
    assert_non_null(r->env.impair);
    starts(r);
    silent(r);
    waits(r, 21 * MSEC);
    SAYS(r, "\0\1boot\0octet\0");
    gets_data(r, 1, 512);
    waits(r, 31 * MSEC);
    assert_int_equal(r->result.succeeded, 1);
    assert_int_equal(r->idle, 0);
    silent(r);
    waits(r, 21 * MSEC);
    says_ack(r, 1);
    waits(r, 1 * MSEC);
    assert_int_equal(r->idle, 1);
    rig_free(r);
}

static void test_loss(void **state)
{
    struct rig *r = rig_new("plain");
    uint64_t lost;

    (void)state;
    r->plan.out.loss = 300000;
    r->plan.out.duplicate = 300000;
    r->env.impair = bench_impair_new(&r->env);
    assert_non_null(r->env.impair);
    starts(r);
    for (unsigned i = 0; i < 2000; i++)
        bench_impair_send(r->env.impair, &r->client, view_of("\0\4\0\0", 4), 0, r->now);
    bench_io_flush(r->env.io);
    lost = r->result.impaired_lost;
    assert_in_range(lost, 500, 700);
    assert_in_range(r->result.impaired_doubled, 350, 490);
    assert_int_equal(r->result.packets_out, 2001 - lost + r->result.impaired_doubled);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),         cmocka_unit_test(test_strays),
        cmocka_unit_test(test_wrong_content), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_edk2),          cmocka_unit_test(test_grub),
        cmocka_unit_test(test_busybox),       cmocka_unit_test(test_put),
        cmocka_unit_test(test_small_buffers), cmocka_unit_test(test_misbehaviour),
        cmocka_unit_test(test_delay),         cmocka_unit_test(test_loss),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
