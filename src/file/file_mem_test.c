/*
 * The backend that other tests stand on: its tree, its script, its time, and what it forgets in a
 * crash.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "file/file.h"
#include "file/mem.h"

static struct file_io *io;

static int setup(void **state)
{
    (void)state;
    io = file_io_new_mem(NULL);
    assert_non_null(io);
    file_mem_advance(io, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    file_io_free(io);
    return 0;
}

static void mark_done(struct file_req *req)
{
    *(bool *)req->owner = true;
}

static int64_t run(struct file_req *req)
{
    bool done = false;

    req->done = mark_done;
    req->owner = &done;
    assert_int_equal(file_submit(io, req), 0);
    assert_false(done);
    assert_int_equal(file_complete(io, 10), 1);
    assert_true(done);
    assert_int_equal(req->backend, FILE_BACKEND_MEM);
    return req->result;
}

static int64_t open_at(int dirfd, const char *path, int flags)
{
    struct file_req req = {
        .op = FILE_OPEN, .dirfd = dirfd, .path = path, .flags = flags, .mode = 0640};

    return run(&req);
}

static int64_t write_at(int64_t fd, const char *text, uint64_t offset)
{
    struct file_req req = {.op = FILE_WRITE,
                           .fd = (int)fd,
                           .buf = (void *)(uintptr_t)text,
                           .len = strlen(text),
                           .offset = offset};

    return run(&req);
}

static int64_t simple(enum file_op op, int64_t fd)
{
    struct file_req req = {.op = op, .fd = (int)fd};

    return run(&req);
}

static int64_t by_name(enum file_op op, int64_t fd, int64_t dir, const char *path,
                       const char *path2)
{
    struct file_req req = {
        .op = op, .fd = (int)fd, .dirfd = (int)dir, .path = path, .path2 = path2};

    return run(&req);
}

static void check_content(const char *path, bool synced, const char *expected)
{
    size_t size = 0;
    const uint8_t *p = file_mem_get(io, path, synced, &size);

    if (!expected) {
        assert_null(p);
        return;
    }
    assert_non_null(p);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(p, expected, size);
}

static uint8_t low_byte(uint64_t offset)
{
    return (uint8_t)offset;
}

static void test_read(void **state)
{
    char buf[16] = {0};
    struct file_req req = {.op = FILE_READ, .buf = buf, .len = 16, .stat_after = true};
    struct file_req stat = {.op = FILE_STAT};

    (void)state;
    file_mem_put(io, "a/b", "hello", 5);
    file_mem_put_pattern(io, "p", UINT64_C(1) << 40, low_byte);
    req.fd = stat.fd = (int)open_at(AT_FDCWD, "./a//b", O_RDONLY);
    assert_int_equal(run(&req), 5);
    assert_memory_equal(buf, "hello", 5);
    assert_int_equal(req.st.size, 5);
    assert_true(S_ISREG(req.st.mode));
    assert_int_equal(run(&stat), 0);
    assert_memory_equal(&stat.st, &req.st, sizeof(req.st));
    req.offset = 5;
    assert_int_equal(run(&req), 0);
    assert_int_equal(simple(FILE_CLOSE, req.fd), 0);
    assert_int_equal(run(&req), -EBADF);

    req.fd = (int)open_at(AT_FDCWD, "p", O_RDONLY);
    req.offset = (UINT64_C(1) << 39) + 3;
    assert_int_equal(run(&req), 16);
    assert_int_equal(buf[0], 3);
    assert_int_equal(buf[15], 18);
    assert_int_equal(write_at(req.fd, "x", 0), -EBADF);
}

static void test_open(void **state)
{
    struct file_req req = {.op = FILE_OPEN, .dirfd = AT_FDCWD, .path = "a", .flags = O_RDONLY};
    int64_t dir;

    (void)state;
    file_mem_put(io, "a/b", "hello", 5);
    assert_int_equal(open_at(AT_FDCWD, "none", O_RDONLY), -ENOENT);
    assert_int_equal(open_at(AT_FDCWD, "", O_RDONLY), -ENOENT);
    assert_int_equal(open_at(AT_FDCWD, "a", O_WRONLY), -EISDIR);
    assert_int_equal(open_at(AT_FDCWD, "a/b", O_RDONLY | O_DIRECTORY), -ENOTDIR);
    assert_int_equal(open_at(AT_FDCWD, "a/b", O_WRONLY | O_CREAT | O_EXCL), -EEXIST);
    assert_true(run(&req) >= 0);
    assert_true(S_ISDIR(req.st.mode));
    dir = open_at(AT_FDCWD, "a", O_PATH | O_DIRECTORY);
    assert_true(dir >= 0);
    assert_true(open_at((int)dir, "b", O_RDONLY) >= 0);
    assert_int_equal(open_at((int)dir, "a/b", O_RDONLY), -ENOENT);
    assert_true(open_at((int)dir, "new", O_WRONLY | O_CREAT) >= 0);
    check_content("a/new", false, "");
    assert_true(open_at((int)dir, "b", O_WRONLY | O_TRUNC) >= 0);
    check_content("a/b", false, "");
}

static void test_upload(void **state)
{
    int64_t dir = open_at(AT_FDCWD, ".", O_RDONLY | O_DIRECTORY);
    int64_t fd = open_at((int)dir, ".", O_TMPFILE | O_WRONLY);
    struct file_req req = {.op = FILE_TRUNCATE, .fd = (int)fd, .offset = 3};

    (void)state;
    assert_int_equal(write_at(fd, "data", 0), 4);
    assert_int_equal(write_at(fd, "X", 1), 1);
    assert_int_equal(run(&req), 0);
    check_content("up", false, NULL);
    assert_int_equal(by_name(FILE_LINK, fd, dir, "up", NULL), 0);
    assert_int_equal(by_name(FILE_LINK, fd, dir, "up", NULL), -EEXIST);
    check_content("up", false, "dXt");
    check_content("up", true, NULL); /* neither bytes nor name */
    assert_int_equal(simple(FILE_SYNC, dir), 0);
    check_content("up", true, ""); /* a name without bytes */
    assert_int_equal(simple(FILE_SYNC, fd), 0);
    check_content("up", true, "dXt");
    assert_int_equal(write_at(fd, "lost", 0), 4);
    check_content("up", true, "dXt");
    check_content("up", false, "lost");
}

static void test_names(void **state)
{
    int64_t dir = open_at(AT_FDCWD, ".", O_RDONLY | O_DIRECTORY);
    struct file_req req = {
        .op = FILE_RENAME, .dirfd = (int)dir, .path = "a", .path2 = "b", .flags = RENAME_NOREPLACE};

    (void)state;
    file_mem_put(io, "a", "A", 1);
    file_mem_put(io, "b", "B", 1);
    assert_int_equal(run(&req), -EEXIST);
    req.flags = 0;
    assert_int_equal(run(&req), 0);
    assert_int_equal(run(&req), -ENOENT);
    check_content("a", false, NULL);
    check_content("b", false, "A");
    check_content("a", true, "A");
    check_content("b", true, "B");
    assert_int_equal(simple(FILE_SYNC, dir), 0);
    check_content("a", true, NULL);
    check_content("b", true, "A");
    assert_int_equal(by_name(FILE_UNLINK, 0, dir, "b", NULL), 0);
    assert_int_equal(by_name(FILE_UNLINK, 0, dir, "b", NULL), -ENOENT);
    check_content("b", true, "A");
    file_mem_remove(io, "b");
    assert_int_equal(simple(FILE_SYNC, dir), 0);
    check_content("b", true, NULL);
}

/* A file that is open outlives its name. */
static void test_replaced_while_open(void **state)
{
    char buf[8];
    struct file_req req = {.op = FILE_READ, .buf = buf, .len = 8};

    (void)state;
    file_mem_put(io, "f", "old", 3);
    req.fd = (int)open_at(AT_FDCWD, "f", O_RDONLY);
    file_mem_put(io, "f", "newer", 5);
    assert_int_equal(run(&req), 3);
    assert_memory_equal(buf, "old", 3);
    req.fd = (int)open_at(AT_FDCWD, "f", O_RDONLY);
    assert_int_equal(run(&req), 5);
}

struct script {
    nsec delay;
    size_t max_bytes;
    int error;
};

static int play(void *arg, const struct file_req *req, nsec *delay, size_t *max_bytes)
{
    const struct script *s = arg;

    if (req->op != FILE_READ && req->op != FILE_CLOSE)
        return 0;
    *delay = s->delay;
    if (s->max_bytes)
        *max_bytes = s->max_bytes;
    return s->error;
}

static void test_script(void **state)
{
    struct script s = {.max_bytes = 2};
    char buf[8];
    struct file_req req = {.op = FILE_READ, .buf = buf, .len = 8};

    (void)state;
    file_mem_put(io, "f", "hello", 5);
    file_mem_script(io, play, &s);
    req.fd = (int)open_at(AT_FDCWD, "f", O_RDONLY);
    assert_int_equal(run(&req), 2);
    s.error = -EIO;
    assert_int_equal(run(&req), -EIO);
    assert_int_equal(simple(FILE_CLOSE, req.fd), -EIO);
    s.error = 0;
    assert_int_equal(run(&req), -EBADF); /* closed all the same */
    assert_int_equal(file_io_stats(io)->errors, 3);
}

static void test_time(void **state)
{
    struct script s = {.delay = 100};
    char buf[8];
    bool done[2] = {false, false};
    struct file_req reqs[2];

    (void)state;
    file_mem_put(io, "f", "hello", 5);
    file_mem_script(io, play, &s);
    assert_int_equal(file_mem_next(io), NSEC_NEVER);
    for (int i = 0; i < 2; i++) {
        reqs[i] = (struct file_req){
            .op = FILE_READ, .buf = buf, .len = 8, .done = mark_done, .owner = &done[i]};
        reqs[i].fd = i ? reqs[0].fd : (int)open_at(AT_FDCWD, "f", O_RDONLY);
        s.delay = i ? 100 : 50; /* the second, submitted last, is due first */
    }
    s.delay = 100;
    assert_int_equal(file_submit(io, &reqs[0]), 0);
    s.delay = 50;
    assert_int_equal(file_submit(io, &reqs[1]), 0);
    assert_int_equal(file_mem_next(io), 51);
    assert_int_equal(file_complete(io, 10), 0);
    file_mem_advance(io, 51);
    assert_int_equal(file_complete(io, 10), 1);
    assert_true(done[1] && !done[0]);
    assert_int_equal(file_mem_next(io), 101);
    file_cancel(io, &reqs[0]);
    assert_int_equal(file_mem_next(io), NSEC_NEVER);
    assert_int_equal(file_complete(io, 10), 1);
    assert_int_equal(reqs[0].result, -ECANCELED);
    assert_true(file_io_idle(io));
}

/* In real time the loop wakes when something is due. */
static void test_real_time(void **state)
{
    struct script s = {.delay = 2 * NSEC_PER_MSEC};
    struct loop *loop = loop_new(NULL);
    struct file_io *virtual_io = io;
    bool done = false;
    char buf[8];
    struct file_req req = {
        .op = FILE_READ, .buf = buf, .len = 8, .done = mark_done, .owner = &done};
    nsec start = loop_clock();

    (void)state;
    assert_non_null(loop);
    io = file_io_new_mem(loop);
    assert_non_null(io);
    file_mem_put(io, "f", "hello", 5);
    file_mem_script(io, play, &s);
    req.fd = (int)open_at(AT_FDCWD, "f", O_RDONLY);
    assert_int_equal(file_submit(io, &req), 0);
    while (!done) {
        loop_wait(loop, NSEC_NEVER);
        file_complete(io, 10);
    }
    assert_true(loop_clock() - start >= s.delay);
    assert_int_equal(req.result, 5);
    file_io_free(io);
    loop_free(loop);
    io = virtual_io;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_read),   T(test_open), T(test_upload),    T(test_names), T(test_replaced_while_open),
        T(test_script), T(test_time), T(test_real_time),
    };

    return cmocka_run_group_tests_name("file on mem", tests, NULL, NULL);
}
