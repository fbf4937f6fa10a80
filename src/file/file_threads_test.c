/*
 * The pool itself: the share of the slow, threads that hang, wake-ups. Requests run a function of
 * the test, which waits for gates that the test opens.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "file/file_threads.h"

#define REQS 64

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool slow_gate, fast_gate; /* open: requests of that class may end */
static unsigned slow_running, slow_running_max, fast_running, fast_running_max, ran;
static struct loop *loop;
static struct file_threads *pool;
static struct file_req reqs[REQS];

/* Requests that open something are slow, and reads are not; FILE_WRITE passes every gate. */
static void run_gated(struct file_req *req)
{
    bool slow = req->op == FILE_OPEN;
    unsigned *running = slow ? &slow_running : &fast_running;
    unsigned *running_max = slow ? &slow_running_max : &fast_running_max;

    pthread_mutex_lock(&lock);
    ++*running;
    *running_max = MAX(*running_max, *running);
    pthread_cond_broadcast(&changed);
    while (req->op != FILE_WRITE && !(slow ? slow_gate : fast_gate))
        pthread_cond_wait(&changed, &lock);
    --*running;
    ran++;
    req->result = 1;
    pthread_mutex_unlock(&lock);
}

static void open_gate(bool *gate)
{
    pthread_mutex_lock(&lock);
    *gate = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static unsigned read_locked(const unsigned *what)
{
    unsigned n;

    pthread_mutex_lock(&lock);
    n = *what;
    pthread_mutex_unlock(&lock);
    return n;
}

static void wait_until(const unsigned *what, unsigned n)
{
    pthread_mutex_lock(&lock);
    while (*what < n)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void open_pool(unsigned threads)
{
    slow_gate = fast_gate = false;
    slow_running = slow_running_max = fast_running = fast_running_max = ran = 0;
    memset(reqs, 0, sizeof(reqs));
    loop = loop_new(NULL);
    assert_non_null(loop);
    pool = file_threads_new(loop, threads, 16);
    assert_non_null(pool);
    file_threads_on_run(pool, run_gated);
}

static void submit(unsigned i, enum file_op op)
{
    reqs[i].op = op;
    reqs[i].submitted = loop_clock();
    file_threads_submit(pool, &reqs[i]);
}

static unsigned collect(struct list *into)
{
    struct list *pos;
    unsigned n = 0;

    file_threads_collect(pool, into);
    list_for_each (pos, into)
        n++;
    return n;
}

/* Runs the loop as a worker does until so many have finished. */
static void finish(unsigned n)
{
    struct list done;

    list_init(&done);
    while (collect(&done) < n)
        loop_wait(loop, file_threads_flush(pool, loop_clock()));
    assert_int_equal(collect(&done), n);
}

static void close_pool(void)
{
    file_threads_free(pool);
    loop_free(loop);
}

static void check_slow_share(unsigned threads, unsigned slow_max)
{
    open_pool(threads);
    for (unsigned i = 0; i < 8; i++)
        submit(i, FILE_OPEN);
    for (unsigned i = 8; i < 16; i++)
        submit(i, FILE_WRITE);
    file_threads_flush(pool, loop_clock());
    if (threads > 1)
        wait_until(&ran, 8); /* every write, with the opens still waiting */
    wait_until(&slow_running, slow_max);
    open_gate(&slow_gate);
    finish(16);
    assert_int_equal(slow_running_max, slow_max);
    close_pool();
}

static void test_slow_share(void **state)
{
    (void)state;
    check_slow_share(1, 1);
    check_slow_share(2, 1);
    check_slow_share(3, 1);
    check_slow_share(4, 2);
    check_slow_share(8, 4);
}

/* All threads are used, those that are busy as well as those not yet started. */
static void test_all_threads_work(void **state)
{
    (void)state;
    open_pool(4);
    for (unsigned i = 0; i < 4; i++) {
        submit(i, FILE_READ);
        file_threads_flush(pool, loop_clock());
    }
    wait_until(&fast_running, 4);
    for (unsigned i = 4; i < 8; i++)
        submit(i, FILE_READ);
    open_gate(&fast_gate);
    finish(8);
    assert_int_equal(fast_running_max, 4);
    close_pool();
}

/* When every thread hangs, spares do what waits; the hung ones' results still come. */
static void test_hung_threads(void **state)
{
    struct list done;
    nsec start = loop_clock();

    (void)state;
    list_init(&done);
    open_pool(2);
    submit(0, FILE_READ);
    submit(1, FILE_READ);
    file_threads_flush(pool, loop_clock());
    wait_until(&fast_running, 2);
    for (unsigned i = 2; i < 6; i++)
        submit(i, FILE_WRITE);
    while (collect(&done) < 4)
        loop_wait(loop, file_threads_flush(pool, loop_clock()));
    assert_true(loop_clock() - start >= FILE_STUCK_NSEC / 2);
    assert_int_equal(read_locked(&fast_running), 2);
    open_gate(&fast_gate);
    while (collect(&done) < 6)
        loop_wait(loop, file_threads_flush(pool, loop_clock()));

    /* There are as many as before, not more: the spares have gone. */
    fast_gate = false;
    fast_running_max = 0;
    for (unsigned i = 0; i < 8; i++)
        submit(i, FILE_READ);
    file_threads_flush(pool, loop_clock());
    wait_until(&fast_running, 2);
    open_gate(&fast_gate);
    finish(8);
    assert_true(fast_running_max <= 2);
    close_pool();
}

/* Hung opens give their share back, so that others can be opened. */
static void test_hung_opens(void **state)
{
    (void)state;
    open_pool(4);
    submit(0, FILE_OPEN);
    submit(1, FILE_OPEN);
    submit(2, FILE_OPEN);
    file_threads_flush(pool, loop_clock());
    wait_until(&slow_running, 2);
    assert_int_equal(read_locked(&slow_running), 2);
    while (read_locked(&slow_running) < 3)
        loop_wait(loop,
                  nsec_min(file_threads_flush(pool, loop_clock()), loop_clock() + NSEC_PER_MSEC));
    open_gate(&slow_gate);
    finish(3);
    close_pool();
}

static void test_cancel(void **state)
{
    (void)state;
    open_pool(1);
    submit(0, FILE_READ);
    submit(1, FILE_READ);
    file_threads_flush(pool, loop_clock());
    wait_until(&fast_running, 1);
    submit(2, FILE_READ);
    assert_false(file_threads_cancel(pool, &reqs[0])); /* it runs */
    assert_true(file_threads_cancel(pool, &reqs[1]));
    assert_true(file_threads_cancel(pool, &reqs[2]));
    open_gate(&fast_gate);
    finish(1);
    assert_false(file_threads_cancel(pool, &reqs[0])); /* it is over */
    assert_int_equal(ran, 1);
    close_pool();
}

static void test_full(void **state)
{
    (void)state;
    open_pool(2);
    for (unsigned i = 0; i < 16; i++) {
        assert_false(file_threads_full(pool));
        submit(i, FILE_READ);
    }
    assert_true(file_threads_full(pool));
    file_threads_flush(pool, loop_clock());
    wait_until(&fast_running, 2);
    assert_false(file_threads_full(pool)); /* two no longer wait */
    open_gate(&fast_gate);
    finish(16);
    close_pool();
}

/* One wake-up stands for all that finished since the last look. */
static void test_one_wake_for_a_batch(void **state)
{
    uint64_t wakes;

    (void)state;
    open_pool(1);
    wakes = loop_stats(loop)->wakes;
    for (unsigned i = 0; i < 16; i++)
        submit(i, FILE_WRITE);
    file_threads_flush(pool, loop_clock());
    while (read_locked(&ran) < 16)
        ;
    finish(16);
    loop_wait(loop, 0);
    assert_true(loop_stats(loop)->wakes - wakes <= 2);
    close_pool();
}

static pthread_t runner[REQS];

/* Takes long when it is told to, at work or asleep. */
static void run_noting(struct file_req *req)
{
    struct timespec pause = {.tv_nsec = (long)req->len};

    runner[req - reqs] = pthread_self();
    for (nsec end = loop_clock() + req->offset; loop_clock() < end;)
        ;
    if (req->len)
        nanosleep(&pause, NULL);
    pthread_mutex_lock(&lock);
    ran++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* On the caller's thread until one slept for long; that one's result comes like all others. One
 * that was only kept from the processor tells nothing about the disk. */
static void test_runs_here_until_one_is_slow(void **state)
{
    (void)state;
    open_pool(2);
    file_threads_on_run(pool, run_noting);
    file_threads_run_here(pool, 2 * NSEC_PER_MSEC);
    for (unsigned i = 0; i < 5; i++) {
        reqs[i] = (struct file_req){.op = FILE_WRITE,
                                    .offset = i == 0 ? 5 * NSEC_PER_MSEC : 0,
                                    .len = i == 2 ? 5 * NSEC_PER_MSEC : 0};
        file_threads_submit(pool, &reqs[i]);
    }
    file_threads_flush(pool, loop_clock());
    wait_until(&ran, 5);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(pthread_equal(runner[i], pthread_self()) != 0, i <= 2);
    finish(5);
    close_pool();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_share),
        cmocka_unit_test(test_all_threads_work),
        cmocka_unit_test(test_hung_threads),
        cmocka_unit_test(test_hung_opens),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_one_wake_for_a_batch),
        cmocka_unit_test(test_runs_here_until_one_is_slow),
    };

    return cmocka_run_group_tests_name("pool of threads", tests, NULL, NULL);
}
