/*
 * Whatever the making of a ring, a loop, a file back end and a store asks of the system fails: the
 * n-th of all steps, once and from then on, for every n there is. Then there is nothing but an
 * errno, or a store that reads; and nothing is held afterwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <unistd.h>

#include "obs/log.h"
#include "store/test_rig.h"

enum kind { ON_THREADS, ON_RING, ON_EPOLL_AND_RING };

struct io_uring;

static struct {
    bool armed;
    unsigned at, times, seen;
} fault;
static atomic_long held;
static char root[64];

static bool fails(void)
{
    if (!fault.armed)
        return false;
    unsigned n = ++fault.seen;
    return n >= fault.at && n - fault.at < fault.times;
}

/* ---- What the linker leads here ---- */

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
int __real_posix_memalign(void **ret, size_t align, size_t n);
int __wrap_posix_memalign(void **ret, size_t align, size_t n);
void __real_free(void *p);
void __wrap_free(void *p);
void *__real_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);
int __real_eventfd(unsigned value, int flags);
int __wrap_eventfd(unsigned value, int flags);
int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags);
int __real_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);
int __real_inotify_init1(int flags);
int __wrap_inotify_init1(int flags);
int __real_inotify_add_watch(int fd, const char *path, uint32_t mask);
int __wrap_inotify_add_watch(int fd, const char *path, uint32_t mask);
int __real_pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*f)(void *), void *arg);
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*f)(void *), void *arg);
int __real_io_uring_register_eventfd(struct io_uring *ring, int fd);
int __wrap_io_uring_register_eventfd(struct io_uring *ring, int fd);

static int refuse(int err)
{
    errno = err;
    return -1;
}

static void *counted(void *p)
{
    if (p)
        atomic_fetch_add(&held, 1);
    else
        errno = ENOMEM;
    return p;
}

void *__wrap_calloc(size_t n, size_t size)
{
    return counted(fails() ? NULL : __real_calloc(n, size));
}

void *__wrap_malloc(size_t n)
{
    return counted(fails() ? NULL : __real_malloc(n));
}

int __wrap_posix_memalign(void **ret, size_t align, size_t n)
{
    int err = fails() ? ENOMEM : __real_posix_memalign(ret, align, n);

    if (!err)
        atomic_fetch_add(&held, 1);
    return err;
}

void __wrap_free(void *p)
{
    if (p)
        atomic_fetch_sub(&held, 1);
    __real_free(p);
}

void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
    if (!fails())
        return __real_mmap(at, n, prot, flags, fd, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

int __wrap_eventfd(unsigned value, int flags)
{
    return fails() ? refuse(EMFILE) : __real_eventfd(value, flags);
}

int __wrap_epoll_create1(int flags)
{
    return fails() ? refuse(EMFILE) : __real_epoll_create1(flags);
}

int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    return op == EPOLL_CTL_ADD && fails() ? refuse(ENOSPC) : __real_epoll_ctl(epfd, op, fd, event);
}

int __wrap_inotify_init1(int flags)
{
    return fails() ? refuse(EMFILE) : __real_inotify_init1(flags);
}

int __wrap_inotify_add_watch(int fd, const char *path, uint32_t mask)
{
    return fails() ? refuse(ENOSPC) : __real_inotify_add_watch(fd, path, mask);
}

int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*f)(void *), void *arg)
{
    return fails() ? EAGAIN : __real_pthread_create(id, attr, f, arg);
}

int __wrap_io_uring_register_eventfd(struct io_uring *ring, int fd)
{
    return fails() ? -ENOMEM : __real_io_uring_register_eventfd(ring, fd);
}

/* ---- Making ---- */

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* All there is, or what could not be made is NULL. */
static bool make(struct rig *rig, enum kind kind, const struct store_config *config)
{
    const struct ring_config rc = {.queue_depth = 8, .sq_thread_cpu = -1};
    const struct file_config fc = {.use_uring = kind != ON_THREADS,
                                   .fallback_on_error = true,
                                   .queue_depth = 8,
                                   .threads = 2,
                                   .thread_queue = 8};

    *rig = (struct rig){0};
    errno = 0;
    if (kind != ON_THREADS && !(rig->ring = ring_new(&rc)))
        return false;
    rig->loop = loop_new(kind == ON_RING ? rig->ring : NULL);
    if (rig->loop)
        rig->io = file_io_new(rig->loop, rig->ring, &fc);
    if (rig->io)
        rig->s = store_new(rig->io, config);
    return rig->s != NULL;
}

static void unmake(struct rig *rig)
{
    store_free(rig->s);
    file_io_free(rig->io);
    loop_free(rig->loop);
    ring_free(rig->ring);
}

static void read_whole(struct rig *rig)
{
    struct client c = {.len = 1000, .automatic = true};

    client_open(rig, &c, "file");
    rig_settle(rig);
    client_run(&c);
    rig_settle(rig);
    assert_true(c.done && !c.error && !c.mixed && c.at == 9000);
    store_close(rig->s, &c.r);
    rig_settle(rig);
}

/* How many steps there were. */
static unsigned make_with_a_fault(enum kind kind, int root_fd, unsigned at, unsigned times)
{
    struct store_config config = {.root_fd = root_fd,
                                  .chunk_bytes = 4096,
                                  .cache_bytes = 8 * 4096,
                                  .files_max = 8,
                                  .watch = true,
                                  .upload_mode = 0644};
    unsigned fds = count_fds();
    long before = atomic_load(&held);
    struct rig rig;

    fault.at = at;
    fault.times = times;
    fault.seen = 0;
    fault.armed = true;
    bool made = make(&rig, kind, &config);
    int err = errno;
    fault.armed = false;
    if (!made && err == 0)
        fail_msg("step %u: no reason given", at);
    if (made)
        read_whole(&rig);
    unmake(&rig);
    if (count_fds() != fds || atomic_load(&held) != before)
        fail_msg("step %u: %u descriptors, not %u; %ld allocations, not %ld", at, count_fds(), fds,
                 atomic_load(&held), before);
    return fault.seen;
}

static void every_step_fails(enum kind kind)
{
    int root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    unsigned refused = 0;

    assert_true(root_fd >= 0);
    unsigned steps = make_with_a_fault(kind, root_fd, UINT_MAX, 0);
    assert_true(steps > 8);
    for (unsigned at = 1; at <= steps; at++) {
        refused += make_with_a_fault(kind, root_fd, at, 1) < steps;
        make_with_a_fault(kind, root_fd, at, UINT_MAX);
    }
    assert_true(refused > 4);
    close(root_fd);
}

static void on_threads(void **state)
{
    (void)state;
    every_step_fails(ON_THREADS);
}

static bool has_rings(void)
{
    struct ring *ring = ring_new(&(struct ring_config){.queue_depth = 8, .sq_thread_cpu = -1});
    bool has = ring != NULL;

    ring_free(ring);
    return has;
}

static void on_a_ring(void **state)
{
    (void)state;
    if (!has_rings())
        skip();
    every_step_fails(ON_RING);
}

static void on_epoll_and_a_ring(void **state)
{
    (void)state;
    if (!has_rings())
        skip();
    every_step_fails(ON_EPOLL_AND_RING);
}

static int make_root(void **state)
{
    char path[sizeof(root) + 8];
    uint8_t bytes[9000];
    (void)state;

    snprintf(root, sizeof(root), "/tmp/store-make-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = pattern(i);
    snprintf(path, sizeof(path), "%s/file", root);
    FILE *f = fopen(path, "wb");
    return f && fwrite(bytes, sizeof(bytes), 1, f) == 1 && fclose(f) == 0 ? 0 : -1;
}

static int remove_root(void **state)
{
    char path[sizeof(root) + 8];
    (void)state;

    snprintf(path, sizeof(path), "%s/file", root);
    return unlink(path) == 0 && rmdir(root) == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_threads),
        cmocka_unit_test(on_a_ring),
        cmocka_unit_test(on_epoll_and_a_ring),
    };

    log_configure(LOG_WARN, LOG_TEXT,
                  1000); /* no watches: nothing to worry about, and told often */
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
