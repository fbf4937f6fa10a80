/*
 * Timers are placed by the highest group of six bits in which their tick differs from the
 * wheel's: a slot of level L holds the ticks of one aligned block of 64^L, which begins after
 * the present. So the lowest level in use holds the earliest timers, and when the wheel reaches
 * a block's first tick, the block's timers fall to lower levels.
 *
 * Only the highest level wraps around: its slots are counted from the present one.
 */
#include <assert.h>

#include "base/util.h"
#include "base/wheel.h"

#define SLOT_BITS 6
#define SLOT_MASK (WHEEL_SLOTS - 1)
#define TOP       (WHEEL_LEVELS - 1)

/* The place of a timer that waits for its callback, in no slot. */
#define LEVEL_DUE 0xFF

/* One slot of the highest level less than the whole, so that no timer lands a turn too early
 * in the present slot. */
#define TICKS_AHEAD_MAX                                                                            \
    ((UINT64_C(1) << (SLOT_BITS * WHEEL_LEVELS)) - (UINT64_C(1) << (SLOT_BITS * TOP)))

static_assert(WHEEL_SLOTS == 1 << SLOT_BITS, "a slot's index is a group of SLOT_BITS bits");

static uint64_t tick_of(nsec t)
{
    return t / WHEEL_TICK;
}

void wheel_init(struct wheel *w, nsec now)
{
    *w = (struct wheel){.tick = tick_of(now)};
    for (int level = 0; level < WHEEL_LEVELS; level++) {
        for (int slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&w->slots[level][slot]);
    }
}

void timer_init(struct timer *t)
{
    *t = (struct timer){.deadline = NSEC_NEVER};
    list_init(&t->link);
}

/* Puts a timer, which is in no list, where its deadline belongs. */
static void place(struct wheel *w, struct timer *t)
{
    uint64_t tick = MAX(tick_of(t->deadline), w->tick);
    if (tick - w->tick > TICKS_AHEAD_MAX)
        tick = w->tick + TICKS_AHEAD_MAX;

    unsigned level = 0;
    uint64_t differs = tick ^ w->tick;
    if (differs > SLOT_MASK)
        level = (63 - (unsigned)__builtin_clzll(differs)) / SLOT_BITS;
    if (level > TOP)
        level = TOP;
    unsigned slot = (unsigned)(tick >> (SLOT_BITS * level)) & SLOT_MASK;

    t->level = (uint8_t)level;
    t->slot = (uint8_t)slot;
    w->occupied[level] |= UINT64_C(1) << slot;
    list_push_back(&w->slots[level][slot], &t->link);
}

/* Takes an armed timer out of its slot or the list of due ones. */
static void take(struct wheel *w, struct timer *t)
{
    list_del(&t->link);
    if (t->level != LEVEL_DUE && list_empty(&w->slots[t->level][t->slot]))
        w->occupied[t->level] &= ~(UINT64_C(1) << t->slot);
}

void wheel_del(struct wheel *w, struct timer *t)
{
    if (t->deadline == NSEC_NEVER)
        return;
    take(w, t);
    t->deadline = NSEC_NEVER;
    w->count--;
}

void wheel_set(struct wheel *w, struct timer *t, nsec deadline)
{
    if (deadline == NSEC_NEVER) {
        wheel_del(w, t);
        return;
    }
    if (t->deadline == NSEC_NEVER)
        w->count++;
    else
        take(w, t);
    t->deadline = deadline;
    place(w, t);
}

/*
 * The earliest slot in use: its level or -1, its index, and the first tick of its block. The
 * highest level's slots begin with the one after the present.
 */
static int earliest_slot(const struct wheel *w, unsigned *ret_slot, uint64_t *ret_tick)
{
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        uint64_t bits = w->occupied[level];
        if (!bits)
            continue;
        unsigned shift = SLOT_BITS * level;
        uint64_t here = w->tick >> shift;
        unsigned from = (unsigned)here & SLOT_MASK;
        uint64_t turned = bits >> from | bits << ((WHEEL_SLOTS - from) & SLOT_MASK);
        unsigned ahead = (unsigned)__builtin_ctzll(turned);
        *ret_slot = (from + ahead) & SLOT_MASK;
        *ret_tick = (here + ahead) << shift;
        return (int)level;
    }
    return -1;
}

nsec wheel_next(const struct wheel *w)
{
    unsigned slot;
    uint64_t tick;
    int level = earliest_slot(w, &slot, &tick);
    if (level < 0)
        return NSEC_NEVER;

    /*
     * A timer alone in the earliest slot is the earliest timer, whatever the level: its time is
     * known without sorting. (On the highest level only if it really belongs into this block.)
     */
    const struct list *head = &w->slots[level][slot];
    nsec block_end = ((tick + (UINT64_C(1) << (SLOT_BITS * (unsigned)level))) * WHEEL_TICK) - 1;
    if (head->next == head->prev) {
        const struct timer *t = container_of(head->next, struct timer, link);
        return nsec_min(t->deadline, block_end);
    }
    return level == 0 ? block_end : tick * WHEEL_TICK;
}

/* Moves a slot's timers that are not after `now` to the list of due ones. */
static void take_due(struct wheel *w, unsigned slot, nsec now, struct list *due)
{
    struct list *pos, *tmp;
    list_for_each_safe (pos, tmp, &w->slots[0][slot]) {
        struct timer *t = container_of(pos, struct timer, link);
        if (t->deadline > now)
            continue;
        list_del(&t->link);
        t->level = LEVEL_DUE;
        list_push_back(due, &t->link);
    }
    if (list_empty(&w->slots[0][slot]))
        w->occupied[0] &= ~(UINT64_C(1) << slot);
}

/* The wheel has reached this slot's block: its timers fall to lower levels. */
static void cascade(struct wheel *w, unsigned level, unsigned slot)
{
    struct list falling;
    list_init(&falling);
    list_splice_back(&falling, &w->slots[level][slot]);
    w->occupied[level] &= ~(UINT64_C(1) << slot);

    struct list *node;
    while ((node = list_pop_front(&falling)))
        place(w, container_of(node, struct timer, link));
}

/* Advances the wheel to `now`, collecting what is due. */
static void advance(struct wheel *w, nsec now, struct list *due)
{
    uint64_t target = MAX(tick_of(now), w->tick);
    unsigned slot;
    uint64_t tick;
    int level;

    while ((level = earliest_slot(w, &slot, &tick)) >= 0 && tick <= target) {
        if (level > 0) {
            w->tick = tick;
            cascade(w, (unsigned)level, slot);
            continue;
        }
        w->tick = tick;
        take_due(w, slot, now, due);
        if (tick == target)
            return; /* what is left in this slot is later within the tick */
    }
    w->tick = target;
}

size_t wheel_fire(struct wheel *w, nsec now, void (*fn)(struct timer *t, nsec now, void *arg),
                  void *arg)
{
    struct list due;
    list_init(&due);
    advance(w, now, &due);

    size_t fired = 0;
    struct list *node;
    while ((node = list_pop_front(&due))) {
        struct timer *t = container_of(node, struct timer, link);
        t->deadline = NSEC_NEVER;
        w->count--;
        fired++;
        fn(t, now, arg);
    }
    return fired;
}
