/*
 * Intrusive hash map. The caller knows the largest number of entries, so nothing is allocated
 * after map_init(); but only as many buckets are in use as the entries so far wanted (linear
 * hashing: a bucket is split at a time), so a map made for many is as quick as a small one while
 * it holds few. Nodes stand in the caller's structs, which keep their own keys; the map sees only
 * hashes.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/util.h"

struct map_node {
    struct map_node *next;
    uint32_t hash;
};

struct map {
    struct map_node **buckets;
    uint32_t capacity; /* buckets; power of two */
    uint32_t used;     /* the first so many hold the nodes */
    uint32_t mask;     /* the smallest of ones only that is not below used - 1 */
    size_t count;
};

typedef bool map_equal_fn(const struct map_node *node, const void *key);

/* Buckets for about `expected` entries (more still work, slower). -ENOMEM. */
MUST_CHECK int map_init(struct map *m, size_t expected);
/* Frees the buckets; the nodes are the caller's. */
void map_fini(struct map *m);

struct map_node *map_find(const struct map *m, uint32_t hash, map_equal_fn *equal, const void *key);
/* The caller has made sure that no equal entry exists. */
void map_insert(struct map *m, struct map_node *node, uint32_t hash);
/* `node` must be in the map. */
void map_remove(struct map *m, struct map_node *node);

/* Calls fn for every node; fn may remove the node it is given, and no other. */
void map_each(struct map *m, void (*fn)(struct map_node *node, void *arg), void *arg);

#endif
