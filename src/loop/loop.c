/*
 * What does not depend on where the loop sleeps: the clock, waking, hooks, and the decision
 * whether to spin before sleeping.
 */
#include "loop/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "loop/loop_internal.h"

#define SPIN_SCORE_FULL 1024
#define SPIN_SCORE_HALF (SPIN_SCORE_FULL / 2)
#define SPIN_SHIFT      4 /* the score remembers about 16 waits */
#define CROWD_WAITS     64
#define CROWD_SHARE     4 /* preempted in one wait of so many: the processor is shared */

nsec loop_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (nsec)ts.tv_sec * NSEC_PER_SEC + (nsec)ts.tv_nsec;
}

struct loop *loop_new(struct ring *ring)
{
    struct loop *l = calloc(1, sizeof(*l));
    int err;

    if (!l)
        return NULL;
    l->ring = ring;
    l->wake_fd = -1;
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd >= 0)
        l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    err = l->epoll_fd < 0 || l->wake_fd < 0 ? -errno : 0;
    if (!err) {
        l->ops = ring ? &loop_uring_ops : &loop_epoll_ops;
        err = ring ? loop_uring_init(l) : loop_epoll_add_wake(l);
    }
    if (!err)
        return l;

    if (l->wake_fd >= 0)
        close(l->wake_fd);
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    free(l);
    errno = -err;
    return NULL;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    l->ops->fini(l);
    close(l->wake_fd);
    close(l->epoll_fd);
    free(l);
}

struct ring *loop_ring(struct loop *l)
{
    return l->ring;
}

const char *loop_name(const struct loop *l)
{
    return l->ops->name;
}

int loop_watch(struct loop *l, struct loop_watch *w)
{
    struct epoll_event ev = {.events = w->events, .data.ptr = w};

    assert(w->ready);
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, w->fd, &ev) < 0)
        return -errno;
    l->watched++;
    return 0;
}

void loop_unwatch(struct loop *l, struct loop_watch *w)
{
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL) == 0)
        l->watched--;
    /* Its event may already wait in the batch being delivered. */
    for (int i = l->event_at; i < l->event_count; i++)
        if (l->events[i].data.ptr == w)
            l->events[i].data.ptr = NULL;
}

void loop_wake(struct loop *l)
{
    static const uint64_t one = 1;
    int saved = errno;

    /* Whoever set the flag first writes; its event stands for all until it was seen. */
    if (!atomic_exchange(&l->woken, true)) {
        ssize_t n = write(l->wake_fd, &one, sizeof(one));
        (void)n; /* fails only at 2^64 - 1 wake-ups, and is an event even then */
    }
    errno = saved;
}

void loop_wake_seen(struct loop *l)
{
    /* An exchange, so that what the waker did before is visible from here on. */
    if (atomic_exchange(&l->woken, false))
        l->stats.wakes++;
}

void loop_again(struct loop *l)
{
    l->again = true;
}

int loop_before_wait(struct loop *l, loop_hook_fn *fn, void *arg)
{
    if (l->hook_count == LOOP_HOOKS)
        return -ENOSPC;
    l->hooks[l->hook_count++] = (struct loop_hook){fn, arg};
    return 0;
}

void loop_before_wait_remove(struct loop *l, loop_hook_fn *fn, void *arg)
{
    for (unsigned i = 0; i < l->hook_count; i++) {
        if (l->hooks[i].fn != fn || l->hooks[i].arg != arg)
            continue;
        l->hooks[i] = l->hooks[--l->hook_count];
        return;
    }
}

void loop_set_sole(struct loop *l, loop_sole_fn *fn, void *arg)
{
    l->sole = fn;
    l->sole_arg = arg;
}

void loop_set_spin(struct loop *l, nsec spin_max)
{
    l->spin_max = spin_max;
    l->spin_score = 0;
    l->spin_waits = 0;
    l->crowded = false;
    spin_contest_init(&l->contest);
}

const struct loop_stats *loop_stats(const struct loop *l)
{
    return &l->stats;
}

static unsigned poll_events(struct loop *l, nsec deadline, nsec now)
{
    bool sleep = deadline > now;
    unsigned events;

    /* A nap may take several times its time where the kernel's ticks are coarse: 9 ms for 4 were
     * seen. */
    if (!l->sole || l->napped || atomic_load(&l->woken) ||
        (sleep && deadline - now < 4 * LOOP_NAP)) {
        l->napped = false;
        return l->ops->poll(l, deadline, now);
    }
    l->stats.waits += sleep;
    events = l->sole(l->sole_arg, sleep);
    l->napped = sleep && events == 0;
    return events;
}

/* Looks again and again until something happened or `until` is reached. */
static bool spin(struct loop *l, nsec until)
{
    for (;;) {
        if (poll_events(l, 0, 1)) {
            l->stats.spins_won++;
            return true;
        }
        if (loop_clock() >= until)
            break;
    }
    l->stats.spins_lost++;
    return false;
}

/*
 * Whoever is preempted again and again between two events has the other end of the conversation on
 * its own processor: that one runs when we sleep, and spinning only keeps it from answering.
 */
static void look_for_crowd(struct loop *l)
{
    struct rusage usage;

    if (++l->spin_waits < CROWD_WAITS || getrusage(RUSAGE_THREAD, &usage) < 0)
        return;
    l->spin_waits = 0;
    l->crowded = usage.ru_nivcsw - l->preempted >= CROWD_WAITS / CROWD_SHARE;
    l->preempted = usage.ru_nivcsw;
}

static bool should_spin(struct loop *l, nsec now)
{
    look_for_crowd(l);
    if (l->spin_score < SPIN_SCORE_HALF)
        return false;
    return l->sole ? spin_contest_turn(&l->contest, now, l->crowded) : !l->crowded;
}

/*
 * Spinning pays when the next event comes sooner than a sleep and a wake-up cost. Every wait,
 * spun or slept, tells whether spinning would have won it, so the score finds its way back
 * without trial spins, and an idle loop, whose waits are all long, never spins.
 */
static void wait_adaptively(struct loop *l, nsec deadline, nsec start)
{
    nsec spin_end = nsec_min(deadline, nsec_add(start, l->spin_max));
    unsigned events = 0;
    nsec end;

    if (should_spin(l, start)) {
        if (spin(l, spin_end)) {
            l->spin_score += (SPIN_SCORE_FULL - l->spin_score) >> SPIN_SHIFT;
            return;
        }
        l->spin_score -= l->spin_score >> SPIN_SHIFT;
        poll_events(l, deadline, loop_clock());
        return;
    }
    events = poll_events(l, deadline, start);
    end = loop_clock();
    if (events && end - start <= l->spin_max)
        l->spin_score += (SPIN_SCORE_FULL - l->spin_score) >> SPIN_SHIFT;
    else
        l->spin_score -= l->spin_score >> SPIN_SHIFT;
}

nsec loop_wait(struct loop *l, nsec deadline)
{
    nsec now = loop_clock();

    for (unsigned i = 0; i < l->hook_count; i++)
        deadline = nsec_min(deadline, l->hooks[i].fn(l->hooks[i].arg, now));
    if (l->again)
        deadline = 0;
    l->again = false;

    if (l->spin_max && deadline > now)
        wait_adaptively(l, deadline, now);
    else
        poll_events(l, deadline, now);
    return loop_clock();
}
