/*
 * Read-ahead and drop-behind.
 *
 * A reader that goes on in order has first one, then two ... chunks read ahead of what it asks
 * for, as many as its share of an eighth of the pool and config.read_ahead allow: with many
 * files at once it is one or none, so that the memory goes to those who wait now. What all
 * readers of a file have behind them is marked cold and reused first, until that turns out to be
 * a mistake: a file of which something had to be read a second time is kept, if it fits. One of
 * a few files is kept at once, as long as nothing else has to go for it.
 */
#include <assert.h>

#include "store/internal.h"

/* So many open files are likely to be asked for again; of more, each may be somebody's own. */
#define FEW_FILES 16

/* Chunks that read-ahead leaves alone: an eighth. */
static bool may_take(const struct store *s)
{
    return list_empty(&s->pool.waiters) && list_empty(&s->pending) &&
           pool_available(&s->pool) > s->pool.total / 8 + 1;
}

static unsigned depth_max(const struct store *s)
{
    unsigned share = s->pool.total / 8 / MAX(1U, s->files_read);
    return MIN(MIN(s->config.read_ahead, share), (unsigned)UINT8_MAX);
}

/*
 * Whether some other reader has yet to come past the chunk. The one that is found moves to
 * the front: it will be the answer next time too, so that of many readers only the last pays
 * for looking at all the others.
 */
static bool wanted_by_other(struct store_file *f, const struct store_reader *r, uint64_t index)
{
    struct list *pos;
    list_for_each (pos, &f->readers) {
        struct store_reader *other = container_of(pos, struct store_reader, link);
        if (other != r && other->index <= index) {
            list_del(&other->link);
            list_push_front(&f->readers, &other->link);
            return true;
        }
    }
    return false;
}

/* Within its share of all but an eighth, and more than an eighth holds nothing of use. */
static bool costs_nothing(const struct store *s, const struct store_file *f)
{
    const struct bufpool *p = &s->pool;
    uint64_t unused = p->total - p->fresh + p->free_count + p->cold_count;

    return s->file_count <= FEW_FILES && unused > p->total / 8 &&
           file_chunk_count(s, f) <= (p->total - p->total / 8) / MAX(1U, s->files_read);
}

static bool is_kept(const struct store *s, const struct store_file *f)
{
    if (costs_nothing(s, f))
        return true;
    return f->reread && file_chunk_count(s, f) <= s->pool.total - s->pool.total / 8;
}

static void drop(struct store *s, struct store_chunk *c)
{
    c->behind = true;
    if (c->place == CHUNK_LRU) {
        pool_hold(&s->pool, c);
        pool_rest(&s->pool, c, CHUNK_COLD);
    }
}

void ahead_move(struct store *s, struct store_reader *r, uint64_t index)
{
    uint64_t from = r->index;
    uint64_t step = index - from;
    unsigned most = depth_max(s);

    r->index = index;
    if (!r->started) {
        r->started = true;
        r->ahead = (uint8_t)MIN(1U, most);
        return;
    }
    if (index < from)
        return; /* sends again: as before */
    /* A jump is no progress in order; a window may step over several chunks. */
    r->ahead = (uint8_t)(step <= 2U + s->config.read_ahead ? MIN(r->ahead + 1U, most) : 0);
    if (is_kept(s, r->file))
        return;
    for (uint64_t i = from; i < index && i < from + UINT8_MAX; i++) {
        struct store_chunk *c = cache_find(s, r->file, i);
        if (c != NULL && !wanted_by_other(r->file, r, i))
            drop(s, c);
    }
}

void ahead_run(struct store *s, struct store_reader *r, uint64_t end)
{
    uint64_t stop = MIN(end + r->ahead, file_chunk_count(s, r->file));

    for (uint64_t i = end; i < stop && may_take(s); i++) {
        if (cache_find(s, r->file, i) != NULL)
            continue;
        cache_load(s, r->file, i);
        s->stats.read_ahead++;
    }
}

void ahead_first(struct store *s, struct store_file *f)
{
    if (f->st.size == 0 || !may_take(s) || cache_find(s, f, 0) != NULL)
        return;
    cache_load(s, f, 0);
    s->stats.read_ahead++;
}

void ahead_left(struct store *s, struct store_file *f)
{
    /* Small files are what a cache is for; the tail of a large one is of no use to a reader
     * that will start at its head. */
    if (file_chunk_count(s, f) <= 1 || is_kept(s, f))
        return;
    struct list *pos;
    list_for_each (pos, &f->chunks)
        drop(s, container_of(pos, struct store_chunk, in_file));
}
