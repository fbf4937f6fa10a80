/*
 * The ring by itself: what is queued is done, what is too much is refused, what is under way at
 * the end is cancelled, and a pass is one system call.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loop/loop.h"
#include "loop/ring.h"
#include "loop/uring_compat.h"

#define OPS 20000

struct counted {
    struct ring_op op;
    struct ring *again; /* asks this ring for a NOP when it completes */
    unsigned left;
    int res;
    bool refused;
};

static struct ring *ring;
static struct counted ops[OPS];
static unsigned done, cancelled;

static void complete(struct ring_op *op, int res, uint32_t flags)
{
    struct counted *c = container_of(op, struct counted, op);

    assert_false(flags & IORING_CQE_F_MORE);
    c->res = res;
    done++;
    cancelled += res == -ECANCELED;
    if (c->again && c->left > 0) {
        struct io_uring_sqe *sqe = ring_sqe(c->again, op);
        c->refused = !sqe;
        c->left--;
        if (sqe)
            io_uring_prep_nop(sqe);
    }
}

static struct {
    struct ring_op op;
    int res;
    bool done;
} last;

static void complete_last(struct ring_op *op, int res, uint32_t flags)
{
    (void)op, (void)flags;
    last.res = res;
    last.done = true;
}

static int setup(void **state)
{
    struct ring_config config = {.queue_depth = 64, .sq_thread_cpu = -1};

    (void)state;
    done = cancelled = 0;
    memset(ops, 0, sizeof(ops));
    last.op.complete = complete_last;
    for (size_t i = 0; i < OPS; i++)
        ops[i].op.complete = complete;
    ring = ring_new(&config);
    return ring ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    ring_free(ring);
    return 0;
}

static bool nop(size_t i)
{
    struct io_uring_sqe *sqe = ring_sqe(ring, &ops[i].op);

    if (sqe)
        io_uring_prep_nop(sqe);
    return sqe;
}

static void test_features(void **state)
{
    uint32_t f = ring_features(ring);

    (void)state;
    assert_true(ring_fd(ring) >= 0);
    assert_int_equal(ring_error(ring), 0);
    assert_true(ring_supports(ring, IORING_OP_NOP));
    assert_false(ring_supports(ring, -1));
    assert_false(ring_supports(ring, 255));
    assert_false(ring_supports(ring, 256));
    assert_false(f & RING_SQPOLL);
    if (f & RING_DEFER_TASKRUN)
        assert_true(f & RING_SINGLE_ISSUER);
    if (f & RING_RECVMSG_MULTISHOT)
        assert_true(f & RING_BUF_RING);
    assert_int_equal(ring_in_flight(ring), 0);
}

/* More than the submission queue holds goes through it all the same. */
static void test_more_than_the_queue(void **state)
{
    uint64_t submitted = ring_stats(ring)->submitted;

    (void)state;
    for (size_t i = 0; i < 1000; i++)
        assert_true(nop(i));
    assert_int_equal(ring_in_flight(ring), 1000);
    assert_int_equal(done, 0); /* nothing is called from a queueing call */
    while (done < 1000) {
        assert_int_equal(ring_wait(ring, NSEC_NEVER, 0), 0);
        ring_deliver(ring, UINT32_MAX);
    }
    assert_int_equal(ring_in_flight(ring), 0);
    assert_int_equal(ring_stats(ring)->submitted - submitted, 1000);
}

/* Submitting, waiting and reaping of a pass are one call. */
static void test_one_call(void **state)
{
    uint64_t enters;

    (void)state;
    for (unsigned round = 1; round <= 10; round++) {
        for (size_t i = 0; i < 20; i++)
            assert_true(nop(i));
        enters = ring_stats(ring)->enters;
        assert_int_equal(ring_wait(ring, NSEC_NEVER, 0), 0);
        assert_int_equal(ring_stats(ring)->enters, enters + 1);
        assert_int_equal(ring_deliver(ring, UINT32_MAX), 20);
    }
    /* And none, when there is nothing to say and no time to wait. */
    enters = ring_stats(ring)->enters;
    assert_int_equal(ring_wait(ring, 0, 1), 0);
    assert_false(ring_reap(ring));
    assert_int_equal(ring_submit(ring), 0);
    assert_int_equal(ring_stats(ring)->enters, enters);
}

static void test_deadline_past_still_reaps(void **state)
{
    (void)state;
    assert_true(nop(0));
    assert_int_equal(ring_wait(ring, 0, 1), 0);
    assert_int_equal(ring_deliver(ring, UINT32_MAX), 1);
}

static void test_deadline(void **state)
{
    nsec start = loop_clock();

    (void)state;
    assert_int_equal(ring_wait(ring, start + 2 * NSEC_PER_MSEC, start), 0);
    assert_true(loop_clock() - start >= 2 * NSEC_PER_MSEC);
    assert_int_equal(ring_deliver(ring, UINT32_MAX), 0);
}

static void test_budget(void **state)
{
    (void)state;
    for (size_t i = 0; i < 10; i++)
        assert_true(nop(i));
    assert_int_equal(ring_wait(ring, NSEC_NEVER, 0), 0);
    assert_int_equal(ring_deliver(ring, 3), 3);
    assert_int_equal(done, 3);
    assert_int_equal(ring_wait(ring, NSEC_NEVER, 0), 0); /* does not sleep on what is ready */
    assert_int_equal(ring_deliver(ring, UINT32_MAX), 7);
}

/* What a callback queues is not delivered before it has been reaped in its turn. */
static void test_queue_from_callback(void **state)
{
    (void)state;
    ops[0].again = ring;
    ops[0].left = 100;
    assert_true(nop(0));
    for (unsigned i = 1; i <= 101; i++) {
        assert_int_equal(ring_wait(ring, NSEC_NEVER, 0), 0);
        assert_int_equal(ring_deliver(ring, UINT32_MAX), 1);
        assert_int_equal(done, i);
    }
    assert_int_equal(ring_in_flight(ring), 0);
}

static void test_nobody_waits(void **state)
{
    struct io_uring_sqe *sqe = ring_sqe(ring, NULL);

    (void)state;
    assert_non_null(sqe);
    io_uring_prep_nop(sqe);
    assert_int_equal(ring_in_flight(ring), 0);
    assert_true(nop(0));
    assert_int_equal(ring_wait(ring, NSEC_NEVER, 0), 0);
    assert_int_equal(ring_deliver(ring, UINT32_MAX), 1);
}

/*
 * As many as the completion queue holds, and not one more, so that it cannot overflow. Freed
 * with all of them under way, the ring gives every one back, and takes no new ones meanwhile.
 */
static void test_full_then_freed(void **state)
{
    int fds[2];
    size_t n = 0;

    (void)state;
    assert_int_equal(pipe(fds), 0);
    for (; n < OPS; n++) {
        struct io_uring_sqe *sqe = ring_sqe(ring, &ops[n].op);
        if (!sqe)
            break;
        io_uring_prep_poll_add(sqe, fds[0], POLLIN);
    }
    assert_true(n >= 4096 && n < OPS);
    assert_int_equal(ring_in_flight(ring), n);
    assert_false(nop(n));
    ops[0].again = ring;
    ops[0].left = 1;
    ring_free(ring);
    ring = NULL;
    assert_int_equal(done, n);
    assert_int_equal(cancelled, n);
    assert_true(ops[0].refused);
    close(fds[0]);
    close(fds[1]);
}

/* Completions that nobody counts fill the queue; what does not fit, the kernel keeps for us. */
static void test_full_completion_queue(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ring_raw(ring)->cq.ring_entries + 100; i++) {
        struct io_uring_sqe *sqe = ring_sqe(ring, NULL);
        assert_non_null(sqe);
        io_uring_prep_nop(sqe);
    }
    for (size_t i = 0; i < 100; i++)
        assert_true(nop(i));
    assert_int_equal(ring_submit(ring), 0);
    assert_true(*ring_raw(ring)->sq.kflags & IORING_SQ_CQ_OVERFLOW);
    while (done < 100) {
        assert_int_equal(ring_wait(ring, NSEC_NEVER, 0), 0);
        ring_deliver(ring, UINT32_MAX);
    }
    assert_int_equal(ring_error(ring), 0);
    assert_int_equal(ring_in_flight(ring), 0);
}

/* The thread of this process whose name begins so; 0: there is none. */
static pid_t thread_named(const char *start)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *e;
    pid_t found = 0;

    assert_non_null(tasks);
    while (!found && (e = readdir(tasks))) {
        char path[300], name[32] = "";
        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
        FILE *f = fopen(path, "r");
        if (!f)
            continue;
        if (fgets(name, sizeof(name), f) && strncmp(name, start, strlen(start)) == 0)
            found = (pid_t)strtol(e->d_name, NULL, 10);
        fclose(f);
    }
    closedir(tasks);
    return found;
}

/* The polling thread stays on its processor; what it polls for gets done. */
static void test_polling_thread_is_pinned(void **state)
{
    struct ring_config config = {.queue_depth = 8, .sqpoll = true};
    cpu_set_t allowed, has;
    size_t cpu = CPU_SETSIZE - 1;
    size_t asked = 0;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
    while (!CPU_ISSET(cpu, &allowed))
        cpu--;
    config.sq_thread_cpu = (int)cpu;
    ring_free(ring);
    ring = ring_new(&config);
    if (!ring)
        skip(); /* kernels before 5.11 want privileges for it */
    assert_true(ring_features(ring) & RING_SQPOLL);
    pid_t thread = thread_named("iou-sqp");
    assert_true(thread > 0);
    assert_int_equal(sched_getaffinity(thread, sizeof(has), &has), 0);
    assert_int_equal(CPU_COUNT(&has), 1);
    assert_true(CPU_ISSET(cpu, &has));
    /* It takes them when it comes to it; until then there may be no room for more. */
    while (done < 1000) {
        while (asked < 1000 && nop(asked))
            asked++;
        assert_int_equal(ring_wait(ring, asked > done ? NSEC_NEVER : 0, 0), 0);
        ring_deliver(ring, UINT32_MAX);
    }
}

static int submit_one(void (*prep)(struct io_uring_sqe *sqe))
{
    struct io_uring_sqe *sqe = ring_sqe(ring, &last.op);

    assert_non_null(sqe);
    prep(sqe);
    last.done = false;
    while (!last.done) {
        assert_int_equal(ring_wait(ring, NSEC_NEVER, 0), 0);
        ring_deliver(ring, 1);
    }
    return last.res;
}

static void prep_nop(struct io_uring_sqe *sqe)
{
    io_uring_prep_nop(sqe);
}

static void prep_openat2(struct io_uring_sqe *sqe)
{
    static struct open_how how = {.flags = O_RDONLY | O_CLOEXEC};

    io_uring_prep_openat2(sqe, AT_FDCWD, "/dev/null", &how);
}

static void prep_openat(struct io_uring_sqe *sqe)
{
    io_uring_prep_openat(sqe, AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
}

static void prep_socket(struct io_uring_sqe *sqe)
{
    io_uring_prep_socket(sqe, AF_INET, SOCK_DGRAM, 0, 0);
}

static void prep_connect(struct io_uring_sqe *sqe)
{
    static const struct sockaddr_in to = {.sin_family = AF_INET};

    io_uring_prep_connect(sqe, 0, (const struct sockaddr *)&to, sizeof(to));
}

static void prep_linked(struct io_uring_sqe *sqe)
{
    io_uring_prep_nop(sqe);
    sqe->flags |= IOSQE_IO_LINK;
}

/* A restricted ring does what the program needs, and nothing else. */
static void test_restricted(void **state)
{
    struct ring_config config = {.queue_depth = 64, .sq_thread_cpu = -1, .restricted = true};
    uint32_t free_features = ring_features(ring);
    int fd;

    (void)state;
    fd = submit_one(prep_openat);
    assert_true(fd >= 0);
    close(fd);
    ring_free(ring);
    ring = ring_new(&config);
    assert_non_null(ring);
    if (!(ring_features(ring) & RING_RESTRICTED))
        skip(); /* before Linux 5.10 */
    assert_int_equal(ring_features(ring) & ~(uint32_t)RING_RESTRICTED, free_features);
    assert_int_equal(submit_one(prep_nop), 0);
    fd = submit_one(prep_openat2);
    assert_true(fd >= 0);
    assert_int_equal(submit_one(prep_openat), -EACCES);
    assert_int_equal(submit_one(prep_socket), -EACCES);
    assert_int_equal(submit_one(prep_connect), -EACCES);
    assert_int_equal(submit_one(prep_linked), -EACCES);
    assert_int_equal(io_uring_register_files(ring_raw(ring), &fd, 1), -EACCES);
    assert_int_equal(io_uring_register_personality(ring_raw(ring)), -EACCES);
    close(fd);
}

#define WORKERS 3
#define OPENS   20

/* Threads the kernel has made for the rings of this process, idle ones too: they wait 5 s for more.
 */
static unsigned kernel_workers(void)
{
    unsigned n = 0;
    struct dirent *entry;
    DIR *tasks = opendir("/proc/self/task");

    assert_non_null(tasks);
    while ((entry = readdir(tasks))) {
        char path[300], name[32] = "";
        FILE *comm;

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        comm = fopen(path, "r");
        if (!comm)
            continue;
        n += fgets(name, sizeof(name), comm) && strncmp(name, "iou-wrk", 7) == 0;
        fclose(comm);
    }
    closedir(tasks);
    return n;
}

/* Operations that block wait for one of the workers there are; no further ones are made for them.
 */
static void test_bounded_workers(void **state)
{
    struct ring_config config = {.queue_depth = 64, .sq_thread_cpu = -1, .iowq_bounded = WORKERS};
    static struct open_how how = {.flags = O_RDONLY | O_CLOEXEC};
    char folder[] = "/tmp/ring-test-XXXXXX", fifo[64];
    int writer;

    (void)state;
    ring_free(ring);
    ring = ring_new(&config);
    assert_non_null(ring);
    if (!(ring_features(ring) & RING_IOWQ_LIMITS))
        skip(); /* before Linux 5.15 */
    assert_non_null(mkdtemp(folder));
    snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    for (unsigned i = 0; i < OPENS; i++) { /* each blocks until there is a writer */
        struct io_uring_sqe *sqe = ring_sqe(ring, &ops[i].op);

        assert_non_null(sqe);
        io_uring_prep_openat2(sqe, AT_FDCWD, fifo, &how);
        sqe->flags |= IOSQE_ASYNC;
    }
    assert_int_equal(ring_wait(ring, 0, loop_clock()), 0);
    while (kernel_workers() < WORKERS)
        sched_yield();
    assert_int_equal(done, 0);
    writer = open(fifo, O_RDWR | O_CLOEXEC); /* which does not wait for a reader */
    assert_true(writer >= 0);
    while (done < OPENS) {
        assert_int_equal(ring_wait(ring, NSEC_NEVER, 0), 0);
        ring_deliver(ring, OPENS);
    }
    assert_int_equal(kernel_workers(), WORKERS);
    for (unsigned i = 0; i < OPENS; i++)
        assert_int_equal(close(ops[i].res), 0);
    close(writer);
    unlink(fifo);
    rmdir(folder);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_features),
        T(test_more_than_the_queue),
        T(test_one_call),
        T(test_deadline_past_still_reaps),
        T(test_deadline),
        T(test_budget),
        T(test_queue_from_callback),
        T(test_nobody_waits),
        T(test_full_then_freed),
        T(test_full_completion_queue),
        T(test_polling_thread_is_pinned),
        T(test_restricted),
        T(test_bounded_workers),
    };

    if (setup(NULL) < 0) {
        print_message("skipped: io_uring: %s\n", strerror(errno));
        return 77;
    }
    teardown(NULL);
    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
