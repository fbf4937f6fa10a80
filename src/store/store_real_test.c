/*
 * The store on a real file system through the thread pool, and through the ring where there is
 * one: kinds of files, names, modes, refusals of the backend, and what is left over.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "policy/path.h"
#include "store/test_rig.h"

enum { CHUNK = 4096 };

static struct rig rig;
static char root[64];
static int root_fd;
static bool with_ring;

static int make_root(void)
{
    snprintf(root, sizeof(root), "/tmp/store-test-XXXXXX");
    assert_non_null(mkdtemp(root));
    root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(root_fd >= 0);
    return 0;
}

static unsigned remove_below(int parent, const char *name)
{
    unsigned n = 0;
    DIR *dir = fdopendir(openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    assert_non_null(dir);
    const struct dirent *e;
    while ((e = readdir(dir)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        n++;
        if (unlinkat(dirfd(dir), e->d_name, 0) < 0) {
            n += remove_below(dirfd(dir), e->d_name);
            assert_int_equal(unlinkat(dirfd(dir), e->d_name, AT_REMOVEDIR), 0);
        }
    }
    closedir(dir);
    return n;
}

static int tear_down(void **state)
{
    (void)state;
    remove_below(root_fd, ".");
    close(root_fd);
    return rmdir(root);
}

static unsigned hidden_names(const char *folder)
{
    unsigned n = 0;
    DIR *dir = fdopendir(openat(root_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    assert_non_null(dir);
    const struct dirent *e;
    while ((e = readdir(dir)) != NULL)
        n += strncmp(e->d_name, PATH_STAGED_PREFIX, strlen(PATH_STAGED_PREFIX)) == 0;
    closedir(dir);
    return n;
}

static void start(struct store_config config, unsigned queue)
{
    config.root_fd = root_fd;
    config.advise = true;
    if (with_ring && rig_init_ring(&rig, &config, queue) < 0)
        skip();
    if (!with_ring)
        rig_init_threads(&rig, &config, 2, queue);
}

static void put(const char *path, uint64_t size)
{
    uint8_t *p = malloc(size + 1);
    assert_non_null(p);
    for (uint64_t i = 0; i < size; i++)
        p[i] = pattern(i);
    int fd = openat(root_fd, path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, 0644), 0);
    assert_int_equal(write(fd, p, size), size);
    close(fd);
    free(p);
}

static bool is_whole(const char *path, uint64_t size)
{
    struct stat st;
    int fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC);
    uint8_t *p = malloc(size + 1);
    assert_non_null(p);
    bool whole = fd >= 0 && fstat(fd, &st) == 0 && (uint64_t)st.st_size == size &&
                 read(fd, p, size) == (ssize_t)size;
    for (uint64_t i = 0; i < size && whole; i++)
        whole = p[i] == pattern(i);
    if (fd >= 0)
        close(fd);
    free(p);
    return whole;
}

static int read_error(const char *path)
{
    struct client c = {.automatic = true};
    client_open(&rig, &c, path);
    rig_settle(&rig);
    assert_true(c.done);
    store_close(rig.s, &c.r);
    return c.error;
}

static void kinds_of_files(void **state)
{
    (void)state;
    struct store_config config = rig_config(16);
    config.world_readable_only = true;
    start(config, 64);
    put("file", 10000);
    put("secret", 10);
    assert_int_equal(fchmodat(root_fd, "secret", 0640, 0), 0);
    assert_int_equal(mkdirat(root_fd, "dir", 0755), 0);
    put("dir/file", 10);
    assert_int_equal(mkfifoat(root_fd, "fifo", 0644), 0);
    assert_int_equal(symlinkat("file", root_fd, "inside"), 0);
    assert_int_equal(symlinkat("dir", root_fd, "indir"), 0);
    assert_int_equal(symlinkat("/etc/passwd", root_fd, "outside"), 0);
    assert_int_equal(symlinkat("../../../../etc/passwd", root_fd, "upward"), 0);
    assert_int_equal(symlinkat("nowhere", root_fd, "dangling"), 0);
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/socket", root);
    assert_int_equal(bind(sock, (struct sockaddr *)&sun, sizeof(sun)), 0);

    assert_int_equal(read_error("file"), 0);
    assert_int_equal(read_error("dir/file"), 0);
    assert_int_equal(read_error("secret"), -EACCES);
    assert_int_equal(read_error("missing"), -ENOENT);
    assert_int_equal(read_error("file/x"), -ENOTDIR);
    assert_int_equal(read_error("dir"), -EISDIR);
    assert_int_equal(read_error("fifo"), -ENXIO);
    assert_int_equal(read_error("socket"), -ENXIO);
    assert_int_equal(read_error("../etc/passwd"), -EXDEV);
    assert_int_equal(read_error("inside"), -ELOOP);
    assert_int_equal(read_error("indir/file"), -ELOOP);
    assert_int_equal(read_error("outside"), -ELOOP);
    rig_fini(&rig);

    config.symlinks = STORE_SYMLINKS_INSIDE;
    start(config, 64);
    assert_int_equal(read_error("inside"), 0);
    assert_int_equal(read_error("indir/file"), 0);
    assert_int_equal(read_error("outside"), -EXDEV);
    assert_int_equal(read_error("upward"), -EXDEV);
    assert_int_equal(read_error("dangling"), -ENOENT);
    rig_fini(&rig);
    close(sock);
}

/* More requests than the backend takes: the rest waits, and nobody is forgotten. */
static void many_through_a_short_queue(void **state)
{
    (void)state;
    enum { FILES = 60, EACH = 5 };
    static struct client c[FILES * EACH];
    char name[16];

    start(rig_config(128), 2);
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        put(name, 3000 + 700 * i);
    }
    for (unsigned i = 0; i < FILES * EACH; i++) {
        c[i] = (struct client){.automatic = true, .len = 100 + 40 * i};
        snprintf(name, sizeof(name), "f%u", i % FILES);
        client_open(&rig, &c[i], name);
    }
    rig_settle(&rig);
    assert_true(file_io_stats(rig.io)->refused > 0);
    for (unsigned i = 0; i < FILES * EACH; i++) {
        assert_true(c[i].done && c[i].error == 0 && !c[i].mixed);
        assert_int_equal(c[i].at, 3000 + 700 * (i % FILES));
        store_close(rig.s, &c[i].r);
    }
    rig_fini(&rig);
}

static void changes_while_served(void **state)
{
    (void)state;
    enum { SIZE = 30 * CHUNK };
    static const char *const names[] = {"rewritten", "cut", "grown", "gone", "replaced"};

    start(rig_config(64), 64);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct client c = {0};
        put(names[i], SIZE);
        /* A moment ago the file was written; what happens to it now is to be seen. */
        struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
        assert_int_equal(utimensat(root_fd, names[i], old, 0), 0);
        client_open(&rig, &c, names[i]);
        rig_settle(&rig);
        uint64_t size = c.r.size;
        c.r.size = 512;
        client_run(&c);
        rig_settle(&rig);
        int fd = openat(root_fd, names[i], O_WRONLY | O_CLOEXEC);
        if (i == 0)
            assert_int_equal(pwrite(fd, "XXXX", 4, 20 * CHUNK), 4);
        else if (i == 1)
            assert_int_equal(ftruncate(fd, 20 * CHUNK), 0);
        else if (i == 2)
            assert_int_equal(pwrite(fd, "XXXX", 4, SIZE), 4);
        else
            assert_int_equal(unlinkat(root_fd, names[i], 0), 0);
        close(fd);
        if (i == 4)
            put(names[i], 5);
        c.r.size = size;
        c.done = false;
        c.automatic = true;
        client_run(&c);
        rig_settle(&rig);
        assert_int_equal(c.error, i < 2 ? -ESTALE : 0);
        assert_false(c.mixed);
        if (i >= 2)
            assert_int_equal(c.at, SIZE);
        store_close(rig.s, &c.r);
    }
    rig_fini(&rig);
}

/* The error of an upload of `size` bytes, 0 when it was published; nothing is left over. */
static int upload(const char *path, bool overwrite, uint64_t size, uint64_t hint)
{
    struct upload u;
    upload_open(&rig, &u, path, overwrite, hint);
    while (u.sink.state < STORE_SINK_PUBLISHED) {
        if (u.sink.state == STORE_SINK_OPEN) {
            upload_feed(&u, size - u.sink.received);
            if (u.sink.received == size)
                store_sink_publish(&u.sink);
        }
        if (rig_step(&rig) == 0)
            loop_wait(rig.loop, loop_clock() + NSEC_PER_SEC);
    }
    int error = u.sink.state == STORE_SINK_PUBLISHED ? 0 : u.sink.error;
    store_sink_close(rig.s, &u.sink);
    rig_settle(&rig);
    assert_int_equal(hidden_names("."), 0);
    return error;
}

static void uploads(void **state)
{
    (void)state;
    struct store_config config = rig_config(16);
    struct stat st;

    config.upload_mode = 06664; /* no such bits on an uploaded file */
    start(config, 64);
    mode_t mask = umask(077);
    assert_int_equal(mkdirat(root_fd, "dir", 0755), 0);
    assert_int_equal(mkfifoat(root_fd, "fifo", 0644), 0);
    put("victim", 9);
    assert_int_equal(symlinkat("victim", root_fd, "link"), 0);
    assert_int_equal(symlinkat("/tmp", root_fd, "away"), 0);

    assert_int_equal(upload("new", false, 100000, STORE_SIZE_UNKNOWN), 0);
    assert_true(is_whole("new", 100000));
    assert_int_equal(fstatat(root_fd, "new", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0664);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(upload("new", false, 5, 5), -EEXIST);
    assert_true(is_whole("new", 100000));
    assert_int_equal(upload("new", true, 5, 100000), 0);
    assert_true(is_whole("new", 5));
    assert_int_equal(fstatat(root_fd, "new", &st, 0), 0);
    assert_true(st.st_blocks * 512 < 100000); /* nothing preallocated is kept */
    assert_int_equal(upload("dir/empty", false, 0, 0), 0);
    assert_true(is_whole("dir/empty", 0));
    assert_int_equal(upload("dir/empty", true, 70000, 70000), 0);
    assert_true(is_whole("dir/empty", 70000));

    assert_int_equal(upload("dir", true, 5, 5), -EISDIR);
    assert_int_equal(upload("fifo", true, 5, 5), -EACCES);
    assert_int_equal(upload("link", true, 5, 5), -ELOOP);
    assert_int_equal(upload("none/new", true, 5, 5), -ENOENT);
    assert_int_equal(upload("new/new", true, 5, 5), -ENOTDIR);
    assert_int_equal(upload("away/new", true, 5, 5), -ELOOP);
    assert_int_equal(upload("../new", true, 5, 5), -EXDEV);
    assert_true(is_whole("victim", 9));
    assert_int_equal(hidden_names("dir"), 0);
    umask(mask);
    rig_fini(&rig);
}

static void sweeping(void **state)
{
    (void)state;
    assert_int_equal(mkdirat(root_fd, "a", 0755), 0);
    assert_int_equal(mkdirat(root_fd, "a/b", 0755), 0);
    put(PATH_STAGED_PREFIX "0123456789abcdef", 5);
    put("a/b/" PATH_STAGED_PREFIX "fedcba9876543210", 5);
    put("a/" PATH_STAGED_PREFIX "notes", 5);
    put("a/" PATH_STAGED_PREFIX "0123456789abcdef0", 5);
    put("a/file", 5);
    assert_int_equal(mkdirat(root_fd, "a/" PATH_STAGED_PREFIX "0123456789abcdef", 0755), 0);
    assert_int_equal(symlinkat(".", root_fd, "a/loop"), 0);
    assert_int_equal(store_sweep(root_fd), 2);
    assert_int_equal(store_sweep(root_fd), 0);
    assert_int_equal(remove_below(root_fd, "a"), 6);
}

static int use_threads(void **state)
{
    (void)state;
    with_ring = false;
    return make_root();
}

static int use_ring(void **state)
{
    (void)state;
    with_ring = true;
    return make_root();
}

#define ON_BOTH(fn)                                                                                \
    {.name = #fn " (threads)",                                                                     \
     .test_func = (fn),                                                                            \
     .setup_func = use_threads,                                                                    \
     .teardown_func = tear_down},                                                                  \
    {                                                                                              \
        .name = #fn " (io_uring)", .test_func = (fn), .setup_func = use_ring,                      \
        .teardown_func = tear_down                                                                 \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(kinds_of_files),
        ON_BOTH(many_through_a_short_queue),
        ON_BOTH(changes_while_served),
        ON_BOTH(uploads),
        cmocka_unit_test_setup_teardown(sweeping, use_threads, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
