/*
 * Hierarchical timer wheel over virtual time. Adding, moving and removing a timer cost O(1)
 * whatever the number of timers; the next deadline is found in O(levels). It reads no clock.
 *
 * Resolution is WHEEL_TICK: a timer never fires early, and at most one tick late (timers
 * further away than 64 ticks are sorted into place as their time comes nearer, so the bound
 * holds for them too). One thread.
 */
#ifndef BASE_WHEEL_H
#define BASE_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/list.h"

#define WHEEL_TICK   (UINT64_C(1) << 16) /* 65.5 us */
#define WHEEL_SLOTS  64
#define WHEEL_LEVELS 6 /* 2^16 ns * 64^6: 52 days; later ones wait at the end, then move on */

struct timer {
    struct list link;
    nsec deadline;       /* NSEC_NEVER when not armed */
    uint8_t level, slot; /* place in the wheel; private */
};

struct wheel {
    struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
    uint64_t occupied[WHEEL_LEVELS]; /* a bit per slot that is not empty */
    uint64_t tick;                   /* all ticks before this one have been fired */
    size_t count;
};

void wheel_init(struct wheel *w, nsec now);
void timer_init(struct timer *t);

/* Arms the timer, or moves it. A deadline in the past fires at the next wheel_fire();
 * NSEC_NEVER disarms. */
void wheel_set(struct wheel *w, struct timer *t, nsec deadline);
/* Disarms; nothing happens if it is not armed. */
void wheel_del(struct wheel *w, struct timer *t);

/*
 * A time not later than (earliest deadline + one tick) at which wheel_fire() has work, or
 * NSEC_NEVER without timers. It may be earlier than any deadline (a level has to be sorted).
 */
nsec wheel_next(const struct wheel *w);

/*
 * Calls fn(timer, now, arg) for each timer whose deadline is not after now, each disarmed
 * before the call. fn may arm, move and remove any timer; one that it arms for a time not
 * after `now` fires in the next call, so this one ends. Returns how many fired.
 */
size_t wheel_fire(struct wheel *w, nsec now, void (*fn)(struct timer *t, nsec now, void *arg),
                  void *arg);

#endif
