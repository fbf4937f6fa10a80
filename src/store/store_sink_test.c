/*
 * Uploads against the mem backend: every step failing, every step being the last one before a
 * crash, with and without unnamed files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/test_rig.h"

enum { CHUNK = 4096, SIZE = 3 * CHUNK + 77 };

static struct rig rig;
static char hidden[64];    /* the last hidden name that was made, "" for none */
static bool tmpfile_fails; /* the file system has no unnamed files */
static unsigned step_count, fail_step;
static int fail_error;
static enum file_op failed_op;

static int script(void *arg, const struct file_req *req, nsec *delay, size_t *max_bytes)
{
    (void)arg, (void)delay;
    rig.ops[req->op]++;
    if (req->op == FILE_OPEN && req->flags & O_CREAT)
        snprintf(hidden, sizeof(hidden), "d/%s", req->path);
    if (req->op == FILE_RENAME)
        assert_int_equal(strncmp(req->path, ".ringtftp-", 10), 0);
    if (req->op == FILE_LINK && req->path[0] == '.')
        snprintf(hidden, sizeof(hidden), "d/%s", req->path);
    if (req->op == FILE_OPEN && (req->flags & O_TMPFILE) == O_TMPFILE && tmpfile_fails)
        return -EOPNOTSUPP;
    if (req->op == FILE_WRITE)
        *max_bytes = 3000;
    if (step_count++ == fail_step) {
        failed_op = req->op;
        return fail_error;
    }
    return 0;
}

static void start(void)
{
    struct store_config config = rig_config(16);
    rig_init(&rig, &config);
    file_mem_script(rig.io, script, NULL);
    hidden[0] = '\0';
    step_count = 0;
    fail_step = UINT32_MAX;
}

static bool is_whole(const char *path, bool synced, size_t size)
{
    size_t n;
    const uint8_t *p = file_mem_get(rig.io, path, synced, &n);

    if (p == NULL || n != size)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (p[i] != pattern(i))
            return false;
    }
    return true;
}

static bool is_old(const char *path, bool synced)
{
    size_t n;
    const uint8_t *p = file_mem_get(rig.io, path, synced, &n);
    return p != NULL && n == 3 && memcmp(p, "old", 3) == 0;
}

static bool is_absent(const char *path)
{
    size_t n;
    return file_mem_get(rig.io, path, false, &n) == NULL;
}

/* Feeds and publishes whenever something has happened; true when there is no more to be done. */
static bool drive(struct upload *u, uint64_t size)
{
    if (u->sink.state == STORE_SINK_OPEN) {
        upload_feed(u, size - u->sink.received);
        if (u->sink.received == size)
            store_sink_publish(&u->sink);
    }
    return u->sink.state == STORE_SINK_PUBLISHED || u->sink.state == STORE_SINK_FAILED;
}

static void run(struct upload *u, uint64_t size)
{
    for (unsigned i = 0; !drive(u, size); i++) {
        assert_true(i < 100000);
        assert_true(rig_step(&rig) > 0);
    }
    assert_true(u->changes > 0);
}

static void assert_published(struct upload *u, const char *path, uint64_t size)
{
    assert_int_equal(u->sink.state, STORE_SINK_PUBLISHED);
    assert_int_equal(u->sink.error, 0);
    assert_int_equal(u->sink.stored, size);
    assert_true(is_whole(path, false, size));
    assert_true(is_whole(path, true, size)); /* also after a crash right now */
}

static void whole_files(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 1, 512, CHUNK - 1, CHUNK, 2 * CHUNK, 9 * CHUNK + 3};

    for (unsigned mode = 0; mode < 12; mode++) {
        tmpfile_fails = mode & 1;
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            struct upload u;
            uint64_t hint = mode / 4 == 0 ? STORE_SIZE_UNKNOWN : sizes[i] + 100 * (mode / 4 - 1);
            start();
            if (mode & 2)
                file_mem_put(rig.io, "d/f", "old", 3);
            upload_open(&rig, &u, "d/f", mode & 2, hint);
            run(&u, sizes[i]);
            assert_published(&u, "d/f", sizes[i]);
            /* What was set aside for more than came is given back. */
            assert_int_equal(rig.ops[FILE_TRUNCATE], mode / 4 == 2);
            rig_settle(&rig);
            assert_true(is_absent(hidden));
            store_sink_close(rig.s, &u.sink);
            store_sink_close(rig.s, &u.sink);
            assert_int_equal(u.sink.state, STORE_SINK_CLOSED);
            assert_int_equal(store_stats(rig.s)->published, 1);
            rig_fini(&rig);
        }
    }
}

/* An acknowledgement may follow every block: each flush is answered by `stored`. */
static void block_by_block(void **state)
{
    (void)state;
    struct upload u;
    tmpfile_fails = false;
    start();
    upload_open(&rig, &u, "f", false, STORE_SIZE_UNKNOWN);
    assert_int_equal(store_sink_room(&u.sink), 0);
    rig_settle(&rig);
    assert_int_equal(u.changes, 1);
    assert_int_equal(store_sink_room(&u.sink), 2 * CHUNK);
    for (uint64_t at = 0; at < 5 * CHUNK; at += 512) {
        assert_int_equal(upload_feed(&u, 512), 512);
        if (at / 512 % 8 != 7) {
            rig_settle(&rig);
            assert_true(u.sink.stored < u.sink.received); /* waits for a full buffer */
        }
        store_sink_flush(&u.sink);
        rig_settle(&rig);
        assert_int_equal(u.sink.stored, at + 512);
    }
    run(&u, 5 * CHUNK);
    assert_published(&u, "f", 5 * CHUNK);
    store_sink_close(rig.s, &u.sink);
    rig_fini(&rig);
}

static int refusal(const char *path, bool overwrite, bool create, uint64_t hint)
{
    struct upload u = {.rig = &rig};
    upload_open(&rig, &u, path, overwrite, hint);
    store_sink_close(rig.s, &u.sink);
    upload_open(&rig, &u, path, overwrite, hint);
    if (!create) { /* upload_open() always creates */
        void (*changed)(struct store_sink *) = u.sink.changed;
        store_sink_close(rig.s, &u.sink);
        u.sink = (struct store_sink){.changed = changed};
        store_sink_open(rig.s, &u.sink, path, overwrite, false, hint);
    }
    rig_settle(&rig);
    int error = u.sink.state == STORE_SINK_OPEN ? 0 : u.sink.error;
    assert_true(u.changes == 1);
    store_sink_close(rig.s, &u.sink);
    rig_settle(&rig);
    assert_int_equal(store_stats(rig.s)->chunks_used, 0);
    return error;
}

static void refusals_at_open(void **state)
{
    (void)state;
    tmpfile_fails = false;
    start();
    file_mem_put(rig.io, "d/f", "old", 3);

    assert_int_equal(refusal("d/f", false, true, 3), -EEXIST);
    assert_int_equal(refusal("d/f", true, true, 3), 0);
    assert_int_equal(refusal("d/f", true, false, 3), 0);
    assert_int_equal(refusal("d/new", true, false, 3), -ENOENT);
    assert_int_equal(refusal("d", true, true, 3), -EISDIR);
    assert_int_equal(refusal("d/new", true, true, (1 << 20) + 1), -EFBIG);
    assert_int_equal(refusal("d/new", true, true, 1 << 20), 0);
    assert_int_equal(refusal("d/.ringtftp-x", true, true, 3), -EACCES);
    rig_fini(&rig);

    struct store_config config = rig_config(16);
    config.free_space_min = UINT64_C(1) << 41; /* more than mem claims to have */
    rig_init(&rig, &config);
    assert_int_equal(refusal("d/new", true, true, STORE_SIZE_UNKNOWN), -ENOSPC);
    rig_fini(&rig);
}

static void too_large_on_the_way(void **state)
{
    (void)state;
    struct store_config config = rig_config(16);
    struct upload u;

    config.upload_max_bytes = 6000;
    rig_init(&rig, &config);
    upload_open(&rig, &u, "f", false, STORE_SIZE_UNKNOWN);
    rig_settle(&rig);
    unsigned changes = u.changes;
    for (unsigned i = 0; i < 20; i++)
        upload_feed(&u, 512);
    assert_int_equal(u.changes, changes);
    rig_settle(&rig);
    assert_int_equal(u.sink.state, STORE_SINK_FAILED);
    assert_int_equal(u.sink.error, -EFBIG);
    assert_true(is_absent("f"));
    store_sink_close(rig.s, &u.sink);
    rig_fini(&rig);
}

static uint64_t quota_left;

static bool take_quota(void *arg, uint64_t bytes)
{
    assert_ptr_equal(arg, &quota_left);
    if (bytes > quota_left)
        return false;
    quota_left -= bytes;
    return true;
}

static void return_quota(void *arg, uint64_t bytes)
{
    assert_ptr_equal(arg, &quota_left);
    quota_left += bytes;
}

/* What is not published does not count, however the upload ends. */
static void quota(void **state)
{
    (void)state;
    struct store_config config = rig_config(16);
    struct upload u;

    config.upload_take = take_quota;
    config.upload_return = return_quota;
    config.upload_arg = &quota_left;
    rig_init(&rig, &config);
    quota_left = 5000;
    upload_open(&rig, &u, "f", false, STORE_SIZE_UNKNOWN);
    rig_settle(&rig);
    for (unsigned i = 0; i < 20; i++)
        upload_feed(&u, 512);
    rig_settle(&rig);
    assert_int_equal(u.sink.state, STORE_SINK_FAILED);
    assert_int_equal(u.sink.error, -EDQUOT);
    assert_true(is_absent("f"));
    store_sink_close(rig.s, &u.sink);
    assert_int_equal(quota_left, 5000);

    upload_open(&rig, &u, "f", false, STORE_SIZE_UNKNOWN);
    rig_settle(&rig);
    upload_feed(&u, 3000);
    assert_int_equal(quota_left, 2000);
    store_sink_close(rig.s, &u.sink); /* the client has gone */
    rig_settle(&rig);
    assert_int_equal(quota_left, 5000);

    upload_open(&rig, &u, "f", false, STORE_SIZE_UNKNOWN);
    rig_settle(&rig);
    run(&u, 3000);
    assert_published(&u, "f", 3000);
    store_sink_close(rig.s, &u.sink);
    assert_int_equal(quota_left, 2000);
    rig_fini(&rig);
}

/* Each operation in turn fails with each error: the old file stays, nothing is left. */
static void every_step_fails(void **state)
{
    (void)state;
    static const int errors[] = {-EIO, -ENOSPC, -EDQUOT, -EACCES, -EROFS};

    for (unsigned mode = 0; mode < 4 * ARRAY_LEN(errors); mode++) {
        bool overwrite = mode & 2;
        tmpfile_fails = mode & 1;
        fail_error = errors[mode / 4];
        for (unsigned step = 0;; step++) {
            struct upload u;
            start();
            fail_step = step;
            if (overwrite)
                file_mem_put(rig.io, "d/f", "old", 3);
            upload_open(&rig, &u, "d/f", overwrite, SIZE);
            run(&u, SIZE);
            rig_settle(&rig);
            assert_true(is_absent(hidden) || failed_op == FILE_UNLINK);
            bool failed = u.sink.state == STORE_SINK_FAILED;
            if (failed)
                assert_int_equal(u.sink.error, fail_error);
            else
                assert_published(&u, "d/f", SIZE);
            /* With the folder's sync failing, the name may stand: the file is whole then. */
            if (failed && !(failed_op == FILE_SYNC && is_whole("d/f", false, SIZE)))
                assert_true(overwrite ? is_old("d/f", true) : is_absent("d/f"));
            if (!failed)
                assert_true(failed_op == FILE_CLOSE || failed_op == FILE_STATFS ||
                            failed_op == FILE_UNLINK || failed_op == FILE_ALLOCATE ||
                            step >= step_count);
            store_sink_close(rig.s, &u.sink);
            bool last = step >= step_count;
            rig_fini(&rig);
            if (last)
                break;
        }
    }
}

static void fsync_is_not_tried_again(void **state)
{
    (void)state;
    struct upload u;
    tmpfile_fails = false;
    start();
    file_mem_script(rig.io, NULL, NULL);
    upload_open(&rig, &u, "f", false, STORE_SIZE_UNKNOWN);
    rig_settle(&rig);
    upload_feed(&u, 100);
    file_mem_script(rig.io, script, NULL);
    fail_error = -EIO;
    fail_step = 2; /* write, stat, sync */
    store_sink_publish(&u.sink);
    rig_settle(&rig);
    assert_int_equal(failed_op, FILE_SYNC);
    assert_int_equal(u.sink.error, -EIO);
    assert_int_equal(rig.ops[FILE_SYNC], 1);
    store_sink_close(rig.s, &u.sink);
    rig_fini(&rig);
}

/* After every step the power fails: what survives is the old file, or none, or the whole new
 * one; and once it was published, the new one. */
static void crash_at_every_step(void **state)
{
    (void)state;

    for (unsigned mode = 0; mode < 4; mode++) {
        bool overwrite = mode & 2;
        struct upload u;
        size_t n;

        tmpfile_fails = mode & 1;
        start();
        if (overwrite)
            file_mem_put(rig.io, "d/f", "old", 3);
        upload_open(&rig, &u, "d/f", overwrite, STORE_SIZE_UNKNOWN);
        while (!drive(&u, SIZE)) {
            bool none = file_mem_get(rig.io, "d/f", true, &n) == NULL;
            assert_true(is_whole("d/f", true, SIZE) || (overwrite ? is_old("d/f", true) : none));
            rig.now++;
            file_mem_advance(rig.io, rig.now);
            assert_int_equal(file_complete(rig.io, 1), 1);
        }
        assert_published(&u, "d/f", SIZE);
        store_sink_close(rig.s, &u.sink);
        rig_fini(&rig);
    }
}

static void closed_at_every_step(void **state)
{
    (void)state;

    for (unsigned mode = 0; mode < 4; mode++) {
        bool overwrite = mode & 2, finished = false;
        tmpfile_fails = mode & 1;
        for (unsigned steps = 0; !finished; steps++) {
            struct upload u;
            start();
            if (overwrite)
                file_mem_put(rig.io, "d/f", "old", 3);
            upload_open(&rig, &u, "d/f", overwrite, SIZE);
            for (unsigned i = 0; i < steps && !finished; i++) {
                finished = drive(&u, SIZE);
                file_mem_advance(rig.io, ++rig.now);
                file_complete(rig.io, 1);
            }
            store_sink_close(rig.s, &u.sink);
            memset(&u, 0xA5, sizeof(u));
            rig_settle(&rig);
            assert_true(is_absent(hidden));
            assert_true(is_whole("d/f", false, SIZE) ||
                        (overwrite ? is_old("d/f", false) : is_absent("d/f")));
            rig_fini(&rig);
        }
    }
}

static void two_of_one_name(void **state)
{
    (void)state;

    for (unsigned mode = 0; mode < 4; mode++) {
        bool overwrite = mode & 2;
        struct upload a, b;
        tmpfile_fails = mode & 1;
        start();
        upload_open(&rig, &a, "d/f", overwrite, STORE_SIZE_UNKNOWN);
        upload_open(&rig, &b, "d/f", overwrite, STORE_SIZE_UNKNOWN);
        rig_settle(&rig);
        upload_feed(&a, 1000);
        upload_feed(&b, 2000);
        store_sink_publish(&a.sink);
        rig_settle(&rig);
        assert_published(&a, "d/f", 1000);
        store_sink_publish(&b.sink);
        rig_settle(&rig);
        if (overwrite) {
            assert_published(&b, "d/f", 2000);
        } else {
            assert_int_equal(b.sink.error, -EEXIST);
            assert_true(is_whole("d/f", false, 1000));
        }
        assert_true(is_absent(hidden));
        store_sink_close(rig.s, &a.sink);
        store_sink_close(rig.s, &b.sink);
        rig_fini(&rig);
    }
}

/* Renaming without replacing is not to be had: the hidden file is linked, never renamed over. */
static void no_exclusive_rename(void **state)
{
    (void)state;
    static const int errors[] = {-EINVAL, -ENOSYS, -EOPNOTSUPP};

    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        for (unsigned taken = 0; taken < 2; taken++) {
            struct upload u;
            tmpfile_fails = true;
            start();
            upload_open(&rig, &u, "d/f", false, STORE_SIZE_UNKNOWN);
            rig_settle(&rig);
            upload_feed(&u, 1000);
            if (taken)
                file_mem_put(rig.io, "d/f", "old", 3);
            fail_error = errors[i];
            fail_step = step_count + 3; /* write, stat, sync, rename */
            store_sink_publish(&u.sink);
            rig_settle(&rig);
            assert_int_equal(failed_op, FILE_RENAME);
            assert_true(is_absent(hidden));
            if (taken) {
                assert_int_equal(u.sink.error, -EEXIST);
                assert_true(is_old("d/f", false));
            } else {
                assert_published(&u, "d/f", 1000);
            }
            store_sink_close(rig.s, &u.sink);
            rig_fini(&rig);
        }
    }
}

/* A reader keeps the file it opened while an upload replaces it. */
static void reader_keeps_the_old_file(void **state)
{
    (void)state;
    struct upload u;
    tmpfile_fails = false;
    start();
    file_mem_put_pattern(rig.io, "f", 9 * CHUNK, pattern);
    struct client c = {0};
    client_open(&rig, &c, "f");
    rig_settle(&rig);
    upload_open(&rig, &u, "f", true, STORE_SIZE_UNKNOWN);
    run(&u, 100);
    assert_published(&u, "f", 100);
    c.automatic = true;
    client_run(&c);
    rig_settle(&rig);
    assert_true(c.done && c.error == 0 && !c.mixed && c.at == 9 * CHUNK);
    store_close(rig.s, &c.r);
    store_sink_close(rig.s, &u.sink);
    rig_fini(&rig);
}

/* Uploads get at most half of the chunks; those that wait for buffers may give up. */
static void uploads_and_buffers(void **state)
{
    (void)state;
    enum { MOST = 4 }; /* of two chunks each, of 16 */
    struct upload u[MOST + 1], late;
    tmpfile_fails = false;
    start();
    for (unsigned i = 0; i <= MOST; i++) {
        char name[8];
        snprintf(name, sizeof(name), "u%u", i);
        upload_open(&rig, &u[i], name, false, STORE_SIZE_UNKNOWN);
        rig_settle(&rig);
        assert_int_equal(u[i].sink.state, i < MOST ? STORE_SINK_OPEN : STORE_SINK_FAILED);
    }
    assert_int_equal(u[MOST].sink.error, -ENOMEM);

    /* Readers hold the rest, then one upload ends: its place is not enough for a new one as long
     * as a reader took it first. */
    struct client c[10];
    struct store_slice slices[10];
    unsigned held = 0;
    for (unsigned i = 0; i < 10; i++) {
        char name[8];
        snprintf(name, sizeof(name), "r%u", i);
        file_mem_put_pattern(rig.io, name, 100, pattern);
        c[i] = (struct client){0};
        client_open(&rig, &c[i], name);
        rig_settle(&rig);
        int n = store_read(rig.s, &c[i].r, 0, 100, &slices[held], 1);
        rig_settle(&rig);
        if (n == 0 && i < 8)
            n = store_read(rig.s, &c[i].r, 0, 100, &slices[held], 1);
        held += (unsigned)n;
    }
    assert_int_equal(held, 8);
    store_sink_close(rig.s, &u[0].sink);
    rig_settle(&rig);
    assert_int_equal(c[8].ready, 2);
    assert_int_equal(c[9].ready, 2);
    upload_open(&rig, &late, "late", false, STORE_SIZE_UNKNOWN);
    rig_settle(&rig);
    assert_int_equal(late.sink.state, STORE_SINK_OPENING);
    store_sink_close(rig.s, &late.sink);
    upload_open(&rig, &late, "late", false, STORE_SIZE_UNKNOWN);
    rig_settle(&rig);
    store_release(rig.s, slices[0].chunk);
    store_release(rig.s, slices[1].chunk);
    rig_settle(&rig);
    assert_int_equal(late.sink.state, STORE_SINK_OPEN);
    for (unsigned i = 2; i < held; i++)
        store_release(rig.s, slices[i].chunk);
    for (unsigned i = 0; i < 10; i++)
        store_close(rig.s, &c[i].r);
    for (unsigned i = 1; i <= MOST; i++)
        store_sink_close(rig.s, &u[i].sink);
    store_sink_close(rig.s, &late.sink);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_files),
        cmocka_unit_test(block_by_block),
        cmocka_unit_test(refusals_at_open),
        cmocka_unit_test(too_large_on_the_way),
        cmocka_unit_test(quota),
        cmocka_unit_test(every_step_fails),
        cmocka_unit_test(fsync_is_not_tried_again),
        cmocka_unit_test(crash_at_every_step),
        cmocka_unit_test(closed_at_every_step),
        cmocka_unit_test(two_of_one_name),
        cmocka_unit_test(no_exclusive_rename),
        cmocka_unit_test(reader_keeps_the_old_file),
        cmocka_unit_test(uploads_and_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
