/*
 * Both fillings of the loop against one suite: the tests take the loop that the group set up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "loop/loop.h"
#include "loop/ring.h"

static bool use_ring, use_sqpoll;

struct fixture {
    struct ring *ring;
    struct loop *loop;
};

static int setup(void **state)
{
    static struct fixture fx;
    struct ring_config config = {.queue_depth = 16, .sqpoll = use_sqpoll, .sq_thread_cpu = -1};

    memset(&fx, 0, sizeof(fx));
    if (use_ring && !(fx.ring = ring_new(&config)))
        return -1;
    fx.loop = loop_new(fx.ring);
    *state = &fx;
    return fx.loop ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    loop_free(fx->loop);
    ring_free(fx->ring);
    return 0;
}

static void test_name(void **state)
{
    struct fixture *fx = *state;

    assert_string_equal(loop_name(fx->loop), use_ring ? "io_uring" : "epoll");
    assert_ptr_equal(loop_ring(fx->loop), fx->ring);
}

/* The machine may be busy, so lateness is judged by the best of several tries. */
static void test_deadline(void **state)
{
    struct fixture *fx = *state;
    nsec late_min = NSEC_NEVER;

    for (int i = 0; i < 50; i++) {
        nsec deadline = loop_clock() + 300 * NSEC_PER_USEC;
        nsec now = loop_wait(fx->loop, deadline);
        while (now < deadline)
            now = loop_wait(fx->loop, deadline);
        late_min = nsec_min(late_min, now - deadline);
    }
    assert_true(late_min < 250 * NSEC_PER_USEC);
}

static void test_past_deadline(void **state)
{
    struct fixture *fx = *state;
    uint64_t waits = loop_stats(fx->loop)->waits;
    nsec start = loop_clock();

    for (int i = 0; i < 100; i++)
        loop_wait(fx->loop, 0);
    assert_true(loop_clock() - start < NSEC_PER_SEC);
    assert_int_equal(loop_stats(fx->loop)->waits, waits);
}

static void *waker(void *arg)
{
    struct loop *l = arg;

    loop_wake(l);
    return NULL;
}

static void test_wake(void **state)
{
    struct fixture *fx = *state;
    pthread_t t;

    for (int i = 0; i < 200; i++) {
        uint64_t wakes = loop_stats(fx->loop)->wakes;
        assert_int_equal(pthread_create(&t, NULL, waker, fx->loop), 0);
        while (loop_stats(fx->loop)->wakes == wakes)
            loop_wait(fx->loop, NSEC_NEVER); /* would hang if a wake-up got lost */
        pthread_join(t, NULL);
    }
}

static void test_wake_before_wait(void **state)
{
    struct fixture *fx = *state;
    uint64_t wakes = loop_stats(fx->loop)->wakes;

    loop_wake(fx->loop);
    loop_wake(fx->loop);
    while (loop_stats(fx->loop)->wakes == wakes)
        loop_wait(fx->loop, NSEC_NEVER);
    assert_int_equal(loop_stats(fx->loop)->wakes, wakes + 1);
    loop_again(fx->loop);
    loop_wait(fx->loop, NSEC_NEVER); /* does not sleep */
}

struct chatter {
    struct loop *loop;
    atomic_int pings;
    atomic_bool stop;
};

static void *chat(void *arg)
{
    struct chatter *c = arg;

    while (!atomic_load(&c->stop)) {
        atomic_fetch_add(&c->pings, 1);
        loop_wake(c->loop);
        sched_yield();
    }
    return NULL;
}

/* No wake-up between the last look at the data and the wait may be lost. */
static void test_wake_storm(void **state)
{
    struct fixture *fx = *state;
    struct chatter c = {.loop = fx->loop};
    pthread_t t;
    int seen = 0;

    assert_int_equal(pthread_create(&t, NULL, chat, &c), 0);
    for (int i = 0; i < 2000; i++) {
        int now;
        while ((now = atomic_load(&c.pings)) == seen)
            loop_wait(fx->loop, NSEC_NEVER);
        seen = now;
    }
    atomic_store(&c.stop, true);
    pthread_join(t, NULL);
}

struct pipe_watch {
    struct loop_watch w;
    struct loop *loop;
    struct pipe_watch *other;
    int fds[2];
    int calls;
    bool leave_unread;
};

static void pipe_ready(struct loop_watch *w, uint32_t events)
{
    struct pipe_watch *p = w->owner;
    char buf[8];

    assert_true(events & EPOLLIN);
    p->calls++;
    if (!p->leave_unread)
        assert_true(read(p->fds[0], buf, sizeof(buf)) > 0);
    if (p->other) {
        loop_unwatch(p->loop, &p->other->w);
        loop_unwatch(p->loop, &p->w);
    }
}

static void pipe_open(struct pipe_watch *p, struct loop *l)
{
    memset(p, 0, sizeof(*p));
    assert_int_equal(pipe(p->fds), 0);
    p->loop = l;
    p->w = (struct loop_watch){.fd = p->fds[0], .events = EPOLLIN, .ready = pipe_ready, .owner = p};
    assert_int_equal(loop_watch(l, &p->w), 0);
}

static void pipe_close(struct pipe_watch *p)
{
    close(p->fds[0]);
    close(p->fds[1]);
}

static void test_watch_is_level_triggered(void **state)
{
    struct fixture *fx = *state;
    struct pipe_watch p;

    pipe_open(&p, fx->loop);
    loop_wait(fx->loop, 0);
    assert_int_equal(p.calls, 0);
    assert_int_equal(write(p.fds[1], "x", 1), 1);
    p.leave_unread = true;
    while (p.calls < 5)
        loop_wait(fx->loop, NSEC_NEVER);
    p.leave_unread = false;
    loop_wait(fx->loop, NSEC_NEVER);
    p.calls = 0;
    loop_wait(fx->loop, loop_clock() + NSEC_PER_MSEC);
    loop_wait(fx->loop, loop_clock() + NSEC_PER_MSEC);
    assert_int_equal(p.calls, 0);
    loop_unwatch(fx->loop, &p.w);
    assert_int_equal(write(p.fds[1], "x", 1), 1);
    loop_wait(fx->loop, loop_clock() + NSEC_PER_MSEC);
    assert_int_equal(p.calls, 0);
    pipe_close(&p);
}

/* Two are ready at once, and the first takes both off: the second must not be called. */
static void test_unwatch_in_callback(void **state)
{
    struct fixture *fx = *state;
    struct pipe_watch a, b;

    pipe_open(&a, fx->loop);
    pipe_open(&b, fx->loop);
    a.other = &b;
    b.other = &a;
    assert_int_equal(write(a.fds[1], "x", 1), 1);
    assert_int_equal(write(b.fds[1], "x", 1), 1);
    while (a.calls + b.calls == 0)
        loop_wait(fx->loop, NSEC_NEVER);
    for (int i = 0; i < 3; i++)
        loop_wait(fx->loop, loop_clock() + NSEC_PER_MSEC);
    assert_int_equal(a.calls + b.calls, 1);
    pipe_close(&a);
    pipe_close(&b);
}

static void add_other(struct loop_watch *w, uint32_t events)
{
    struct pipe_watch *p = w->owner;

    (void)events;
    p->calls++;
    loop_unwatch(p->loop, w);
    assert_int_equal(loop_watch(p->loop, &p->other->w), 0);
}

static void test_watch_in_callback(void **state)
{
    struct fixture *fx = *state;
    struct pipe_watch a, b;

    pipe_open(&a, fx->loop);
    pipe_open(&b, fx->loop);
    loop_unwatch(fx->loop, &b.w);
    a.w.ready = add_other;
    a.other = &b;
    assert_int_equal(write(a.fds[1], "x", 1), 1);
    assert_int_equal(write(b.fds[1], "x", 1), 1);
    while (b.calls == 0)
        loop_wait(fx->loop, NSEC_NEVER);
    assert_int_equal(a.calls, 1);
    loop_unwatch(fx->loop, &b.w);
    pipe_close(&a);
    pipe_close(&b);
}

static void test_watch_bad_descriptor(void **state)
{
    struct fixture *fx = *state;
    struct loop_watch w = {.fd = -1, .events = EPOLLIN, .ready = pipe_ready};

    assert_int_equal(loop_watch(fx->loop, &w), -EBADF);
}

static nsec count_hook(void *arg, nsec now)
{
    unsigned *count = arg;

    assert_true(now > 0);
    return ++*count == 1 ? 0 : NSEC_NEVER;
}

static void test_hooks(void **state)
{
    struct fixture *fx = *state;
    unsigned count = 0;

    for (int i = 0; i < LOOP_HOOKS; i++)
        assert_int_equal(loop_before_wait(fx->loop, count_hook, &count), 0);
    assert_int_equal(loop_before_wait(fx->loop, count_hook, &count), -ENOSPC);
    loop_wait(fx->loop, NSEC_NEVER); /* the first one asked not to sleep */
    assert_int_equal(count, LOOP_HOOKS);
    for (int i = 0; i < LOOP_HOOKS; i++)
        loop_before_wait_remove(fx->loop, count_hook, &count);
    loop_before_wait_remove(fx->loop, count_hook, &count);
    loop_wait(fx->loop, 0);
    assert_int_equal(count, LOOP_HOOKS);
}

static nsec cpu_time(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (nsec)ts.tv_sec * NSEC_PER_SEC + (nsec)ts.tv_nsec;
}

/* While events come at once the loop spins; without events it stops, and costs nothing. */
static void test_spin(void **state)
{
    struct fixture *fx = *state;
    const struct loop_stats *stats = loop_stats(fx->loop);
    struct pipe_watch p;
    uint64_t lost;
    nsec cpu;

    pipe_open(&p, fx->loop);
    loop_set_spin(fx->loop, 50 * NSEC_PER_USEC);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(write(p.fds[1], "x", 1), 1);
        while (p.calls <= i)
            loop_wait(fx->loop, NSEC_NEVER);
    }
    if (!use_sqpoll) /* the polling thread may take longer than the spin to see a request */
        assert_true(stats->spins_won > 0);

    for (int i = 0; i < 40; i++)
        loop_wait(fx->loop, loop_clock() + NSEC_PER_MSEC);
    lost = stats->spins_lost;
    cpu = cpu_time();
    for (int i = 0; i < 40; i++)
        loop_wait(fx->loop, loop_clock() + NSEC_PER_MSEC);
    assert_int_equal(stats->spins_lost, lost);
    assert_true(cpu_time() - cpu < 10 * NSEC_PER_MSEC);
    loop_unwatch(fx->loop, &p.w);
    pipe_close(&p);
}

/* The other end of a conversation that has one processor with the loop. */
static void *answer(void *arg)
{
    const int *fds = arg;
    char byte;

    while (read(fds[0], &byte, 1) == 1)
        if (write(fds[1], &byte, 1) != 1)
            break;
    return NULL;
}

static uint64_t spins(const struct loop *l)
{
    return loop_stats(l)->spins_won + loop_stats(l)->spins_lost;
}

/* Where spinning keeps the other end from answering, the loop sleeps. */
static void test_no_spin_on_a_shared_processor(void **state)
{
    struct fixture *fx = *state;
    struct pipe_watch p;
    cpu_set_t before, one;
    pthread_t other;
    int there[2];
    uint64_t spun = 0;

    if (use_sqpoll) /* waits for a third thread, that polls */
        skip();
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    pipe_open(&p, fx->loop);
    assert_int_equal(pipe(there), 0);
    int fds[] = {there[0], p.fds[1]};
    assert_int_equal(pthread_create(&other, NULL, answer, fds), 0);
    loop_set_spin(fx->loop, 50 * NSEC_PER_USEC);
    for (int i = 0; i < 2000; i++) {
        if (i == 1000)
            spun = spins(fx->loop);
        assert_int_equal(write(there[1], "x", 1), 1);
        while (p.calls <= i)
            loop_wait(fx->loop, NSEC_NEVER);
    }
    assert_true(spins(fx->loop) - spun < 500);
    close(there[1]);
    assert_int_equal(pthread_join(other, NULL), 0);
    close(there[0]);
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
    loop_unwatch(fx->loop, &p.w);
    pipe_close(&p);
}

struct sole {
    unsigned looks, sleeps;
    unsigned events;
};

static unsigned sole_wait(void *arg, bool sleep)
{
    struct sole *s = arg;

    s->looks += !sleep;
    s->sleeps += sleep;
    return s->events;
}

/* The caller's own way to wait is used while it brings events, and everything watched is looked at
 * when it does not, when the deadline is near, and when somebody called. */
static void test_sole(void **state)
{
    struct fixture *fx = *state;
    struct sole sole = {.events = 1};
    struct pipe_watch p;

    pipe_open(&p, fx->loop);
    assert_int_equal(write(p.fds[1], "x", 1), 1);
    loop_set_sole(fx->loop, sole_wait, &sole);
    loop_wait(fx->loop, NSEC_NEVER);
    loop_wait(fx->loop, 0);
    assert_int_equal(sole.sleeps, 1);
    assert_int_equal(sole.looks, 1);
    assert_int_equal(p.calls, 0);

    sole.events = 0;
    loop_wait(fx->loop, NSEC_NEVER);
    while (!p.calls)
        loop_wait(fx->loop, NSEC_NEVER);
    assert_int_equal(sole.sleeps, 2);

    loop_wait(fx->loop, loop_clock() + LOOP_NAP);
    assert_int_equal(sole.sleeps, 2);

    loop_wake(fx->loop);
    loop_wait(fx->loop, NSEC_NEVER);
    assert_int_equal(sole.sleeps, 2);
    assert_true(loop_stats(fx->loop)->wakes > 0);

    loop_set_sole(fx->loop, NULL, NULL);
    loop_wait(fx->loop, loop_clock() + 3 * LOOP_NAP);
    assert_int_equal(sole.sleeps, 2);
    loop_unwatch(fx->loop, &p.w);
    pipe_close(&p);
}

static void on_alarm(int sig)
{
    (void)sig;
}

static void test_interrupted(void **state)
{
    struct fixture *fx = *state;
    struct sigaction sa = {.sa_handler = on_alarm}, old;
    struct itimerval timer = {.it_value = {.tv_usec = 5000}};
    nsec start = loop_clock();

    sigaction(SIGALRM, &sa, &old);
    setitimer(ITIMER_REAL, &timer, NULL);
    loop_wait(fx->loop, start + 20 * NSEC_PER_SEC);
    assert_true(loop_clock() - start < 10 * NSEC_PER_SEC);
    sigaction(SIGALRM, &old, NULL);
}

static int run_suite(const char *name)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(test_past_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wake, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wake_before_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wake_storm, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watch_is_level_triggered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unwatch_in_callback, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watch_in_callback, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watch_bad_descriptor, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hooks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spin, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_spin_on_a_shared_processor, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_interrupted, setup, teardown),
    };

    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
    struct ring_config config = {.queue_depth = 16, .sq_thread_cpu = -1};
    struct ring *r;
    int failed = run_suite("loop on epoll");

    for (int sqpoll = 0; sqpoll < 2; sqpoll++) {
        config.sqpoll = use_sqpoll = sqpoll;
        r = ring_new(&config);
        if (!r) {
            print_message("skipped: io_uring%s: %s\n", sqpoll ? " with sqpoll" : "",
                          strerror(errno));
            continue;
        }
        ring_free(r);
        use_ring = true;
        failed += run_suite(sqpoll ? "loop on io_uring, sqpoll" : "loop on io_uring");
    }
    return failed;
}
