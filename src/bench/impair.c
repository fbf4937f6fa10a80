#include "bench/impair.h"

#include <stdlib.h>
#include <string.h>

#define REORDER_DELAY (2 * NSEC_PER_MSEC) /* what is overtaken waits this long */
#define HELD_MAX      (256U << 20)        /* bytes of all delayed packets */

struct bench_impair {
    struct bench_env *env;
    struct wheel wheel;
    struct list all; /* delayed packets */
    size_t held;     /* their bytes */
};

/* A packet on its way. */
struct delayed {
    struct timer timer;
    struct list link;
    struct bench_endpoint at;
    union addr_sock peer;
    bool inward;
    size_t len;
    uint8_t bytes[];
};

bool bench_impair_wanted(const struct bench_plan *plan)
{
    const struct bench_impairment *both[] = {&plan->in, &plan->out};

    for (unsigned i = 0; i < ARRAY_LEN(both); i++)
        if (both[i]->loss || both[i]->duplicate || both[i]->reorder || both[i]->delay ||
            both[i]->jitter)
            return true;
    return plan->misbehave == BENCH_LATE_ACK || plan->misbehave == BENCH_REPEAT_REQUEST;
}

struct bench_impair *bench_impair_new(struct bench_env *env)
{
    struct bench_impair *i = calloc(1, sizeof(*i));

    if (i) {
        i->env = env;
        list_init(&i->all);
        wheel_init(&i->wheel, env->wheel.tick * WHEEL_TICK);
    }
    return i;
}

void bench_impair_free(struct bench_impair *i)
{
    if (!i)
        return;
    for (struct list *at; (at = list_pop_front(&i->all)) != NULL;)
        free(container_of(at, struct delayed, link));
    free(i);
}

static void pass(struct bench_impair *i, bool inward, const struct bench_endpoint *e,
                 const union addr_sock *peer, struct view packet, nsec now)
{
    if (!inward) {
        struct iovec iov = {(void *)(uintptr_t)packet.p, packet.n};
        if (packet.n > 512)
            (void)bench_io_send_pieces(i->env->io, e, peer, &iov, 1, 0);
        else
            bench_io_send(i->env->io, e, peer, packet.p, packet.n);
        return;
    }
    struct bench_client *c = bench_io_owner(e);
    if (c)
        bench_client_take_packet(c, peer, packet, now);
    else
        i->env->result->strays++;
}

/* A delayed copy; without memory for it the packet is lost, as networks do. */
static void delay(struct bench_impair *i, bool inward, const struct bench_endpoint *e,
                  const union addr_sock *peer, struct view packet, nsec when)
{
    size_t size = sizeof(struct delayed) + packet.n;
    struct delayed *d = i->held + size <= HELD_MAX ? malloc(size) : NULL;

    if (!d) {
        i->env->result->impaired_lost++;
        return;
    }
    timer_init(&d->timer);
    d->at = *e;
    d->peer = *peer;
    d->inward = inward;
    d->len = packet.n;
    memcpy(d->bytes, packet.p, packet.n);
    i->held += size;
    list_push_back(&i->all, &d->link);
    wheel_set(&i->wheel, &d->timer, when);
}

static nsec draw_delay(struct prng *prng, const struct bench_impairment *m)
{
    nsec jitter = m->jitter > 0 ? prng_below(prng, 2 * m->jitter + 1) : 0;

    return m->delay + jitter > m->jitter ? m->delay + jitter - m->jitter : 0;
}

static void impair(struct bench_impair *i, bool inward, const struct bench_endpoint *e,
                   const union addr_sock *peer, struct view packet, nsec extra, nsec now)
{
    const struct bench_plan *plan = i->env->plan;
    const struct bench_impairment *m = inward ? &plan->in : &plan->out;
    struct bench_result *r = i->env->result;
    struct prng *prng = &i->env->prng;
    unsigned copies = 1;

    if (prng_chance(prng, m->loss)) {
        r->impaired_lost++;
        return;
    }
    if (prng_chance(prng, m->duplicate)) {
        r->impaired_doubled++;
        copies = 2;
    }
    for (; copies > 0; copies--) {
        nsec wait = extra + draw_delay(prng, m);
        if (prng_chance(prng, m->reorder)) {
            r->impaired_reordered++;
            wait += REORDER_DELAY;
        }
        if (wait > 0)
            delay(i, inward, e, peer, packet, now + wait);
        else
            pass(i, inward, e, peer, packet, now);
    }
}

void bench_impair_send(struct bench_impair *i, const struct bench_endpoint *e,
                       const union addr_sock *to, struct view packet, nsec extra, nsec now)
{
    impair(i, false, e, to, packet, extra, now);
}

void bench_impair_receive(struct bench_impair *i, const struct bench_endpoint *e,
                          const union addr_sock *from, struct view packet, nsec now)
{
    struct bench_endpoint at = *e; /* `e` is the client's, and it may end its transfer */

    impair(i, true, &at, from, packet, 0, now);
}

static void arrive(struct timer *t, nsec now, void *arg)
{
    struct bench_impair *i = arg;
    struct delayed *d = container_of(t, struct delayed, timer);

    i->held -= sizeof(*d) + d->len;
    list_del(&d->link);
    if (d->at.port->fd >= 0)
        pass(i, d->inward, &d->at, &d->peer, view_of(d->bytes, d->len), now);
    free(d);
}

nsec bench_impair_next(const struct bench_impair *i)
{
    return wheel_next(&i->wheel);
}

void bench_impair_fire(struct bench_impair *i, nsec now)
{
    wheel_fire(&i->wheel, now, arrive, i);
}
