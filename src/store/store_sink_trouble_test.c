/*
 * Uploads on file systems that change their minds: space that is gone half way, hidden names that
 * somebody else has, unnamed files that cannot be named after all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "store/test_rig.h"

enum { LARGE = 5 << 20, SMALL = 9000, TRIES = 9 };

static struct rig rig;

static void start(void)
{
    struct store_config config = rig_config(16);

    config.chunk_bytes = 1 << 16; /* mem moves the whole file at each write */
    config.cache_bytes = 16 << 16;
    config.upload_buffer_bytes = 2 << 16;
    config.upload_max_bytes = LARGE;
    rig_init(&rig, &config);
}

/* Feeds until all was taken or it has ended. */
static void feed(struct upload *u, uint64_t size)
{
    while (u->sink.state == STORE_SINK_OPEN && u->sink.received < size) {
        upload_feed(u, size - u->sink.received);
        rig_settle(&rig);
    }
}

static void store(struct upload *u, const char *path, bool overwrite)
{
    upload_open(&rig, u, path, overwrite, STORE_SIZE_UNKNOWN);
    rig_settle(&rig);
    feed(u, SMALL);
    if (u->sink.state == STORE_SINK_OPEN)
        store_sink_publish(&u->sink);
    rig_settle(&rig);
}

static void finish(struct upload *u)
{
    store_sink_close(rig.s, &u->sink);
    rig_settle(&rig);
}

static bool is_whole(const char *path)
{
    size_t n;
    const uint8_t *p = file_mem_get(rig.io, path, true, &n);
    bool whole = p && n == SMALL;

    for (size_t i = 0; i < n && whole; i++)
        whole = p[i] == pattern(i);
    return whole;
}

static bool is_old(const char *path)
{
    size_t n;
    const uint8_t *p = file_mem_get(rig.io, path, true, &n);

    return p && n == 3 && memcmp(p, "old", 3) == 0;
}

/* The free space is looked at again on the way, and the last that is to stay free is left alone. */
static void the_space_goes(void **state)
{
    struct upload u;
    size_t n;
    (void)state;

    start();
    upload_open(&rig, &u, "f", false, STORE_SIZE_UNKNOWN);
    rig_settle(&rig);
    feed(&u, 1000);
    store_set_upload_limits(rig.s, LARGE, UINT64_C(1) << 41); /* more than mem claims to have */
    feed(&u, LARGE);
    assert_int_equal(u.sink.state, STORE_SINK_FAILED);
    assert_int_equal(u.sink.error, -ENOSPC);
    assert_true(u.sink.stored < LARGE);
    assert_null(file_mem_get(rig.io, "f", false, &n));
    finish(&u);
    rig_fini(&rig);
}

static void the_space_stays(void **state)
{
    struct upload u;
    (void)state;

    start();
    store_set_upload_limits(rig.s, LARGE, 1);
    /* Who cannot tell is believed to have some: the write itself would say. */
    rig.faults[0] = (struct fault){.op = FILE_STATFS, .skip = 1, .times = 1, .error = -EIO};
    upload_open(&rig, &u, "f", false, STORE_SIZE_UNKNOWN);
    rig_settle(&rig);
    feed(&u, LARGE);
    store_sink_publish(&u.sink);
    rig_settle(&rig);
    assert_int_equal(u.sink.state, STORE_SINK_PUBLISHED);
    assert_int_equal(rig.ops[FILE_STATFS], 2);
    finish(&u);
    rig_fini(&rig);
}

/* A hidden name that exists is somebody else's: another one is tried, but not without end. */
static void hidden_names_are_taken(void **state)
{
    (void)state;
    for (unsigned taken = 1; taken <= TRIES; taken++) {
        struct upload u;

        start();
        file_mem_put(rig.io, "f", "old", 3);
        rig.faults[0] = (struct fault){.op = FILE_LINK, .times = taken, .error = -EEXIST};
        store(&u, "f", true);
        if (taken < TRIES) {
            assert_int_equal(u.sink.state, STORE_SINK_PUBLISHED);
            assert_true(is_whole("f"));
        } else {
            assert_int_equal(u.sink.error, -EEXIST);
            assert_true(is_old("f"));
        }
        assert_int_equal(rig.ops[FILE_LINK], MIN(taken + 1, TRIES));
        finish(&u);
        rig_fini(&rig);
    }
}

/* Where unnamed files cannot be named the first upload finds out; later ones do without them. */
static void unnamed_files_have_no_path(void **state)
{
    (void)state;
    for (int overwrite = 0; overwrite < 2; overwrite++) {
        struct upload u;
        size_t n;

        start();
        if (overwrite)
            file_mem_put(rig.io, "f", "old", 3);
        rig.faults[0] = (struct fault){.op = FILE_LINK, .times = UINT32_MAX, .error = -ENOENT};
        store(&u, "f", overwrite);
        assert_int_equal(u.sink.error, -ENOENT);
        assert_true(overwrite ? is_old("f") : !file_mem_get(rig.io, "f", false, &n));
        finish(&u);
        store(&u, "f", overwrite);
        assert_int_equal(u.sink.state, STORE_SINK_PUBLISHED);
        assert_true(is_whole("f"));
        assert_int_equal(rig.ops[FILE_LINK], 1);
        finish(&u);
        rig_fini(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_space_goes),
        cmocka_unit_test(the_space_stays),
        cmocka_unit_test(hidden_names_are_taken),
        cmocka_unit_test(unnamed_files_have_no_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
