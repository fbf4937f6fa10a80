/*
 * A ring that cannot, will not, or stops: injected at its boundary, and by taking it away from
 * a process for real.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file/test_rig.h"

static struct rig rig;

static struct {
    enum file_op op; /* FILE_OPS: any */
    bool completing;
    int err;
    unsigned skip;  /* so many pass first */
    unsigned times; /* then so many fail */
} injection;

/* What the ring has, as its boundary sees it. */
static struct {
    unsigned now, max;
    unsigned slow, slow_max;
} under_way;

static void count_under_way(const struct file_req *req, bool completing)
{
    bool slow = req->op == FILE_UNLINK;

    if (completing) {
        under_way.now--;
        under_way.slow -= slow;
        return;
    }
    under_way.now++;
    under_way.slow += slow;
    under_way.max = MAX(under_way.max, under_way.now);
    under_way.slow_max = MAX(under_way.slow_max, under_way.slow);
}

static int inject(void *arg, const struct file_req *req, bool completing, int64_t result)
{
    (void)arg, (void)result;
    count_under_way(req, completing);
    if (completing != injection.completing || !injection.times ||
        (injection.op != FILE_OPS && injection.op != req->op))
        return 0;
    if (injection.skip) {
        injection.skip--;
        return 0;
    }
    injection.times--;
    return injection.err;
}

static void inject_next(enum file_op op, bool completing, int err, unsigned times)
{
    injection.op = op;
    injection.completing = completing;
    injection.err = err;
    injection.skip = 0;
    injection.times = times;
}

static void open_rig(bool fallback)
{
    struct file_config config = rig_config();

    memset(&injection, 0, sizeof(injection));
    memset(&under_way, 0, sizeof(under_way));
    config.inject = inject;
    config.fallback_on_error = fallback;
    rig_begin(&config);
    rig_make_file(&rig, "f", 100000);
}

static int setup(void **state)
{
    (void)state;
    open_rig(true);
    return 0;
}

static int setup_narrow(void **state)
{
    struct file_config config = rig_config();

    (void)state;
    memset(&injection, 0, sizeof(injection));
    memset(&under_way, 0, sizeof(under_way));
    config.inject = inject;
    config.queue_depth = 8;
    rig_begin(&config);
    return 0;
}

static int setup_strict(void **state)
{
    (void)state;
    open_rig(false);
    return 0;
}

/* Does one of every kind and checks that it did what it should. */
static int64_t do_op(enum file_op op, uint8_t *ret_backend)
{
    int fd = openat(rig.dir, "f", O_RDWR | O_CLOEXEC);
    int unnamed = openat(rig.dir, ".", O_TMPFILE | O_WRONLY, 0600);
    struct file_req req = {
        .op = op,
        .fd = op == FILE_LINK ? unnamed : fd,
        .dirfd = rig.dir,
        .path = "f",
        .path2 = "g",
        .buf = rig.buffers,
        .len = 1000,
        .stat_after = true,
    };
    struct stat st;
    int64_t result;

    for (size_t i = 0; i < 1000; i++)
        rig.buffers[i] = (char)rig_byte(i);
    req.path = op == FILE_LINK ? "new" : "f";
    result = rig_do(&rig, &req);
    *ret_backend = req.backend;
    if (result >= 0 && op == FILE_OPEN) {
        assert_int_equal(req.st.size, 100000);
        close((int)result);
        result = 0;
    }
    if (result == 0 && op == FILE_LINK) {
        assert_int_equal(fstatat(rig.dir, "new", &st, 0), 0);
        unlinkat(rig.dir, "new", 0);
    }
    if (result == 0 && op == FILE_RENAME)
        assert_int_equal(renameat(rig.dir, "g", rig.dir, "f"), 0);
    if (result == 0 && op == FILE_UNLINK)
        rig_make_file(&rig, "f", 100000);
    if (result == 1000 && op == FILE_READ)
        rig_check_bytes(rig.buffers, 1000, 0);
    if (op == FILE_CLOSE)
        assert_true(result < 0 || fcntl(fd, F_GETFD) < 0);
    if (op != FILE_CLOSE || result < 0)
        close(fd);
    close(unnamed);
    return result;
}

static int64_t expected(enum file_op op)
{
    return op == FILE_READ || op == FILE_WRITE ? 1000 : 0;
}

/* The ring does not know an operation: the threads do this one and all later ones, and it is
 * said once. Seen at either side of the ring. */
static void check_class_fallback(int err, bool completing)
{
    const struct file_stats *stats = file_io_stats(rig.io);

    for (int op = 0; op <= FILE_CLOSE; op++) {
        uint64_t fallbacks = stats->op_fallbacks;
        unsigned notices = rig.notices;
        uint8_t backend;

        assert_int_equal(do_op((enum file_op)op, &backend), expected((enum file_op)op));
        assert_int_equal(backend, FILE_BACKEND_URING);
        inject_next((enum file_op)op, completing, err, 1);
        assert_int_equal(do_op((enum file_op)op, &backend), expected((enum file_op)op));
        assert_int_equal(injection.times, 0);
        assert_int_equal(stats->op_fallbacks, fallbacks + 1);
        assert_int_equal(rig.notices, notices + 1);
        assert_non_null(strstr(rig.notice, file_op_name((enum file_op)op)));
        assert_int_equal(do_op((enum file_op)op, &backend), expected((enum file_op)op));
        assert_int_equal(backend, FILE_BACKEND_THREADS);
        assert_int_equal(stats->op_fallbacks, fallbacks + 2);
        assert_int_equal(rig.notices, notices + 1);
    }
    assert_int_equal(stats->ring_failures, 0);
    assert_int_equal(stats->errors, 0);
    assert_string_equal(file_io_name(rig.io), "io_uring");
}

#define CLASS_TEST(name, err, completing)                                                          \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        check_class_fallback(err, completing);                                                     \
    }

CLASS_TEST(test_class_einval, -EINVAL, true)
CLASS_TEST(test_class_eopnotsupp, -EOPNOTSUPP, true)
CLASS_TEST(test_class_enosys, -ENOSYS, true)
CLASS_TEST(test_class_einval_at_submit, -EINVAL, false)
CLASS_TEST(test_class_enosys_at_submit, -ENOSYS, false)

/* EINVAL that is the file's own answer says nothing about the ring. */
static void test_honest_einval(void **state)
{
    struct file_req req = {
        .op = FILE_OPEN, .dirfd = rig.dir, .path = ".", .flags = O_TMPFILE | O_RDONLY};
    uint8_t backend;

    (void)state;
    assert_int_equal(rig_do(&rig, &req), -EINVAL);
    assert_int_equal(file_io_stats(rig.io)->op_fallbacks, 0);
    assert_int_equal(rig.notices, 0);
    assert_int_equal(do_op(FILE_OPEN, &backend), 0);
    assert_int_equal(backend, FILE_BACKEND_URING);
}

/* "Again" is tried again, and in the end by somebody else; the caller never hears of it. */
static void test_again(void **state)
{
    static const int errs[] = {-EINTR, -EAGAIN, -EBUSY};
    uint8_t backend;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
        for (int completing = 0; completing < 2; completing++) {
            inject_next(FILE_READ, completing, errs[i], 3);
            assert_int_equal(do_op(FILE_READ, &backend), 1000);
            assert_int_equal(backend, FILE_BACKEND_URING);
            inject_next(FILE_READ, completing, errs[i], 1000);
            assert_int_equal(do_op(FILE_READ, &backend), 1000);
            assert_int_equal(backend, FILE_BACKEND_THREADS);
        }
    }
    inject_next(FILE_OPS, false, 0, 0);
    assert_int_equal(do_op(FILE_READ, &backend), 1000);
    assert_int_equal(backend, FILE_BACKEND_URING);
    assert_int_equal(file_io_stats(rig.io)->ring_failures, 0);
    assert_int_equal(file_io_stats(rig.io)->op_fallbacks, 0);
}

/* A file's error is its caller's, and nothing leaks for it. */
static void test_file_errors_pass(void **state)
{
    uint8_t backend;

    (void)state;
    for (int op = 0; op <= FILE_CLOSE; op++) {
        if (op == FILE_LINK || op == FILE_RENAME || op == FILE_UNLINK || op == FILE_CLOSE)
            continue; /* they are done all the same, and cannot be checked */
        if (op == FILE_READ)
            continue; /* it is tried again */
        inject_next((enum file_op)op, true, -EIO, 1);
        assert_int_equal(do_op((enum file_op)op, &backend), -EIO);
    }
    assert_int_equal(file_io_stats(rig.io)->ring_failures, 0);
    assert_int_equal(file_io_stats(rig.io)->errors, 5);
    assert_int_equal(rig.notices, 0);
}

/* No memory for the ring's work, or a read that the ring failed at: the threads have a try, it is
 * said once and counted each time, and the ring stays. */
static void check_stumbled(int err)
{
    const struct file_stats *stats = file_io_stats(rig.io);
    uint8_t backend;

    for (unsigned i = 1; i <= 3; i++) {
        inject_next(FILE_READ, true, err, 1);
        assert_int_equal(do_op(FILE_READ, &backend), 1000);
        assert_int_equal(backend, FILE_BACKEND_THREADS);
        assert_int_equal(stats->op_fallbacks, i);
        assert_int_equal(rig.notices, 1);
        assert_non_null(strstr(rig.notice, "read"));
        assert_int_equal(do_op(FILE_READ, &backend), 1000);
        assert_int_equal(backend, FILE_BACKEND_URING);
    }
    assert_int_equal(stats->ring_failures, 0);
    assert_int_equal(stats->errors, 0);
}

static void test_enomem_at_completion(void **state)
{
    (void)state;
    check_stumbled(-ENOMEM);
}

static void test_read_error_at_completion(void **state)
{
    (void)state;
    check_stumbled(-EIO);
}

static void count_done(struct file_req *req)
{
    ++*(unsigned *)req->owner;
}

#define READS 100

static struct file_req reads[READS];
static char read_bufs[READS][512];

static void submit_reads(int fd, unsigned *done)
{
    memset(read_bufs, 0, sizeof(read_bufs));
    for (unsigned i = 0; i < READS; i++) {
        reads[i] = (struct file_req){.op = FILE_READ,
                                     .fd = fd,
                                     .buf = read_bufs[i],
                                     .len = sizeof(read_bufs[i]),
                                     .offset = i * 700,
                                     .done = count_done,
                                     .owner = done};
        assert_int_equal(file_submit(rig.io, &reads[i]), 0);
    }
}

static void check_reads(void)
{
    for (unsigned i = 0; i < READS; i++) {
        assert_int_equal(reads[i].result, sizeof(read_bufs[i]));
        rig_check_bytes(read_bufs[i], sizeof(read_bufs[i]), i * 700);
    }
}

static void check_given_up(int err, unsigned skip)
{
    const struct file_stats *stats = file_io_stats(rig.io);
    int fd = openat(rig.dir, "f", O_RDONLY | O_CLOEXEC);
    unsigned done = 0;
    uint8_t backend;

    inject_next(FILE_OPS, false, err, 1);
    injection.skip = skip;
    submit_reads(fd, &done);
    rig_drain(&rig);
    assert_int_equal(done, READS);
    check_reads();
    assert_int_equal(stats->ring_failures, 1);
    assert_int_equal(stats->errors, 0);
    assert_int_equal(rig.notices, 1);
    assert_non_null(strstr(rig.notice, strerror(-err)));
    assert_string_equal(file_io_name(rig.io), "threads");
    assert_int_equal(do_op(FILE_OPEN, &backend), 0);
    assert_int_equal(backend, FILE_BACKEND_THREADS);
    file_io_use_uring(rig.io, true); /* that does not mend it */
    assert_string_equal(file_io_name(rig.io), "threads");
    close(fd);
}

static void test_given_up_at_first(void **state)
{
    (void)state;
    check_given_up(-EIO, 0);
    assert_int_equal(file_io_stats(rig.io)->ops[FILE_BACKEND_THREADS][FILE_READ], READS);
}

/* Some are with the kernel, some are queued, some are not yet submitted. */
static void test_given_up_half_way(void **state)
{
    (void)state;
    check_given_up(-ENOMEM, 40);
    assert_true(file_io_stats(rig.io)->ops[FILE_BACKEND_URING][FILE_READ] > 0);
    assert_true(file_io_stats(rig.io)->ops[FILE_BACKEND_THREADS][FILE_READ] > 0);
}

/* Given up while the queue behind the ring moves up. */
static void test_given_up_late(void **state)
{
    (void)state;
    check_given_up(-EBADF, 80);
}

/* Without fallback a failing operation is an error to its caller, and the ring goes on. */
static void test_strict(void **state)
{
    static const int errs[] = {-EIO, -ENOMEM, -EINVAL, -ENOSYS};
    uint8_t backend;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
        for (int completing = 0; completing < 2; completing++) {
            inject_next(FILE_READ, completing, errs[i], 1);
            assert_int_equal(do_op(FILE_READ, &backend), errs[i]);
            assert_int_equal(backend, FILE_BACKEND_URING);
        }
    }
    assert_int_equal(do_op(FILE_READ, &backend), 1000);
    assert_int_equal(backend, FILE_BACKEND_URING);
    assert_int_equal(file_io_stats(rig.io)->ring_failures, 0);
    assert_int_equal(rig.notices, 0);
}

/* Switched to and fro under load, nothing is lost and every byte is right. */
static void test_toggled(void **state)
{
    const struct file_stats *stats = file_io_stats(rig.io);
    int fd = openat(rig.dir, "f", O_RDONLY | O_CLOEXEC);

    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        unsigned done = 0;

        submit_reads(fd, &done);
        file_io_use_uring(rig.io, round % 2);
        assert_string_equal(file_io_name(rig.io), round % 2 ? "io_uring" : "threads");
        while (done < READS)
            rig_turn(&rig);
        check_reads();
    }
    assert_int_equal(stats->ops[FILE_BACKEND_URING][FILE_READ], 10 * READS);
    assert_int_equal(stats->ops[FILE_BACKEND_THREADS][FILE_READ], 10 * READS);
    close(fd);
}

/* Cancelled while failing: still one done() each, and no descriptor left over. */
static void test_cancel_while_failing(void **state)
{
    struct file_req reqs[50];
    unsigned done = 0;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(reqs); i++) {
        reqs[i] = (struct file_req){
            .op = FILE_OPEN, .dirfd = rig.dir, .path = "f", .done = count_done, .owner = &done};
        assert_int_equal(file_submit(rig.io, &reqs[i]), 0);
    }
    inject_next(FILE_OPEN, true, -EIO, 25);
    loop_wait(rig.loop, 0);
    for (unsigned i = 0; i < ARRAY_LEN(reqs); i += 3)
        file_cancel(rig.io, &reqs[i]);
    rig_drain(&rig);
    assert_int_equal(done, ARRAY_LEN(reqs));
    for (unsigned i = 0; i < ARRAY_LEN(reqs); i++)
        if (reqs[i].result >= 0)
            close((int)reqs[i].result);
}

/* queue_depth is kept, and used; names and the like get half of it, so that reads always move. */
static void test_shares(void **state)
{
    struct file_req reqs[100];
    unsigned done = 0;
    unsigned fast_first;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(reqs); i++) {
        reqs[i] = (struct file_req){.op = i < 50 ? FILE_UNLINK : FILE_STAT,
                                    .dirfd = rig.dir,
                                    .fd = rig.dir,
                                    .path = "none",
                                    .done = count_done,
                                    .owner = &done};
        assert_int_equal(file_submit(rig.io, &reqs[i]), 0);
    }
    fast_first = under_way.now - under_way.slow;
    assert_int_equal(under_way.now, 8); /* although fifty slow ones came first */
    assert_int_equal(fast_first, 4);
    rig_drain(&rig);
    assert_int_equal(done, ARRAY_LEN(reqs));
    assert_int_equal(under_way.now, 0);
    assert_int_equal(under_way.max, 8);
    assert_int_equal(under_way.slow_max, 4);
}

#define T(name)        cmocka_unit_test_setup_teardown(name, setup, rig_end)
#define T_STRICT(name) cmocka_unit_test_setup_teardown(name, setup_strict, rig_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_class_einval),
        T(test_class_eopnotsupp),
        T(test_class_enosys),
        T(test_class_einval_at_submit),
        T(test_class_enosys_at_submit),
        T(test_honest_einval),
        T(test_again),
        T(test_file_errors_pass),
        T(test_enomem_at_completion),
        T(test_read_error_at_completion),
        T(test_given_up_at_first),
        T(test_given_up_half_way),
        T(test_given_up_late),
        T_STRICT(test_strict),
        T(test_toggled),
        cmocka_unit_test_setup_teardown(test_shares, setup_narrow, rig_end),
        T(test_cancel_while_failing),
    };

    return rig_run(&rig, RIG_URING, "trouble", tests, ARRAY_LEN(tests));
}
