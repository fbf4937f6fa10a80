/*
 * Chained hash map over the callers' nodes.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/map.h"

#define BUCKETS_MIN 8u
#define BUCKETS_MAX (1u << 30)
#define PER_NODE    4 /* buckets, while there are so many: most chains are one node */

int map_init(struct map *m, size_t expected)
{
    uint32_t buckets = BUCKETS_MIN;
    while (buckets < expected && buckets < BUCKETS_MAX)
        buckets *= 2;
    struct map_node **table = calloc(buckets, sizeof(struct map_node *));
    if (!table)
        return -ENOMEM;
    *m = (struct map){
        .buckets = table, .capacity = buckets, .used = BUCKETS_MIN, .mask = BUCKETS_MIN - 1};
    return 0;
}

void map_fini(struct map *m)
{
    free(m->buckets);
    *m = (struct map){0};
}

static struct map_node **bucket_of(const struct map *m, uint32_t hash)
{
    uint32_t i = hash & m->mask;

    return &m->buckets[i < m->used ? i : i & m->mask >> 1];
}

/* One bucket more: takes its nodes out of the one that had them so far. */
static void split(struct map *m)
{
    uint32_t fresh = m->used;

    if (fresh > m->mask)
        m->mask = 2 * m->mask + 1;
    struct map_node **from = &m->buckets[fresh & m->mask >> 1], **to = &m->buckets[fresh];
    while (*from) {
        struct map_node *n = *from;

        if ((n->hash & m->mask) != fresh) {
            from = &n->next;
            continue;
        }
        *from = n->next;
        n->next = NULL;
        *to = n;
        to = &n->next;
    }
    m->used++;
}

struct map_node *map_find(const struct map *m, uint32_t hash, map_equal_fn *equal, const void *key)
{
    for (struct map_node *n = *bucket_of(m, hash); n; n = n->next) {
        if (n->hash == hash && equal(n, key))
            return n;
    }
    return NULL;
}

void map_insert(struct map *m, struct map_node *node, uint32_t hash)
{
    while (m->used < m->capacity && m->used < PER_NODE * (m->count + 1))
        split(m);
    struct map_node **bucket = bucket_of(m, hash);
    node->hash = hash;
    node->next = *bucket;
    *bucket = node;
    m->count++;
}

void map_remove(struct map *m, struct map_node *node)
{
    struct map_node **at = bucket_of(m, node->hash);
    while (*at && *at != node)
        at = &(*at)->next;
    assert(*at == node);
    *at = node->next;
    node->next = NULL;
    m->count--;
}

void map_each(struct map *m, void (*fn)(struct map_node *node, void *arg), void *arg)
{
    for (uint32_t i = 0; i < m->used; i++) {
        struct map_node *next;
        for (struct map_node *n = m->buckets[i]; n; n = next) {
            next = n->next;
            fn(n, arg);
        }
    }
}
