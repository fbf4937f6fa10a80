/*
 * A try through the ring leaves nothing behind, whatever the ring does: what it tried with is gone
 * when it returns.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "loop/wrap_enter.h"
#include "server/way_out.h"

static struct {
    int err;
    unsigned times;
    bool submits; /* what was handed over is taken all the same */
} refusal;

int __wrap_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait, unsigned flags, void *arg,
                           size_t bytes)
{
    if (refusal.times == 0)
        return __real_io_uring_enter2(fd, submit, wait, flags, arg, bytes);
    refusal.times--;
    if (refusal.submits && submit > 0)
        assert_int_equal(__real_io_uring_enter2(fd, submit, 0, flags, NULL, 0), submit);
    return refusal.err;
}

static struct ring *ring;

static int setup(void **state)
{
    struct ring_config config = {.queue_depth = 8, .sq_thread_cpu = -1};

    (void)state;
    ring = ring_new(&config);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    refusal.times = 0;
    ring_free(ring);
    return 0;
}

static int try_with(const char *path)
{
    if (!ring) {
        print_message("io_uring is refused here\n");
        skip();
    }
    return way_out_ring(ring, way_out_prep_openat, path);
}

static void assert_nothing_left(void)
{
    ring_reap(ring);
    assert_int_equal(ring_deliver(ring, 1), 0);
    assert_int_equal(ring_in_flight(ring), 0);
}

static void what_it_was_answered(void **state)
{
    (void)state;
    assert_int_equal(try_with("/"), 0);
    assert_int_equal(try_with("/nonexistent"), ENOENT);
    assert_nothing_left();
}

/* Not getting through is never taken for getting through. */
static void a_passing_refusal(void **state)
{
    (void)state;
    refusal = (typeof(refusal)){.err = -EBUSY, .times = 2};
    assert_int_equal(try_with("/nonexistent"), ENOENT);
    assert_nothing_left();
}

static void a_ring_that_breaks(void **state)
{
    (void)state;
    refusal = (typeof(refusal)){.err = -EPERM, .times = UINT32_MAX};
    assert_int_equal(try_with("/"), ECANCELED);
    assert_nothing_left();
}

static void a_ring_that_breaks_when_it_has_it(void **state)
{
    (void)state;
    refusal = (typeof(refusal)){.err = -EPERM, .times = UINT32_MAX, .submits = true};
    int err = try_with("/nonexistent");
    assert_true(err == ENOENT || err == ECANCELED);
    assert_nothing_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_it_was_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(a_passing_refusal, setup, teardown),
        cmocka_unit_test_setup_teardown(a_ring_that_breaks, setup, teardown),
        cmocka_unit_test_setup_teardown(a_ring_that_breaks_when_it_has_it, setup, teardown),
    };

    return cmocka_run_group_tests_name("ways out by the ring", tests, NULL, NULL);
}
