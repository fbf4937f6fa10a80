/*
 * What a read costs, by the way it is asked for: with a cold page cache (each file read once,
 * all files at the same time, one chunk of each under way) and with a hot one.
 *
 *   read-cost [-d DIR] [-n FILES] [-s MBYTES] [-r ROUNDS] [-c KBYTES] [-w WAY]... [-x]
 *
 * Makes the files once and leaves them. -c: chunks of this size only; -w: only the ways that begin
 * so; -x: the cold page cache only. One line per way and chunk size:
 *   MB/s       by the wall clock
 *   cpu s/GB   of the whole process, its kernel workers included
 *   turn       the longest time the submitting thread was busy between two sleeps, and the 99 %
 *              quantile: what all other transfers of that worker wait for
 *   latency    of a chunk, submit to complete
 *
 * Numbers of one run compare with each other, not with those of another machine or hour.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hist.h"
#include "file/file.h"
#include "loop/loop.h"
#include "loop/ring.h"
#include "loop/uring_compat.h"

#define FILES_MAX 1024
#define CHUNK_MAX (1 << 20)

enum how { INLINE, ASYNC, NOWAIT_THEN_ASYNC, DIRECT, DIRECT_ASYNC, POOL };

struct way {
    const char *name;
    enum how how;
    bool random;      /* POSIX_FADV_RANDOM: no read-ahead by the kernel */
    unsigned workers; /* kernel's, or the pool's */
};

static const struct way ways[] = {
    {"inline", INLINE, false, 4},
    {"inline, random", INLINE, true, 4},
    {"async 4", ASYNC, false, 4},
    {"async 32", ASYNC, false, 32},
    {"async 32, random", ASYNC, true, 32},
    {"async 128", ASYNC, false, 128},
    {"async 128, random", ASYNC, true, 128},
    {"nowait, async 32", NOWAIT_THEN_ASYNC, false, 32},
    {"direct inline", DIRECT, false, 4},
    {"direct async 32", DIRECT_ASYNC, false, 32},
    {"direct async 128", DIRECT_ASYNC, false, 128},
    {"pool 4", POOL, false, 4},
    {"pool 4, random", POOL, true, 4},
    {"pool 32", POOL, false, 32},
    {"pool 32, random", POOL, true, 32},
};

struct reader {
    struct ring_op op;
    struct file_req req;
    int fd;
    uint64_t offset;
    nsec submitted;
    bool cold; /* NOWAIT was answered with EAGAIN */
    void *buf;
};

static struct {
    const char *dir;
    unsigned files;
    size_t file_bytes;
    unsigned rounds;
    size_t chunk; /* 0: all sizes */
    const char *ways[16];
    unsigned way_count; /* 0: all */
    bool cold_only;
} options = {.dir = "/var/tmp/read-cost", .files = 200, .file_bytes = 4 << 20, .rounds = 1};

static const struct way *way;
static size_t chunk;
static struct reader readers[FILES_MAX];
static unsigned active;
static struct ring *ring;
static struct loop *loop;
static struct file_io *io;
static struct hist latency, turns;
static struct reader *todo[FILES_MAX];
static unsigned todo_count;
static nsec awake_since;

static void die(const char *what)
{
    fprintf(stderr, "read-cost: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void file_path(char *path, size_t size, unsigned i)
{
    snprintf(path, size, "%s/%04u", options.dir, i);
}

static void make_files(void)
{
    char path[512];
    struct stat st;
    char *data = malloc(options.file_bytes);

    if (!data)
        die("memory");
    memset(data, 'x', options.file_bytes);
    if (mkdir(options.dir, 0700) < 0 && errno != EEXIST)
        die(options.dir);
    for (unsigned i = 0; i < options.files; i++) {
        file_path(path, sizeof(path), i);
        if (stat(path, &st) == 0 && (size_t)st.st_size == options.file_bytes)
            continue;
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (fd < 0 || write(fd, data, options.file_bytes) != (ssize_t)options.file_bytes ||
            fsync(fd) < 0)
            die(path);
        close(fd);
    }
    free(data);
}

static void open_files(bool cold)
{
    int flags = O_RDONLY | (way->how == DIRECT || way->how == DIRECT_ASYNC ? O_DIRECT : 0);
    char path[512];

    for (unsigned i = 0; i < options.files; i++) {
        struct reader *r = &readers[i];

        file_path(path, sizeof(path), i);
        r->fd = open(path, flags);
        if (r->fd < 0)
            die(path);
        r->offset = 0;
        r->cold = false;
        if (!r->buf && posix_memalign(&r->buf, 4096, CHUNK_MAX))
            die("memory");
        if (cold && posix_fadvise(r->fd, 0, 0, POSIX_FADV_DONTNEED))
            die("fadvise");
        if (way->random)
            (void)posix_fadvise(r->fd, 0, 0, POSIX_FADV_RANDOM);
    }
}

static void chunk_done(struct reader *r, int64_t result)
{
    if (result == -EAGAIN && way->how == NOWAIT_THEN_ASYNC) {
        r->cold = true;
        todo[todo_count++] = r;
        return;
    }
    if (result < 0) {
        errno = (int)-result;
        die("read");
    }
    hist_add(&latency, loop_clock() - r->submitted);
    r->submitted = 0;
    r->cold = false;
    r->offset += (uint64_t)result;
    if (result == 0 || r->offset >= options.file_bytes) {
        close(r->fd);
        active--;
        return;
    }
    todo[todo_count++] = r;
}

static void ring_done(struct ring_op *op, int res, uint32_t flags)
{
    (void)flags;
    chunk_done(container_of(op, struct reader, op), res);
}

static void file_done(struct file_req *req)
{
    chunk_done(container_of(req, struct reader, req), req->result);
}

static void submit_ring(struct reader *r)
{
    struct io_uring_sqe *sqe = ring_sqe(ring, &r->op);

    if (!sqe)
        die("submission queue");
    io_uring_prep_read(sqe, r->fd, r->buf, (unsigned)chunk, r->offset);
    if (way->how == ASYNC || way->how == DIRECT_ASYNC || (way->how == NOWAIT_THEN_ASYNC && r->cold))
        sqe->flags |= IOSQE_ASYNC;
    else if (way->how == NOWAIT_THEN_ASYNC)
        sqe->rw_flags = RWF_NOWAIT;
}

static void submit_pool(struct reader *r)
{
    r->req = (struct file_req){.op = FILE_READ,
                               .fd = r->fd,
                               .buf = r->buf,
                               .len = chunk,
                               .offset = r->offset,
                               .done = file_done};
    if (file_submit(io, &r->req) < 0)
        die("pool");
}

/* One turn: all that is to be submitted is; then sleep; then completions, which fill `todo`. */
static void turn(void)
{
    nsec now;

    for (unsigned i = 0; i < todo_count; i++) {
        struct reader *r = todo[i];

        if (!r->submitted)
            r->submitted = loop_clock();
        if (way->how == POOL)
            submit_pool(r);
        else
            submit_ring(r);
    }
    todo_count = 0;
    if (way->how == POOL) {
        (void)loop_wait(loop, 0); /* hands over; sleeping follows, apart */
        file_complete(io, UINT32_MAX);
    } else if (ring_submit(ring) < 0) {
        die("submit");
    }
    now = loop_clock();
    hist_add(&turns, now - awake_since);
    if (todo_count || !active) {
        awake_since = now;
        return;
    }

    if (way->how == POOL) {
        loop_wait(loop, NSEC_NEVER);
        awake_since = loop_clock();
        file_complete(io, UINT32_MAX);
    } else {
        ring_wait(ring, NSEC_NEVER, now);
        awake_since = loop_clock();
        ring_deliver(ring, UINT32_MAX);
    }
}

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void open_backend(void)
{
    struct ring_config rc = {.queue_depth = 1024,
                             .sq_thread_cpu = -1,
                             .iowq_bounded = way->workers,
                             .iowq_unbounded = way->workers};
    struct file_config fc = {.threads = way->workers, .thread_queue = FILES_MAX};

    if (way->how == POOL) {
        loop = loop_new(NULL);
        io = loop ? file_io_new(loop, NULL, &fc) : NULL;
        if (!io)
            die("pool");
    } else if (!(ring = ring_new(&rc))) {
        die("io_uring");
    }
}

static void close_backend(void)
{
    if (way->how == POOL) {
        file_io_free(io);
        loop_free(loop);
    } else {
        ring_free(ring);
    }
}

static void measure(bool cold, bool quiet)
{
    double gb = (double)options.files * (double)options.file_bytes / 1e9;
    double cpu;
    nsec start;

    memset(&latency, 0, sizeof(latency));
    memset(&turns, 0, sizeof(turns));
    open_backend();
    open_files(cold);
    active = options.files;
    for (unsigned i = 0; i < options.files; i++) {
        readers[i].op.complete = ring_done;
        readers[i].submitted = 0;
        todo[todo_count++] = &readers[i];
    }
    cpu = cpu_seconds();
    start = awake_since = loop_clock();
    while (active)
        turn();
    double wall = (double)(loop_clock() - start) / 1e9;
    cpu = cpu_seconds() - cpu;
    close_backend();
    if (quiet)
        return;
    printf("%-5s %-20s %5zu KB %6.0f MB/s %7.3f s/GB  turn %7.2f ms max %6.3f p99"
           "  latency %6.2f ms p50 %7.2f p99 %7.2f p999\n",
           cold ? "cold" : "hot", way->name, chunk >> 10, gb * 1000 / wall, cpu / gb,
           (double)turns.max / 1e6, (double)hist_quantile(&turns, 0.99) / 1e6,
           (double)hist_quantile(&latency, 0.5) / 1e6, (double)hist_quantile(&latency, 0.99) / 1e6,
           (double)hist_quantile(&latency, 0.999) / 1e6);
    fflush(stdout);
}

static void parse_options(int argc, char **argv)
{
    int c;

    while ((c = getopt(argc, argv, "d:n:s:r:c:w:x")) != -1) {
        if (c == 'd')
            options.dir = optarg;
        else if (c == 'n')
            options.files = (unsigned)strtoul(optarg, NULL, 10);
        else if (c == 's')
            options.file_bytes = (size_t)strtoul(optarg, NULL, 10) << 20;
        else if (c == 'r')
            options.rounds = (unsigned)strtoul(optarg, NULL, 10);
        else if (c == 'c')
            options.chunk = (size_t)strtoul(optarg, NULL, 10) << 10;
        else if (c == 'w' && options.way_count < ARRAY_LEN(options.ways))
            options.ways[options.way_count++] = optarg;
        else if (c == 'x')
            options.cold_only = true;
        else
            exit(64);
    }
    if (options.chunk > CHUNK_MAX || options.files < 1 || options.files > FILES_MAX ||
        options.file_bytes == 0) {
        fprintf(stderr, "read-cost: 1 to %d files of 1 MB or more, chunks of 1 MB at most\n",
                FILES_MAX);
        exit(64);
    }
}

static bool wanted(const char *name)
{
    for (unsigned i = 0; i < options.way_count; i++)
        if (strncmp(name, options.ways[i], strlen(options.ways[i])) == 0)
            return true;
    return options.way_count == 0;
}

static void measure_all(bool cold)
{
    for (size_t w = 0; w < ARRAY_LEN(ways); w++) {
        way = &ways[w];
        if (wanted(way->name))
            measure(cold, false);
    }
}

int main(int argc, char **argv)
{
    static const size_t chunks[] = {16 << 10, 32 << 10, 64 << 10, 256 << 10};

    parse_options(argc, argv);
    make_files();
    for (unsigned round = 0; round < options.rounds; round++) {
        for (size_t c = 0; c < ARRAY_LEN(chunks); c++) {
            chunk = options.chunk ? options.chunk : chunks[c];
            measure_all(true);
            if (!options.cold_only) {
                way = &ways[0];
                measure(false, true); /* fills the page cache */
                measure_all(false);
            }
            if (options.chunk)
                break;
        }
    }
    return 0;
}
