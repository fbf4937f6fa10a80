/*
 * Opens answered from memory, on a real file system: whatever is done to a file or to its path,
 * the next open sees it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/prng.h"
#include "store/internal.h"
#include "store/test_rig.h"

enum { TEXT = 64 };

static struct rig rig;
static char root[64];
static int root_fd;

/* ---- The file system ---- */

static int make_root_in(const char *place)
{
    snprintf(root, sizeof(root), "%s/store-watch-XXXXXX", place);
    if (mkdtemp(root) == NULL)
        return -1;
    root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return root_fd < 0 ? -1 : 0;
}

/* In memory where there is such a place: that may be watched on most machines. */
static int make_root(void **state)
{
    (void)state;
    return make_root_in("/dev/shm") == 0 ? 0 : make_root_in("/tmp");
}

static int make_disk_root(void **state)
{
    (void)state;
    return make_root_in("/tmp");
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int remove_root(void **state)
{
    (void)state;
    close(root_fd);
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void write_text(const char *path, const char *text, int flags)
{
    int fd = openat(root_fd, path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void put(const char *path, const char *text)
{
    write_text(path, text, O_TRUNC);
}

static void move(const char *from, const char *to)
{
    assert_int_equal(renameat(root_fd, from, root_fd, to), 0);
}

static void make_dir(const char *path)
{
    assert_int_equal(mkdirat(root_fd, path, 0755), 0);
}

/* ---- The store ---- */

/* False: nothing can be remembered on this machine. */
static bool start(unsigned files_max)
{
    struct store_config config = rig_config(256);
    config.root_fd = root_fd;
    config.symlinks = STORE_SYMLINKS_INSIDE;
    config.world_readable_only = true;
    config.watch = true;
    config.files_max = files_max;
    rig_init_threads(&rig, &config, 2, 64);
    if (rig.s->watch == NULL)
        rig_fini(&rig);
    return rig.s->watch != NULL;
}

static void must_start(unsigned files_max)
{
    if (!start(files_max))
        skip();
}

/* What the store has to say of the path now: its text, or the name of an error. */
static const char *ask(const char *path)
{
    static char text[TEXT];
    struct client c = {.automatic = false};
    struct store_slice slice;

    memset(text, 0, sizeof(text));
    client_open(&rig, &c, path);
    rig_settle(&rig);
    assert_int_equal(c.ready, 1);
    if (c.r.result < 0) {
        snprintf(text, sizeof(text), "%s", strerrorname_np(-c.r.result));
    } else if (c.r.size > 0) {
        int n = store_read(rig.s, &c.r, 0, TEXT - 1, &slice, 1);
        if (n == 0) {
            rig_settle(&rig);
            n = store_read(rig.s, &c.r, 0, TEXT - 1, &slice, 1);
        }
        assert_int_equal(n, 1);
        memcpy(text, slice.p, slice.n);
        store_release(rig.s, slice.chunk);
    }
    store_close(rig.s, &c.r);
    return text;
}

static bool is_known(const char *path)
{
    uint64_t before = store_stats(rig.s)->open_known;
    (void)ask(path);
    return store_stats(rig.s)->open_known > before;
}

static void learn(const char *path)
{
    for (unsigned i = 0; i < 4 && !is_known(path); i++)
        ;
    assert_true(is_known(path));
}

static void sees(const char *path, const char *text)
{
    assert_string_equal(ask(path), text);
}

/* ---- One change each ---- */

static void file_changes(void **state)
{
    (void)state;
    must_start(100);
    put("f", "one");
    learn("f");
    sees("f", "one");
    put("f", "two"); /* the same size, perhaps in the same tick */
    sees("f", "two");
    learn("f");
    write_text("f", "three", O_APPEND);
    sees("f", "twothree");
    learn("f");
    int fd = openat(root_fd, "f", O_WRONLY | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, 2), 0);
    close(fd);
    sees("f", "tw");
    learn("f");
    put("new", "replaced");
    move("new", "f");
    sees("f", "replaced");
    learn("f");
    assert_int_equal(fchmodat(root_fd, "f", 0640, 0), 0);
    sees("f", "EACCES");
    assert_int_equal(fchmodat(root_fd, "f", 0644, 0), 0);
    sees("f", "replaced");
    learn("f");
    move("f", "g");
    sees("f", "ENOENT");
    move("g", "f");
    learn("f");
    assert_int_equal(unlinkat(root_fd, "f", 0), 0);
    sees("f", "ENOENT");
    rig_fini(&rig);
}

static void many_names(void **state)
{
    (void)state;
    must_start(100);
    put("a", "one");
    assert_int_equal(linkat(root_fd, "a", root_fd, "b", 0), 0);
    learn("a");
    learn("b");
    put("a", "two");
    sees("b", "two");
    learn("b");
    learn("a");
    assert_int_equal(unlinkat(root_fd, "b", 0), 0);
    sees("b", "ENOENT");
    sees("a", "two");
    put("target", "three");
    learn("a");
    assert_int_equal(symlinkat("target", root_fd, "link"), 0);
    move("link", "a");
    sees("a", "three");
    for (unsigned i = 0; i < 6; i++)
        assert_false(is_known("a"));
    put("target", "four");
    sees("a", "four");
    rig_fini(&rig);
}

static void directories(void **state)
{
    (void)state;
    must_start(100);
    make_dir("x");
    make_dir("x/y");
    put("x/y/f", "old");
    make_dir("n");
    make_dir("n/y");
    put("n/y/f", "new");
    learn("x/y/f");
    move("x", "away");
    sees("x/y/f", "ENOENT");
    move("n", "x");
    sees("x/y/f", "new");
    learn("x/y/f");
    assert_int_equal(renameat2(root_fd, "x/y", root_fd, "away/y", RENAME_EXCHANGE), 0);
    sees("x/y/f", "old");
    learn("x/y/f");
    /* Elsewhere, with its watch, while another takes its place. */
    sees("away/y/f", "new");
    learn("away/y/f");
    learn("x/y/f");
    move("x/y", "gone");
    assert_int_equal(symlinkat("../away/y", root_fd, "x/y"), 0);
    sees("x/y/f", "new");
    learn("gone/f");
    sees("gone/f", "old");
    if (geteuid() != 0) {
        assert_int_equal(fchmodat(root_fd, "gone", 0, 0), 0);
        sees("gone/f", "EACCES");
        assert_int_equal(fchmodat(root_fd, "gone", 0755, 0), 0);
    }
    rig_fini(&rig);
}

static void missing_names(void **state)
{
    (void)state;
    must_start(100);
    make_dir("d");
    learn("d/f");
    sees("d/f", "ENOENT");
    put("d/f", "born");
    sees("d/f", "born");
    learn("d/g");
    move("d/f", "d/g");
    sees("d/g", "born");
    learn("d/f");
    assert_int_equal(linkat(root_fd, "d/g", root_fd, "d/f", 0), 0);
    sees("d/f", "born");
    learn("d/h");
    assert_int_equal(symlinkat("g", root_fd, "d/h"), 0);
    sees("d/h", "born");
    learn("d/i");
    learn("d/k"); /* holds the directory */
    make_dir("e");
    put("e/i", "other");
    move("d", "old");
    move("e", "d");
    sees("d/i", "other");
    /* The directory of that name is another one now, and that is the one to be watched. */
    learn("d/j");
    put("d/j", "late");
    sees("d/j", "late");
    for (unsigned i = 0; i < 6; i++)
        assert_false(is_known("none/f")); /* without a directory there is nothing to watch */
    rig_fini(&rig);
}

/* ---- Limits ---- */

static void queue_overflows(void **state)
{
    (void)state;
    unsigned long limit = 0;
    FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
    if (f != NULL) {
        if (fscanf(f, "%lu", &limit) != 1)
            limit = 0;
        fclose(f);
    }
    if (limit == 0 || limit > 100000)
        skip();
    must_start(100);
    put("f", "one");
    put("g", "other");
    put("a", "");
    store_begin_turn(rig.s, NSEC_PER_SEC);
    learn("f");
    learn("g");
    for (unsigned long i = 0; i < limit / 2 + 10; i++)
        move(i % 2 ? "b" : "a", i % 2 ? "a" : "b");
    put("f", "two"); /* of this there is no event */
    store_begin_turn(rig.s, NSEC_PER_SEC);
    for (unsigned i = 0; i < 10000 && !is_known("g"); i++)
        store_begin_turn(rig.s, NSEC_PER_SEC);
    assert_true(is_known("g"));
    sees("f", "two");
    learn("f");
    sees("f", "two");
    rig_fini(&rig);
}

static void trust_ends(void **state)
{
    (void)state;
    must_start(100);
    put("f", "one");
    nsec now = 1000 * NSEC_PER_SEC;
    store_begin_turn(rig.s, now);
    learn("f");
    learn("none");
    store_begin_turn(rig.s, now + NSEC_PER_SEC - 1);
    assert_true(is_known("f"));
    assert_true(is_known("none"));
    store_begin_turn(rig.s, now + NSEC_PER_SEC);
    assert_false(is_known("f"));
    assert_true(is_known("f"));
    assert_false(is_known("none"));
    assert_true(is_known("none"));
    /* Within a turn all requests have come before. */
    put("f", "two");
    sees("f", "one");
    store_begin_turn(rig.s, now + NSEC_PER_SEC);
    sees("f", "two");
    rig_fini(&rig);
}

/* Of all inotify instances of the process. */
static unsigned count_watches(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 256; fd++) {
        char path[64], line[512];
        snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
        FILE *f = fopen(path, "re");
        while (f != NULL && fgets(line, sizeof(line), f) != NULL)
            n += strncmp(line, "inotify wd:", 11) == 0;
        if (f != NULL)
            fclose(f);
    }
    return n;
}

static void watches_are_released(void **state)
{
    (void)state;
    char name[32];
    must_start(8);
    make_dir("d");
    make_dir("d/e");
    assert_int_equal(count_watches(), 0);
    put("d/e/f", "");
    learn("d/e/f");
    learn("d/e/g");
    assert_int_equal(count_watches(), 4);
    put("d/e/f", "changed");
    sees("d/e/f", "changed");
    store_trim(rig.s);
    assert_int_equal(count_watches(), 0);
    for (unsigned i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "d/%u", i);
        put(name, name);
        learn(name);
        sees(name, name);
        assert_true(count_watches() <= 8 + 2);
    }
    rig_settle(&rig);
    store_trim(rig.s);
    assert_int_equal(count_watches(), 0);
    learn("d/e/f");
    rig_fini(&rig);
    assert_int_equal(count_watches(), 0);
}

static void works_without(void **state)
{
    (void)state;
    struct rlimit old, none;
    struct store_config config = rig_config(64);
    config.root_fd = root_fd;
    put("f", "one");
    rig_init_threads(&rig, &config, 2, 64);
    store_free(rig.s);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
    config.watch = true;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    rig.s = store_new(rig.io, &config);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_non_null(rig.s);
    assert_null(rig.s->watch);
    store_begin_turn(rig.s, 1);
    for (unsigned i = 0; i < 6; i++)
        assert_false(is_known("f"));
    put("f", "two");
    sees("f", "two");
    rig_fini(&rig);
}

static void answers_at_once(void **state)
{
    (void)state;
    struct client c = {0};
    must_start(100);
    put("f", "one");
    learn("f");
    learn("none");
    assert_int_equal(store_open_now(rig.s, &c.r, "f"), 0);
    assert_int_equal(c.r.result, 0);
    assert_int_equal(c.r.size, 3);
    assert_true(store_idle(rig.s));
    store_close(rig.s, &c.r);
    assert_int_equal(store_open_now(rig.s, &c.r, "none"), -ENOENT);
    assert_int_equal(c.r.result, -ENOENT);
    assert_true(store_idle(rig.s));
    store_close(rig.s, &c.r);
    /* The same by the call that owes an answer; closed, it owes none. */
    client_open(&rig, &c, "f");
    assert_int_equal(c.ready, 0);
    store_close(rig.s, &c.r);
    rig_settle(&rig);
    assert_int_equal(c.ready, 0);
    rig_fini(&rig);
}

/* ---- By chance ---- */

/* What the kernel says of the path. */
static const char *truth(const char *path)
{
    static char text[TEXT];
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    struct stat st;
    int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));

    memset(text, 0, sizeof(text));
    if (fd < 0) {
        snprintf(text, sizeof(text), "%s", strerrorname_np(errno));
        return text;
    }
    assert_int_equal(fstat(fd, &st), 0);
    if (S_ISDIR(st.st_mode))
        snprintf(text, sizeof(text), "EISDIR");
    else if ((st.st_mode & S_IROTH) == 0)
        snprintf(text, sizeof(text), "EACCES");
    else
        assert_true(read(fd, text, sizeof(text) - 1) >= 0);
    close(fd);
    return text;
}

static void random_name(struct prng *rnd, char *name, bool dir)
{
    char d = (char)('p' + prng_below(rnd, 3)), e = (char)('u' + prng_below(rnd, 2));
    char f = (char)('a' + prng_below(rnd, 3));
    uint64_t depth = prng_below(rnd, 3);

    if (depth == 0)
        snprintf(name, 8, "%c", dir ? d : f);
    else if (depth == 1)
        snprintf(name, 8, "%c/%c", d, dir ? e : f);
    else
        snprintf(name, 8, "%c/%c/%c", d, e, f);
}

/* Any of these may fail, for want of a file or a directory. */
static void random_change(struct prng *rnd, unsigned step)
{
    char a[8], b[8], text[16];
    bool dirs = prng_below(rnd, 4) == 0;

    random_name(rnd, a, dirs);
    random_name(rnd, b, dirs);
    snprintf(text, sizeof(text), "%05u", step);
    switch (prng_below(rnd, 10)) {
    case 0:
        (void)!renameat(root_fd, a, root_fd, b);
        break;
    case 1:
        (void)!renameat2(root_fd, a, root_fd, b, RENAME_EXCHANGE);
        break;
    case 2:
        (void)!unlinkat(root_fd, a, 0);
        break;
    case 3:
        (void)!symlinkat(strrchr(b, '/') ? strrchr(b, '/') + 1 : b, root_fd, a);
        break;
    case 4:
        (void)!linkat(root_fd, a, root_fd, b, 0);
        break;
    case 5:
        (void)!fchmodat(root_fd, a, prng_below(rnd, 4) ? 0755 : 0750, 0);
        break;
    case 6:
        (void)!mkdirat(root_fd, a, 0755);
        break;
    case 7:
        (void)!unlinkat(root_fd, a, AT_REMOVEDIR);
        break;
    default: {
        int fd = openat(root_fd, a, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd >= 0)
            (void)!write(fd, text, prng_below(rnd, 2) ? 5 : 3);
        if (fd >= 0)
            close(fd);
    }
    }
}

static void random_histories(void **state)
{
    (void)state;
    enum { STEPS = 10000 };
    static const char *const dirs[] = {"p", "q", "r", "p/u", "p/v", "q/u", "q/v", "r/u"};
    struct prng rnd;
    nsec now = NSEC_PER_SEC;

    must_start(12);
    prng_seed(&rnd, 7);
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
        make_dir(dirs[i]);
    for (unsigned step = 0; step < STEPS; step++) {
        char name[8];
        for (uint64_t n = prng_below(&rnd, 3); n > 0 && step % 4 == 0; n--)
            random_change(&rnd, step);
        now += prng_below(&rnd, 50) * NSEC_PER_MSEC;
        store_begin_turn(rig.s, now);
        for (uint64_t n = prng_below(&rnd, 4); n > 0; n--) {
            random_name(&rnd, name, prng_below(&rnd, 20) == 0);
            const char *says = truth(name);
            if (strcmp(ask(name), says) != 0)
                fail_msg("step %u: %s is %s, not %s", step, name, says, ask(name));
        }
    }
    assert_true(store_stats(rig.s)->open_known > 1000);
    rig_fini(&rig);
}

#define WITH_ROOT(fn) cmocka_unit_test_setup_teardown(fn, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ROOT(file_changes),
        WITH_ROOT(many_names),
        WITH_ROOT(directories),
        WITH_ROOT(missing_names),
        WITH_ROOT(queue_overflows),
        WITH_ROOT(trust_ends),
        WITH_ROOT(watches_are_released),
        WITH_ROOT(works_without),
        WITH_ROOT(answers_at_once),
        WITH_ROOT(random_histories),
        cmocka_unit_test_setup_teardown(file_changes, make_disk_root, remove_root),
        cmocka_unit_test_setup_teardown(random_histories, make_disk_root, remove_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
