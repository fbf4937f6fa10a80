#include "file/file_threads.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "file/file_internal.h"
#include "file/file_sys.h"

#define STACK_BYTES (128 * 1024)

struct file_thread {
    struct file_threads *pool;
    pthread_t id;
    bool started; /* and not yet joined; worker's thread only */
    bool ended;
    struct file_req *req; /* being run */
    nsec since;
    bool slow; /* it is of the slow class */
    bool lost; /* it takes so long that the thread no longer counts */
};

struct file_threads {
    struct loop *loop;
    unsigned size, slots; /* threads wanted; the same with all spares */
    unsigned queue_max;
    void (*run)(struct file_req *req);

    /* Worker's thread only. */
    struct list pending; /* submitted since the last flush */
    nsec look_at;        /* for threads that hang */
    nsec here_max;       /* 0: nothing runs on the caller's thread (any more) */

    atomic_uint waiting;  /* in `pending`, `fast` and `slow` */
    atomic_bool any_done; /* `finished` is not empty */

    pthread_mutex_t lock; /* for all below */
    pthread_cond_t work;
    struct list fast, slow;
    struct list finished;
    unsigned live, idle, lost, slow_running;
    bool stop;
    struct file_thread threads[];
};

static unsigned slow_max(const struct file_threads *t)
{
    return MAX(t->size / 2, 1U);
}

static struct file_req *head(struct list *queue)
{
    return list_empty(queue) ? NULL : container_of(queue->next, struct file_req, link);
}

/* The queue whose head runs next: the older one of those that may. NULL: nothing may. Locked. */
static struct list *next_queue(struct file_threads *t)
{
    struct file_req *fast = head(&t->fast);
    struct file_req *slow = t->slow_running < slow_max(t) ? head(&t->slow) : NULL;

    if (slow && (!fast || slow->submitted <= fast->submitted))
        return &t->slow;
    return fast ? &t->fast : NULL;
}

/* The next request this thread may run, or NULL. Locked. */
static struct file_req *take(struct file_threads *t, struct file_thread *self)
{
    struct list *queue = next_queue(t);
    struct list *node;

    if (!queue)
        return NULL;
    node = list_pop_front(queue);
    self->slow = queue == &t->slow;
    atomic_fetch_sub(&t->waiting, 1);
    t->slow_running += self->slow;
    self->req = container_of(node, struct file_req, link);
    self->since = loop_clock();
    return self->req;
}

/* Returns true when this thread has become one too many. Locked. */
static bool put_back(struct file_threads *t, struct file_thread *self)
{
    list_push_back(&t->finished, &self->req->link);
    atomic_store(&t->any_done, true);
    self->req = NULL;
    if (!self->lost) {
        t->slow_running -= self->slow;
        return false;
    }
    self->lost = false;
    t->lost--;
    return t->live - t->lost > t->size;
}

static void *thread_main(void *arg)
{
    struct file_thread *self = arg;
    struct file_threads *t = self->pool;
    bool surplus = false;

    pthread_mutex_lock(&t->lock);
    while (!surplus) {
        struct file_req *req = take(t, self);
        bool first;

        if (!req) {
            if (t->stop)
                break;
            t->idle++;
            pthread_cond_wait(&t->work, &t->lock);
            t->idle--;
            continue;
        }
        /* The end of a slow request may let another one run that no signal announced. */
        if (t->idle && next_queue(t))
            pthread_cond_signal(&t->work);
        pthread_mutex_unlock(&t->lock);
        t->run(req);
        pthread_mutex_lock(&t->lock);
        first = list_empty(&t->finished);
        surplus = put_back(t, self);
        if (first) {
            pthread_mutex_unlock(&t->lock);
            loop_wake(t->loop);
            pthread_mutex_lock(&t->lock);
        }
    }
    t->live--;
    self->ended = true;
    if (!list_empty(&t->slow) || !list_empty(&t->fast))
        pthread_cond_signal(&t->work); /* a signal may have been meant for this thread */
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

/* Starts one more thread. Locked. 0 or -errno. */
static int start_thread(struct file_threads *t)
{
    struct file_thread *self = NULL;
    pthread_attr_t attr;
    sigset_t all, old;
    int err;

    for (unsigned i = 0; i < t->slots && !self; i++)
        if (!t->threads[i].started || t->threads[i].ended)
            self = &t->threads[i];
    if (!self)
        return -EAGAIN;
    if (self->started)
        pthread_join(self->id, NULL); /* it has only to return */

    *self = (struct file_thread){.pool = t};
    err = pthread_attr_init(&attr);
    if (err)
        return -err;
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the main thread's business */
    err = pthread_create(&self->id, &attr, thread_main, self);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (err)
        return -err;
    self->started = true;
    t->live++;
    return 0;
}

struct file_threads *file_threads_new(struct loop *loop, unsigned threads, unsigned queue_max)
{
    unsigned size = MAX(threads, 1U);
    unsigned slots = size + FILE_SPARES_MAX;
    struct file_threads *t = calloc(1, sizeof(*t) + slots * sizeof(t->threads[0]));
    int err;

    if (!t)
        return NULL;
    t->loop = loop;
    t->size = size;
    t->slots = slots;
    t->queue_max = MAX(queue_max, 1U);
    t->run = file_sys_run;
    list_init(&t->pending);
    list_init(&t->fast);
    list_init(&t->slow);
    list_init(&t->finished);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->work, NULL);

    pthread_mutex_lock(&t->lock);
    err = start_thread(t);
    pthread_mutex_unlock(&t->lock);
    if (err) {
        file_threads_free(t);
        errno = -err;
        return NULL;
    }
    return t;
}

void file_threads_free(struct file_threads *t)
{
    if (!t)
        return;
    assert(list_empty(&t->pending));
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_broadcast(&t->work);
    pthread_mutex_unlock(&t->lock);
    for (unsigned i = 0; i < t->slots; i++)
        if (t->threads[i].started)
            pthread_join(t->threads[i].id, NULL);
    assert(list_empty(&t->finished));
    pthread_cond_destroy(&t->work);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

bool file_threads_full(const struct file_threads *t)
{
    return atomic_load(&t->waiting) >= t->queue_max;
}

void file_threads_submit(struct file_threads *t, struct file_req *req)
{
    list_push_back(&t->pending, &req->link);
    atomic_fetch_add(&t->waiting, 1);
}

/* Writes off the threads whose operation hangs. Returns when to look again; threads that begin
 * only now cannot hang before that. Locked. */
static nsec look_for_stuck(struct file_threads *t, nsec now)
{
    nsec next = nsec_add(now, FILE_STUCK_NSEC);

    for (unsigned i = 0; i < t->slots; i++) {
        struct file_thread *th = &t->threads[i];

        if (!th->req || th->lost)
            continue;
        if (nsec_add(th->since, FILE_STUCK_NSEC) > now) {
            next = nsec_min(next, nsec_add(th->since, FILE_STUCK_NSEC));
            continue;
        }
        th->lost = true;
        t->lost++;
        t->slow_running -= th->slow;
    }
    return next;
}

/* Wakes or starts as many threads as there is work for. Locked. */
static void rouse(struct file_threads *t)
{
    unsigned wanted = atomic_load(&t->waiting);
    unsigned n = MIN(wanted, t->idle);

    if (n > 1 && n == t->idle)
        pthread_cond_broadcast(&t->work);
    else
        for (unsigned i = 0; i < n; i++)
            pthread_cond_signal(&t->work);
    for (; n < wanted && t->live - t->lost < t->size; n++)
        if (start_thread(t) < 0)
            break; /* those that run do the work */
}

/* How often this thread has waited for something, rather than for its turn on a processor. */
static long times_slept(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : 0;
}

/* A hop to a thread and back costs more than most operations. */
static void run_here(struct file_threads *t)
{
    struct list *node;
    long slept = t->here_max && !list_empty(&t->pending) ? times_slept() : 0;

    while (t->here_max && (node = list_pop_front(&t->pending)) != NULL) {
        nsec begun = loop_clock();

        atomic_fetch_sub(&t->waiting, 1);
        t->run(container_of(node, struct file_req, link));
        if (loop_clock() - begun > t->here_max && times_slept() != slept)
            t->here_max = 0;
        pthread_mutex_lock(&t->lock);
        list_push_back(&t->finished, node);
        atomic_store(&t->any_done, true);
        pthread_mutex_unlock(&t->lock);
    }
}

void file_threads_run_here(struct file_threads *t, nsec longest)
{
    t->here_max = longest;
}

nsec file_threads_flush(struct file_threads *t, nsec now)
{
    run_here(t);
    if (atomic_load_explicit(&t->waiting, memory_order_relaxed) == 0)
        return NSEC_NEVER;
    if (list_empty(&t->pending) && now < t->look_at)
        return t->look_at;

    pthread_mutex_lock(&t->lock);
    for (struct list *node; (node = list_pop_front(&t->pending));) {
        struct file_req *req = container_of(node, struct file_req, link);
        list_push_back(file_is_slow(req->op) ? &t->slow : &t->fast, node);
    }
    t->look_at = look_for_stuck(t, now);
    rouse(t);
    pthread_mutex_unlock(&t->lock);
    return t->look_at;
}

bool file_threads_cancel(struct file_threads *t, struct file_req *req)
{
    struct list *const queues[] = {&t->pending, &t->fast, &t->slow};
    bool found = false;

    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < ARRAY_LEN(queues) && !found; i++) {
        struct list *pos;

        list_for_each (pos, queues[i])
            found = found || pos == &req->link;
    }
    if (found) {
        list_del(&req->link);
        atomic_fetch_sub(&t->waiting, 1);
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

bool file_threads_any_done(const struct file_threads *t)
{
    return atomic_load(&t->any_done);
}

void file_threads_collect(struct file_threads *t, struct list *done)
{
    if (!file_threads_any_done(t))
        return;
    pthread_mutex_lock(&t->lock);
    list_splice_back(done, &t->finished);
    atomic_store(&t->any_done, false);
    pthread_mutex_unlock(&t->lock);
}

void file_threads_on_run(struct file_threads *t, void (*run)(struct file_req *req))
{
    t->run = run;
}
