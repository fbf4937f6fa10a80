/*
 * The chunks of one store: a region mapped once, cut into equal buffers, and the descriptors
 * that say what each holds. A chunk is either held (referenced, or being read into) or rests
 * on one of three lists. Reuse order: without content, cold (everybody who wanted it is past
 * it), memory never touched, least recently used. So a stream over a file that is not kept runs
 * in the few buffers it started with, and memory grows only for what is wanted at the same time.
 *
 * Whoever finds too few waits in one queue, strictly in order of arrival.
 */
#ifndef STORE_BUFPOOL_H
#define STORE_BUFPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/map.h"
#include "store/op.h"
#include "store/store.h"

enum chunk_state {
    CHUNK_EMPTY,   /* no bytes of a file; also the buffers of sinks */
    CHUNK_LOADING, /* a read is in flight or queued */
    CHUNK_READY,
    CHUNK_FAILED, /* its readers are being told `error`; gone with the last reference */
};

enum chunk_place { CHUNK_HELD, CHUNK_FREE, CHUNK_COLD, CHUNK_LRU };

struct store_chunk {
    uint8_t *data;
    struct store_file *file; /* NULL: of no file (any more) */
    uint64_t index;          /* in the file */
    uint32_t n;              /* bytes of the file that belong here */
    uint32_t got;            /* bytes read so far */
    uint32_t refs;
    uint8_t state; /* enum chunk_state */
    uint8_t place; /* enum chunk_place */
    bool behind;   /* no reader of the file has it ahead */
    bool hot;      /* while loading: asked for as a hot read */
    int error;
    struct map_node node; /* store.chunks */
    struct list rest;     /* the pool's lists */
    struct list in_file;  /* store_file.chunks */
    struct list waiters;  /* store_reader.wait.link */
    struct store_op op;
};

struct bufpool {
    void *map;
    size_t map_bytes;
    uint8_t *base;
    size_t chunk_bytes;
    unsigned shift; /* log2 of chunk_bytes */
    struct store_chunk *chunks;
    uint32_t total;
    uint32_t fresh; /* chunks [fresh, total) have never been touched */
    struct list free, cold, lru;
    uint32_t free_count, cold_count, lru_count;
    struct list waiters; /* store_turn.link */
};

/* -ENOMEM, -EINVAL (chunk size no power of two below 4096, or no room for four chunks). */
MUST_CHECK int pool_init(struct bufpool *pool, size_t chunk_bytes, size_t cache_bytes);
void pool_fini(struct bufpool *pool);

/* Chunks that nobody holds. */
static inline uint32_t pool_available(const struct bufpool *pool)
{
    return pool->free_count + pool->cold_count + pool->lru_count + (pool->total - pool->fresh);
}

/*
 * The next chunk to be reused; the caller has seen pool_available() > 0. It is held, has no
 * reference, and may still have bytes of a file, which the caller removes from the cache.
 */
struct store_chunk *pool_take(struct bufpool *pool);
/* Off its list: somebody wants the content. No effect on a held chunk. */
void pool_hold(struct bufpool *pool, struct store_chunk *c);
/* Puts an unreferenced chunk to rest on that list. */
void pool_rest(struct bufpool *pool, struct store_chunk *c, enum chunk_place place);

#endif
