/*
 * Sharing the buffers, against the mem backend: one read for many, waiting in order, memory that
 * stays small.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "store/test_rig.h"

enum { CHUNK = 4096, CROWD = 1000 };

static struct rig rig;

static void start(unsigned chunks)
{
    struct store_config config = rig_config(chunks);
    rig_init(&rig, &config);
}

static void assert_whole(const struct client *c, uint64_t size)
{
    assert_true(c->done);
    assert_int_equal(c->error, 0);
    assert_int_equal(c->at, size);
    assert_false(c->mixed);
}

/* Every chunk of the pool of a new rig in the hands of readers. */
enum { ALL = 8 };
static struct client holders[ALL];
static struct store_slice held_slices[ALL];

static void hold_all(void)
{
    char name[16];

    start(ALL);
    for (unsigned i = 0; i < ALL; i++) {
        snprintf(name, sizeof(name), "h%u", i);
        file_mem_put_pattern(rig.io, name, 100, pattern);
        holders[i] = (struct client){0};
        client_open(&rig, &holders[i], name);
        rig_settle(&rig);
        int n = store_read(rig.s, &holders[i].r, 0, 100, &held_slices[i], 1);
        rig_settle(&rig);
        if (n == 0)
            n = store_read(rig.s, &holders[i].r, 0, 100, &held_slices[i], 1);
        assert_int_equal(n, 1);
    }
}

static void let_go(unsigned i)
{
    store_release(rig.s, held_slices[i].chunk);
    store_close(rig.s, &holders[i].r);
    rig_settle(&rig);
}

static void crowd_on_one_file(void **state)
{
    (void)state;
    static struct client crowd[CROWD];
    const uint64_t size = 40 * CHUNK + 5;

    start(256);
    file_mem_put_pattern(rig.io, "f", size, pattern);
    for (unsigned i = 0; i < CROWD; i++) {
        crowd[i] = (struct client){.len = 512 + i, .automatic = true};
        client_open(&rig, &crowd[i], "f");
    }
    rig_settle(&rig);
    for (unsigned i = 0; i < CROWD; i++) {
        assert_whole(&crowd[i], size);
        store_close(rig.s, &crowd[i].r);
    }
    assert_int_equal(rig.ops[FILE_OPEN], 1);
    assert_int_equal(store_stats(rig.s)->open_shared, CROWD - 1);
    assert_int_equal(store_stats(rig.s)->bytes_read, size);
    for (unsigned i = 0; i <= 40; i++)
        assert_int_equal(rig.reads_per_chunk[i], 1);
    rig_fini(&rig);
}

/* With every chunk held, who waits is served one by one, in the order of asking. */
static void out_of_chunks_is_fair(void **state)
{
    (void)state;
    enum { WAITING = 40 };
    static struct client c[WAITING];
    char name[16];

    hold_all();
    for (unsigned i = 0; i < WAITING; i++) {
        snprintf(name, sizeof(name), "w%u", i);
        file_mem_put_pattern(rig.io, name, 3 * CHUNK, pattern);
        c[i] = (struct client){.automatic = true, .len = 1000};
        client_open(&rig, &c[i], name);
        rig_settle(&rig);
        assert_false(c[i].done);
    }
    assert_int_equal(store_stats(rig.s)->out_of_buffers, WAITING);
    /* Two, for blocks that reach from one chunk into the next. */
    let_go(0);
    let_go(1);
    for (unsigned i = 0; i < WAITING; i++) {
        assert_whole(&c[i], 3 * CHUNK);
        if (i > 0)
            assert_true(c[i].served > c[i - 1].served);
        store_close(rig.s, &c[i].r);
    }
    for (unsigned i = 2; i < ALL; i++)
        let_go(i);
    rig_fini(&rig);
}

static void nobody_jumps_the_queue(void **state)
{
    (void)state;
    hold_all();
    file_mem_put_pattern(rig.io, "two", 2 * CHUNK, pattern);
    file_mem_put_pattern(rig.io, "one", 100, pattern);
    struct client two = {.automatic = true, .len = 2 * CHUNK}, one = {.automatic = true};
    client_open(&rig, &two, "two");
    rig_settle(&rig);
    let_go(0);
    assert_false(two.done); /* needs two chunks at once, and one is there */
    client_open(&rig, &one, "one");
    rig_settle(&rig);
    assert_false(one.done); /* would need just the one */
    let_go(1);
    assert_whole(&two, 2 * CHUNK);
    assert_whole(&one, 100);
    assert_true(two.served < one.served);
    store_close(rig.s, &two.r);
    store_close(rig.s, &one.r);
    for (unsigned i = 2; i < ALL; i++)
        let_go(i);
    rig_fini(&rig);
}

/* Who waits for bytes that somebody ahead in the queue gets shares them at once. */
static void queue_shares_one_read(void **state)
{
    (void)state;
    struct client f[2], g = {.automatic = true};

    hold_all();
    file_mem_put_pattern(rig.io, "f", 100, pattern);
    file_mem_put_pattern(rig.io, "g", 100, pattern);
    f[0] = f[1] = (struct client){.automatic = true};
    client_open(&rig, &f[0], "f");
    rig_settle(&rig);
    client_open(&rig, &g, "g");
    rig_settle(&rig);
    client_open(&rig, &f[1], "f");
    rig_settle(&rig);
    unsigned reads = rig.ops[FILE_READ];
    let_go(0);
    assert_whole(&f[0], 100);
    assert_whole(&f[1], 100);
    assert_whole(&g, 100);
    assert_int_equal(rig.ops[FILE_READ], reads + 2);
    for (unsigned i = 0; i < 2; i++)
        store_close(rig.s, &f[i].r);
    store_close(rig.s, &g.r);
    for (unsigned i = 1; i < ALL; i++)
        let_go(i);
    rig_fini(&rig);
}

/* One stream over a file that is too large to be kept runs in a few buffers, also when what it sent
 * is given back late; with somebody behind, what he has yet to read stays. */
static void drop_behind(void **state)
{
    (void)state;
    enum { CHUNKS = 60, POOL = 67 };

    for (unsigned followers = 0; followers < 3; followers++) {
        struct client leader = {.len = CHUNK / 2}, follower[3];
        struct store_slice last = {0};
        start(POOL);
        file_mem_put_pattern(rig.io, "f", CHUNKS * CHUNK, pattern);
        client_open(&rig, &leader, "f");
        for (unsigned i = 0; i < followers; i++) {
            follower[i] = (struct client){.len = 1000};
            client_open(&rig, &follower[i], "f");
        }
        rig_settle(&rig);
        for (uint64_t at = 0; at < CHUNKS * CHUNK;) {
            struct store_slice slice;
            int n = store_read(rig.s, &leader.r, at, CHUNK / 2, &slice, 1);
            assert_true(n >= 0);
            rig_settle(&rig);
            if (n == 0)
                continue;
            if (last.chunk != NULL)
                store_release(rig.s, last.chunk);
            last = slice;
            at += slice.n;
        }
        store_release(rig.s, last.chunk);
        assert_int_equal(store_stats(rig.s)->bytes_read, CHUNKS * CHUNK);
        if (followers == 0)
            assert_true(store_stats(rig.s)->chunks_used <= 8);
        for (unsigned i = 0; i < followers; i++) {
            follower[i].automatic = true;
            client_run(&follower[i]);
            rig_settle(&rig);
            assert_whole(&follower[i], CHUNKS * CHUNK);
            store_close(rig.s, &follower[i].r);
        }
        assert_int_equal(store_stats(rig.s)->bytes_read, CHUNKS * CHUNK);
        store_close(rig.s, &leader.r);
        rig_fini(&rig);
    }
}

static void read_whole(const char *path, uint64_t chunks)
{
    struct client c = {.automatic = true, .len = CHUNK};

    client_open(&rig, &c, path);
    rig_settle(&rig);
    assert_whole(&c, chunks * CHUNK);
    store_close(rig.s, &c.r);
    rig_settle(&rig);
}

/* What is read again and again stays, if an eighth of the cache is left to others; what is read
 * once takes nothing from them. */
static void kept_when_read_again(void **state)
{
    (void)state;
    enum { POOL = 64, KEPT = POOL / 8 * 7 };

    for (unsigned chunks = KEPT; chunks <= KEPT + 1; chunks++) {
        start(POOL);
        file_mem_put_pattern(rig.io, "other", (KEPT - 1) * CHUNK, pattern);
        file_mem_put_pattern(rig.io, "f", chunks * CHUNK, pattern);
        read_whole("other", KEPT - 1);
        for (unsigned i = 0; i < 4; i++) {
            uint64_t before = store_stats(rig.s)->bytes_read;
            read_whole("f", chunks);
            uint64_t read = store_stats(rig.s)->bytes_read - before;
            if (i == 0) {
                read_whole("other", KEPT - 1);
                assert_int_equal(store_stats(rig.s)->bytes_read, before + read);
            }
            if (i > 1 && chunks == KEPT)
                assert_int_equal(read, 0);
            else
                assert_true(read > (chunks - 9) * CHUNK);
        }
        rig_fini(&rig);
    }
}

/* One of a few files stays at once, while the cache has room; of several that are read at the same
 * time only those that would fit together, and of many none. */
static void kept_while_there_is_room(void **state)
{
    (void)state;
    enum { POOL = 256, CHUNKS = 120, MANY = 16 };
    static const unsigned others[] = {0, 1, MANY};

    for (unsigned i = 0; i < ARRAY_LEN(others); i++) {
        struct client other[MANY] = {0};
        char name[16];
        start(POOL);
        file_mem_put_pattern(rig.io, "f", CHUNKS * CHUNK, pattern);
        for (unsigned k = 0; k < others[i]; k++) {
            snprintf(name, sizeof(name), "f%u", k);
            file_mem_put_pattern(rig.io, name, CHUNKS * CHUNK, pattern);
            client_open(&rig, &other[k], name);
            rig_settle(&rig);
            if (others[i] == MANY)
                store_close(rig.s, &other[k].r);
        }
        read_whole("f", CHUNKS);
        uint64_t before = store_stats(rig.s)->bytes_read;
        read_whole("f", CHUNKS);
        if (others[i] == 0)
            assert_int_equal(store_stats(rig.s)->bytes_read, before);
        else
            assert_true(store_stats(rig.s)->bytes_read - before > (CHUNKS - 9) * CHUNK);
        if (others[i] == 1)
            store_close(rig.s, &other[0].r);
        rig_fini(&rig);
    }
}

/* Blocks larger than chunks, more readers than buffers: everybody gets to the end. */
static void large_blocks_in_a_small_pool(void **state)
{
    (void)state;
    enum { READERS = 60 };
    static struct client c[READERS];
    char name[16];

    for (unsigned files = 1; files <= READERS; files += 59) {
        start(16);
        for (unsigned i = 0; i < READERS; i++) {
            snprintf(name, sizeof(name), "f%u", i % files);
            if (i < files)
                file_mem_put_pattern(rig.io, name, 11 * CHUNK + 9, pattern);
            /* Up to four chunks, which is the share of one reader. */
            c[i] = (struct client){.automatic = true, .len = 2 * CHUNK + 1 + i};
            client_open(&rig, &c[i], name);
        }
        rig.faults[0] = (struct fault){.op = FILE_READ, .times = 100000, .delay = 5};
        rig_settle(&rig);
        for (unsigned i = 0; i < READERS; i++) {
            assert_whole(&c[i], 11 * CHUNK + 9);
            store_close(rig.s, &c[i].r);
        }
        rig_fini(&rig);
    }
}

static void many_files_stay_small(void **state)
{
    (void)state;
    enum { MANY = 300 };
    static struct client c[MANY];
    char name[16];

    start(4 * MANY);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        file_mem_put_pattern(rig.io, name, 20 * CHUNK, pattern);
        c[i] = (struct client){0};
        client_open(&rig, &c[i], name);
    }
    rig_settle(&rig);
    /* In lock-step: a block for each in turn. */
    for (unsigned block = 0; block < 20 * CHUNK / 512; block++) {
        for (unsigned i = 0; i < MANY; i++) {
            c[i].r.size = 512 * (block + 1);
            c[i].done = false;
            client_run(&c[i]);
        }
        rig_settle(&rig);
        for (unsigned i = 0; i < MANY; i++) {
            client_run(&c[i]);
            assert_true(c[i].at == 512 * (block + 1) && !c[i].mixed);
        }
    }
    assert_true(store_stats(rig.s)->chunks_used <= 2 * MANY + MANY / 4);
    assert_int_equal(store_stats(rig.s)->bytes_read, (uint64_t)MANY * 20 * CHUNK);
    for (unsigned i = 0; i < MANY; i++)
        store_close(rig.s, &c[i].r);
    rig_fini(&rig);
}

static void idle_files_make_room(void **state)
{
    (void)state;
    struct store_config config = rig_config(64);
    struct client c, stays[3];
    char name[16];

    config.files_max = 3;
    rig_init(&rig, &config);
    for (unsigned i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        file_mem_put_pattern(rig.io, name, 100, pattern);
        c = (struct client){.automatic = true};
        client_open(&rig, &c, name);
        rig_settle(&rig);
        assert_whole(&c, 100);
        store_close(rig.s, &c.r);
        assert_true(store_stats(rig.s)->files_open <= 3);
    }
    for (unsigned i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        stays[i] = (struct client){.automatic = true};
        client_open(&rig, &stays[i], name);
    }
    rig_settle(&rig);
    c = (struct client){0};
    client_open(&rig, &c, "f9");
    assert_int_equal(c.ready, 0);
    rig_settle(&rig);
    assert_int_equal(c.error, -EMFILE);
    store_close(rig.s, &c.r);
    for (unsigned i = 0; i < 3; i++)
        store_close(rig.s, &stays[i].r);
    rig_fini(&rig);
}

/* A file that hangs holds its own readers up and nobody else. */
static void one_hung_file(void **state)
{
    (void)state;
    start(16);
    file_mem_put_pattern(rig.io, "slow", 5 * CHUNK, pattern);
    file_mem_put_pattern(rig.io, "quick", 5 * CHUNK, pattern);
    struct client slow = {.automatic = true}, quick = {.automatic = true};

    rig.faults[0] = (struct fault){.op = FILE_READ, .times = 1, .delay = 30 * NSEC_PER_SEC};
    client_open(&rig, &slow, "slow");
    rig_step(&rig);
    client_open(&rig, &quick, "quick");
    for (unsigned i = 0; i < 100; i++)
        rig_step(&rig);
    assert_whole(&quick, 5 * CHUNK);
    assert_int_equal(slow.at, 0);
    store_close(rig.s, &slow.r); /* gave up; the read goes on */
    store_close(rig.s, &quick.r);
    assert_false(store_idle(rig.s));
    rig_fini(&rig);
}

static void slices_outlive_their_reader(void **state)
{
    (void)state;
    start(4);
    file_mem_put_pattern(rig.io, "f", 3 * CHUNK, pattern);
    struct client c = {0};
    client_open(&rig, &c, "f");
    rig_settle(&rig);
    struct store_slice slices[4];
    int n = store_read(rig.s, &c.r, 0, 3 * CHUNK, slices, 4);
    assert_int_equal(n, 1);
    store_release(rig.s, slices[0].chunk);
    rig_settle(&rig);
    assert_int_equal(c.ready, 2);
    /* More than half of the pool is not given at once; the rest is there for the asking. */
    n = store_read(rig.s, &c.r, 0, 3 * CHUNK, slices, 4);
    assert_int_equal(n, 2);
    assert_int_equal(c.ready, 2);
    rig_settle(&rig);
    assert_int_equal(c.ready, 3);
    /* Nothing is owed when the caller's own limit was reached. */
    n += store_read(rig.s, &c.r, 100, 3 * CHUNK, slices + n, 1);
    assert_int_equal(n, 3);
    rig_settle(&rig);
    assert_int_equal(c.ready, 3);
    store_close(rig.s, &c.r);
    store_trim(rig.s);
    rig_settle(&rig);
    for (int i = 0; i < n; i++) {
        for (uint32_t j = 0; j < slices[i].n; j++)
            assert_int_equal(slices[i].p[j], pattern((i == 2 ? 100U : (unsigned)i * CHUNK) + j));
    }
    assert_int_equal(store_stats(rig.s)->chunks_used, 2);
    for (int i = 0; i < n; i++)
        store_release(rig.s, slices[i].chunk);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crowd_on_one_file),
        cmocka_unit_test(out_of_chunks_is_fair),
        cmocka_unit_test(nobody_jumps_the_queue),
        cmocka_unit_test(queue_shares_one_read),
        cmocka_unit_test(drop_behind),
        cmocka_unit_test(kept_when_read_again),
        cmocka_unit_test(kept_while_there_is_room),
        cmocka_unit_test(large_blocks_in_a_small_pool),
        cmocka_unit_test(many_files_stay_small),
        cmocka_unit_test(idle_files_make_room),
        cmocka_unit_test(one_hung_file),
        cmocka_unit_test(slices_outlive_their_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
