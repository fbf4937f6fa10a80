#include "loop/spin_contest.h"

#include "base/util.h"

void spin_contest_init(struct spin_contest *c)
{
    *c = (struct spin_contest){.spin = true, .hold = SPIN_CONTEST_HOLD_FIRST, .cost = NSEC_NEVER};
}

static void change(struct spin_contest *c, bool spin)
{
    c->spin = spin;
    c->batches = 0;
    c->cost = NSEC_NEVER;
}

/* A trial has one batch more than is timed, in which the scheduler finds to the new order. */
static void end_of_batch(struct spin_contest *c, nsec took, bool crowded)
{
    unsigned length = c->trial ? SPIN_CONTEST_BATCHES + 1 : c->hold;

    if (c->spin && crowded) {
        c->hold = c->trial ? MIN(2 * c->hold, SPIN_CONTEST_HOLD_MOST) : SPIN_CONTEST_HOLD_FIRST;
        c->trial = false;
        change(c, false);
        return;
    }
    if (++c->batches + SPIN_CONTEST_BATCHES > length)
        c->cost = nsec_min(c->cost, took);
    if (c->batches < length)
        return;
    if (!c->trial) {
        c->incumbent_cost = c->cost;
        c->trial = true;
        change(c, !c->spin);
        return;
    }
    c->trial = false;
    if (c->cost < c->incumbent_cost) {
        c->hold = SPIN_CONTEST_HOLD_FIRST;
        change(c, c->spin);
    } else {
        c->hold = MIN(2 * c->hold, SPIN_CONTEST_HOLD_MOST);
        change(c, !c->spin);
    }
}

bool spin_contest_turn(struct spin_contest *c, nsec now, bool crowded)
{
    if (c->turns == SPIN_CONTEST_BATCH) {
        end_of_batch(c, now - c->batch_began, crowded);
        c->turns = 0;
    }
    if (c->turns++ == 0)
        c->batch_began = now;
    return c->spin;
}
