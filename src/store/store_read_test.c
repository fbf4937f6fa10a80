/*
 * The reading side against the mem backend: sharing, waiting, failing, and what a change of the
 * file does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/test_util.h"

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

/* One file behind the store's back: write `n` bytes of `byte` at `offset`, or cut it. */
static void change(const char *path, uint64_t offset, size_t n, uint8_t byte, bool truncate)
{
    static uint8_t buf[CHUNK];
    memset(buf, byte, sizeof(buf));
    struct file_req open = {.op = FILE_OPEN, .dirfd = -1, .path = path, .flags = O_WRONLY};
    int fd = (int)rig_do(&rig, &open);
    assert_true(fd >= 0);
    struct file_req write = {.op = FILE_WRITE, .fd = fd, .buf = buf, .len = n, .offset = offset};
    if (truncate)
        write.op = FILE_TRUNCATE;
    assert_true(rig_do(&rig, &write) >= 0);
    struct file_req close = {.op = FILE_CLOSE, .fd = fd};
    assert_int_equal(rig_do(&rig, &close), 0);
}

static void whole_files(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 511, 512, 4095, 4096, 4097, 100000, 262144};
    static const uint64_t lens[] = {8, 512, 1428, 4096, 9000, 40000};

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (size_t j = 0; j < ARRAY_LEN(lens); j++) {
            start(64);
            file_mem_put_pattern(rig.io, "d/f", sizes[i], pattern);
            struct client c = {.len = lens[j], .automatic = true};
            client_open(&rig, &c, "d/f");
            assert_int_equal(c.ready, 0);
            rig_settle(&rig);
            assert_whole(&c, sizes[i]);
            store_close(rig.s, &c.r);
            store_close(rig.s, &c.r);
            assert_int_equal(store_stats(rig.s)->bytes_read, sizes[i]);
            rig_fini(&rig);
        }
    }
}

static void errors_of_open(void **state)
{
    (void)state;
    static const int errors[] = {-EACCES, -ELOOP, -EXDEV, -EMFILE, -ENFILE, -EIO, -ENOTDIR};
    start(8);
    file_mem_put_pattern(rig.io, "d/f", 10, pattern);
    struct client c = {0};

    client_open(&rig, &c, "missing");
    rig_settle(&rig);
    assert_int_equal(c.error, -ENOENT);
    assert_int_equal(c.ready, 1);
    store_close(rig.s, &c.r);
    client_open(&rig, &c, "d");
    rig_settle(&rig);
    assert_int_equal(c.error, -EISDIR);
    store_close(rig.s, &c.r);
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        rig.faults[0] = (struct fault){.op = FILE_OPEN, .times = 1, .error = errors[i]};
        client_open(&rig, &c, "d/f");
        rig_settle(&rig);
        assert_int_equal(c.error, errors[i]);
        struct store_slice slice;
        assert_int_equal(store_read(rig.s, &c.r, 0, 1, &slice, 1), errors[i]);
        store_close(rig.s, &c.r);
    }
    assert_int_equal(store_stats(rig.s)->open_failed, 2 + ARRAY_LEN(errors));
    rig_fini(&rig);
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

static void later_opens_share_what_is_unchanged(void **state)
{
    (void)state;
    start(64);
    file_mem_put_pattern(rig.io, "f", 3000, pattern);
    struct client a = {.automatic = true}, b = {.automatic = true};

    client_open(&rig, &a, "f");
    rig_settle(&rig);
    client_open(&rig, &b, "f");
    rig_settle(&rig);
    assert_whole(&b, 3000);
    assert_ptr_equal(a.r.file, b.r.file);
    assert_int_equal(rig.ops[FILE_OPEN], 2);
    assert_int_equal(rig.ops[FILE_READ], 1);
    assert_int_equal(rig.ops[FILE_CLOSE], 1); /* b's descriptor */
    store_close(rig.s, &a.r);
    store_close(rig.s, &b.r);
    /* Kept without readers ... */
    client_open(&rig, &a, "f");
    rig_settle(&rig);
    assert_whole(&a, 3000);
    assert_int_equal(rig.ops[FILE_READ], 1);
    store_close(rig.s, &a.r);
    /* ... but not believed when the file has changed. */
    change("f", 0, 1, 0xEE, false);
    client_open(&rig, &a, "f");
    rig_settle(&rig);
    assert_true(a.done && a.error == 0 && a.mixed);
    assert_int_equal(rig.ops[FILE_READ], 2);
    assert_int_equal(store_stats(rig.s)->files_open, 1); /* the old state was forgotten */
    store_close(rig.s, &a.r);
    rig_fini(&rig);
}

static void replaced_file_stays_whole(void **state)
{
    (void)state;
    start(64);
    file_mem_put_pattern(rig.io, "f", 10 * CHUNK, pattern);
    struct client old = {0}, new = {.automatic = true};

    client_open(&rig, &old, "f");
    rig_settle(&rig);
    old.r.size = 2 * CHUNK;
    client_run(&old);
    rig_settle(&rig);
    client_run(&old);
    file_mem_remove(rig.io, "f");
    file_mem_put(rig.io, "f", "new", 3);
    client_open(&rig, &new, "f");
    rig_settle(&rig);
    assert_int_equal(new.r.size, 3);
    assert_true(new.done &&new.error == 0);
    old.r.size = 10 * CHUNK;
    old.done = false;
    old.automatic = true;
    client_run(&old);
    rig_settle(&rig);
    assert_whole(&old, 10 * CHUNK);
    store_close(rig.s, &old.r);
    store_close(rig.s, &new.r);
    rig_fini(&rig);
}

/* Reads the first chunk, lets the file be changed, and reads on. */
static void read_across_change(struct client *c, uint64_t offset, size_t n, bool truncate)
{
    start(64);
    file_mem_put_pattern(rig.io, "f", 20 * CHUNK, pattern);
    *c = (struct client){.automatic = false};
    client_open(&rig, c, "f");
    rig_settle(&rig);
    uint64_t size = c->r.size;
    c->r.size = 1024;
    client_run(c);
    assert_int_equal(c->at, 1024);
    rig_settle(&rig);
    change("f", offset, n, 0xEE, truncate);
    c->r.size = size;
    c->done = false;
    c->automatic = true;
    client_run(c);
    rig_settle(&rig);
    assert_true(c->done);
    assert_false(c->mixed);
}

static void changed_in_place(void **state)
{
    (void)state;
    struct client c, later = {0};

    read_across_change(&c, 10 * CHUNK, 100, false);
    assert_int_equal(c.error, -ESTALE);
    assert_true(c.at < 10 * CHUNK);
    assert_int_equal(store_stats(rig.s)->stale, 1);
    /* Who comes now gets the new content. */
    later.automatic = true;
    client_open(&rig, &later, "f");
    rig_settle(&rig);
    assert_int_equal(later.error, 0);
    assert_int_equal(later.at, 20 * CHUNK);
    assert_true(later.mixed);
    store_close(rig.s, &c.r);
    store_close(rig.s, &later.r);
    rig_fini(&rig);
}

static void truncated(void **state)
{
    (void)state;
    struct client c;

    read_across_change(&c, 10 * CHUNK + 5, 0, true);
    assert_int_equal(c.error, -ESTALE);
    store_close(rig.s, &c.r);
    rig_fini(&rig);
}

static void grown_file_ends_at_its_old_size(void **state)
{
    (void)state;
    struct client c;

    read_across_change(&c, 20 * CHUNK, 100, false);
    assert_whole(&c, 20 * CHUNK);
    assert_int_equal(c.r.size, 20 * CHUNK);
    store_close(rig.s, &c.r);
    rig_fini(&rig);
}

/* The change falls between the read and the look at the file: never shown. */
static void changed_under_a_crowd(void **state)
{
    (void)state;
    struct client c[10];

    start(64);
    file_mem_put_pattern(rig.io, "f", 8 * CHUNK, pattern);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        c[i] = (struct client){.automatic = true};
        rig.faults[0] = (struct fault){.op = FILE_READ, .skip = 2, .times = 1000, .delay = 1000};
        client_open(&rig, &c[i], "f");
    }
    for (unsigned i = 0; i < 6; i++)
        rig_step(&rig);
    rig.faults[0].times = 0;
    change("f", 5 * CHUNK, 10, 0xEE, false);
    rig_settle(&rig);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        assert_int_equal(c[i].error, -ESTALE);
        assert_false(c[i].mixed);
        store_close(rig.s, &c[i].r);
    }
    assert_int_equal(store_stats(rig.s)->stale, ARRAY_LEN(c));
    rig_fini(&rig);
}

static void short_reads_are_continued(void **state)
{
    (void)state;
    start(64);
    file_mem_put_pattern(rig.io, "f", 9 * CHUNK + 1, pattern);
    rig.faults[0] = (struct fault){.op = FILE_READ, .times = 1000, .max_bytes = 700};
    struct client c = {.automatic = true};
    client_open(&rig, &c, "f");
    rig_settle(&rig);
    assert_whole(&c, 9 * CHUNK + 1);
    store_close(rig.s, &c.r);
    rig_fini(&rig);
}

static void read_error_ends_who_wanted_the_chunk(void **state)
{
    (void)state;
    start(64);
    file_mem_put_pattern(rig.io, "f", 4 * CHUNK, pattern);
    struct client bad = {.automatic = true, .len = 1428}, good = {.automatic = true};

    /* The first attempt is read-ahead and fails for nobody; the second is for `bad`. */
    rig.faults[0] = (struct fault){.op = FILE_READ, .skip = 1, .times = 100, .error = -EIO};
    client_open(&rig, &bad, "f");
    rig_settle(&rig);
    assert_int_equal(bad.error, -EIO);
    assert_int_equal(bad.at, 1428 * 2);
    rig.faults[0].times = 0;
    client_open(&rig, &good, "f");
    rig_settle(&rig);
    assert_whole(&good, 4 * CHUNK);
    struct store_slice slice;
    assert_int_equal(store_read(rig.s, &bad.r, 0, 10, &slice, 1), -EIO);
    store_close(rig.s, &bad.r);
    store_close(rig.s, &good.r);
    rig_fini(&rig);
}

static void closing_at_any_moment(void **state)
{
    (void)state;

    for (unsigned when = 0; when < 40; when++) {
        struct client c[3], stays = {.automatic = true, .len = 600};
        start(4);
        file_mem_put_pattern(rig.io, "f", 6 * CHUNK, pattern);
        rig.faults[0] = (struct fault){.op = FILE_READ, .times = 1000, .delay = 3};
        for (unsigned i = 0; i < 3; i++) {
            c[i] = (struct client){.automatic = true, .len = 500 + 1700 * i};
            client_open(&rig, &c[i], "f");
        }
        client_open(&rig, &stays, "f");
        for (unsigned i = 0; i < when; i++) {
            rig.now++;
            rig_step(&rig);
        }
        for (unsigned i = 0; i < 3; i++) {
            store_close(rig.s, &c[i].r);
            memset(&c[i], 0xA5, sizeof(c[i])); /* nobody may look at it any more */
        }
        rig_settle(&rig);
        assert_whole(&stays, 6 * CHUNK);
        store_close(rig.s, &stays.r);
        rig_fini(&rig);
    }
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

/* With every chunk held, who waits is served one by one, in the order of asking. */
static void out_of_chunks_is_fair(void **state)
{
    (void)state;
    enum { HELD = 8, WAITING = 40 };
    static struct client held[HELD], c[WAITING];
    struct store_slice slices[HELD];
    char name[16];

    start(HELD);
    for (unsigned i = 0; i < HELD; i++) {
        snprintf(name, sizeof(name), "h%u", i);
        file_mem_put_pattern(rig.io, name, 100, pattern);
        held[i] = (struct client){0};
        client_open(&rig, &held[i], name);
        rig_settle(&rig);
        int n = store_read(rig.s, &held[i].r, 0, 100, &slices[i], 1);
        rig_settle(&rig);
        if (n == 0)
            n = store_read(rig.s, &held[i].r, 0, 100, &slices[i], 1);
        assert_int_equal(n, 1);
    }
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
    store_release(rig.s, slices[0].chunk);
    store_release(rig.s, slices[1].chunk);
    rig_settle(&rig);
    for (unsigned i = 0; i < WAITING; i++) {
        assert_whole(&c[i], 3 * CHUNK);
        if (i > 0)
            assert_true(c[i].served > c[i - 1].served);
        store_close(rig.s, &c[i].r);
    }
    for (unsigned i = 0; i < HELD; i++) {
        if (i > 1)
            store_release(rig.s, slices[i].chunk);
        store_close(rig.s, &held[i].r);
    }
    rig_fini(&rig);
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
    static struct client c[CROWD];
    char name[16];

    start(4 * CROWD);
    for (unsigned i = 0; i < CROWD; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        file_mem_put_pattern(rig.io, name, 20 * CHUNK, pattern);
        c[i] = (struct client){0};
        client_open(&rig, &c[i], name);
    }
    rig_settle(&rig);
    /* In lock-step: a block for each in turn. */
    for (unsigned block = 0; block < 20 * CHUNK / 512; block++) {
        for (unsigned i = 0; i < CROWD; i++) {
            c[i].r.size = 512 * (block + 1);
            c[i].done = false;
            client_run(&c[i]);
        }
        rig_settle(&rig);
        for (unsigned i = 0; i < CROWD; i++) {
            client_run(&c[i]);
            assert_true(c[i].at == 512 * (block + 1) && !c[i].mixed);
        }
    }
    assert_true(store_stats(rig.s)->chunks_used <= 2 * CROWD + CROWD / 4);
    assert_int_equal(store_stats(rig.s)->bytes_read, (uint64_t)CROWD * 20 * CHUNK);
    for (unsigned i = 0; i < CROWD; i++)
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

static void reading_again_from_before(void **state)
{
    (void)state;
    start(64);
    file_mem_put_pattern(rig.io, "f", 30 * CHUNK, pattern);
    struct client c = {.automatic = true, .len = 1428};
    client_open(&rig, &c, "f");
    rig_settle(&rig);
    assert_whole(&c, 30 * CHUNK);
    c.at = 13 * CHUNK + 100;
    c.done = false;
    client_run(&c);
    rig_settle(&rig);
    assert_whole(&c, 30 * CHUNK);
    store_close(rig.s, &c.r);
    rig_fini(&rig);
}

static void configurations_that_cannot_be(void **state)
{
    (void)state;
    struct loop *loop = loop_new(NULL);
    struct file_io *io = file_io_new_mem(loop);
    static const size_t bad[][2] = {{0, 1 << 20}, {2048, 1 << 20}, {5000, 1 << 20}, {4096, 4096}};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct store_config config = rig_config(8);
        config.chunk_bytes = bad[i][0];
        config.cache_bytes = bad[i][1];
        errno = 0;
        assert_null(store_new(io, &config));
        assert_int_equal(errno, EINVAL);
    }
    struct store_config config = rig_config(8);
    assert_true(store_memory_max(&config) > config.cache_bytes);
    file_io_free(io);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_files),
        cmocka_unit_test(errors_of_open),
        cmocka_unit_test(crowd_on_one_file),
        cmocka_unit_test(later_opens_share_what_is_unchanged),
        cmocka_unit_test(replaced_file_stays_whole),
        cmocka_unit_test(changed_in_place),
        cmocka_unit_test(truncated),
        cmocka_unit_test(grown_file_ends_at_its_old_size),
        cmocka_unit_test(changed_under_a_crowd),
        cmocka_unit_test(short_reads_are_continued),
        cmocka_unit_test(read_error_ends_who_wanted_the_chunk),
        cmocka_unit_test(closing_at_any_moment),
        cmocka_unit_test(slices_outlive_their_reader),
        cmocka_unit_test(out_of_chunks_is_fair),
        cmocka_unit_test(large_blocks_in_a_small_pool),
        cmocka_unit_test(many_files_stay_small),
        cmocka_unit_test(idle_files_make_room),
        cmocka_unit_test(one_hung_file),
        cmocka_unit_test(reading_again_from_before),
        cmocka_unit_test(configurations_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
