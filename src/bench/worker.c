#include "bench/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/impair.h"
#include "loop/loop.h"

/* May another transfer begin? Takes a ticket if so. */
static bool take_ticket(struct bench_worker *w, nsec now)
{
    uint64_t limit = w->plan.count;

    if (w->exhausted || now >= w->end)
        return false;
    if (limit > 0 && atomic_fetch_add(&w->run->taken, 1) >= limit)
        w->exhausted = true;
    return !w->exhausted;
}

static nsec draw_think(struct bench_worker *w)
{
    nsec think = w->plan.think;

    return think > 0 ? think / 2 + prng_below(&w->env.prng, think + 1) : 0;
}

/* A client has ended a transfer. */
static void on_idle(struct bench_client *c, nsec now)
{
    struct bench_worker *w = c->env->owner;

    w->active--;
    if (w->plan.rate > 0 || atomic_load_explicit(&w->run->stop, memory_order_relaxed)) {
        list_push_back(&w->idle, &c->link);
        return;
    }
    nsec think = draw_think(w);
    if (think == 0) {
        list_push_back(&w->starting, &c->link);
    } else if (take_ticket(w, now)) {
        w->active++;
        bench_client_pause(c, now + think);
    } else {
        list_push_back(&w->idle, &c->link);
    }
}

/* Closed loop: who has finished begins anew. Not from on_idle() itself: a transfer that fails at
 * once would come back into it. */
static void start_again(struct bench_worker *w, nsec now)
{
    struct list round;

    list_init(&round);
    list_splice_back(&round, &w->starting);
    for (struct list *at; (at = list_pop_front(&round)) != NULL;) {
        struct bench_client *c = container_of(at, struct bench_client, link);
        if (!take_ticket(w, now)) {
            list_push_back(&w->idle, at);
            continue;
        }
        w->active++;
        bench_client_start(c, now, now);
    }
}

/* Open loop: who is due begins, as far as there are clients. */
static void start_due(struct bench_worker *w, nsec now)
{
    while (w->arrivals.next <= now && w->arrivals.next < w->end && !list_empty(&w->idle)) {
        nsec intended = w->arrivals.next;
        if (!take_ticket(w, intended))
            return;
        bench_arrivals_advance(&w->arrivals);
        if (now - intended > NSEC_PER_MSEC)
            w->result.late++;
        struct bench_client *c = container_of(list_pop_front(&w->idle), struct bench_client, link);
        w->active++;
        bench_client_start(c, intended, now);
    }
}

static void fire(struct timer *t, nsec now, void *arg)
{
    (void)arg;
    bench_client_on_timer(container_of(t, struct bench_client, timer), now);
}

static bool has_more(const struct bench_worker *w, nsec now)
{
    if (w->exhausted || now >= w->end)
        return false;
    return w->plan.rate > 0 ? w->arrivals.next < w->end : !list_empty(&w->starting);
}

static nsec next_date(const struct bench_worker *w, nsec now)
{
    nsec next = wheel_next(&w->env.wheel);

    if (!list_empty(&w->starting))
        return now;
    if (w->plan.rate > 0 && !w->exhausted && !list_empty(&w->idle) && w->arrivals.next < w->end)
        next = nsec_min(next, w->arrivals.next);
    if (w->env.impair)
        next = nsec_min(next, bench_impair_next(w->env.impair));
    return nsec_min(next, nsec_add(w->end, w->plan.grace));
}

/* Closed loop: every client's first transfer, spread over the ramp. */
static void begin_closed(struct bench_worker *w, nsec now)
{
    for (unsigned i = 0; i < w->client_count; i++) {
        struct bench_client *c = &w->clients[i];
        nsec when = w->run->start + w->plan.ramp * i / w->client_count;
        if (when <= now) {
            list_push_back(&w->starting, &c->link);
        } else if (take_ticket(w, now)) {
            w->active++;
            bench_client_pause(c, when);
        }
    }
}

/* Transfers that were due before the end but found no client. */
static void count_unserved(struct bench_worker *w)
{
    if (w->plan.rate == 0)
        return;
    while (w->arrivals.next < w->end && w->end != NSEC_NEVER && !w->exhausted &&
           !atomic_load(&w->run->stop)) {
        if (!take_ticket(w, w->arrivals.next))
            break;
        bench_arrivals_advance(&w->arrivals);
        w->result.started++;
        w->result.unfinished++;
    }
}

static void *work(void *arg)
{
    struct bench_worker *w = arg;
    nsec now = loop_clock();

    while (now < w->run->start)
        now = bench_io_wait(w->env.io, now, w->run->start);
    if (w->plan.rate == 0)
        begin_closed(w, now);
    while (!atomic_load_explicit(&w->run->stop, memory_order_relaxed) &&
           now < nsec_add(w->end, w->plan.grace)) {
        if (w->plan.rate > 0)
            start_due(w, now);
        else
            start_again(w, now);
        if (w->active == 0 && !has_more(w, now))
            break;
        bench_io_flush(w->env.io);
        now = bench_io_wait(w->env.io, now, next_date(w, now));
        wheel_fire(&w->env.wheel, now, fire, w);
        if (w->env.impair)
            bench_impair_fire(w->env.impair, now);
    }
    bench_io_flush(w->env.io);
    for (unsigned i = 0; i < w->client_count; i++)
        bench_client_abandon(&w->clients[i], now);
    count_unserved(w);
    atomic_fetch_sub(&w->run->working, 1);
    uint64_t one = 1;
    if (write(w->run->done_fd, &one, sizeof(one)) < 0)
        return NULL; /* the main thread looks every second anyway */
    return NULL;
}

static void deliver(void *owner, const union addr_sock *from, struct view datagram, nsec now)
{
    bench_client_on_packet(owner, from, datagram, now);
}

static void unreachable(void *owner, nsec now)
{
    bench_client_on_unreachable(owner, now);
}

/* The part of `whole` that falls to thread `index`. */
static unsigned share(unsigned whole, unsigned threads, unsigned index)
{
    return whole / threads + (index < whole % threads ? 1 : 0);
}

/* Each thread has its own part of the source addresses, unless there are too few. */
static void split_sources(struct bench_plan *plan, unsigned index)
{
    unsigned before = 0, at = plan->source_first.family == AF_INET ? 3 : 15;

    if (plan->source_count < 2 * plan->threads)
        return;
    for (unsigned i = 0; i < index; i++)
        before += share(plan->source_count, plan->threads, i);
    plan->source_count = share(plan->source_count, plan->threads, index);
    for (unsigned i = 0; i < 4; i++, before >>= 8) {
        before += plan->source_first.ip[at - i];
        plan->source_first.ip[at - i] = (uint8_t)before;
    }
}

static int init_env(struct bench_worker *w, unsigned index, char *error, size_t size)
{
    struct bench_env *env = &w->env;

    env->plan = &w->plan;
    env->result = &w->result;
    env->idle = on_idle;
    env->owner = w;
    env->file_turn = index;
    addr_to_sock(&w->plan.server, w->plan.server.family, &env->server);
    prng_seed(&env->prng, prng_mix(w->plan.seed + index));
    wheel_init(&env->wheel, loop_clock());
    if (bench_impair_wanted(&w->plan)) {
        env->impair = bench_impair_new(env);
        if (!env->impair) {
            snprintf(error, size, "out of memory");
            return -ENOMEM;
        }
    }
    return bench_io_new(&env->io, &w->plan, w->client_count, &w->result, deliver, unreachable,
                        error, size);
}

int bench_worker_init(struct bench_worker *w, struct bench_run *run, unsigned index, char *error,
                      size_t size)
{
    unsigned threads = run->plan->threads, first = 0;

    memset(w, 0, sizeof(*w));
    w->run = run;
    memcpy(&w->plan, run->plan, sizeof(w->plan));
    split_sources(&w->plan, index);
    w->index = index;
    w->client_count = share(run->plan->clients, threads, index);
    list_init(&w->idle);
    list_init(&w->starting);
    int err = init_env(w, index, error, size);
    if (err < 0)
        return err;
    w->clients = calloc(MAX(1U, w->client_count), sizeof(*w->clients));
    if (!w->clients) {
        snprintf(error, size, "out of memory for %u clients", w->client_count);
        return -ENOMEM;
    }
    for (unsigned i = 0; i < index; i++)
        first += share(run->plan->clients, threads, i);
    for (unsigned i = 0; i < w->client_count; i++) {
        bench_client_init(&w->clients[i], &w->env, first + i);
        if (run->plan->rate > 0)
            list_push_back(&w->idle, &w->clients[i].link);
    }
    return 0;
}

void bench_worker_begin(struct bench_worker *w)
{
    const struct bench_plan *plan = &w->plan;

    w->end = plan->duration > 0 ? w->run->start + plan->duration : NSEC_NEVER;
    if (plan->rate > 0)
        bench_arrivals_init(&w->arrivals, plan->rate / plan->threads, plan->poisson, w->run->start,
                            plan->ramp, prng_mix(plan->seed ^ (w->index + 1)));
}

int bench_worker_start(struct bench_worker *w)
{
    int err = pthread_create(&w->thread, NULL, work, w);

    w->running = err == 0;
    return -err;
}

void bench_worker_join(struct bench_worker *w)
{
    if (w->running)
        pthread_join(w->thread, NULL);
    w->running = false;
}

void bench_worker_fini(struct bench_worker *w)
{
    bench_impair_free(w->env.impair);
    bench_io_free(w->env.io);
    free(w->clients);
}
