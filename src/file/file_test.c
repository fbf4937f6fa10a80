/*
 * What each operation does, and what it answers: the same tests for the pool and for each way to
 * use the ring.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hist.h"
#include "base/prng.h"
#include "file/test_rig.h"

#define BELOW (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)

static struct rig rig;

static int64_t open_below(const char *path, int flags, uint64_t resolve)
{
    struct file_req req = {.op = FILE_OPEN,
                           .dirfd = rig.dir,
                           .path = path,
                           .flags = flags,
                           .mode = 0600,
                           .resolve = resolve};
    int64_t fd = rig_do(&rig, &req);

    if (fd >= 0)
        close((int)fd);
    return fd < 0 ? fd : 0;
}

static void test_name(void **state)
{
    (void)state;
    assert_string_equal(file_io_name(rig.io), rig.kind == RIG_THREADS ? "threads" : "io_uring");
    for (int op = 0; op < FILE_OPS; op++)
        assert_non_null(file_op_name((enum file_op)op));
}

static void test_open_gives_stat(void **state)
{
    struct file_req req = {.op = FILE_OPEN, .dirfd = rig.dir, .path = "f"};
    struct file_req again = {.op = FILE_STAT};
    struct stat st;
    int flags;

    (void)state;
    rig_make_file(&rig, "f", 12345);
    assert_true(rig_do(&rig, &req) >= 0);
    assert_int_equal(fstat((int)req.result, &st), 0);
    assert_int_equal(req.st.size, 12345);
    assert_int_equal(req.st.ino, st.st_ino);
    assert_int_equal(req.st.dev, st.st_dev);
    assert_int_equal(req.st.mode, st.st_mode);
    assert_int_equal(req.st.mtime_ns,
                     (uint64_t)st.st_mtim.tv_sec * NSEC_PER_SEC + (uint64_t)st.st_mtim.tv_nsec);
    assert_int_equal(req.st.ctime_ns,
                     (uint64_t)st.st_ctim.tv_sec * NSEC_PER_SEC + (uint64_t)st.st_ctim.tv_nsec);
    flags = fcntl((int)req.result, F_GETFL);
    assert_true(flags & O_NONBLOCK);
    assert_true(fcntl((int)req.result, F_GETFD) & FD_CLOEXEC);

    again.fd = (int)req.result;
    assert_int_equal(rig_do(&rig, &again), 0);
    assert_memory_equal(&again.st, &req.st, sizeof(again.st));
    rig_close_file(&rig, (int)req.result);
    again.fd = (int)req.result;
    assert_int_equal(rig_do(&rig, &again), -EBADF);
}

static void test_open_errors(void **state)
{
    (void)state;
    rig_make_file(&rig, "f", 1);
    assert_int_equal(mkdirat(rig.dir, "d", 0700), 0);
    assert_int_equal(symlinkat("f", rig.dir, "l"), 0);
    assert_int_equal(symlinkat("d", rig.dir, "ld"), 0);
    assert_int_equal(symlinkat("/etc/passwd", rig.dir, "out"), 0);

    assert_int_equal(open_below("f", O_RDONLY, BELOW), 0);
    assert_int_equal(open_below(".", O_RDONLY, BELOW), 0);
    assert_int_equal(open_below("d", O_RDONLY, BELOW), 0);
    assert_int_equal(open_below("none", O_RDONLY, BELOW), -ENOENT);
    assert_int_equal(open_below("d/none", O_RDONLY, BELOW), -ENOENT);
    assert_int_equal(open_below("", O_RDONLY, BELOW), -ENOENT);
    assert_int_equal(open_below("f/", O_RDONLY, BELOW), -ENOTDIR);
    assert_int_equal(open_below("f/x", O_RDONLY, BELOW), -ENOTDIR);
    assert_int_equal(open_below("l", O_RDONLY, BELOW), -ELOOP);
    assert_int_equal(open_below("ld/x", O_RDONLY, BELOW), -ELOOP);
    assert_int_equal(open_below("out", O_RDONLY, BELOW), -ELOOP);
    assert_int_equal(open_below("out", O_RDONLY, RESOLVE_BENEATH), -EXDEV);
    assert_int_equal(open_below("../x", O_RDONLY, BELOW), -EXDEV);
    assert_int_equal(open_below("/etc/passwd", O_RDONLY, BELOW), -EXDEV);
    assert_int_equal(open_below("d", O_WRONLY, BELOW), -EISDIR);
    assert_int_equal(open_below("f", O_WRONLY | O_CREAT | O_EXCL, BELOW), -EEXIST);
    assert_int_equal(open_below("l", O_RDONLY, 0), 0);
}

/* A FIFO without a writer does not hold anybody up; the caller sees what it is. */
static void test_open_fifo(void **state)
{
    struct file_req req = {.op = FILE_OPEN, .dirfd = rig.dir, .path = "fifo", .resolve = BELOW};

    (void)state;
    assert_int_equal(mkfifoat(rig.dir, "fifo", 0600), 0);
    assert_true(rig_do(&rig, &req) >= 0);
    assert_true(S_ISFIFO(req.st.mode));
    close((int)req.result);
}

static void test_open_path_only(void **state)
{
    struct file_req req = {.op = FILE_OPEN,
                           .dirfd = rig.dir,
                           .path = "l",
                           .flags = O_PATH | O_NOFOLLOW,
                           .resolve = RESOLVE_BENEATH};

    (void)state;
    assert_int_equal(symlinkat("f", rig.dir, "l"), 0);
    assert_true(rig_do(&rig, &req) >= 0);
    assert_true(S_ISLNK(req.st.mode));
    rig_close_file(&rig, (int)req.result);
}

static void test_read(void **state)
{
    struct file_req req = {.op = FILE_READ, .buf = rig.buffers};
    char beside[100];

    (void)state;
    rig_make_file(&rig, "f", 100000);
    req.fd = (int)rig_open_file(&rig, "f", O_RDONLY);
    req.len = 65536;
    assert_int_equal(rig_do(&rig, &req), 65536);
    rig_check_bytes(rig.buffers, 65536, 0);
    req.offset = 65536;
    assert_int_equal(rig_do(&rig, &req), 100000 - 65536);
    rig_check_bytes(rig.buffers, 100000 - 65536, 65536);
    req.offset = 100000;
    assert_int_equal(rig_do(&rig, &req), 0);
    req.offset = UINT64_C(1) << 40;
    assert_int_equal(rig_do(&rig, &req), 0);

    req = (struct file_req){
        .op = FILE_READ, .fd = req.fd, .buf = beside, .len = 100, .offset = 7, .hot = true};
    assert_int_equal(rig_do(&rig, &req), 100);
    rig_check_bytes(beside, 100, 7);
    req.stat_after = true;
    assert_int_equal(rig_do(&rig, &req), 100);
    assert_int_equal(req.st.size, 100000);
    assert_true(S_ISREG(req.st.mode));
    rig_close_file(&rig, req.fd);
    assert_int_equal(rig_do(&rig, &req), -EBADF);
    req.fd = rig.dir;
    assert_int_equal(rig_do(&rig, &req), -EISDIR);
}

/* Not in the page cache: the quick try fails and nobody hears of it. */
static bool is_cached(int fd, size_t size)
{
    unsigned char pages[16] = {0};
    void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    bool any = false;

    assert_true(p != MAP_FAILED);
    assert_int_equal(mincore(p, size, pages), 0);
    for (size_t i = 0; i < ARRAY_LEN(pages); i++)
        any = any || pages[i] & 1;
    munmap(p, size);
    return any;
}

static void test_hot_but_cold(void **state)
{
    struct file_req req = {.op = FILE_READ, .buf = rig.buffers, .len = 65536};
    unsigned cold = 0, noticed = 0;

    (void)state;
    rig_make_file(&rig, "f", 65536);
    req.fd = (int)rig_open_file(&rig, "f", O_RDONLY);
    assert_int_equal(fsync(req.fd), 0);
    /* The quick try starts the reading, and a quick disk may be done before it has looked. */
    for (int i = 0; i < 100 && !noticed; i++) {
        assert_int_equal(posix_fadvise(req.fd, 0, 0, POSIX_FADV_DONTNEED), 0);
        cold += !is_cached(req.fd, 65536); /* a file in memory stays cached */
        req.hot = true;
        assert_true(rig_do(&rig, &req) > 0);
        rig_check_bytes(rig.buffers, (size_t)req.result, 0);
        noticed += !req.hot;
    }
    if (rig.kind == RIG_THREADS)
        assert_int_equal(noticed, 0);
    else if (cold == 100)
        assert_true(noticed > 0);
    req.hot = true;
    assert_int_equal(rig_do(&rig, &req), 65536); /* now it is there */
    assert_true(req.hot);
    rig_close_file(&rig, req.fd);
}

static void test_write(void **state)
{
    struct file_req req = {.op = FILE_WRITE, .buf = rig.buffers, .len = 5000, .offset = 1000};
    struct stat st;

    (void)state;
    for (size_t i = 0; i < 5000; i++)
        rig.buffers[i] = (char)rig_byte(1000 + i);
    req.fd = (int)rig_open_file(&rig, "f", O_RDWR | O_CREAT | O_EXCL);
    assert_int_equal(rig_do(&rig, &req), 5000);
    req = (struct file_req){.op = FILE_ALLOCATE, .fd = req.fd, .offset = 0, .len = 1 << 20};
    assert_int_equal(rig_do(&rig, &req), 0);
    assert_int_equal(fstat(req.fd, &st), 0);
    assert_int_equal(st.st_size, 6000);
    assert_true(st.st_blocks * 512 >= 1 << 20);
    req.op = FILE_SYNC;
    assert_int_equal(rig_do(&rig, &req), 0);
    req = (struct file_req){.op = FILE_TRUNCATE, .fd = req.fd, .offset = 5000};
    assert_int_equal(rig_do(&rig, &req), 0);
    req = (struct file_req){.op = FILE_CHMOD, .fd = req.fd, .mode = 0640};
    assert_int_equal(rig_do(&rig, &req), 0);
    assert_int_equal(fstat(req.fd, &st), 0);
    assert_int_equal(st.st_size, 5000);
    assert_int_equal(st.st_mode & 07777, 0640);
    req.op = FILE_STATFS;
    assert_int_equal(rig_do(&rig, &req), 0);
    assert_true(req.space > 0);
    assert_int_equal(pread(req.fd, rig.buffers, 4000, 1000), 4000);
    rig_check_bytes(rig.buffers, 4000, 1000);
    rig_close_file(&rig, req.fd);
}

static void test_write_refused(void **state)
{
    struct file_req req = {.op = FILE_WRITE, .buf = rig.buffers, .len = 1};

    (void)state;
    rig_make_file(&rig, "f", 1);
    req.fd = (int)rig_open_file(&rig, "f", O_RDONLY);
    assert_int_equal(rig_do(&rig, &req), -EBADF);
    rig_close_file(&rig, req.fd);
}

static void test_names(void **state)
{
    struct file_req req = {.op = FILE_OPEN,
                           .dirfd = rig.dir,
                           .path = ".",
                           .flags = O_TMPFILE | O_WRONLY,
                           .mode = 0600};
    struct stat st;
    int fd;

    (void)state;
    assert_true(rig_do(&rig, &req) >= 0);
    fd = (int)req.result;
    req = (struct file_req){.op = FILE_LINK, .fd = fd, .dirfd = rig.dir, .path = "a"};
    assert_int_equal(rig_do(&rig, &req), 0);
    assert_int_equal(rig_do(&rig, &req), -EEXIST);
    req.path = "none/a";
    assert_int_equal(rig_do(&rig, &req), -ENOENT);

    req = (struct file_req){.op = FILE_RENAME, .dirfd = rig.dir, .path = "a", .path2 = "b"};
    assert_int_equal(rig_do(&rig, &req), 0);
    assert_int_equal(rig_do(&rig, &req), -ENOENT);
    rig_make_file(&rig, "c", 3);
    req = (struct file_req){
        .op = FILE_RENAME, .dirfd = rig.dir, .path = "b", .path2 = "c", .flags = RENAME_NOREPLACE};
    assert_int_equal(rig_do(&rig, &req), -EEXIST);
    req.flags = 0;
    assert_int_equal(rig_do(&rig, &req), 0);
    assert_int_equal(fstatat(rig.dir, "c", &st, 0), 0);
    assert_int_equal(st.st_size, 0);

    req = (struct file_req){.op = FILE_UNLINK, .dirfd = rig.dir, .path = "c"};
    assert_int_equal(rig_do(&rig, &req), 0);
    assert_int_equal(rig_do(&rig, &req), -ENOENT);
    assert_int_equal(mkdirat(rig.dir, "d", 0700), 0);
    req.path = "d";
    assert_int_equal(rig_do(&rig, &req), -EISDIR);
    rig_close_file(&rig, fd);
    req = (struct file_req){.op = FILE_CLOSE, .fd = fd};
    assert_int_equal(rig_do(&rig, &req), -EBADF);
    assert_int_equal(file_io_stats(rig.io)->op_fallbacks, 0);
    assert_int_equal(rig.notices, 0);
}

static void test_counts(void **state)
{
    enum file_backend b = rig.kind == RIG_THREADS ? FILE_BACKEND_THREADS : FILE_BACKEND_URING;
    const struct file_stats *stats = file_io_stats(rig.io);
    struct file_req req = {.op = FILE_READ, .buf = rig.buffers, .len = 1000};

    (void)state;
    rig_make_file(&rig, "f", 500);
    req.fd = (int)rig_open_file(&rig, "f", O_RDONLY);
    assert_int_equal(rig_do(&rig, &req), 500);
    rig_close_file(&rig, req.fd);
    assert_int_equal(rig_open_file(&rig, "none", O_RDONLY), -ENOENT);
    assert_int_equal(stats->ops[b][FILE_OPEN], 2);
    assert_int_equal(stats->ops[b][FILE_READ], 1);
    assert_int_equal(stats->ops[b][FILE_CLOSE], 1);
    assert_int_equal(stats->bytes_read, 500);
    assert_int_equal(stats->errors, 1);
    assert_int_equal(stats->refused, 0);
    assert_int_equal(file_io_read_latency(rig.io, b)->count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_name),         RIG_TEST(test_open_gives_stat), RIG_TEST(test_open_errors),
        RIG_TEST(test_open_fifo),    RIG_TEST(test_open_path_only),  RIG_TEST(test_read),
        RIG_TEST(test_hot_but_cold), RIG_TEST(test_write),           RIG_TEST(test_write_refused),
        RIG_TEST(test_names),        RIG_TEST(test_counts),
    };

    return rig_run(&rig, RIG_THREADS, "file", tests, ARRAY_LEN(tests));
}
