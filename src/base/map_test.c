#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/map.h"
#include "base/prng.h"

struct item {
    struct map_node node;
    unsigned key;
    bool in;
};

static bool item_equal(const struct map_node *node, const void *key)
{
    const struct item *item = (const void *)node;
    return item->key == *(const unsigned *)key;
}

static struct item *find(const struct map *m, unsigned key, uint32_t hash)
{
    return (struct item *)(void *)map_find(m, hash, item_equal, &key);
}

/* Equal hashes, and hashes that differ only above the mask, are told apart. */
static void collisions(void **state)
{
    (void)state;
    struct map m;
    assert_int_equal(map_init(&m, 4), 0);
    static struct item items[20];
    for (unsigned i = 0; i < ARRAY_LEN(items); i++) {
        items[i].key = i;
        map_insert(&m, &items[i].node, i % 2 ? 5 : 5 | 1u << 31);
    }
    assert_int_equal(m.count, ARRAY_LEN(items));
    for (unsigned i = 0; i < ARRAY_LEN(items); i++) {
        assert_ptr_equal(find(&m, i, i % 2 ? 5 : 5 | 1u << 31), &items[i]);
        assert_null(find(&m, i, i % 2 ? 5 | 1u << 31 : 5));
    }
    /* First, last and middle of the chain. */
    static const unsigned gone[] = {19, 0, 10};
    for (unsigned i = 0; i < ARRAY_LEN(gone); i++)
        map_remove(&m, &items[gone[i]].node);
    for (unsigned i = 0; i < ARRAY_LEN(items); i++) {
        bool removed = i == 19 || i == 0 || i == 10;
        assert_int_equal(find(&m, i, i % 2 ? 5 : 5 | 1u << 31) == NULL, removed);
    }
    map_fini(&m);
}

static void against_an_array(void **state)
{
    (void)state;
    enum { ITEMS = 500, STEPS = 50000 };
    static struct item items[ITEMS];
    struct map m;
    struct prng p;
    prng_seed(&p, 3);
    assert_int_equal(map_init(&m, 64), 0); /* fewer than there will be */
    size_t count = 0;
    for (int step = 0; step < STEPS; step++) {
        unsigned key = (unsigned)prng_below(&p, ITEMS);
        struct item *item = &items[key];
        uint32_t hash = (uint32_t)prng_mix(key % 100); /* some are equal */
        item->key = key;
        assert_ptr_equal(find(&m, key, hash), item->in ? item : NULL);
        if (item->in)
            map_remove(&m, &item->node);
        else
            map_insert(&m, &item->node, hash);
        count = item->in ? count - 1 : count + 1;
        item->in = !item->in;
        assert_int_equal(m.count, count);
    }
    map_fini(&m);
}

struct sweep {
    struct map *m;
    unsigned seen[100];
};

static void remove_even(struct map_node *node, void *arg)
{
    struct sweep *sweep = arg;
    struct item *item = (void *)node;
    sweep->seen[item->key]++;
    if (item->key % 2 == 0) {
        map_remove(sweep->m, node);
        memset(item, 0xEE, sizeof(*item)); /* as if freed */
    }
}

static void each_may_remove(void **state)
{
    (void)state;
    static struct item items[100];
    struct map m;
    assert_int_equal(map_init(&m, 10), 0);
    for (unsigned i = 0; i < 100; i++) {
        items[i].key = i;
        map_insert(&m, &items[i].node, (uint32_t)prng_mix(i));
    }
    struct sweep first = {.m = &m}, second = {.m = &m};
    map_each(&m, remove_even, &first);
    assert_int_equal(m.count, 50);
    map_each(&m, remove_even, &second);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(first.seen[i], 1);
        assert_int_equal(second.seen[i], i % 2);
    }
    map_fini(&m);
}

/* Of a large map only what the entries want is in use, a few buckets for each, until all are; and
 * all are found at any size. */
static void grows_with_its_entries(void **state)
{
    (void)state;
    enum { ITEMS = 1500, BUCKETS = 4096 };
    static struct item items[ITEMS];
    struct map m;
    assert_int_equal(map_init(&m, BUCKETS), 0);
    for (unsigned i = 0; i < ITEMS; i++) {
        items[i].key = i;
        map_insert(&m, &items[i].node, (uint32_t)prng_mix(i));
        assert_true(m.used <= MAX(8, 4 * (i + 1)) && m.used <= BUCKETS);
        for (unsigned k = 0; k <= i; k += 1 + i / 50)
            assert_ptr_equal(find(&m, k, (uint32_t)prng_mix(k)), &items[k]);
    }
    assert_int_equal(m.used, BUCKETS);
    unsigned longest = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        unsigned n = 0;
        for (const struct map_node *node = m.buckets[i]; node; node = node->next)
            n++;
        longest = MAX(longest, n);
    }
    assert_true(longest <= 6);
    for (unsigned i = 0; i < ITEMS; i++)
        map_remove(&m, &items[i].node);
    assert_int_equal(m.count, 0);
    map_fini(&m);
}

static void sizes(void **state)
{
    (void)state;
    static const size_t expected[] = {0, 1, 8, 9, 1000, 1024, 1025};
    for (unsigned i = 0; i < ARRAY_LEN(expected); i++) {
        struct map m;
        unsigned key = 1;
        assert_int_equal(map_init(&m, expected[i]), 0);
        assert_true((size_t)m.capacity >= expected[i]);
        assert_true(((m.capacity - 1) & m.capacity) == 0);
        assert_null(map_find(&m, 0xFFFFFFFF, item_equal, &key));
        map_fini(&m);
        assert_null(m.buckets);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(collisions),      cmocka_unit_test(against_an_array),
        cmocka_unit_test(each_may_remove), cmocka_unit_test(grows_with_its_entries),
        cmocka_unit_test(sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
