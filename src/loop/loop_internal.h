/*
 * What the two fillings of the loop share. Private to loop/.
 *
 * Both keep the watched descriptors in one epoll instance: the epoll filling sleeps on it, the
 * ring filling lets the ring poll it. So a ring that breaks leaves a loop that still works.
 */
#ifndef LOOP_LOOP_INTERNAL_H
#define LOOP_LOOP_INTERNAL_H

#include <stdatomic.h>
#include <sys/epoll.h>

#include "loop/loop.h"
#include "loop/spin_contest.h"

#define LOOP_EVENTS 64 /* descriptors looked at in one go */

struct loop_poll; /* the ring filling's */

struct loop_hook {
    loop_hook_fn *fn;
    void *arg;
};

struct loop_ops {
    const char *name;
    /*
     * Waits until `deadline` (not after `now`: only looks) and calls the ready functions.
     * Returns how many events there were, 0 for none.
     */
    unsigned (*poll)(struct loop *l, nsec deadline, nsec now);
    void (*fini)(struct loop *l);
};

struct loop {
    const struct loop_ops *ops;
    struct ring *ring;
    int epoll_fd;
    int wake_fd;       /* eventfd; edge-triggered, never read: every write is an event of its own */
    atomic_bool woken; /* a write to wake_fd is on its way and nobody has seen it yet */
    bool again;
    bool no_pwait2; /* this kernel lacks epoll_pwait2 */
    bool wake_in_epoll;

    loop_sole_fn *sole;
    void *sole_arg;
    bool napped; /* in vain: nothing will come soon */
    nsec spin_max;
    uint32_t spin_score; /* recent share of waits that an event ended in spin_max; of 1024 */
    unsigned spin_waits; /* since it was looked whether the processor is shared */
    long preempted;      /* the thread, until then */
    bool crowded;
    struct spin_contest contest; /* while one descriptor is all that counts */

    struct epoll_event events[LOOP_EVENTS]; /* being delivered */
    int event_at, event_count;
    struct loop_hook hooks[LOOP_HOOKS];
    unsigned hook_count;
    struct loop_poll *wake_poll, *epoll_poll;
    size_t watched;
    struct loop_stats stats;
};

extern const struct loop_ops loop_epoll_ops, loop_uring_ops;

/* Sleeps in epoll until `deadline` and delivers. Used by the ring filling with a past deadline
 * (it knows that something is ready) and when its ring is broken. */
unsigned loop_epoll_poll(struct loop *l, nsec deadline, nsec now);
/* Puts the wake descriptor into the epoll instance. 0 or -errno. */
MUST_CHECK int loop_epoll_add_wake(struct loop *l);
/* Somebody wrote to wake_fd and this is the event. */
void loop_wake_seen(struct loop *l);

/* 0 or -errno; sets up l->wake_poll and l->epoll_poll. */
MUST_CHECK int loop_uring_init(struct loop *l);

#endif
