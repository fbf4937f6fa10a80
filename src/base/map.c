/*
 * Chained hash map over the callers' nodes.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/map.h"

#define BUCKETS_MIN 8u
#define BUCKETS_MAX (1u << 30)

int map_init(struct map *m, size_t expected)
{
    uint32_t buckets = BUCKETS_MIN;
    while (buckets < expected && buckets < BUCKETS_MAX)
        buckets *= 2;
    struct map_node **table = calloc(buckets, sizeof(struct map_node *));
    if (!table)
        return -ENOMEM;
    *m = (struct map){.buckets = table, .mask = buckets - 1};
    return 0;
}

void map_fini(struct map *m)
{
    free(m->buckets);
    *m = (struct map){0};
}

struct map_node *map_find(const struct map *m, uint32_t hash, map_equal_fn *equal, const void *key)
{
    for (struct map_node *n = m->buckets[hash & m->mask]; n; n = n->next) {
        if (n->hash == hash && equal(n, key))
            return n;
    }
    return NULL;
}

void map_insert(struct map *m, struct map_node *node, uint32_t hash)
{
    struct map_node **bucket = &m->buckets[hash & m->mask];
    node->hash = hash;
    node->next = *bucket;
    *bucket = node;
    m->count++;
}

void map_remove(struct map *m, struct map_node *node)
{
    struct map_node **at = &m->buckets[node->hash & m->mask];
    while (*at && *at != node)
        at = &(*at)->next;
    assert(*at == node);
    *at = node->next;
    node->next = NULL;
    m->count--;
}

void map_each(struct map *m, void (*fn)(struct map_node *node, void *arg), void *arg)
{
    for (uint32_t i = 0; i <= m->mask && m->buckets; i++) {
        struct map_node *next;
        for (struct map_node *n = m->buckets[i]; n; n = next) {
            next = n->next;
            fn(n, arg);
        }
    }
}
