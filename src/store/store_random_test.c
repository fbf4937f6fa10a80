/*
 * Everything at once, by chance: readers and uploads that come, wait, read, hold on to bytes,
 * fail and leave in any order, on a small pool and a slow, unreliable backend. A seed that
 * fails is printed and can be given as the argument.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "store/test_rig.h"

enum { CHUNK = 4096, FILES = 12, CLIENTS = 40, UPLOADS = 4, HELD = 8, STEPS = 1500, SEEDS = 60 };

struct actor {
    struct store_reader r;
    bool open, told;
    uint64_t file_size, at, len;
    struct store_slice held[HELD];
    unsigned held_count;
};

static struct rig rig;
static struct prng rnd;
static struct actor actors[CLIENTS];
static struct upload ups[UPLOADS];
static bool faults;
static uint64_t first_seed = 1, seeds = SEEDS;

static int script(void *arg, const struct file_req *req, nsec *delay, size_t *max_bytes)
{
    (void)arg;
    *delay = prng_below(&rnd, 4) == 0 ? prng_below(&rnd, 200) : prng_below(&rnd, 8);
    if (prng_below(&rnd, 4) == 0)
        *max_bytes = 1 + prng_below(&rnd, 5000);
    if (faults && prng_chance(&rnd, 10000) && req->op != FILE_CLOSE && req->op != FILE_UNLINK)
        return prng_below(&rnd, 2) ? -EIO : -ENOSPC;
    return 0;
}

static void ready(struct store_wait *w)
{
    struct actor *a = container_of(container_of(w, struct store_reader, wait), struct actor, r);
    assert_true(a->open);
    assert_false(a->told); /* once */
    a->told = true;
}

static void release_one(struct actor *a)
{
    if (a->held_count == 0)
        return;
    unsigned i = (unsigned)prng_below(&rnd, a->held_count);
    store_release(rig.s, a->held[i].chunk);
    a->held[i] = a->held[--a->held_count];
}

static void close_actor(struct actor *a)
{
    store_close(rig.s, &a->r);
    a->open = false;
    while (prng_below(&rnd, 2) && a->held_count > 0)
        release_one(a);
}

static uint64_t size_of(uint64_t file)
{
    return file == 0 ? 0 : file * file * 1777 % (30 * CHUNK) + file;
}

static void open_actor(struct actor *a)
{
    char name[16];
    uint64_t file = prng_below(&rnd, FILES);

    snprintf(name, sizeof(name), "d/f%u", (unsigned)file);
    a->file_size = size_of(file);
    a->at = 0;
    a->len = 1 + prng_below(&rnd, 3 * CHUNK);
    a->open = true;
    a->told = false;
    a->r.wait.ready = ready;
    store_open(rig.s, &a->r, name);
}

static void check_bytes(const struct store_slice *slice, uint64_t at)
{
    for (uint32_t i = 0; i < slice->n; i++) {
        if (slice->p[i] != pattern(at + i))
            assert_int_equal(slice->p[i], pattern(at + i));
    }
}

static void read_actor(struct actor *a)
{
    struct store_slice slices[4];

    if (a->r.opening || a->r.result < 0) {
        if (a->told)
            close_actor(a);
        return;
    }
    assert_int_equal(a->r.size, a->file_size);
    if (prng_below(&rnd, 20) == 0)
        a->at = prng_below(&rnd, a->file_size + 1); /* sends again, or skips */
    unsigned max = 1 + (unsigned)prng_below(&rnd, ARRAY_LEN(slices));
    uint64_t want = MIN(a->len, a->file_size - a->at), got = 0;
    a->told = false;
    int n = store_read(rig.s, &a->r, a->at, want, slices, max);
    assert_true(n <= (int)max);
    if (n < 0) {
        assert_true(faults);
        close_actor(a);
        return;
    }
    for (int i = 0; i < n; i++) {
        check_bytes(&slices[i], a->at + got);
        got += slices[i].n;
        if (a->held_count < HELD && prng_below(&rnd, 4) == 0)
            a->held[a->held_count++] = slices[i];
        else
            store_release(rig.s, slices[i].chunk);
    }
    assert_true(got <= want);
    if (got == want || n == (int)max)
        a->told = true; /* nothing is owed: may go on when it likes */
    if (got == want || prng_below(&rnd, 2))
        a->at += got;
    if (a->at == a->file_size)
        close_actor(a);
}

static void act_upload(struct upload *u)
{
    switch (u->sink.state) {
    case STORE_SINK_CLOSED: {
        char name[16];
        snprintf(name, sizeof(name), "d/u%u", (unsigned)prng_below(&rnd, 3));
        upload_open(&rig, u, name, prng_below(&rnd, 2),
                    prng_below(&rnd, 2) ? STORE_SIZE_UNKNOWN : prng_below(&rnd, 30000));
        return;
    }
    case STORE_SINK_OPEN:
        upload_feed(u, prng_below(&rnd, 3000));
        if (prng_below(&rnd, 2))
            store_sink_flush(&u->sink);
        if (prng_below(&rnd, 20) == 0)
            store_sink_publish(&u->sink);
        break;
    case STORE_SINK_PUBLISHED:
    case STORE_SINK_FAILED:
        store_sink_close(rig.s, &u->sink);
        return;
    default:
        break;
    }
    if (prng_below(&rnd, 60) == 0)
        store_sink_close(rig.s, &u->sink);
}

static void act(void)
{
    if (prng_below(&rnd, 8) == 0)
        act_upload(&ups[prng_below(&rnd, UPLOADS)]);
    if (prng_below(&rnd, 500) == 0)
        store_trim(rig.s);
    struct actor *a = &actors[prng_below(&rnd, CLIENTS)];
    if (prng_below(&rnd, 3) == 0)
        release_one(a);
    if (!a->open)
        open_actor(a);
    else if (prng_below(&rnd, 100) == 0)
        close_actor(a);
    else if (a->told || prng_below(&rnd, 10) == 0)
        if (a->told || !a->r.opening)
            read_actor(a);
}

/* When all give back what they hold, everybody is told, and can read to the end. */
static void everybody_finishes(void)
{
    for (unsigned i = 0; i < UPLOADS; i++)
        store_sink_close(rig.s, &ups[i].sink);
    for (unsigned i = 0; i < CLIENTS; i++) {
        actors[i].len += CHUNK / 4;
        while (actors[i].held_count > 0)
            release_one(&actors[i]);
    }
    for (unsigned rounds = 0;; rounds++) {
        bool open = false, moved = false;
        assert_true(rounds < 10000);
        rig_settle(&rig);
        for (unsigned i = 0; i < CLIENTS; i++) {
            struct actor *a = &actors[i];
            if (a->open && a->told) {
                moved = true;
                read_actor(a);
                while (a->held_count > 0)
                    release_one(a);
            }
            open |= a->open;
        }
        if (!open)
            return;
        assert_true(moved); /* who is not told yet waits for what others have been promised */
    }
}

static void one_history(uint64_t seed)
{
    struct store_config config = rig_config(0);
    char name[16];

    /* Before anything can fail: the last one named is the one to look at. */
    print_message("seed %llu\n", (unsigned long long)seed);
    prng_seed(&rnd, seed);
    memset(actors, 0, sizeof(actors));
    faults = prng_below(&rnd, 2);
    config.cache_bytes = CHUNK * (8 + prng_below(&rnd, 60));
    config.files_max = 3 + (unsigned)prng_below(&rnd, 20);
    config.read_ahead = (unsigned)prng_below(&rnd, 6);
    rig_init(&rig, &config);
    file_mem_script(rig.io, script, NULL);
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "d/f%u", i);
        file_mem_put_pattern(rig.io, name, size_of(i), pattern);
    }
    for (unsigned i = 0; i < UPLOADS; i++)
        ups[i] = (struct upload){.sink.state = STORE_SINK_CLOSED};
    for (unsigned i = 0; i < STEPS; i++) {
        act();
        if (prng_below(&rnd, 3) == 0) {
            rig.now += prng_below(&rnd, 10);
            rig_step(&rig);
        }
    }
    everybody_finishes();
    rig_fini(&rig);
}

static void histories(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < seeds; i++)
        one_history(first_seed + i);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(histories)};
    if (argc > 1)
        first_seed = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        seeds = strtoull(argv[2], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
