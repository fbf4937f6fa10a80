/*
 * Whether a conversation in lock-step goes faster when we look for each answer or when we sleep
 * until it comes. That depends on where the scheduler puts both ends and on how they wait
 * themselves, so it is measured: now and then the other way is tried for a moment, and the faster
 * one stays. Pure: sees only the times it is given.
 */
#ifndef LOOP_SPIN_CONTEST_H
#define LOOP_SPIN_CONTEST_H

#include <stdbool.h>

#include "base/clock.h"

#define SPIN_CONTEST_BATCH      64   /* turns timed together */
#define SPIN_CONTEST_BATCHES    4    /* the fastest counts: the others may have met a stranger */
#define SPIN_CONTEST_HOLD_FIRST 16   /* batches until the other way is tried */
#define SPIN_CONTEST_HOLD_MOST  1024 /* it doubles each time that the trial was lost */

struct spin_contest {
    bool spin;  /* the way at work */
    bool trial; /* it is on trial */
    unsigned turns;
    unsigned batches; /* of this way, since it began */
    unsigned hold;
    nsec batch_began;
    nsec cost; /* of the fastest of the last SPIN_CONTEST_BATCHES batches so far */
    nsec incumbent_cost;
};

void spin_contest_init(struct spin_contest *c);
/*
 * Called before each wait for an answer. Returns whether to spin in it. `crowded`: spinning has
 * kept somebody from our processor lately; it has lost then, however fast it was.
 */
bool spin_contest_turn(struct spin_contest *c, nsec now, bool crowded);

#endif
