#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "base/util.h"
#include "base/wheel.h"

#define TICK WHEEL_TICK
#define DAY  (86400 * NSEC_PER_SEC)

static struct wheel w;

/* A timer that remembers what it should do and what happened. */
struct alarm {
    struct timer timer;
    nsec deadline; /* as asked for; NSEC_NEVER when it must not fire */
    nsec fired_at;
    unsigned fired;
};

static struct alarm *alarm_of(struct timer *t)
{
    return container_of(t, struct alarm, timer);
}

static void alarm_set(struct alarm *a, nsec deadline)
{
    a->deadline = deadline;
    wheel_set(&w, &a->timer, deadline);
}

static void alarm_del(struct alarm *a)
{
    a->deadline = NSEC_NEVER;
    wheel_del(&w, &a->timer);
}

static void on_alarm(struct timer *t, nsec now, void *arg)
{
    (void)arg;
    struct alarm *a = alarm_of(t);
    assert_true(t->deadline == NSEC_NEVER);
    assert_true(a->deadline != NSEC_NEVER); /* removed timers stay silent */
    assert_true(a->deadline <= now);
    a->deadline = NSEC_NEVER;
    a->fired_at = now;
    a->fired++;
}

/* Follows wheel_next() until nothing is armed; returns how often it woke. */
static unsigned run_out(nsec *now)
{
    unsigned turns = 0;
    nsec next;
    while ((next = wheel_next(&w)) != NSEC_NEVER) {
        *now = MAX(*now, next);
        wheel_fire(&w, *now, on_alarm, NULL);
        assert_true(++turns < 1000);
    }
    assert_int_equal(w.count, 0);
    return turns;
}

static void empty(void **state)
{
    (void)state;
    wheel_init(&w, 12345);
    assert_true(wheel_next(&w) == NSEC_NEVER);
    assert_int_equal(wheel_fire(&w, 12345 + DAY, on_alarm, NULL), 0);
    struct timer t;
    timer_init(&t);
    wheel_del(&w, &t); /* not armed: nothing happens */
    wheel_set(&w, &t, NSEC_NEVER);
    assert_int_equal(w.count, 0);
    assert_true(wheel_next(&w) == NSEC_NEVER);
}

/* One timer at a time, around every boundary of every level, from awkward starts. */
static void boundaries(void **state)
{
    (void)state;
    static const nsec starts[] = {0,
                                  1,
                                  TICK - 1,
                                  63 * TICK,
                                  4095 * TICK + 7,
                                  3 * DAY + 5,
                                  (UINT64_C(1) << 52) - 1,
                                  (UINT64_C(1) << 60) - TICK};
    for (size_t s = 0; s < ARRAY_LEN(starts); s++) {
        for (unsigned bit = 0; bit <= 52; bit++) {
            for (int delta = -2; delta <= 2; delta++) {
                nsec now = starts[s];
                if (now == 0 && bit < 2 && delta < 0)
                    continue; /* before the beginning of time */
                struct alarm a = {0};
                timer_init(&a.timer);
                wheel_init(&w, now);
                nsec deadline = now + (UINT64_C(1) << bit) + (nsec)(int64_t)delta;
                alarm_set(&a, deadline);
                assert_int_equal(w.count, 1);
                unsigned turns = run_out(&now);
                assert_int_equal(a.fired, 1);
                assert_true(a.fired_at <= MAX(deadline, starts[s]) + TICK);
                /* A lone timer is slept for in one go, if it lies within the wheel. */
                assert_true(turns == 1 || bit >= 51);
            }
        }
    }
}

/* Further away than the wheel reaches: sorted again each time it gets there, never early. */
static void beyond_the_wheel(void **state)
{
    (void)state;
    static struct alarm a[3];
    nsec now = 17 * DAY + 3;
    wheel_init(&w, now);
    static const unsigned days[] = {60, 400, 52};
    for (unsigned i = 0; i < 3; i++) {
        timer_init(&a[i].timer);
        alarm_set(&a[i], now + days[i] * DAY);
    }
    nsec start = now;
    run_out(&now);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(a[i].fired, 1);
        assert_true(a[i].fired_at <= start + days[i] * DAY + TICK);
    }
}

/* Alone at the end of the wheel stands a timer that belongs further out than one armed later. */
static void beyond_and_overtaken(void **state)
{
    (void)state;
    struct alarm far = {0}, near = {0};
    timer_init(&far.timer);
    timer_init(&near.timer);
    nsec now = 0;
    wheel_init(&w, now);
    alarm_set(&far, 100 * DAY);
    now = 10 * DAY;
    wheel_fire(&w, now, on_alarm, NULL);
    alarm_set(&near, 70 * DAY);
    run_out(&now);
    assert_true(near.fired == 1 && near.fired_at <= 70 * DAY + TICK);
    assert_true(far.fired == 1 && far.fired_at <= 100 * DAY + TICK);
}

/* Many timers, one far jump: all fire in the one call. */
static void cascade_in_one_call(void **state)
{
    (void)state;
    enum { N = 2000 };
    static struct alarm a[N];
    nsec now = 5 * DAY;
    wheel_init(&w, now);
    for (unsigned i = 0; i < N; i++) {
        timer_init(&a[i].timer);
        alarm_set(&a[i], now + i * i * 5000 * TICK / 7);
    }
    assert_int_equal(wheel_fire(&w, now + (nsec)N * N * 5000 * TICK, on_alarm, NULL), N);
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(a[i].fired, 1);
    assert_int_equal(w.count, 0);
}

/* Idle for days between two timers of the same slot number. */
static void idle_then_armed(void **state)
{
    (void)state;
    struct alarm a = {0};
    timer_init(&a.timer);
    nsec now = 1;
    wheel_init(&w, now);
    for (unsigned i = 0; i < 200; i++) {
        now += (nsec)i * 13 * 3600 * NSEC_PER_SEC;
        wheel_fire(&w, now, on_alarm, NULL);
        nsec deadline = now + 250 * NSEC_PER_MSEC;
        alarm_set(&a, deadline);
        run_out(&now);
        assert_int_equal(a.fired, i + 1);
        assert_true(a.fired_at <= deadline + TICK);
    }
}

static void past_fires_at_once(void **state)
{
    (void)state;
    struct alarm a = {0}, b = {0};
    timer_init(&a.timer);
    timer_init(&b.timer);
    nsec now = 100 * TICK + 5;
    wheel_init(&w, now);
    alarm_set(&a, 3);
    alarm_set(&b, now + 1); /* the same slot, not yet due */
    assert_int_equal(wheel_fire(&w, now, on_alarm, NULL), 1);
    assert_int_equal(a.fired, 1);
    assert_int_equal(b.fired, 0);
    assert_true(wheel_next(&w) == now + 1);
    assert_int_equal(wheel_fire(&w, now + 1, on_alarm, NULL), 1);

    /* A clock that steps back a little fires nothing twice and loses nothing. */
    alarm_set(&a, now + 10 * TICK);
    assert_int_equal(wheel_fire(&w, now + 5 * TICK, on_alarm, NULL), 0);
    assert_int_equal(wheel_fire(&w, now, on_alarm, NULL), 0);
    assert_int_equal(wheel_fire(&w, now + 10 * TICK, on_alarm, NULL), 1);
}

/* ---- callbacks that change the wheel ---- */

static struct alarm ring[8];

static void arm_all(nsec now, nsec deadline)
{
    memset(ring, 0, sizeof(ring));
    wheel_init(&w, now);
    for (unsigned i = 0; i < ARRAY_LEN(ring); i++) {
        timer_init(&ring[i].timer);
        alarm_set(&ring[i], deadline);
    }
}

static void rearm_now(struct timer *t, nsec now, void *arg)
{
    on_alarm(t, now, arg);
    alarm_set(alarm_of(t), now - 1);
}

static void rearming_ends(void **state)
{
    (void)state;
    nsec now = DAY;
    arm_all(now, now + 100 * TICK);
    now += 200 * TICK;
    for (unsigned round = 1; round < 5; round++) {
        assert_int_equal(wheel_fire(&w, now, rearm_now, NULL), ARRAY_LEN(ring));
        for (unsigned i = 0; i < ARRAY_LEN(ring); i++)
            assert_int_equal(ring[i].fired, round);
        assert_int_equal(w.count, ARRAY_LEN(ring));
    }
}

static void remove_all(struct timer *t, nsec now, void *arg)
{
    on_alarm(t, now, arg);
    for (unsigned i = 0; i < ARRAY_LEN(ring); i++) {
        alarm_del(&ring[i]);
        ring[i].timer.link = (struct list){NULL, NULL}; /* as if freed */
    }
}

/* The first that fires removes itself and all others, due ones too. */
static void removing_due_timers(void **state)
{
    (void)state;
    nsec now = DAY;
    arm_all(now, now + 5000 * TICK);
    alarm_set(&ring[3], now + 20000 * TICK);
    assert_int_equal(wheel_fire(&w, now + 6000 * TICK, remove_all, NULL), 1);
    assert_int_equal(w.count, 0);
    assert_true(wheel_next(&w) == NSEC_NEVER);
    assert_int_equal(wheel_fire(&w, now + DAY, on_alarm, NULL), 0);
}

static void postpone_others(struct timer *t, nsec now, void *arg)
{
    on_alarm(t, now, arg);
    for (unsigned i = 0; i < ARRAY_LEN(ring); i++) {
        if (ring[i].deadline != NSEC_NEVER)
            alarm_set(&ring[i], now + (i + 1) * 1000 * TICK);
    }
}

static void moving_due_timers(void **state)
{
    (void)state;
    nsec now = DAY;
    arm_all(now, now + TICK);
    now += 2 * TICK;
    assert_int_equal(wheel_fire(&w, now, postpone_others, NULL), 1);
    assert_int_equal(w.count, ARRAY_LEN(ring) - 1);
    run_out(&now);
    for (unsigned i = 0; i < ARRAY_LEN(ring); i++)
        assert_int_equal(ring[i].fired, 1);
}

/* ---- against a sorted list ---- */

enum { CROWD = 300, STEPS = 30000 };
static struct alarm crowd[CROWD];
static struct prng prng;

static nsec random_distance(void)
{
    /* Mostly the near future, sometimes days, sometimes the past (taken as now). */
    return prng_next(&prng) >> (12 + prng_below(&prng, 44));
}

static int by_deadline(const void *a, const void *b)
{
    const struct alarm *x = *(struct alarm *const *)a, *y = *(struct alarm *const *)b;
    return (x->deadline > y->deadline) - (x->deadline < y->deadline);
}

/* A callback that now and then arms, moves or removes itself and others. */
static void meddle(struct timer *t, nsec now, void *arg)
{
    on_alarm(t, now, arg);
    unsigned n = (unsigned)prng_below(&prng, 4);
    for (unsigned i = 0; i < n; i++) {
        struct alarm *a = i ? &crowd[prng_below(&prng, CROWD)] : alarm_of(t);
        if (prng_chance(&prng, 300000))
            alarm_del(a);
        else
            alarm_set(a, now + random_distance() - MIN(now, prng_below(&prng, 3 * TICK)));
    }
}

/* The sorted list of what is armed must agree with the wheel about the first deadline. */
static size_t check_next(nsec now)
{
    static struct alarm *sorted[CROWD];
    size_t n = 0;
    for (unsigned i = 0; i < CROWD; i++) {
        if (crowd[i].deadline == NSEC_NEVER)
            continue;
        assert_true(crowd[i].timer.deadline == crowd[i].deadline);
        sorted[n++] = &crowd[i];
    }
    qsort(sorted, n, sizeof(sorted[0]), by_deadline);
    assert_int_equal(w.count, n);
    nsec next = wheel_next(&w);
    if (n == 0)
        assert_true(next == NSEC_NEVER);
    else
        assert_true(next <= MAX(sorted[0]->deadline, now) + TICK);
    return n;
}

static void against_sorted_list(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        prng_seed(&prng, seed);
        memset(crowd, 0, sizeof(crowd));
        nsec now = prng_next(&prng) >> 8;
        wheel_init(&w, now);
        for (unsigned i = 0; i < CROWD; i++) {
            timer_init(&crowd[i].timer);
            crowd[i].deadline = NSEC_NEVER;
        }
        for (unsigned step = 0; step < STEPS / 8; step++) {
            for (uint64_t i = prng_below(&prng, 4); i; i--)
                alarm_set(&crowd[prng_below(&prng, CROWD)], now + random_distance());
            if (prng_chance(&prng, 300000))
                alarm_del(&crowd[prng_below(&prng, CROWD)]);
            check_next(now);

            nsec next = wheel_next(&w);
            nsec jump = random_distance();
            bool sleep = next != NSEC_NEVER && prng_chance(&prng, 700000);
            now = sleep ? MAX(now, next) : now + (jump >> 4);

            /* Due before the call, not disarmed and not moved by it: must have fired, that is
             * nobody who was due may still stand there with a deadline that has passed, unless
             * a callback armed it so. */
            size_t due = 0;
            for (unsigned i = 0; i < CROWD; i++)
                due += crowd[i].deadline <= now;
            bool quiet = prng_chance(&prng, 500000);
            size_t fired = wheel_fire(&w, now, quiet ? on_alarm : meddle, NULL);
            assert_true(quiet ? fired == due : fired <= due);
            if (quiet) {
                for (unsigned i = 0; i < CROWD; i++)
                    assert_true(crowd[i].deadline > now);
            }
        }
        while (check_next(now)) {
            now = MAX(now, wheel_next(&w));
            wheel_fire(&w, now, on_alarm, NULL);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty),
        cmocka_unit_test(boundaries),
        cmocka_unit_test(beyond_the_wheel),
        cmocka_unit_test(beyond_and_overtaken),
        cmocka_unit_test(cascade_in_one_call),
        cmocka_unit_test(idle_then_armed),
        cmocka_unit_test(past_fires_at_once),
        cmocka_unit_test(rearming_ends),
        cmocka_unit_test(removing_due_timers),
        cmocka_unit_test(moving_due_timers),
        cmocka_unit_test(against_sorted_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
