/*
 * Intrusive hash map with a fixed number of buckets: the caller knows the largest number of
 * entries, so nothing is allocated after map_init(). Nodes stand in the caller's structs,
 * which keep their own keys; the map sees only hashes.
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
    uint32_t mask;
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
