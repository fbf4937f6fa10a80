/*
 * What callers see, whole on every backend: the same tests for the pool and for each way to use
 * the ring.
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

static enum rig_kind kind;
static struct rig rig;
static unsigned fds_before;

static int setup(void **state)
{
    struct file_config config = rig_config();

    (void)state;
    fds_before = rig_count_fds();
    rig_open(&rig, kind, &config);
    return 0;
}

static int setup_narrow(void **state)
{
    struct file_config config = rig_config();

    (void)state;
    fds_before = rig_count_fds();
    config.queue_depth = 8;
    config.thread_queue = 32;
    config.threads = 3;
    rig_open(&rig, kind, &config);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_close(&rig);
    assert_int_equal(rig_count_fds(), fds_before);
    return 0;
}

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
    assert_string_equal(file_io_name(rig.io), kind == RIG_THREADS ? "threads" : "io_uring");
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
    if (kind == RIG_THREADS)
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
    enum file_backend b = kind == RIG_THREADS ? FILE_BACKEND_THREADS : FILE_BACKEND_URING;
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

/* ------------------------------------------------------------------------ many at once */

#define MANY 5000

struct many {
    struct list todo;
    unsigned done, in_file_io, in_file_io_max, submitting;
};

struct job {
    struct file_req req;
    struct many *many;
    char name[16];
    char buf[64];
};

static void job_done(struct file_req *req)
{
    struct job *j = container_of(req, struct job, req);

    assert_false(j->many->submitting); /* never from inside file_submit() */
    j->many->done++;
    j->many->in_file_io--;
    if (req->op == FILE_OPEN) {
        assert_true(req->result >= 0);
        close((int)req->result);
    } else if (req->op == FILE_READ) {
        assert_int_equal(req->result, sizeof(j->buf));
        rig_check_bytes(j->buf, sizeof(j->buf), req->offset);
    } else if (req->op == FILE_UNLINK) {
        assert_int_equal(req->result, -ENOENT);
    } else {
        assert_int_equal(req->result, req->op == FILE_WRITE ? sizeof(j->buf) : 0);
    }
}

/* Gives file_io as many as it takes, in order. */
static void feed(struct many *m)
{
    while (!list_empty(&m->todo)) {
        struct list *node = list_pop_front(&m->todo);
        struct file_req *req = container_of(node, struct file_req, link);
        int err;

        m->submitting = 1;
        err = file_submit(rig.io, req);
        m->submitting = 0;
        if (err) {
            assert_int_equal(err, -EAGAIN);
            list_push_front(&m->todo, &req->link); /* in order, as it was */
            return;
        }
        m->in_file_io++;
        m->in_file_io_max = MAX(m->in_file_io_max, m->in_file_io);
    }
}

static void prepare(struct job *j, struct prng *p, int fd)
{
    static const enum file_op ops[] = {FILE_OPEN, FILE_STAT,  FILE_READ, FILE_READ,
                                       FILE_READ, FILE_WRITE, FILE_SYNC, FILE_UNLINK};

    j->req = (struct file_req){
        .op = ops[prng_below(p, ARRAY_LEN(ops))],
        .fd = fd,
        .dirfd = rig.dir,
        .path = "f",
        .buf = j->buf,
        .len = sizeof(j->buf),
        .offset = prng_below(p, 65536),
        .done = job_done,
    };
    j->req.hot = prng_below(p, 2);
    j->req.stat_after = prng_below(p, 2);
    if (j->req.op == FILE_UNLINK) {
        snprintf(j->name, sizeof(j->name), "no-%u", (unsigned)prng_below(p, 1000));
        j->req.path = j->name;
    }
    /* Writes put back what is there. */
    for (size_t i = 0; i < sizeof(j->buf) && j->req.op == FILE_WRITE; i++)
        j->buf[i] = (char)rig_byte(j->req.offset + i);
}

static void test_many_mixed(void **state)
{
    struct job *jobs = calloc(MANY, sizeof(*jobs));
    struct many m = {0};
    struct prng p;
    int fd;

    (void)state;
    assert_non_null(jobs);
    prng_seed(&p, 20240607);
    list_init(&m.todo);
    rig_make_file(&rig, "f", 1 << 17);
    fd = openat(rig.dir, "f", O_RDWR | O_CLOEXEC);
    for (size_t i = 0; i < MANY; i++) {
        prepare(&jobs[i], &p, fd);
        jobs[i].many = &m;
        list_push_back(&m.todo, &jobs[i].req.link);
    }
    while (m.done < MANY) {
        feed(&m);
        rig_turn(&rig);
    }
    assert_true(file_io_idle(rig.io));
    assert_true(file_io_stats(rig.io)->refused > 0);
    assert_true(m.in_file_io_max >= 8);
    /* The queue, what runs, and what has run and was not yet asked for. */
    assert_true(m.in_file_io_max <= 2 * (32 + 8) + 64);
    close(fd);
    free(jobs);
}

static void note_order(struct file_req *req)
{
    unsigned **at = req->owner;

    *(*at)++ = (unsigned)req->offset;
}

/* When full, the later one is refused, not an earlier one dropped; all accepted ones come. */
static void test_refusal(void **state)
{
    struct file_req reqs[200];
    unsigned order[200], *at = order;
    unsigned accepted = 0, seen = 0;

    (void)state;
    rig_make_file(&rig, "f", 1000);
    for (unsigned i = 0; i < ARRAY_LEN(reqs); i++) {
        reqs[i] = (struct file_req){
            .op = FILE_STAT, .fd = rig.dir, .offset = i, .done = note_order, .owner = (void *)&at};
        if (file_submit(rig.io, &reqs[i]) < 0)
            break;
        accepted++;
    }
    assert_true(accepted >= 32 && accepted <= 32 + 8);
    assert_int_equal(file_io_stats(rig.io)->refused, 1);
    rig_drain(&rig);
    for (unsigned i = 0; i < accepted; i++)
        for (unsigned j = 0; j < accepted; j++)
            seen += order[j] == i;
    assert_int_equal(at - order, accepted);
    assert_int_equal(seen, accepted);
    reqs[accepted].owner = &at;
    assert_int_equal(file_submit(rig.io, &reqs[accepted]), 0); /* there is room again */
    rig_drain(&rig);
}

static void count_done(struct file_req *req)
{
    ++*(unsigned *)req->owner;
}

static void test_budget(void **state)
{
    struct file_req reqs[10];
    unsigned done = 0;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(reqs); i++) {
        reqs[i] =
            (struct file_req){.op = FILE_STAT, .fd = rig.dir, .done = count_done, .owner = &done};
        assert_int_equal(file_submit(rig.io, &reqs[i]), 0);
    }
    while (!file_io_idle(rig.io)) {
        unsigned before = done;
        unsigned n = file_complete(rig.io, 3);
        assert_true(n <= 3);
        assert_int_equal(done - before, n);
        if (n < 3 && !file_io_idle(rig.io))
            loop_wait(rig.loop, NSEC_NEVER);
    }
    assert_int_equal(done, ARRAY_LEN(reqs));
    assert_int_equal(file_complete(rig.io, 3), 0);
}

/* ------------------------------------------------------------------------ cancelling */

/* Whatever the moment: one done() for each, and either the result or -ECANCELED. */
static void test_cancel_races(void **state)
{
    struct file_req reqs[32];
    struct prng p;
    unsigned done, cancelled = 0;

    (void)state;
    prng_seed(&p, 7);
    rig_make_file(&rig, "f", 1 << 17);
    for (unsigned round = 0; round < 200; round++) {
        unsigned turns = (unsigned)prng_below(&p, 3);

        done = 0;
        for (unsigned i = 0; i < ARRAY_LEN(reqs); i++) {
            reqs[i] = (struct file_req){.op = i % 2 ? FILE_OPEN : FILE_STAT,
                                        .dirfd = rig.dir,
                                        .fd = rig.dir,
                                        .path = "f",
                                        .done = count_done,
                                        .owner = &done};
            assert_int_equal(file_submit(rig.io, &reqs[i]), 0);
        }
        for (unsigned i = 0; i < turns; i++)
            loop_wait(rig.loop, 0);
        for (unsigned i = 0; i < ARRAY_LEN(reqs); i++)
            if (prng_below(&p, 4))
                file_cancel(rig.io, &reqs[i]);
        assert_int_equal(done, 0);
        rig_drain(&rig);
        assert_int_equal(done, ARRAY_LEN(reqs));
        for (unsigned i = 0; i < ARRAY_LEN(reqs); i++) {
            cancelled += reqs[i].result == -ECANCELED;
            assert_true(reqs[i].result >= 0 || reqs[i].result == -ECANCELED);
            if (reqs[i].op == FILE_OPEN && reqs[i].result >= 0)
                close((int)reqs[i].result);
        }
    }
    assert_true(cancelled > 0);
}

/* A cancelled close closes. */
static void test_cancel_close(void **state)
{
    struct file_req req = {.op = FILE_CLOSE, .done = count_done};
    unsigned done = 0;

    (void)state;
    req.owner = &done;
    req.fd = dup(rig.dir);
    assert_int_equal(file_submit(rig.io, &req), 0);
    file_cancel(rig.io, &req);
    rig_drain(&rig);
    assert_int_equal(req.result, 0);
    assert_int_equal(fcntl(req.fd, F_GETFD), -1);
}

/* done() may submit again, and may free the request. */
static void submit_next(struct file_req *req)
{
    unsigned *left = req->owner;
    struct file_req *next = malloc(sizeof(*next));

    assert_non_null(next);
    *next = *req;
    free(req);
    if (--*left > 0)
        assert_int_equal(file_submit(rig.io, next), 0);
    else
        free(next);
}

static void test_submit_from_done(void **state)
{
    struct file_req *req = calloc(1, sizeof(*req));
    unsigned left = 500;

    (void)state;
    assert_non_null(req);
    *req = (struct file_req){.op = FILE_STAT, .fd = rig.dir, .done = submit_next, .owner = &left};
    assert_int_equal(file_submit(rig.io, req), 0);
    rig_drain(&rig);
    assert_int_equal(left, 0);
}

/* Everything of a pass goes to the kernel in one call. */
static void test_one_enter_for_a_pass(void **state)
{
    struct file_req reqs[20];
    unsigned done = 0;
    uint64_t enters;

    (void)state;
    if (kind == RIG_THREADS || kind == RIG_SQPOLL)
        skip();
    rig_make_file(&rig, "f", 1000);
    loop_wait(rig.loop, 0); /* the loop's own submissions */
    enters = ring_stats(rig.ring)->enters;
    for (unsigned i = 0; i < ARRAY_LEN(reqs); i++) {
        reqs[i] =
            (struct file_req){.op = FILE_STAT, .fd = rig.dir, .done = count_done, .owner = &done};
        assert_int_equal(file_submit(rig.io, &reqs[i]), 0);
    }
    assert_int_equal(ring_stats(rig.ring)->enters, enters);
    loop_wait(rig.loop, 0);
    assert_true(ring_stats(rig.ring)->enters - enters <= (kind == RIG_URING_ON_EPOLL ? 2 : 1));
    rig_drain(&rig);
    assert_int_equal(done, ARRAY_LEN(reqs));
}

#define T(name)        cmocka_unit_test_setup_teardown(name, setup, teardown)
#define T_NARROW(name) cmocka_unit_test_setup_teardown(name, setup_narrow, teardown)

static int run_suite(void)
{
    const struct CMUnitTest tests[] = {
        T(test_name),
        T(test_open_gives_stat),
        T(test_open_errors),
        T(test_open_fifo),
        T(test_open_path_only),
        T(test_read),
        T(test_hot_but_cold),
        T(test_write),
        T(test_write_refused),
        T(test_names),
        T(test_counts),
        T_NARROW(test_many_mixed),
        T_NARROW(test_refusal),
        T(test_budget),
        T(test_cancel_races),
        T(test_cancel_close),
        T(test_submit_from_done),
        T(test_one_enter_for_a_pass),
    };
    char name[64];

    snprintf(name, sizeof(name), "file on %s", rig_kind_name(kind));
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
    int failed = 0;

    for (int k = 0; k < RIG_KINDS; k++) {
        kind = (enum rig_kind)k;
        if (rig_is_possible(kind))
            failed += run_suite();
    }
    return failed;
}
