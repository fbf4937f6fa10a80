#include "file/test_rig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE (60 * NSEC_PER_SEC)

const char *rig_kind_name(enum rig_kind kind)
{
    static const char *const names[RIG_KINDS] = {
        "threads", "io_uring", "io_uring on epoll", "io_uring, sqpoll", "io_uring, registered",
    };

    return names[kind];
}

static struct ring *make_ring(enum rig_kind kind)
{
    struct ring_config config = {
        .queue_depth = 64, .sqpoll = kind == RIG_SQPOLL, .sq_thread_cpu = -1};

    return ring_new(&config);
}

bool rig_is_possible(enum rig_kind kind)
{
    struct ring *ring = kind == RIG_THREADS ? NULL : make_ring(kind);

    if (kind != RIG_THREADS && !ring) {
        print_message("skipped: %s: %s\n", rig_kind_name(kind), strerror(errno));
        return false;
    }
    ring_free(ring);
    return true;
}

struct file_config rig_config(void)
{
    return (struct file_config){
        .use_uring = true,
        .fallback_on_error = true,
        .queue_depth = 64,
        .threads = 4,
        .thread_queue = 256,
    };
}

static void on_notice(void *arg, const char *text)
{
    struct rig *r = arg;

    r->notices++;
    snprintf(r->notice, sizeof(r->notice), "%s", text);
}

void rig_open(struct rig *r, enum rig_kind kind, const struct file_config *config)
{
    struct file_config c = *config;

    memset(r, 0, sizeof(*r));
    r->kind = kind;
    if (kind == RIG_THREADS) {
        c.use_uring = false;
    } else {
        r->ring = make_ring(kind);
        assert_non_null(r->ring);
    }
    r->loop = loop_new(kind == RIG_URING_ON_EPOLL ? NULL : r->ring);
    assert_non_null(r->loop);
    c.use_registered_buffers = kind == RIG_REGISTERED;
    r->io = file_io_new(r->loop, r->ring, &c);
    assert_non_null(r->io);
    file_io_on_notice(r->io, on_notice, r);

    r->buffers = aligned_alloc(4096, RIG_BUFFERS);
    assert_non_null(r->buffers);
    memset(r->buffers, 0, RIG_BUFFERS);
    assert_int_equal(file_io_register_buffers(r->io, r->buffers, RIG_BUFFERS), 0);

    snprintf(r->path, sizeof(r->path), "/tmp/file-test-XXXXXX");
    assert_non_null(mkdtemp(r->path));
    r->dir = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(r->dir >= 0);
}

void rig_turn(struct rig *r)
{
    nsec deadline = loop_clock() + PATIENCE;

    if (file_complete(r->io, 64))
        return;
    assert_true(loop_wait(r->loop, deadline) < deadline);
    file_complete(r->io, 64);
}

void rig_drain(struct rig *r)
{
    while (!file_io_idle(r->io))
        rig_turn(r);
}

static void remove_below(int dir)
{
    DIR *d = fdopendir(dir);
    struct dirent *e;

    while (d && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (unlinkat(dir, e->d_name, 0) < 0 && (errno == EISDIR || errno == EPERM)) {
            remove_below(openat(dir, e->d_name, O_RDONLY | O_DIRECTORY));
            unlinkat(dir, e->d_name, AT_REMOVEDIR);
        }
    }
    closedir(d);
}

void rig_close(struct rig *r)
{
    rig_drain(r);
    file_io_free(r->io);
    loop_free(r->loop);
    ring_free(r->ring);
    free(r->buffers);
    remove_below(r->dir);
    assert_int_equal(rmdir(r->path), 0);
}

static void mark_done(struct file_req *req)
{
    *(bool *)req->owner = true;
}

int64_t rig_do(struct rig *r, struct file_req *req)
{
    bool done = false;

    req->done = mark_done;
    req->owner = &done;
    assert_int_equal(file_submit(r->io, req), 0);
    while (!done)
        rig_turn(r);
    return req->result;
}

int64_t rig_open_file(struct rig *r, const char *name, int flags)
{
    struct file_req req = {
        .op = FILE_OPEN, .dirfd = r->dir, .path = name, .flags = flags, .mode = 0600};

    return rig_do(r, &req);
}

void rig_close_file(struct rig *r, int fd)
{
    struct file_req req = {.op = FILE_CLOSE, .fd = fd};

    assert_int_equal(rig_do(r, &req), 0);
}

uint8_t rig_byte(uint64_t offset)
{
    return (uint8_t)(offset ^ offset >> 8 ^ offset >> 16);
}

void rig_check_bytes(const void *buf, size_t n, uint64_t offset)
{
    const uint8_t *p = buf;

    for (size_t i = 0; i < n; i++)
        if (p[i] != rig_byte(offset + i))
            fail_msg("byte at %llu", (unsigned long long)(offset + i));
}

void rig_make_file(struct rig *r, const char *name, size_t size)
{
    uint8_t *data = malloc(size + 1);
    int fd = openat(r->dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_non_null(data);
    assert_true(fd >= 0);
    for (size_t i = 0; i < size; i++)
        data[i] = rig_byte(i);
    assert_int_equal(write(fd, data, size), size);
    close(fd);
    free(data);
}

unsigned rig_count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* ---- A suite on every kind ---- */

static struct {
    struct rig *rig;
    enum rig_kind kind;
    unsigned fds_before;
} suite;

void rig_begin(const struct file_config *config)
{
    suite.fds_before = rig_count_fds();
    rig_open(suite.rig, suite.kind, config);
}

int rig_setup(void **state)
{
    struct file_config config = rig_config();

    (void)state;
    rig_begin(&config);
    return 0;
}

int rig_setup_narrow(void **state)
{
    struct file_config config = rig_config();

    (void)state;
    config.queue_depth = 8;
    config.thread_queue = 32;
    config.threads = 3;
    rig_begin(&config);
    return 0;
}

int rig_end(void **state)
{
    (void)state;
    rig_close(suite.rig);
    assert_int_equal(rig_count_fds(), suite.fds_before);
    return 0;
}

int rig_run(struct rig *r, enum rig_kind first, const char *name, const struct CMUnitTest *tests,
            size_t count)
{
    int failed = 0;

    for (int k = (int)first; k < RIG_KINDS; k++) {
        char title[64];

        suite.rig = r;
        suite.kind = (enum rig_kind)k;
        snprintf(title, sizeof(title), "%s on %s", name, rig_kind_name(suite.kind));
        if (rig_is_possible(suite.kind)) /* the public macro counts an array itself */
            failed += _cmocka_run_group_tests(title, tests, count, NULL, NULL);
    }
    return failed;
}
