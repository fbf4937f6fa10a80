/*
 * Kernels and sandboxes that take io_uring or newer calls away. Each test is a process of its
 * own, because what a filter took does not come back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"
#include "file/file_sys.h"
#include "file/test_rig.h"

#define SKIPPED 77

/* From here on `nr` fails with `err`. */
static void deny(long nr, int err)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {ARRAY_LEN(filter), filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog) != 0) {
        print_message("skipped: seccomp: %s\n", strerror(errno));
        _exit(SKIPPED);
    }
}

/* The library's assertions leave the process by a jump that has nowhere to go in a child. */
static void check_at(bool ok, const char *what, int line)
{
    if (ok)
        return;
    print_error("line %d: %s (errno %s)\n", line, what, strerror(errno));
    _exit(1);
}
#define CHECK(x) check_at(x, #x, __LINE__)

static void in_child(void (*body)(void))
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == SKIPPED)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* A server that finds no ring serves from threads. */
static void check_threads_serve(void)
{
    struct file_config config = rig_config();
    struct rig rig;

    rig_open(&rig, RIG_THREADS, &config);
    rig_make_file(&rig, "f", 1000);
    int fd = (int)rig_open_file(&rig, "f", O_RDONLY);
    struct file_req req = {.op = FILE_READ, .fd = fd, .buf = rig.buffers, .len = 2000};
    CHECK(rig_do(&rig, &req) == 1000);
    rig_check_bytes(rig.buffers, 1000, 0);
    rig_close_file(&rig, fd);
    CHECK(strcmp(file_io_name(rig.io), "threads") == 0);
    rig_close(&rig);
}

static void check_setup_denied(int err)
{
    struct ring_config config = {.queue_depth = 8, .sq_thread_cpu = -1};

    deny(SYS_io_uring_setup, err);
    CHECK(!ring_new(&config));
    CHECK(errno == (HAVE_IO_URING ? err : ENOSYS));
    check_threads_serve();
}

static void setup_eperm(void)
{
    check_setup_denied(EPERM);
}

static void setup_enosys(void)
{
    check_setup_denied(ENOSYS);
}

static void setup_enomem(void)
{
    check_setup_denied(ENOMEM);
}

static void test_setup_denied(void **state)
{
    (void)state;
    in_child(setup_eperm);
    in_child(setup_enosys);
    in_child(setup_enomem);
}

/* Without memory to lock a ring works (Linux 5.12 and later) or says so; files work in any case. */
static void no_memlock(void)
{
    struct rlimit none = {0, 0};
    struct ring_config config = {.queue_depth = 8, .sq_thread_cpu = -1};
    struct ring *ring;

    CHECK(setrlimit(RLIMIT_MEMLOCK, &none) == 0);
    if (getuid() == 0)
        CHECK(setresuid(65534, 65534, 65534) == 0);
    ring = ring_new(&config);
    CHECK(ring || errno == ENOMEM || errno == EPERM || errno == ENOSYS);
    ring_free(ring);
    check_threads_serve();
}

static void test_no_memlock(void **state)
{
    (void)state;
    in_child(no_memlock);
}

/* Buffers that may not be locked are refused, and reads go without. */
static void no_memlock_for_buffers(void)
{
    struct file_config config = rig_config();
    struct rlimit none = {0, 0};
    struct rig rig;

    if (!rig_is_possible(RIG_URING))
        _exit(SKIPPED);
    if (getuid() == 0)
        CHECK(setresuid(65534, 65534, 65534) == 0);
    rig_open(&rig, RIG_URING, &config);
    CHECK(setrlimit(RLIMIT_MEMLOCK, &none) == 0);
    struct file_config registered = config;
    registered.use_registered_buffers = true;
    struct file_io *io = file_io_new(rig.loop, rig.ring, &registered);
    CHECK(io);
    CHECK(file_io_register_buffers(io, rig.buffers, RIG_BUFFERS) == -ENOMEM);
    struct file_io *first = rig.io;
    rig.io = io;
    rig_make_file(&rig, "f", 1000);
    int fd = (int)rig_open_file(&rig, "f", O_RDONLY);
    struct file_req req = {.op = FILE_READ, .fd = fd, .buf = rig.buffers, .len = 2000};
    CHECK(rig_do(&rig, &req) == 1000);
    CHECK(req.backend == FILE_BACKEND_URING);
    rig_close_file(&rig, fd);
    file_io_free(first);
    rig_close(&rig);
}

static void test_no_memlock_for_buffers(void **state)
{
    (void)state;
    in_child(no_memlock_for_buffers);
}

static void count_done(struct file_req *req)
{
    ++*(unsigned *)req->owner;
}

/* The ring is taken away while it works: everything arrives, by the threads. */
static void check_enter_denied(enum rig_kind kind, int err)
{
    static struct file_req reqs[100];
    static char bufs[100][512];
    struct file_config config = rig_config();
    unsigned done = 0;
    struct rig rig;

    if (!rig_is_possible(kind))
        _exit(SKIPPED);
    rig_open(&rig, kind, &config);
    rig_make_file(&rig, "f", 100000);
    int fd = (int)rig_open_file(&rig, "f", O_RDONLY);
    for (unsigned i = 0; i < ARRAY_LEN(reqs); i++) {
        reqs[i] = (struct file_req){.op = FILE_READ,
                                    .fd = fd,
                                    .buf = bufs[i],
                                    .len = sizeof(bufs[i]),
                                    .offset = i * 700,
                                    .done = count_done,
                                    .owner = &done};
        CHECK(file_submit(rig.io, &reqs[i]) == 0);
        if (i == 30)
            loop_wait(rig.loop, 0); /* these are with the kernel */
    }
    deny(SYS_io_uring_enter, err);
    rig_drain(&rig);
    CHECK(done == ARRAY_LEN(reqs));
    for (unsigned i = 0; i < ARRAY_LEN(reqs); i++) {
        CHECK(reqs[i].result == sizeof(bufs[i]));
        rig_check_bytes(bufs[i], sizeof(bufs[i]), i * 700);
    }
    CHECK(file_io_stats(rig.io)->ring_failures == 1);
    CHECK(rig.notices == 1);
    CHECK(strcmp(file_io_name(rig.io), "threads") == 0);
    rig_close_file(&rig, fd);
    rig_close(&rig);
}

static void enter_eperm(void)
{
    check_enter_denied(RIG_URING, EPERM);
}

static void enter_enosys(void)
{
    check_enter_denied(RIG_URING, ENOSYS);
}

static void enter_eperm_on_epoll(void)
{
    check_enter_denied(RIG_URING_ON_EPOLL, EPERM);
}

static void test_enter_denied(void **state)
{
    (void)state;
    in_child(enter_eperm);
    in_child(enter_enosys);
    in_child(enter_eperm_on_epoll);
}

/* ------------------------------------------------------------------------ openat2 */

#define BELOW (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)

static int64_t open_below(struct rig *rig, const char *path, int flags)
{
    struct file_req req = {.op = FILE_OPEN,
                           .dirfd = rig->dir,
                           .path = path,
                           .flags = flags,
                           .mode = 0600,
                           .resolve = BELOW | RESOLVE_NO_XDEV};
    int64_t fd = rig_do(rig, &req);

    if (fd >= 0)
        close((int)fd);
    return fd < 0 ? fd : 0;
}

static void check_openat2_denied(int err)
{
    struct file_config config = rig_config();
    struct rig rig;

    deny(SYS_openat2, err);
    rig_open(&rig, RIG_THREADS, &config);
    rig_make_file(&rig, "f", 1);
    CHECK(mkdirat(rig.dir, "d", 0700) == 0);
    rig_make_file(&rig, "d/g", 1);
    CHECK(symlinkat("f", rig.dir, "l") == 0);
    CHECK(symlinkat("d", rig.dir, "ld") == 0);
    CHECK(symlinkat("/etc/passwd", rig.dir, "out") == 0);
    CHECK(mkfifoat(rig.dir, "fifo", 0600) == 0);

    CHECK(open_below(&rig, "f", O_RDONLY) == 0);
    CHECK(open_below(&rig, "d/g", O_RDONLY) == 0);
    CHECK(open_below(&rig, "./d//./g", O_RDONLY) == 0);
    CHECK(open_below(&rig, ".", O_RDONLY) == 0);
    CHECK(open_below(&rig, "d/", O_RDONLY) == 0);
    CHECK(open_below(&rig, ".", O_TMPFILE | O_WRONLY) == 0);
    CHECK(open_below(&rig, "d/new", O_WRONLY | O_CREAT | O_EXCL) == 0);
    CHECK(open_below(&rig, "d/new", O_WRONLY | O_CREAT | O_EXCL) == -EEXIST);
    CHECK(open_below(&rig, "fifo", O_RDONLY) == 0);
    CHECK(open_below(&rig, "none", O_RDONLY) == -ENOENT);
    CHECK(open_below(&rig, "none/g", O_RDONLY) == -ENOENT);
    CHECK(open_below(&rig, "", O_RDONLY) == -ENOENT);
    CHECK(open_below(&rig, "f/", O_RDONLY) == -ENOTDIR);
    CHECK(open_below(&rig, "f/.", O_RDONLY) == -ENOTDIR);
    CHECK(open_below(&rig, "f/x", O_RDONLY) == -ENOTDIR);
    CHECK(open_below(&rig, "l", O_RDONLY) == -ELOOP);
    CHECK(open_below(&rig, "ld/g", O_RDONLY) == -ELOOP);
    CHECK(open_below(&rig, "out", O_RDONLY) == -ELOOP);
    CHECK(open_below(&rig, "..", O_RDONLY) == -EXDEV);
    CHECK(open_below(&rig, "d/../../x", O_RDONLY) == -EXDEV);
    CHECK(open_below(&rig, "/etc/passwd", O_RDONLY) == -EXDEV);
    CHECK(open_below(&rig, "d", O_WRONLY) == -EISDIR);

    char name[300];
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    CHECK(open_below(&rig, name, O_RDONLY) == -ENAMETOOLONG);
    struct file_req plain = {.op = FILE_OPEN, .dirfd = rig.dir, .path = "l"};
    CHECK(rig_do(&rig, &plain) >= 0);
    close((int)plain.result);
    rig_close(&rig);
}

static void openat2_enosys(void)
{
    check_openat2_denied(ENOSYS);
}

static void openat2_eperm(void)
{
    check_openat2_denied(EPERM);
}

/* The kernel says so when names move while it looks; should it never stop, the thread does. */
static void openat2_again(void)
{
    struct file_config config = rig_config();
    struct rig rig;

    deny(SYS_openat2, EAGAIN);
    rig_open(&rig, RIG_THREADS, &config);
    rig_make_file(&rig, "f", 1);
    CHECK(open_below(&rig, "f", O_RDONLY) == -EIO);
    rig_close(&rig);
}

static void test_openat2_denied(void **state)
{
    (void)state;
    in_child(openat2_enosys);
    in_child(openat2_eperm);
    in_child(openat2_again);
}

/* Another file system below the root is another device. */
static void test_walk_stays_on_the_device(void **state)
{
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = file_sys_walk(root, "proc/self/status", O_RDONLY, 0, BELOW);
    struct stat here, there;

    (void)state;
    assert_int_equal(fd, -ELOOP); /* "self" is a link */
    assert_int_equal(fstat(root, &here), 0);
    if (stat("/proc/version", &there) == 0 && there.st_dev != here.st_dev) {
        fd = file_sys_walk(root, "proc/version", O_RDONLY, 0, BELOW);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(file_sys_walk(root, "proc/version", O_RDONLY, 0, BELOW | RESOLVE_NO_XDEV),
                         -EXDEV);
    }
    close(root);
}

/* An old kernel's clock is coarser and as right. */
static void no_pwait2(void)
{
    struct loop *l;
    nsec deadline = loop_clock() + 3 * NSEC_PER_MSEC;

    deny(SYS_epoll_pwait2, ENOSYS);
    l = loop_new(NULL);
    CHECK(l);
    while (loop_wait(l, deadline) < deadline)
        ;
    loop_free(l);
    check_threads_serve();
}

static void test_no_pwait2(void **state)
{
    (void)state;
    in_child(no_pwait2);
}

/* statx denied: the threads have fstat. */
static void no_statx(void)
{
    struct file_config config = rig_config();
    struct rig rig;

    if (!rig_is_possible(RIG_URING))
        _exit(SKIPPED);
    rig_open(&rig, RIG_URING, &config);
    rig_make_file(&rig, "f", 1000);
    deny(SYS_statx, ENOSYS);
    struct file_req req = {.op = FILE_OPEN, .dirfd = rig.dir, .path = "f"};
    CHECK(rig_do(&rig, &req) >= 0);
    CHECK(req.st.size == 1000);
    req = (struct file_req){
        .op = FILE_READ, .fd = (int)req.result, .buf = rig.buffers, .len = 100, .stat_after = true};
    CHECK(rig_do(&rig, &req) == 100);
    CHECK(req.st.size == 1000);
    rig_close_file(&rig, req.fd);
    rig_close(&rig);
}

static void test_no_statx(void **state)
{
    (void)state;
    in_child(no_statx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_setup_denied),
        cmocka_unit_test(test_no_memlock),
        cmocka_unit_test(test_no_memlock_for_buffers),
        cmocka_unit_test(test_enter_denied),
        cmocka_unit_test(test_openat2_denied),
        cmocka_unit_test(test_walk_stays_on_the_device),
        cmocka_unit_test(test_no_pwait2),
        cmocka_unit_test(test_no_statx),
    };

    return cmocka_run_group_tests_name("file in a sandbox", tests, NULL, NULL);
}
