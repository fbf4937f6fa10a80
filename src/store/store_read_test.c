/*
 * The reading side against the mem backend: opening, failing, and what a change of the file does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "store/test_rig.h"

enum { CHUNK = 4096 };

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

/* An end of the file where there should be none is never a last block, whatever the stat says. */
static void early_end(void **state)
{
    (void)state;
    start(64);
    file_mem_put_pattern(rig.io, "f", 9 * CHUNK + 1, pattern);
    rig.faults[0] =
        (struct fault){.op = FILE_READ, .skip = 3, .times = 1, .max_bytes = FAULT_NO_BYTES};
    struct client c = {.automatic = true};
    client_open(&rig, &c, "f");
    rig_settle(&rig);
    assert_int_equal(c.error, -ESTALE);
    assert_false(c.mixed);
    assert_int_equal(c.at, 3 * CHUNK);
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
    size_t most = store_memory_max(&config);
    assert_true(most > config.cache_bytes);
    config.watch = true;
    assert_true(store_memory_max(&config) > most);
    file_io_free(io);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_files),
        cmocka_unit_test(errors_of_open),
        cmocka_unit_test(later_opens_share_what_is_unchanged),
        cmocka_unit_test(replaced_file_stays_whole),
        cmocka_unit_test(changed_in_place),
        cmocka_unit_test(truncated),
        cmocka_unit_test(grown_file_ends_at_its_old_size),
        cmocka_unit_test(changed_under_a_crowd),
        cmocka_unit_test(short_reads_are_continued),
        cmocka_unit_test(early_end),
        cmocka_unit_test(read_error_ends_who_wanted_the_chunk),
        cmocka_unit_test(closing_at_any_moment),
        cmocka_unit_test(reading_again_from_before),
        cmocka_unit_test(configurations_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
