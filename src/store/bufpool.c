#include "store/bufpool.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { CHUNK_BYTES_MIN = 4096, CHUNKS_MIN = 4 };

int pool_init(struct bufpool *pool, size_t chunk_bytes, size_t cache_bytes)
{
    size_t total = chunk_bytes == 0 ? 0 : cache_bytes / chunk_bytes;

    if (chunk_bytes < CHUNK_BYTES_MIN || chunk_bytes > UINT32_MAX / 2 ||
        (chunk_bytes & (chunk_bytes - 1)) != 0 || total < CHUNKS_MIN || total > UINT32_MAX ||
        cache_bytes > SIZE_MAX - chunk_bytes)
        return -EINVAL;
    *pool = (struct bufpool){.chunk_bytes = chunk_bytes, .total = (uint32_t)total};
    pool->shift = (unsigned)__builtin_ctzll(chunk_bytes);
    list_init(&pool->free);
    list_init(&pool->cold);
    list_init(&pool->lru);
    list_init(&pool->waiters);

    /* Zeroed by the kernel page by page, on first use: an idle server does not pay for it. */
    pool->chunks = calloc(total, sizeof(*pool->chunks));
    if (pool->chunks == NULL)
        return -ENOMEM;
    pool->map_bytes = (total + 1) * chunk_bytes;
    pool->map = mmap(NULL, pool->map_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pool->map == MAP_FAILED) {
        free(pool->chunks);
        return -ENOMEM;
    }
    size_t skew = (uintptr_t)pool->map & (chunk_bytes - 1);
    pool->base = (uint8_t *)pool->map + (skew == 0 ? 0 : chunk_bytes - skew);
    return 0;
}

void pool_fini(struct bufpool *pool)
{
    munmap(pool->map, pool->map_bytes);
    free(pool->chunks);
}

static uint32_t *count_of(struct bufpool *pool, unsigned place)
{
    switch (place) {
    case CHUNK_FREE:
        return &pool->free_count;
    case CHUNK_COLD:
        return &pool->cold_count;
    default:
        assert(place == CHUNK_LRU);
        return &pool->lru_count;
    }
}

static struct store_chunk *take_fresh(struct bufpool *pool)
{
    assert(pool->fresh < pool->total);
    struct store_chunk *c = &pool->chunks[pool->fresh];

    c->data = pool->base + (size_t)pool->fresh * pool->chunk_bytes;
    c->place = CHUNK_HELD;
    list_init(&c->rest);
    list_init(&c->in_file);
    list_init(&c->waiters);
    pool->fresh++;
    return c;
}

struct store_chunk *pool_take(struct bufpool *pool)
{
    struct list *from;

    if (pool->free_count > 0)
        from = &pool->free;
    else if (pool->cold_count > 0)
        from = &pool->cold;
    else if (pool->fresh < pool->total)
        return take_fresh(pool);
    else
        from = &pool->lru;
    assert(!list_empty(from));
    struct store_chunk *c = container_of(from->next, struct store_chunk, rest);
    pool_hold(pool, c);
    return c;
}

void pool_hold(struct bufpool *pool, struct store_chunk *c)
{
    if (c->place == CHUNK_HELD)
        return;
    list_del(&c->rest);
    --*count_of(pool, c->place);
    c->place = CHUNK_HELD;
}

void pool_rest(struct bufpool *pool, struct store_chunk *c, enum chunk_place place)
{
    assert(c->refs == 0 && c->place == CHUNK_HELD);
    switch (place) {
    case CHUNK_FREE:
        /* The warmest buffer first: its memory is the likeliest to be in the CPU's caches. */
        list_push_front(&pool->free, &c->rest);
        break;
    case CHUNK_COLD:
        list_push_back(&pool->cold, &c->rest);
        break;
    default:
        list_push_back(&pool->lru, &c->rest);
        break;
    }
    c->place = (uint8_t)place;
    ++*count_of(pool, place);
}
