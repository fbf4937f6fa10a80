/*
 * Chunks of files in memory: one read for everybody who wants the same bytes, shown only when
 * the file was found unchanged after it, kept until the buffer is wanted for something else.
 *
 * A reader that lacks something either gets buffers for all chunks of its wish at once, or
 * waits in the pool's queue holding nothing. So those who hold never wait for buffers, and
 * whoever is first in the queue is served as soon as the others have sent what they hold.
 * What a reader has been promised it keeps by a reference on each chunk (its claims) until it
 * reads again; otherwise, with few buffers, one reader's second half could push out the
 * first half of another for ever.
 */
#include <assert.h>
#include <errno.h>

#include "store/internal.h"

/* Chunks of one wish at most; also no more than half of the pool: the half that is never the
 * sinks'. */
enum { SPAN_MAX = 64 };

enum {
    HOT_BYTES_MAX = 4 * 1024 * 1024,
    COLD_RUN_MAX = 63,
};

struct chunk_key {
    const struct store_file *file;
    uint64_t index;
};

static uint32_t chunk_hash(const struct store_file *f, uint64_t index)
{
    return (uint32_t)prng_mix(index + (f->id << 40) + f->id);
}

static bool chunk_equal(const struct map_node *node, const void *key)
{
    const struct chunk_key *k = key;
    const struct store_chunk *c = container_of(node, struct store_chunk, node);
    return c->file == k->file && c->index == k->index;
}

struct store_chunk *cache_find(const struct store *s, const struct store_file *f, uint64_t index)
{
    struct chunk_key key = {f, index};
    struct map_node *node = map_find(&s->chunks, chunk_hash(f, index), chunk_equal, &key);
    return node == NULL ? NULL : container_of(node, struct store_chunk, node);
}

static void count_used(struct store *s)
{
    s->stats.chunks_used = s->pool.fresh - s->pool.free_count;
}

/* ---- References ---- */

static inline void chunk_ref(struct store *s, struct store_chunk *c)
{
    if (c->refs++ == 0)
        pool_hold(&s->pool, c);
}

/* The last reference has gone, or never came: where the chunk waits for its next use. */
static void chunk_rest(struct store *s, struct store_chunk *c)
{
    assert(c->refs == 0);
    switch (c->state) {
    case CHUNK_LOADING:
        return;
    case CHUNK_READY:
        pool_rest(&s->pool, c, c->behind ? CHUNK_COLD : CHUNK_LRU);
        break;
    case CHUNK_FAILED:
        cache_detach(s, c); /* rests as an empty one */
        break;
    default:
        pool_rest(&s->pool, c, CHUNK_FREE);
        break;
    }
    count_used(s);
}

static void chunk_unref(struct store *s, struct store_chunk *c)
{
    assert(c->refs > 0);
    if (--c->refs == 0)
        chunk_rest(s, c);
}

void store_retain(struct store_chunk *chunk)
{
    assert(chunk->refs > 0);
    chunk->refs++;
}

void store_release(struct store *s, struct store_chunk *chunk)
{
    chunk_unref(s, chunk);
    if (!list_empty(&s->pool.waiters))
        cache_serve(s);
}

void cache_detach(struct store *s, struct store_chunk *c)
{
    assert(c->file != NULL && c->state != CHUNK_LOADING && list_empty(&c->waiters));
    map_remove(&s->chunks, &c->node);
    list_del(&c->in_file);
    c->file = NULL;
    c->state = CHUNK_EMPTY;
    if (c->refs == 0) {
        pool_hold(&s->pool, c);
        pool_rest(&s->pool, c, CHUNK_FREE);
        count_used(s);
    }
}

static struct store_chunk *take(struct store *s)
{
    assert(pool_available(&s->pool) > 0);
    struct store_chunk *c = pool_take(&s->pool);
    if (c->file != NULL) {
        map_remove(&s->chunks, &c->node);
        list_del(&c->in_file);
        s->stats.evicted++;
    }
    assert(c->refs == 0 && list_empty(&c->waiters));
    c->file = NULL;
    c->state = CHUNK_EMPTY;
    c->behind = false;
    count_used(s);
    return c;
}

struct store_chunk *cache_take_buffer(struct store *s)
{
    struct store_chunk *c = take(s);
    c->refs = 1;
    return c;
}

void cache_serve(struct store *s)
{
    while (!list_empty(&s->pool.waiters)) {
        struct store_turn *turn = container_of(s->pool.waiters.next, struct store_turn, link);
        if (turn->need(s, turn) > pool_available(&s->pool))
            return;
        list_del(&turn->link);
        turn->run(s, turn);
    }
}

/* ---- Loading ---- */

static void wake_waiters(struct store *s, struct store_chunk *c)
{
    struct list *node;
    while ((node = c->waiters.next) != &c->waiters)
        reader_wake(s, container_of(node, struct store_reader, wait.link));
}

static void chunk_failed(struct store *s, struct store_chunk *c, int error)
{
    c->state = CHUNK_FAILED;
    c->error = error;
    wake_waiters(s, c);
    if (c->refs == 0)
        chunk_rest(s, c);
}

static void chunk_ready(struct store *s, struct store_chunk *c)
{
    c->state = CHUNK_READY;
    wake_waiters(s, c);
    if (c->refs == 0)
        chunk_rest(s, c);
}

/* Growing counts as appending: see struct store_reader. */
static bool unchanged(const struct file_stat *was, const struct file_stat *is)
{
    return is->size > was->size || (is->size == was->size && is->mtime_ns == was->mtime_ns);
}

/*
 * Whether to ask for the bytes as being in the page cache, which is the cheapest read when it is
 * true and a wasted try when not. Each file is tried, and after a failure left alone for some
 * chunks, more with every failure. The bytes are copied while we submit, on our own time: at
 * most HOT_BYTES_MAX at once, a fraction of a millisecond.
 */
static bool ask_hot(struct store *s, struct store_file *f, size_t bytes)
{
    if (f->cold_left > 0) {
        f->cold_left--;
        return false;
    }
    return s->hot_bytes + bytes <= HOT_BYTES_MAX;
}

static void learn_hot(struct store *s, struct store_chunk *c)
{
    struct store_file *f = c->file;

    if (!c->hot)
        return;
    assert(s->hot_bytes >= c->op.req.len);
    s->hot_bytes -= c->op.req.len;
    if (c->op.req.result <= 0)
        return;
    f->cold_run = c->op.req.hot ? 0 : MIN(2 * f->cold_run + 1, (unsigned)COLD_RUN_MAX);
    f->cold_left = f->cold_run;
}

static void read_done(struct store_op *op);

static void read_more(struct store *s, struct store_chunk *c)
{
    size_t len = c->n - c->got;

    c->hot = ask_hot(s, c->file, len);
    s->hot_bytes += c->hot ? len : 0;
    c->op.req = (struct file_req){
        .op = FILE_READ,
        .fd = c->file->fd,
        .buf = c->data + c->got,
        .len = len,
        .offset = (c->index << s->pool.shift) + c->got,
        .hot = c->hot,
        .stat_after = true,
    };
    op_submit(s, &c->op, read_done);
}

static void read_done(struct store_op *op)
{
    struct store_chunk *c = container_of(op, struct store_chunk, op);
    struct store *s = op->s;
    struct store_file *f = c->file;
    int64_t n = op->req.result;

    learn_hot(s, c);
    if (n > 0) {
        assert(n <= c->n - c->got);
        c->got += (uint32_t)n;
        s->stats.bytes_read += (uint64_t)n;
    }
    /* An end before the size at open is a change too, whatever the stat says. */
    if (n == 0 || (n > 0 && !unchanged(&f->st, &op->req.st)))
        file_stale(f);
    if (n > 0 && c->got < c->n && f->error == 0) {
        read_more(s, c);
        return;
    }
    if (f->error != 0 || n < 0)
        chunk_failed(s, c, f->error != 0 ? f->error : (int)n);
    else
        chunk_ready(s, c);
    file_op_done(f);
    cache_serve(s);
}

void cache_load(struct store *s, struct store_file *f, uint64_t index)
{
    struct store_chunk *c = take(s);

    assert(index < file_chunk_count(s, f));
    c->file = f;
    c->index = index;
    c->state = CHUNK_LOADING;
    c->got = 0;
    c->n = (uint32_t)MIN((uint64_t)s->pool.chunk_bytes, f->st.size - (index << s->pool.shift));
    map_insert(&s->chunks, &c->node, chunk_hash(f, index));
    list_push_back(&f->chunks, &c->in_file);
    f->ops++;
    f->reread |= index < f->load_end;
    f->load_end = MAX(f->load_end, index + 1);
    read_more(s, c);
}

/* ---- Waiting ---- */

/* Buffers that must be available so that all of [first, end) can be held. */
static unsigned span_need(const struct store *s, const struct store_file *f, uint64_t first,
                          uint64_t end)
{
    unsigned need = 0;
    for (uint64_t i = first; i < end; i++) {
        const struct store_chunk *c = cache_find(s, f, i);
        need += c == NULL || c->place != CHUNK_HELD;
    }
    return need;
}

static bool span_present(const struct store *s, const struct store_file *f, uint64_t first,
                         uint64_t end)
{
    for (uint64_t i = first; i < end; i++) {
        if (cache_find(s, f, i) == NULL)
            return false;
    }
    return true;
}

/* Loads what is missing of the reader's wish, and claims all of it. */
static void span_claim(struct store *s, struct store_reader *r)
{
    struct store_file *f = r->file;

    /* What is there is held before anything is taken, or it could be taken. */
    for (uint64_t i = r->first; i < r->end; i++) {
        struct store_chunk *c = cache_find(s, f, i);
        if (c != NULL)
            chunk_ref(s, c);
    }
    for (uint64_t i = r->first; i < r->end; i++) {
        if (cache_find(s, f, i) != NULL)
            continue;
        cache_load(s, f, i);
        chunk_ref(s, cache_find(s, f, i));
        s->stats.chunk_misses++;
    }
    r->claimed = true;
}

static void span_unclaim(struct store *s, struct store_file *f, uint64_t first, uint64_t end)
{
    for (uint64_t i = first; i < end; i++) {
        struct store_chunk *c = cache_find(s, f, i);
        assert(c != NULL);
        chunk_unref(s, c);
    }
}

/* Waits for the first claimed chunk that cannot be used yet; nothing to wait for: called soon. */
static void span_wait(struct store *s, struct store_reader *r)
{
    struct store_file *f = r->file;

    for (uint64_t i = r->first; i < r->end; i++) {
        struct store_chunk *c = cache_find(s, f, i);
        if (c->state == CHUNK_READY)
            continue;
        if (c->state == CHUNK_FAILED)
            break;
        list_push_back(&c->waiters, &r->wait.link);
        return;
    }
    reader_wake(s, r);
}

/*
 * Readers of this file that stand in the queue for buffers and whose chunks somebody else
 * has loaded meanwhile need no buffers any more.
 */
static void join_starved(struct store *s, struct store_file *f)
{
    struct list *pos, *tmp;
    list_for_each_safe (pos, tmp, &f->starved) {
        struct store_reader *r = container_of(pos, struct store_reader, starved);
        if (!span_present(s, f, r->first, r->end))
            continue;
        list_del(&r->turn.link);
        list_del(&r->starved);
        s->stats.chunk_waits++;
        span_claim(s, r);
        span_wait(s, r);
    }
}

static unsigned reader_need(struct store *s, struct store_turn *turn)
{
    struct store_reader *r = container_of(turn, struct store_reader, turn);
    return span_need(s, r->file, r->first, r->end);
}

static void reader_served(struct store *s, struct store_turn *turn)
{
    struct store_reader *r = container_of(turn, struct store_reader, turn);
    list_del(&r->starved);
    span_claim(s, r);
    span_wait(s, r);
    join_starved(s, r->file);
}

/* The reader wants [first, end), of which `missing` is not there yet. */
static void want(struct store *s, struct store_reader *r, uint64_t first, uint64_t missing,
                 uint64_t end)
{
    struct store_file *f = r->file;
    bool starved = !list_empty(&r->starved);

    r->first = first;
    r->end = end;
    r->waiting = true;
    if (starved)
        return; /* keeps its place */
    if (cache_find(s, f, missing) != NULL)
        s->stats.chunk_waits++;
    if ((list_empty(&s->pool.waiters) || span_present(s, f, first, end)) &&
        span_need(s, f, first, end) <= pool_available(&s->pool)) {
        span_claim(s, r);
        span_wait(s, r);
        return;
    }
    s->stats.out_of_buffers++;
    r->turn.need = reader_need;
    r->turn.run = reader_served;
    list_push_back(&s->pool.waiters, &r->turn.link);
    list_push_back(&f->starved, &r->starved);
}

void cache_withdraw(struct store *s, struct store_reader *r)
{
    list_del(&r->wait.link);
    list_del(&r->turn.link);
    list_del(&r->starved);
    r->waiting = false;
    if (r->claimed) {
        r->claimed = false;
        span_unclaim(s, r->file, r->first, r->end);
    }
}

/* ---- Reading ---- */

/* The part of the chunk that belongs to [offset, offset + len). */
static void give(struct store *s, struct store_slice *slice, struct store_chunk *c, uint64_t offset,
                 uint64_t len)
{
    size_t skip = (size_t)(offset & (s->pool.chunk_bytes - 1));

    assert(skip < c->n);
    chunk_ref(s, c);
    slice->p = c->data + skip;
    slice->n = (uint32_t)MIN((uint64_t)(c->n - skip), len);
    slice->chunk = c;
}

static int read_error(struct store *s, struct store_reader *r, int error)
{
    if (error == -ESTALE && r->error == 0)
        s->stats.stale++;
    r->error = error;
    cache_withdraw(s, r);
    cache_serve(s);
    return error;
}

static int read_slow(struct store *s, struct store_reader *r, uint64_t offset, uint64_t len,
                     struct store_slice *slices, unsigned max)
{
    struct store_file *f = r->file;
    uint64_t first = offset >> s->pool.shift;
    uint64_t asked_end = ((offset + len - 1) >> s->pool.shift) + 1;
    uint64_t share_end = MIN(asked_end, first + MIN((unsigned)SPAN_MAX, s->pool.total / 2));
    uint64_t end = MIN(share_end, first + max);
    uint64_t claim_first = r->first, claim_end = r->claimed ? r->end : r->first;
    bool moved = !r->started || first != r->index;
    uint64_t i = first;
    int n = 0;

    /* Leaves its queue, but gives its claims back only when it has new ones. */
    list_del(&r->wait.link);
    if (list_empty(&r->starved))
        list_del(&r->turn.link);
    r->claimed = false;
    r->waiting = false;
    if (moved)
        ahead_move(s, r, first);
    for (; i < end; i++, n++) {
        struct store_chunk *c = cache_find(s, f, i);
        if (c != NULL && c->state == CHUNK_FAILED) {
            /* Also behind good bytes: what the caller asks for is never complete. */
            int error = c->error;
            while (n > 0)
                chunk_unref(s, slices[--n].chunk);
            span_unclaim(s, f, claim_first, claim_end);
            return read_error(s, r, error);
        }
        if (c == NULL || c->state != CHUNK_READY)
            break;
        if (n == 0)
            r->hint = c;
        c->behind = false;
        give(s, &slices[n], c, offset, len);
        offset += slices[n].n;
        len -= slices[n].n;
    }
    s->stats.chunk_hits += (unsigned)n;
    if (i < end) {
        want(s, r, first, i, end);
    } else {
        list_del(&r->turn.link);
        list_del(&r->starved);
        if (end < asked_end && (unsigned)n < max) {
            r->waiting = true;
            reader_wake(s, r); /* the rest is for its next call */
        }
    }
    span_unclaim(s, f, claim_first, claim_end);
    if (moved || i < end)
        ahead_run(s, r, end);
    cache_serve(s);
    return n;
}

int store_read(struct store *s, struct store_reader *r, uint64_t offset, uint64_t len,
               struct store_slice *slices, unsigned max)
{
    struct store_file *f = r->file;

    assert(f != NULL || r->error != 0);
    if (r->error != 0)
        return r->error;
    if (f->error != 0)
        return read_error(s, r, f->error);
    if (offset >= r->size || len == 0 || max == 0)
        return 0;
    len = MIN(len, r->size - offset);
    r->position = offset;

    struct store_chunk *c = r->hint;
    uint64_t index = offset >> s->pool.shift;
    if (c != NULL && c->file == f && c->index == index && c->state == CHUNK_READY &&
        r->index == index && !r->claimed && !r->waiting &&
        (offset & (s->pool.chunk_bytes - 1)) + len <= c->n) {
        s->stats.chunk_hits++;
        give(s, slices, c, offset, len);
        return 1;
    }
    return read_slow(s, r, offset, len, slices, max);
}
