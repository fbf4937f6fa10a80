/*
 * The place where a worker waits: until a deadline, until a watched descriptor is ready, or
 * until another thread wakes it. Two fillings: epoll, and the worker's io_uring.
 *
 * One loop belongs to one thread; only loop_wake() may be called from others.
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/util.h"

struct loop;
struct ring;

struct loop_watch {
    int fd;
    uint32_t events; /* EPOLLIN, EPOLLOUT, EPOLLERR */
    void (*ready)(struct loop_watch *w, uint32_t events);
    void *owner;
    void *priv[6]; /* the loop's */
};

/* CLOCK_MONOTONIC in nanoseconds. The only clock the transfers see. */
nsec loop_clock(void);

/*
 * With a ring, the loop waits on it (io_uring_enter submits what is queued, waits and reaps in
 * one call); without, on epoll. The ring stays the caller's and must outlive the loop.
 * NULL and errno on failure.
 */
struct loop *loop_new(struct ring *ring);
void loop_free(struct loop *l);
struct ring *loop_ring(struct loop *l);      /* NULL on epoll */
const char *loop_name(const struct loop *l); /* "epoll" or "io_uring" */

/* Level-triggered. The watch is the caller's memory and must stay until loop_unwatch().
 * 0 or -errno. */
MUST_CHECK int loop_watch(struct loop *l, struct loop_watch *w);
void loop_unwatch(struct loop *l, struct loop_watch *w);

/*
 * Waits until `deadline` at the latest (NSEC_NEVER: for ever; a time already past: looks and
 * returns), calls the ready functions of what is ready, and returns the time then. Interrupted
 * calls return early. Resolution is better than 100 us where the kernel has epoll_pwait2. On a
 * ring the completions are delivered from here too.
 */
nsec loop_wait(struct loop *l, nsec deadline);

/* Lets the waiting or next loop_wait() return at once. Any thread; async-signal-safe. */
void loop_wake(struct loop *l);

/* The next loop_wait() only looks and does not sleep: its caller left work undone. Loop's thread.
 */
void loop_again(struct loop *l);

/*
 * Registers a function that each loop_wait() calls first, so that what was queued during a pass
 * goes to the kernel in one piece. It returns the time by which it must be called again
 * (NSEC_NEVER: no wish; 0: do not sleep). 0, or -ENOSPC when LOOP_HOOKS are registered.
 */
#define LOOP_HOOKS 8
typedef nsec loop_hook_fn(void *arg, nsec now);
MUST_CHECK int loop_before_wait(struct loop *l, loop_hook_fn *fn, void *arg);
/* Takes it off again; nothing happens when it is not registered. Not from inside a hook. */
void loop_before_wait_remove(struct loop *l, loop_hook_fn *fn, void *arg);

/*
 * A cheaper way to wait, for a caller who has a conversation in lock-step on one descriptor and
 * knows that nothing else counts for now: `fn` looks at it, or sleeps on it for LOOP_NAP at most,
 * and returns how many events there were. The loop looks at all that is watched, as ever, when
 * that nap was in vain, when the deadline is near, or when somebody called loop_wake(); a call
 * during a nap is heard at its end. NULL: all descriptors count again.
 */
#define LOOP_NAP (4 * NSEC_PER_MSEC)
typedef unsigned loop_sole_fn(void *arg, bool sleep);
void loop_set_sole(struct loop *l, loop_sole_fn *fn, void *arg);

/* Busy waiting before sleeping, at most this long and only while it pays; 0 (the default) is off.
 */
void loop_set_spin(struct loop *l, nsec spin_max);

struct loop_stats {
    uint64_t waits; /* sleeps in the kernel */
    uint64_t wakes; /* by loop_wake() */
    uint64_t spins_won, spins_lost;
};
const struct loop_stats *loop_stats(const struct loop *l);

#endif
