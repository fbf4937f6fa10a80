/*
 * The simulated network: a heap of datagrams by time of arrival, and what happens to them.
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static bool before(const struct sim_datagram *a, const struct sim_datagram *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void push(struct sim_link *l, struct sim_datagram *d)
{
    if (l->count == l->room) {
        bool armed = alloc_arm(false);
        l->room = MAX(64, 2 * l->room);
        l->heap = realloc(l->heap, l->room * sizeof(*l->heap));
        alloc_arm(armed);
        if (!l->heap)
            abort();
    }
    size_t i = l->count++;
    for (; i > 0 && before(d, l->heap[(i - 1) / 2]); i = (i - 1) / 2)
        l->heap[i] = l->heap[(i - 1) / 2];
    l->heap[i] = d;
}

static struct sim_datagram *pop(struct sim_link *l)
{
    struct sim_datagram *top = l->heap[0];
    struct sim_datagram *d = l->heap[--l->count];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= l->count)
            break;
        if (child + 1 < l->count && before(l->heap[child + 1], l->heap[child]))
            child++;
        if (!before(l->heap[child], d))
            break;
        l->heap[i] = l->heap[child];
        i = child;
    }
    l->heap[i] = d;
    return top;
}

static struct sim_datagram *make(struct sim *s, const struct addr *from, const struct addr *to,
                                 const void *bytes, size_t len)
{
    bool armed = alloc_arm(false);
    struct sim_datagram *d = malloc(sizeof(*d) + len);

    alloc_arm(armed);
    if (!d)
        abort();
    *d = (struct sim_datagram){
        .at = s->now + s->delay,
        .order = s->link.order++,
        .from = *from,
        .to = *to,
        .len = len,
    };
    if (len)
        memcpy(d->bytes, bytes, len);
    return d;
}

/* The bottleneck: true when its queue is full. Else *ret_at is when the datagram has passed. */
static bool queue_is_full(struct sim *s, bool to_server, size_t len, nsec *ret_at)
{
    const struct sim_faults *f = &s->faults;
    nsec *busy = &s->link.busy_until[to_server];
    nsec start = MAX(*busy, s->now);

    if (f->bytes_per_sec == 0)
        return false;
    if ((start - s->now) * f->bytes_per_sec / NSEC_PER_SEC > f->queue_bytes)
        return true;
    *busy = start + (len + 28) * NSEC_PER_SEC / f->bytes_per_sec;
    *ret_at += *busy - s->now;
    return false;
}

static void damage(struct sim *s, struct sim_datagram *d)
{
    if (d->len > 0 && prng_chance(&s->prng, s->faults.cut))
        d->len = prng_below(&s->prng, d->len);
    if (d->len > 0 && prng_chance(&s->prng, s->faults.flip))
        d->bytes[prng_below(&s->prng, MIN(d->len, (size_t)16))] ^=
            (uint8_t)(1u << prng_below(&s->prng, 8));
}

void link_send(struct sim *s, bool to_server, const struct addr *from, const struct addr *to,
               const void *bytes, size_t len)
{
    const struct sim_faults *f = &s->faults;
    unsigned copies = 1;

    s->packets++;
    if (s->now >= f->partition_from && s->now < f->partition_until)
        return;
    if (prng_chance(&s->prng, f->loss) || (f->hole && len > f->hole))
        return;
    if (prng_chance(&s->prng, f->twice))
        copies = 2 + (unsigned)prng_below(&s->prng, 3);
    while (copies-- > 0) {
        struct sim_datagram *d = make(s, from, to, bytes, len);

        if (queue_is_full(s, to_server, len, &d->at)) {
            free(d);
            return;
        }
        if (f->jitter)
            d->at += prng_below(&s->prng, f->jitter);
        if (prng_chance(&s->prng, f->late))
            d->at += prng_below(&s->prng, 20 * s->delay + NSEC_PER_MSEC);
        damage(s, d);
        push(&s->link, d);
    }
}

void link_send_unreachable(struct sim *s, bool to_server, const struct addr *from,
                           const struct addr *to)
{
    (void)to_server;
    if (prng_chance(&s->prng, s->faults.loss))
        return;
    struct sim_datagram *d = make(s, from, to, NULL, 0);
    d->unreachable = true;
    push(&s->link, d);
}

nsec link_next(const struct sim_link *l)
{
    return l->count ? l->heap[0]->at : NSEC_NEVER;
}

struct sim_datagram *link_take(struct sim_link *l, nsec now)
{
    return l->count && l->heap[0]->at <= now ? pop(l) : NULL;
}

void link_clear(struct sim_link *l)
{
    while (l->count)
        free(pop(l));
    free(l->heap);
    *l = (struct sim_link){0};
}
