#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "store/test_rig.h"

enum { CHUNK = 4096 };

uint8_t pattern(uint64_t offset)
{
    return (uint8_t)(offset * 7 + (offset >> 8) * 13 + (offset >> 16));
}

struct store_config rig_config(unsigned chunks)
{
    return (struct store_config){
        .symlinks = STORE_SYMLINKS_NEVER,
        .chunk_bytes = CHUNK,
        .cache_bytes = (size_t)chunks * CHUNK,
        .read_ahead = 4,
        .files_max = 2000,
        .upload_max_bytes = 1 << 20,
        .durable = true,
        .upload_mode = 0644,
        .upload_buffer_bytes = 2 * CHUNK,
    };
}

static int script(void *arg, const struct file_req *req, nsec *delay, size_t *max_bytes)
{
    struct rig *rig = arg;

    rig->ops[req->op]++;
    if (req->op == FILE_READ && req->offset / CHUNK < ARRAY_LEN(rig->reads_per_chunk))
        rig->reads_per_chunk[req->offset / CHUNK]++;
    for (size_t i = 0; i < ARRAY_LEN(rig->faults); i++) {
        struct fault *f = &rig->faults[i];
        if (f->times == 0 || f->op != req->op)
            continue;
        if (f->skip > 0) {
            f->skip--;
            continue;
        }
        f->times--;
        *delay = f->delay;
        if (f->max_bytes != 0)
            *max_bytes = f->max_bytes == FAULT_NO_BYTES ? 0 : f->max_bytes;
        return f->error;
    }
    return 0;
}

void rig_init(struct rig *rig, const struct store_config *config)
{
    *rig = (struct rig){.now = 1};
    rig->loop = loop_new(NULL);
    assert_non_null(rig->loop);
    rig->io = file_io_new_mem(rig->loop);
    assert_non_null(rig->io);
    file_mem_advance(rig->io, rig->now);
    file_mem_script(rig->io, script, rig);
    rig->s = store_new(rig->io, config);
    assert_non_null(rig->s);
}

void rig_init_on(struct rig *rig, struct ring *ring, const struct store_config *config,
                 const struct file_config *fc)
{
    *rig = (struct rig){.ring = ring};
    rig->loop = loop_new(ring);
    assert_non_null(rig->loop);
    rig->io = file_io_new(rig->loop, rig->ring, fc);
    assert_non_null(rig->io);
    rig->s = store_new(rig->io, config);
    assert_non_null(rig->s);
}

void rig_init_threads(struct rig *rig, const struct store_config *config, unsigned threads,
                      unsigned queue)
{
    struct file_config fc = {.threads = threads, .thread_queue = queue, .queue_depth = 8};

    rig_init_on(rig, NULL, config, &fc);
}

int rig_init_ring(struct rig *rig, const struct store_config *config, unsigned queue)
{
    struct ring_config rc = {.queue_depth = 64, .sq_thread_cpu = -1};
    struct file_config fc = {.use_uring = true,
                             .fallback_on_error = true,
                             .queue_depth = queue,
                             .threads = 2,
                             .thread_queue = queue};
    struct ring *ring = ring_new(&rc);

    if (ring == NULL)
        return -errno;
    rig_init_on(rig, ring, config, &fc);
    return 0;
}

unsigned rig_step(struct rig *rig)
{
    if (rig->now != 0)
        file_mem_advance(rig->io, rig->now);
    return file_complete(rig->io, 100000);
}

void rig_settle(struct rig *rig)
{
    for (unsigned rounds = 0;; rounds++) {
        assert_true(rounds < 1000000);
        if (rig_step(rig) > 0)
            continue;
        if (store_idle(rig->s) && file_io_idle(rig->io))
            return;
        if (rig->now != 0) {
            nsec next = file_mem_next(rig->io);
            assert_true(next != NSEC_NEVER);
            rig->now = MAX(rig->now, next);
        } else {
            loop_wait(rig->loop, loop_clock() + NSEC_PER_SEC);
        }
    }
}

void rig_fini(struct rig *rig)
{
    store_trim(rig->s);
    rig_settle(rig);
    store_trim(rig->s);
    rig_settle(rig);
    const struct store_stats *st = store_stats(rig->s);
    assert_int_equal(st->files_open, 0);
    assert_int_equal(st->chunks_used, 0);
    store_free(rig->s);
    file_io_free(rig->io);
    loop_free(rig->loop);
    if (rig->ring != NULL)
        ring_free(rig->ring);
}

static void on_ready(struct store_wait *w)
{
    struct client *c = container_of(container_of(w, struct store_reader, wait), struct client, r);

    c->ready++;
    if (c->r.result < 0) {
        c->error = c->r.result;
        c->done = true;
    } else if (c->automatic) {
        client_run(c);
    }
}

void client_open(struct rig *rig, struct client *c, const char *path)
{
    uint64_t len = c->len == 0 ? 512 : c->len;
    bool automatic = c->automatic;

    *c = (struct client){.rig = rig, .len = len, .automatic = automatic};
    c->r.wait.ready = on_ready;
    store_open(rig->s, &c->r, path);
}

void client_run(struct client *c)
{
    static unsigned order;
    struct store_slice slices[16];

    while (!c->done && c->at < c->r.size) {
        uint64_t len = MIN(c->len, c->r.size - c->at), got = 0;
        int n = store_read(c->rig->s, &c->r, c->at, len, slices, ARRAY_LEN(slices));
        if (n < 0) {
            c->error = n;
            c->done = true;
            return;
        }
        for (int i = 0; i < n; i++)
            got += slices[i].n;
        /* As a transfer does: a block is sent whole or not yet. */
        for (int i = 0; i < n && got == len; i++) {
            for (uint32_t j = 0; j < slices[i].n; j++)
                c->mixed |= slices[i].p[j] != pattern(c->at + j);
            c->at += slices[i].n;
        }
        for (int i = 0; i < n; i++)
            store_release(c->rig->s, slices[i].chunk);
        if (got < len)
            return;
        if (c->served == 0)
            c->served = ++order;
    }
    c->done = true;
}

static void on_changed(struct store_sink *sink)
{
    container_of(sink, struct upload, sink)->changes++;
}

void upload_open(struct rig *rig, struct upload *u, const char *path, bool overwrite,
                 uint64_t size_hint)
{
    *u = (struct upload){.rig = rig, .sink.changed = on_changed};
    store_sink_open(rig->s, &u->sink, path, overwrite, true, size_hint);
    assert_int_equal(u->changes, 0);
}

uint64_t upload_feed(struct upload *u, uint64_t n)
{
    uint64_t taken = 0;
    uint8_t buf[512];

    while (taken < n) {
        size_t part = (size_t)MIN(n - taken, sizeof(buf));
        part = MIN(part, store_sink_room(&u->sink));
        if (part == 0)
            break;
        for (size_t i = 0; i < part; i++)
            buf[i] = pattern(u->sink.received + i);
        store_sink_write(&u->sink, buf, part);
        taken += part;
    }
    return taken;
}

static void on_done(struct file_req *req)
{
    *(bool *)req->owner = true;
}

int64_t rig_do(struct rig *rig, struct file_req *req)
{
    bool done = false;

    req->done = on_done;
    req->owner = &done;
    assert_int_equal(file_submit(rig->io, req), 0);
    while (!done) {
        if (rig_step(rig) == 0 && rig->now == 0)
            loop_wait(rig->loop, loop_clock() + NSEC_PER_SEC);
    }
    return req->result;
}
