/*
 * Many operations at once, refused ones and cancelled ones: the same tests for the pool and for
 * each way to use the ring.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/prng.h"
#include "file/test_rig.h"

static struct rig rig;

#define MANY 5000

struct many {
    struct list todo;
    unsigned done, in_file_io, in_file_io_max, submitting;
};

struct job {
    struct file_req req;
    struct many *many;
    char name[16];
    char buf[64];
};

static void job_done(struct file_req *req)
{
    struct job *j = container_of(req, struct job, req);

    assert_false(j->many->submitting); /* never from inside file_submit() */
    j->many->done++;
    j->many->in_file_io--;
    if (req->op == FILE_OPEN) {
        assert_true(req->result >= 0);
        close((int)req->result);
    } else if (req->op == FILE_READ) {
        assert_int_equal(req->result, sizeof(j->buf));
        rig_check_bytes(j->buf, sizeof(j->buf), req->offset);
    } else if (req->op == FILE_UNLINK) {
        assert_int_equal(req->result, -ENOENT);
    } else {
        assert_int_equal(req->result, req->op == FILE_WRITE ? sizeof(j->buf) : 0);
    }
}

/* Gives file_io as many as it takes, in order. */
static void feed(struct many *m)
{
    while (!list_empty(&m->todo)) {
        struct list *node = list_pop_front(&m->todo);
        struct file_req *req = container_of(node, struct file_req, link);
        int err;

        m->submitting = 1;
        err = file_submit(rig.io, req);
        m->submitting = 0;
        if (err) {
            assert_int_equal(err, -EAGAIN);
            list_push_front(&m->todo, &req->link); /* in order, as it was */
            return;
        }
        m->in_file_io++;
        m->in_file_io_max = MAX(m->in_file_io_max, m->in_file_io);
    }
}

static void prepare(struct job *j, struct prng *p, int fd)
{
    static const enum file_op ops[] = {FILE_OPEN, FILE_STAT,  FILE_READ, FILE_READ,
                                       FILE_READ, FILE_WRITE, FILE_SYNC, FILE_UNLINK};

    j->req = (struct file_req){
        .op = ops[prng_below(p, ARRAY_LEN(ops))],
        .fd = fd,
        .dirfd = rig.dir,
        .path = "f",
        .buf = j->buf,
        .len = sizeof(j->buf),
        .offset = prng_below(p, 65536),
        .done = job_done,
    };
    j->req.hot = prng_below(p, 2);
    j->req.stat_after = prng_below(p, 2);
    if (j->req.op == FILE_UNLINK) {
        snprintf(j->name, sizeof(j->name), "no-%u", (unsigned)prng_below(p, 1000));
        j->req.path = j->name;
    }
    /* Writes put back what is there. */
    for (size_t i = 0; i < sizeof(j->buf) && j->req.op == FILE_WRITE; i++)
        j->buf[i] = (char)rig_byte(j->req.offset + i);
}

static void test_many_mixed(void **state)
{
    struct job *jobs = calloc(MANY, sizeof(*jobs));
    struct many m = {0};
    struct prng p;
    int fd;

    (void)state;
    assert_non_null(jobs);
    prng_seed(&p, 20240607);
    list_init(&m.todo);
    rig_make_file(&rig, "f", 1 << 17);
    fd = openat(rig.dir, "f", O_RDWR | O_CLOEXEC);
    for (size_t i = 0; i < MANY; i++) {
        prepare(&jobs[i], &p, fd);
        jobs[i].many = &m;
        list_push_back(&m.todo, &jobs[i].req.link);
    }
    while (m.done < MANY) {
        feed(&m);
        rig_turn(&rig);
    }
    assert_true(file_io_idle(rig.io));
    assert_true(file_io_stats(rig.io)->refused > 0);
    assert_true(m.in_file_io_max >= 8);
    /* The queue, what runs, and what has run and was not yet asked for. */
    assert_true(m.in_file_io_max <= 2 * (32 + 8) + 64);
    close(fd);
    free(jobs);
}

static void note_order(struct file_req *req)
{
    unsigned **at = req->owner;

    *(*at)++ = (unsigned)req->offset;
}

/* When full, the later one is refused, not an earlier one dropped; all accepted ones come. */
static void test_refusal(void **state)
{
    struct file_req reqs[200];
    unsigned order[200], *at = order;
    unsigned accepted = 0, seen = 0;

    (void)state;
    rig_make_file(&rig, "f", 1000);
    for (unsigned i = 0; i < ARRAY_LEN(reqs); i++) {
        reqs[i] = (struct file_req){
            .op = FILE_STAT, .fd = rig.dir, .offset = i, .done = note_order, .owner = (void *)&at};
        if (file_submit(rig.io, &reqs[i]) < 0)
            break;
        accepted++;
    }
    assert_true(accepted >= 32 && accepted <= 32 + 8);
    assert_int_equal(file_io_stats(rig.io)->refused, 1);
    rig_drain(&rig);
    for (unsigned i = 0; i < accepted; i++)
        for (unsigned j = 0; j < accepted; j++)
            seen += order[j] == i;
    assert_int_equal(at - order, accepted);
    assert_int_equal(seen, accepted);
    reqs[accepted].owner = &at;
    assert_int_equal(file_submit(rig.io, &reqs[accepted]), 0); /* there is room again */
    rig_drain(&rig);
}

static void count_done(struct file_req *req)
{
    ++*(unsigned *)req->owner;
}

static void test_budget(void **state)
{
    struct file_req reqs[10];
    unsigned done = 0;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(reqs); i++) {
        reqs[i] =
            (struct file_req){.op = FILE_STAT, .fd = rig.dir, .done = count_done, .owner = &done};
        assert_int_equal(file_submit(rig.io, &reqs[i]), 0);
    }
    while (!file_io_idle(rig.io)) {
        unsigned before = done;
        unsigned n = file_complete(rig.io, 3);
        assert_true(n <= 3);
        assert_int_equal(done - before, n);
        if (n < 3 && !file_io_idle(rig.io))
            loop_wait(rig.loop, NSEC_NEVER);
    }
    assert_int_equal(done, ARRAY_LEN(reqs));
    assert_int_equal(file_complete(rig.io, 3), 0);
}

/* Whatever the moment: one done() for each, and either the result or -ECANCELED. */
static void test_cancel_races(void **state)
{
    struct file_req reqs[32];
    struct prng p;
    unsigned done, cancelled = 0;

    (void)state;
    prng_seed(&p, 7);
    rig_make_file(&rig, "f", 1 << 17);
    for (unsigned round = 0; round < 200; round++) {
        unsigned turns = (unsigned)prng_below(&p, 3);

        done = 0;
        for (unsigned i = 0; i < ARRAY_LEN(reqs); i++) {
            reqs[i] = (struct file_req){.op = i % 2 ? FILE_OPEN : FILE_STAT,
                                        .dirfd = rig.dir,
                                        .fd = rig.dir,
                                        .path = "f",
                                        .done = count_done,
                                        .owner = &done};
            assert_int_equal(file_submit(rig.io, &reqs[i]), 0);
        }
        for (unsigned i = 0; i < turns; i++)
            loop_wait(rig.loop, 0);
        for (unsigned i = 0; i < ARRAY_LEN(reqs); i++)
            if (prng_below(&p, 4))
                file_cancel(rig.io, &reqs[i]);
        assert_int_equal(done, 0);
        rig_drain(&rig);
        assert_int_equal(done, ARRAY_LEN(reqs));
        for (unsigned i = 0; i < ARRAY_LEN(reqs); i++) {
            cancelled += reqs[i].result == -ECANCELED;
            assert_true(reqs[i].result >= 0 || reqs[i].result == -ECANCELED);
            if (reqs[i].op == FILE_OPEN && reqs[i].result >= 0)
                close((int)reqs[i].result);
        }
    }
    assert_true(cancelled > 0);
}

/* A cancelled close closes. */
static void test_cancel_close(void **state)
{
    struct file_req req = {.op = FILE_CLOSE, .done = count_done};
    unsigned done = 0;

    (void)state;
    req.owner = &done;
    req.fd = dup(rig.dir);
    assert_int_equal(file_submit(rig.io, &req), 0);
    file_cancel(rig.io, &req);
    rig_drain(&rig);
    assert_int_equal(req.result, 0);
    assert_int_equal(fcntl(req.fd, F_GETFD), -1);
}

/* done() may submit again, and may free the request. */
static void submit_next(struct file_req *req)
{
    unsigned *left = req->owner;
    struct file_req *next = malloc(sizeof(*next));

    assert_non_null(next);
    *next = *req;
    free(req);
    if (--*left > 0)
        assert_int_equal(file_submit(rig.io, next), 0);
    else
        free(next);
}

static void test_submit_from_done(void **state)
{
    struct file_req *req = calloc(1, sizeof(*req));
    unsigned left = 500;

    (void)state;
    assert_non_null(req);
    *req = (struct file_req){.op = FILE_STAT, .fd = rig.dir, .done = submit_next, .owner = &left};
    assert_int_equal(file_submit(rig.io, req), 0);
    rig_drain(&rig);
    assert_int_equal(left, 0);
}

/* Everything of a pass goes to the kernel in one call. */
static void test_one_enter_for_a_pass(void **state)
{
    struct file_req reqs[20];
    unsigned done = 0;
    uint64_t enters;

    (void)state;
    if (rig.kind == RIG_THREADS || rig.kind == RIG_SQPOLL)
        skip();
    rig_make_file(&rig, "f", 1000);
    loop_wait(rig.loop, 0); /* the loop's own submissions */
    enters = ring_stats(rig.ring)->enters;
    for (unsigned i = 0; i < ARRAY_LEN(reqs); i++) {
        reqs[i] =
            (struct file_req){.op = FILE_STAT, .fd = rig.dir, .done = count_done, .owner = &done};
        assert_int_equal(file_submit(rig.io, &reqs[i]), 0);
    }
    assert_int_equal(ring_stats(rig.ring)->enters, enters);
    loop_wait(rig.loop, 0);
    assert_true(ring_stats(rig.ring)->enters - enters <= (rig.kind == RIG_URING_ON_EPOLL ? 2 : 1));
    rig_drain(&rig);
    assert_int_equal(done, ARRAY_LEN(reqs));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST_NARROW(test_many_mixed),
        RIG_TEST_NARROW(test_refusal),
        RIG_TEST(test_budget),
        RIG_TEST(test_cancel_races),
        RIG_TEST(test_cancel_close),
        RIG_TEST(test_submit_from_done),
        RIG_TEST(test_one_enter_for_a_pass),
    };

    return rig_run(&rig, RIG_THREADS, "many at once", tests, ARRAY_LEN(tests));
}
