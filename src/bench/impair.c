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
    struct bench_client *client;
    uint64_t transfer; /* of the client */
    union addr_sock peer;
    bool inward;
    size_t len;
    uint8_t bytes[];
};

/* What happens to a packet. */
struct passage {
    struct bench_client *client;
    bool inward;
    const union addr_sock *peer;
    struct view packet;
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

static void pass(struct bench_impair *i, const struct passage *p, nsec now)
{
    struct bench_io *io = i->env->io;
    const struct bench_endpoint *e = &p->client->at;

    if (p->inward) {
        bench_client_take_packet(p->client, p->peer, p->packet, now);
    } else if (p->packet.n > 512) {
        struct iovec iov = {(void *)(uintptr_t)p->packet.p, p->packet.n};
        (void)bench_io_send_pieces(io, e, p->peer, &iov, 1, 0);
    } else {
        bench_io_send(io, e, p->peer, p->packet.p, p->packet.n);
    }
}

/* A delayed copy; without memory for it the packet is lost, as in networks. */
static void delay(struct bench_impair *i, const struct passage *p, nsec when)
{
    size_t size = sizeof(struct delayed) + p->packet.n;
    struct delayed *d = i->held + size <= HELD_MAX ? malloc(size) : NULL;

    if (!d) {
        i->env->result->impaired_lost++;
        return;
    }
    timer_init(&d->timer);
    d->client = p->client;
    d->transfer = p->client->transfers;
    d->peer = *p->peer;
    d->inward = p->inward;
    d->len = p->packet.n;
    memcpy(d->bytes, p->packet.p, p->packet.n);
    i->held += size;
    list_push_back(&i->all, &d->link);
    wheel_set(&i->wheel, &d->timer, when);
}

static nsec draw_delay(struct prng *prng, const struct bench_impairment *m)
{
    nsec jitter = m->jitter > 0 ? prng_below(prng, 2 * m->jitter + 1) : 0;

    return m->delay + jitter > m->jitter ? m->delay + jitter - m->jitter : 0;
}

static void impair(struct bench_impair *i, const struct passage *p, nsec extra, nsec now)
{
    const struct bench_plan *plan = i->env->plan;
    const struct bench_impairment *m = p->inward ? &plan->in : &plan->out;
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
            delay(i, p, now + wait);
        else
            pass(i, p, now);
    }
}

void bench_impair_send(struct bench_impair *i, struct bench_client *c, struct view packet,
                       nsec extra, nsec now)
{
    impair(i, &(struct passage){c, false, &c->peer, packet}, extra, now);
}

void bench_impair_receive(struct bench_impair *i, struct bench_client *c,
                          const union addr_sock *from, struct view packet, nsec now)
{
    impair(i, &(struct passage){c, true, from, packet}, 0, now);
}

nsec bench_impair_linger(const struct bench_impair *i, const struct bench_client *c)
{
    const struct bench_plan *plan = i->env->plan;
    nsec wait = plan->out.delay + plan->out.jitter + (plan->out.reorder > 0 ? REORDER_DELAY : 0);

    if (c->misbehaviour == BENCH_LATE_ACK)
        wait += plan->late_ack;
    if (c->misbehaviour == BENCH_REPEAT_REQUEST)
        wait += BENCH_REPEAT_LAST;
    return wait > 0 ? wait + 2 * WHEEL_TICK : 0;
}

static void arrive(struct timer *t, nsec now, void *arg)
{
    struct bench_impair *i = arg;
    struct delayed *d = container_of(t, struct delayed, timer);
    struct passage p = {d->client, d->inward, &d->peer, view_of(d->bytes, d->len)};

    i->held -= sizeof(*d) + d->len;
    list_del(&d->link);
    if (d->client->at.port && d->client->transfers == d->transfer)
        pass(i, &p, now);
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
