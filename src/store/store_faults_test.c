/*
 * The n-th step of a real ring fails, for every n there is: something is given to it, it answers,
 * or the system call that drives it is made; once, and from then on. Whatever happens, the same
 * work - two uploads and two downloads at once - ends with the right content or an error, and
 * nothing is held or left behind.
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
#include <sys/stat.h>
#include <unistd.h>

#include "loop/wrap_enter.h"
#include "policy/path.h"
#include "store/test_rig.h"

enum { CHUNK = 4096, SIZE = 3 * CHUNK + 100, OLD_SIZE = 700 };

enum step { STEP_SUBMIT, STEP_COMPLETE, STEP_ENTER };

static const char *const step_names[] = {"submission", "completion", "io_uring_enter"};

static struct {
    bool armed;
    enum step step;
    int err;
    unsigned at, times; /* the at-th and so many in all */
    bool fallback;      /* to the threads is allowed */
    unsigned seen;
    const char *last; /* operation that failed */
} fault;

static struct rig rig;
static char root[64];
static int root_fd;

static int next(enum step step)
{
    if (!fault.armed || step != fault.step)
        return 0;
    unsigned n = ++fault.seen;
    return n >= fault.at && n - fault.at < fault.times ? fault.err : 0;
}

int __wrap_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait, unsigned flags, void *arg,
                           size_t bytes)
{
    int err = next(STEP_ENTER);

    return err ? err : __real_io_uring_enter2(fd, submit, wait, flags, arg, bytes);
}

static int inject(void *arg, const struct file_req *req, bool completing, int64_t result)
{
    int err = next(completing ? STEP_COMPLETE : STEP_SUBMIT);

    (void)arg, (void)result;
    if (err)
        fault.last = file_op_name(req->op);
    return err;
}

/* Says which run it was, for there are thousands. */
#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what))                                                                               \
            fail_msg("%s: %s %u (%s) fails %u times with %s, fallback %d", #what,                  \
                     step_names[fault.step], fault.at, fault.last, fault.times,                    \
                     strerror(-fault.err), fault.fallback);                                        \
    } while (0)

static void put(const char *name, uint64_t size)
{
    uint8_t bytes[SIZE];
    int fd = openat(root_fd, name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);

    for (uint64_t i = 0; i < size; i++)
        bytes[i] = pattern(i);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
}

static bool has(const char *name, uint64_t size)
{
    uint8_t bytes[SIZE + 1];
    int fd = openat(root_fd, name, O_RDONLY | O_CLOEXEC);
    bool whole = fd >= 0 && read(fd, bytes, sizeof(bytes)) == (ssize_t)size;

    for (uint64_t i = 0; i < size && whole; i++)
        whole = bytes[i] == pattern(i);
    if (fd >= 0)
        close(fd);
    return whole;
}

static unsigned count_names(int fd, const char *prefix)
{
    DIR *dir = fdopendir(fd);
    const struct dirent *e;
    unsigned n = 0;

    assert_non_null(dir);
    while ((e = readdir(dir)) != NULL)
        n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    closedir(dir);
    return n;
}

static unsigned count_fds(void)
{
    return count_names(open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "");
}

static unsigned count_hidden(void)
{
    return count_names(openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                       PATH_STAGED_PREFIX);
}

static void move(struct upload *u)
{
    if (u->sink.state != STORE_SINK_OPEN || u->sink.received == SIZE)
        return;
    upload_feed(u, SIZE - u->sink.received);
    if (u->sink.received == SIZE)
        store_sink_publish(&u->sink);
}

static void work(struct client c[2], struct upload u[2])
{
    nsec patience = loop_clock() + 30 * NSEC_PER_SEC;

    for (unsigned i = 0; i < 2; i++) {
        c[i] = (struct client){.automatic = true, .len = 1428};
        client_open(&rig, &c[i], i == 0 ? "f" : "g");
        upload_open(&rig, &u[i], i == 0 ? "new" : "old", i > 0, SIZE);
    }
    while (!c[0].done || !c[1].done || u[0].sink.state < STORE_SINK_PUBLISHED ||
           u[1].sink.state < STORE_SINK_PUBLISHED) {
        move(&u[0]);
        move(&u[1]);
        if (rig_step(&rig) == 0)
            loop_wait(rig.loop, loop_clock() + NSEC_PER_SEC);
        CHECK(loop_clock() < patience);
    }
}

static void check_results(const struct client c[2], const struct upload u[2])
{
    for (unsigned i = 0; i < 2; i++) {
        CHECK(!c[i].mixed);
        CHECK(c[i].error < 0 || (c[i].error == 0 && c[i].at == SIZE));
        CHECK(u[i].sink.state == STORE_SINK_PUBLISHED || u[i].sink.error < 0);
    }
    if (u[0].sink.state == STORE_SINK_PUBLISHED)
        CHECK(has("new", SIZE));
    else /* a name given by a call that then failed is that of a whole file */
        CHECK(has("new", SIZE) || faccessat(root_fd, "new", F_OK, 0) < 0);
    if (u[1].sink.state == STORE_SINK_PUBLISHED)
        CHECK(has("old", SIZE));
    else
        CHECK(has("old", SIZE) || has("old", OLD_SIZE));
}

/* How many transfers succeeded. */
static unsigned run(void)
{
    struct ring_config rc = {.queue_depth = 64, .sq_thread_cpu = -1};
    struct file_config fc = {.use_uring = true,
                             .fallback_on_error = fault.fallback,
                             .queue_depth = 8,
                             .threads = 1,
                             .thread_queue = 16,
                             .inject = inject};
    struct store_config config = rig_config(16);
    unsigned fds = count_fds(), good = 0;
    struct client c[2];
    struct upload u[2];

    config.root_fd = root_fd;
    unlinkat(root_fd, "new", 0);
    put("old", OLD_SIZE);
    struct ring *ring = ring_new(&rc);
    assert_non_null(ring);
    rig_init_on(&rig, ring, &config, &fc);
    fault.seen = 0;
    fault.last = "none";
    fault.armed = true;
    work(c, u);
    check_results(c, u);
    for (unsigned i = 0; i < 2; i++) {
        good += c[i].error == 0;
        good += u[i].sink.state == STORE_SINK_PUBLISHED;
        store_close(rig.s, &c[i].r);
        store_sink_close(rig.s, &u[i].sink);
    }
    rig_fini(&rig);
    fault.armed = false;
    CHECK(count_fds() == fds);
    /* Who cannot remove a name for good leaves it to the next start. */
    if (fault.times > 1 && !fault.fallback)
        (void)store_sweep(root_fd);
    CHECK(count_hidden() == 0);
    return good;
}

/* All n, until the work is done before the n-th step. */
static void fail_each(enum step step, int err, unsigned times, bool fallback, bool all_succeed)
{
    fault.step = step;
    fault.err = err;
    fault.times = times;
    fault.fallback = fallback;
    for (fault.at = 1; fault.at == 1 || fault.seen >= fault.at - 1; fault.at++) {
        unsigned good = run();
        CHECK(good == 4 || !all_succeed);
        if (fault.seen < fault.at) {
            CHECK(good == 4);
            break;
        }
    }
    assert_true(fault.at > 5);
}

#define FOR_GOOD 1000000U

/* Not one of these steps succeeds. How many transfers do. */
static unsigned fail_all(enum step step, int err, bool fallback)
{
    fault.step = step;
    fault.err = err;
    fault.at = 1;
    fault.times = FOR_GOOD;
    fault.fallback = fallback;
    return run();
}

static void submissions(void **state)
{
    static const int errs[] = {-EIO, -ENOMEM, -EINVAL};

    (void)state;
    for (unsigned fallback = 0; fallback < 2; fallback++)
        for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
            fail_each(STEP_SUBMIT, errs[i], 1, fallback, fallback);
            fail_each(STEP_SUBMIT, errs[i], FOR_GOOD, fallback, fallback);
        }
    fail_each(STEP_SUBMIT, -EAGAIN, 1, false, true);
    fail_each(STEP_SUBMIT, -EAGAIN, 3, false, true);
    CHECK(fail_all(STEP_SUBMIT, -EAGAIN, false) == 4);
}

static void completions(void **state)
{
    static const int errs[] = {-EIO, -ENOMEM, -EINVAL, -EAGAIN};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(errs); i++)
        for (unsigned fallback = 0; fallback < 2; fallback++) {
            fail_each(STEP_COMPLETE, errs[i], 1, fallback, errs[i] == -EAGAIN);
            fail_each(STEP_COMPLETE, errs[i], FOR_GOOD, fallback, errs[i] == -EAGAIN);
        }
}

static void enters(void **state)
{
    static const int passing[] = {-EINTR, -EAGAIN, -EBUSY};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(passing); i++) {
        fail_each(STEP_ENTER, passing[i], 1, false, true);
        fail_each(STEP_ENTER, passing[i], 20, false, true);
    }
}

/* Refused for good before the kernel had anything. What it has when that happens later, it may
 * keep: file_sandbox_test.c. */
static void enters_refused(void **state)
{
    static const int lasting[] = {-EPERM, -ENOMEM, -EBADF};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lasting); i++) {
        CHECK(fail_all(STEP_ENTER, lasting[i], false) == 0);
        CHECK(fail_all(STEP_ENTER, lasting[i], true) == 4);
    }
}

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "/tmp/store-faults-XXXXXX");
    assert_non_null(mkdtemp(root));
    root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(root_fd >= 0);
    put("f", SIZE);
    put("g", SIZE);
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"f", "g", "new", "old"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlinkat(root_fd, names[i], 0);
    close(root_fd);
    return rmdir(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(submissions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(completions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(enters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(enters_refused, set_up, tear_down),
    };
    struct ring_config rc = {.queue_depth = 64, .sq_thread_cpu = -1};
    struct ring *ring = ring_new(&rc);

    if (!ring) {
        print_message("skipped: io_uring: %s\n", strerror(errno));
        return 77;
    }
    ring_free(ring);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
