/*
 * The faster way of waiting is found and kept, whatever else happens in between.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/util.h"
#include "loop/spin_contest.h"

struct world {
    struct spin_contest c;
    nsec now;
    nsec cost[2]; /* of a turn: sleeping, spinning */
    uint64_t turns[2];
    bool crowded;
};

static void live(struct world *w, unsigned turns)
{
    for (unsigned i = 0; i < turns; i++) {
        bool spin = spin_contest_turn(&w->c, w->now, w->crowded && w->c.spin);

        w->turns[spin]++;
        w->now += w->cost[spin];
    }
}

static void test_faster_way_is_kept(void **state)
{
    (void)state;
    for (int faster = 0; faster < 2; faster++) {
        struct world w = {.cost = {20000, 20000}};

        w.cost[faster] = 18000;
        spin_contest_init(&w.c);
        live(&w, 200000);
        assert_true(w.turns[faster] > 190000);
        assert_true(w.turns[!faster] > 0);
    }
}

/* Milliseconds in which somebody else had the processor are no argument. */
static void test_interruptions_do_not_count(void **state)
{
    (void)state;
    struct world w = {.cost = {18000, 20000}};

    spin_contest_init(&w.c);
    for (unsigned i = 0; i < 2000; i++) {
        live(&w, 150);
        w.now += 4 * NSEC_PER_MSEC;
    }
    assert_true(w.turns[0] > 250000);
}

/* The other end has moved to another processor: what was right is wrong now. */
static void test_change_of_mind(void **state)
{
    (void)state;
    struct world w = {.cost = {18000, 20000}};

    spin_contest_init(&w.c);
    live(&w, 50000);
    w.cost[1] = 9000;
    live(&w, SPIN_CONTEST_BATCH * SPIN_CONTEST_HOLD_MOST * 2);
    w.turns[0] = w.turns[1] = 0;
    live(&w, 100000);
    assert_true(w.turns[1] > 90000);
}

/* Who spins on the processor of the other end ends that at once, and tries it seldom. */
static void test_crowd(void **state)
{
    (void)state;
    struct world w = {.cost = {18000, 16000}, .crowded = true};

    spin_contest_init(&w.c);
    live(&w, 100000);
    assert_true(w.turns[1] < 1000);
}

static void test_few_turns_spin(void **state)
{
    (void)state;
    struct world w = {.cost = {18000, 20000}};

    spin_contest_init(&w.c);
    live(&w, SPIN_CONTEST_BATCH * SPIN_CONTEST_HOLD_FIRST);
    assert_int_equal(w.turns[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faster_way_is_kept),
        cmocka_unit_test(test_interruptions_do_not_count),
        cmocka_unit_test(test_change_of_mind),
        cmocka_unit_test(test_crowd),
        cmocka_unit_test(test_few_turns_spin),
    };

    return cmocka_run_group_tests_name("contest", tests, NULL, NULL);
}
