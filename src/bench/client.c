#include "bench/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench/client_impl.h"
#include "bench/impair.h"

#define PROBE_PAUSE (5 * NSEC_PER_MSEC)
#define NAME_ROOM   512

void bench_client_init(struct bench_client *c, struct bench_env *env, uint32_t id)
{
    memset(c, 0, sizeof(*c));
    c->env = env;
    c->id = id;
    c->phase = BENCH_IDLE;
    c->wake = NSEC_NEVER;
    timer_init(&c->timer);
    list_init(&c->link);
}

static nsec deadline_of(const struct bench_client *c)
{
    if (c->phase != BENCH_RUNNING)
        return c->wake;
    return client_waits(c) ? c->wake : tftp_session_deadline(&c->session);
}

void client_arm(struct bench_client *c)
{
    nsec deadline = deadline_of(c);

    /* A timer that fires too early is set again then: packets move the date on all the time. */
    if (deadline < c->timer.deadline)
        wheel_set(&c->env->wheel, &c->timer, deadline);
}

void client_wait(struct bench_client *c, nsec now)
{
    const uint16_t *waits = client_waits(c);

    c->wait = 0;
    c->wake = waits ? now + waits[0] * NSEC_PER_MSEC : NSEC_NEVER;
}

/* The name on the server; for uploads from the template. */
static struct view name_of(const struct bench_client *c, char *buf)
{
    const struct bench_plan *plan = c->env->plan;
    size_t n = 0;

    if (c->kind->profile->slash && c->file->name[0] != '/')
        buf[n++] = '/';
    if (!plan->put)
        return view_of(buf, n + (size_t)snprintf(buf + n, NAME_ROOM - n, "%s", c->file->name));
    for (const char *p = plan->put_name; *p != '\0' && n < NAME_ROOM - 1; p++) {
        int len;
        if (*p != '%' || p[1] == '\0') {
            buf[n++] = *p;
            continue;
        }
        p++;
        if (*p == 'f')
            len = snprintf(buf + n, NAME_ROOM - n, "%s", c->file->name);
        else if (*p == 'c')
            len = snprintf(buf + n, NAME_ROOM - n, "%u", c->id);
        else if (*p == 'n')
            len = snprintf(buf + n, NAME_ROOM - n, "%llu", (unsigned long long)c->transfers);
        else
            len = snprintf(buf + n, NAME_ROOM - n, "%c", *p);
        n = MIN(n + (size_t)MAX(len, 0), NAME_ROOM - 1U);
    }
    return view_of(buf, n);
}

/* Request number c->stage of the class. */
static void ask(struct bench_client *c, nsec now)
{
    const struct bench_plan *plan = c->env->plan;
    const struct bench_profile *profile = c->kind->profile;
    struct tftp_manners manners = tftp_manners_default;
    struct tftp_limits limits = {TFTP_BLKSIZE_MAX, UINT16_MAX, UINT32_MAX, 255, true,
                                 TFTP_ROLLOVER_0};
    struct tftp_request request = {.op = plan->put ? TFTP_WRQ : TFTP_RRQ, .mode = c->kind->mode};
    char name[NAME_ROOM], size[24];
    unsigned count = c->kind->request[c->stage].count;
    int size_at = c->kind->request[c->stage].size_at;

    manners.rto_first = manners.rto_min = plan->retry;
    manners.rto_max = MAX(manners.rto_max, plan->retry);
    manners.patience = plan->patience;
    request.filename = name_of(c, name);
    request.option_count = count;
    memcpy(request.options, c->kind->request[c->stage].options, count * sizeof(request.options[0]));
    if (plan->put && size_at >= 0)
        request.options[size_at].value = view_of(
            size, (size_t)snprintf(size, sizeof(size), "%llu", (unsigned long long)c->file->size));
    c->phase = profile->second && c->stage == 0 ? BENCH_PROBING : BENCH_RUNNING;
    c->peer = c->env->server;
    c->answered = false;
    if (tftp_session_request(&c->session, &request, &limits, &manners,
                             plan->put ? c->file->size : TFTP_SIZE_UNKNOWN, now) < 0) {
        client_finish(c, BENCH_FAIL_LOCAL, now);
        return;
    }
    bench_check_init(&c->check, c->file, plan->verify && !plan->put && c->kind->mode == TFTP_OCTET);
    client_pump(c, now);
}

static void draw_misbehaviour(struct bench_client *c)
{
    const struct bench_plan *plan = c->env->plan;
    struct prng *prng = &c->env->prng;

    c->misbehaviour = BENCH_BEHAVES;
    if (plan->misbehave == BENCH_BEHAVES || !prng_chance(prng, plan->misbehave_share))
        return;
    c->misbehaviour = plan->misbehave;
    c->vanish_at = prng_below(prng, c->file->known && c->file->size > 0 ? c->file->size : 4096);
}

static struct bench_file *next_file(struct bench_env *env)
{
    const struct bench_plan *plan = env->plan;

    if (!plan->in_turn)
        return bench_draw_file(plan, &env->prng);
    struct bench_file *f = &plan->corpus.files[env->file_turn % plan->corpus.count];
    env->file_turn += plan->threads;
    return f;
}

void bench_client_start(struct bench_client *c, nsec intended, nsec now)
{
    struct bench_env *env = c->env;

    c->file = next_file(env);
    c->kind = bench_draw_class(env->plan, &env->prng);
    c->intended = intended;
    c->began = c->wrong = c->unreachable = false;
    c->stage = 0;
    c->burst_at = 0;
    c->transfers++;
    c->wake = NSEC_NEVER;
    draw_misbehaviour(c);
    if (env->result->started++ == 0)
        env->result->first_start = now;
    if (bench_io_take(env->io, c, &c->at) < 0) {
        c->session.counts = (struct tftp_counts){0};
        client_finish(c, BENCH_FAIL_LOCAL, now);
        return;
    }
    ask(c, now);
}

void bench_client_pause(struct bench_client *c, nsec when)
{
    c->phase = BENCH_PAUSING;
    c->stage = 0;
    c->wake = when;
    client_arm(c);
}

void client_ask_again(struct bench_client *c, nsec now)
{
    struct bench_endpoint old = c->at;

    if (bench_io_take(c->env->io, c, &c->at) < 0) {
        bench_io_release(c->env->io, &old);
        if (bench_io_take(c->env->io, c, &c->at) < 0) {
            c->at.port = NULL;
            client_finish(c, BENCH_FAIL_LOCAL, now);
            return;
        }
    }
    bench_io_release(c->env->io, &old);
    c->phase = BENCH_PAUSING;
    c->stage = 1;
    c->wake = now + PROBE_PAUSE;
    client_arm(c);
}

static void count_session(struct bench_client *c)
{
    const struct tftp_counts *counts = &c->session.counts;
    struct bench_result *r = c->env->result;

    r->blocks_resent += counts->blocks_resent;
    r->resent_timeout += counts->resent_timeout;
    r->resent_gap += counts->resent_gap;
    r->duplicates += counts->duplicates;
    if (c->session.sending)
        r->payload += counts->bytes_acked;
}

/* Gives the endpoint back and waits for the worker's word. */
static void leave(struct bench_client *c, nsec now)
{
    bench_io_release(c->env->io, &c->at);
    c->phase = BENCH_IDLE;
    c->wake = NSEC_NEVER;
    c->env->idle(c, now);
}

void client_finish(struct bench_client *c, enum bench_failure failure, nsec now)
{
    struct bench_result *r = c->env->result;
    bool meant = c->misbehaviour == BENCH_NEVER_ACK || c->misbehaviour == BENCH_VANISH;

    count_session(c);
    r->last_end = now;
    if (meant) {
        r->misbehaved++;
    } else if (failure != CLIENT_NO_FAILURE) {
        r->failed[failure]++;
    } else {
        r->succeeded++;
        r->bytes += c->session.counts.bytes_acked;
        hist_add(&r->transfer, now > c->intended ? now - c->intended : 0);
    }
    nsec linger = c->env->impair ? bench_impair_linger(c->env->impair, c) : 0;
    wheel_del(&c->env->wheel, &c->timer);
    if (linger > 0 && c->at.port) {
        c->phase = BENCH_LINGERING;
        c->wake = now + linger;
        client_arm(c);
    } else {
        leave(c, now);
    }
}

void client_finish_session(struct bench_client *c, nsec now)
{
    struct tftp_session *s = &c->session;
    enum bench_failure failure = BENCH_FAIL_PROTOCOL;

    if (s->state != TFTP_STATE_FAILED) {
        bool right = !c->wrong && bench_check_final(&c->check);
        if (!s->sending && s->params.tsize_given && c->kind->mode == TFTP_OCTET)
            right = right && s->params.tsize == s->counts.bytes_acked;
        client_finish(c, right ? CLIENT_NO_FAILURE : BENCH_FAIL_CONTENT, now);
        return;
    }
    if (s->outcome == TFTP_OUTCOME_TIMEOUT) {
        failure = BENCH_FAIL_TIMEOUT;
    } else if (c->unreachable) {
        failure = BENCH_FAIL_UNREACHABLE;
    } else if (s->outcome == TFTP_OUTCOME_ABORTED || s->outcome == TFTP_OUTCOME_CLOSED) {
        failure = BENCH_FAIL_REFUSED;
        c->env->result->errors[MIN(s->peer_error, BENCH_ERROR_CODES - 1)]++;
    }
    client_finish(c, failure, now);
}

/* A wait of the profile is over. */
static void repeat_or_give_up(struct bench_client *c, nsec now)
{
    const uint16_t *waits = client_waits(c);
    bool request = c->session.state == TFTP_STATE_REQUESTING;

    if (!waits || waits[c->wait] == 0 || waits[++c->wait] == 0) {
        client_finish(c, BENCH_FAIL_TIMEOUT, now);
        return;
    }
    c->wake = now + waits[c->wait] * NSEC_PER_MSEC;
    if (request || c->kind->profile->repeats_acks) {
        struct bench_result *r = c->env->result;
        r->requests_resent += request;
        r->acks_resent += !request;
        r->acks_resent_timer += !request;
        client_send(c, view_of(c->session.control, c->session.control_len), now);
    }
    client_arm(c);
}

void bench_client_on_timer(struct bench_client *c, nsec now)
{
    if (now < deadline_of(c)) {
        client_arm(c);
        return;
    }
    switch (c->phase) {
    case BENCH_IDLE:
        break;
    case BENCH_PAUSING:
        c->wake = NSEC_NEVER;
        if (c->stage == 1)
            ask(c, now);
        else
            bench_client_start(c, now, now);
        break;
    case BENCH_SILENT:
        client_finish(c, BENCH_FAIL_TIMEOUT, now);
        break;
    case BENCH_LINGERING:
        leave(c, now);
        break;
    case BENCH_PROBING:
        repeat_or_give_up(c, now);
        break;
    case BENCH_RUNNING:
        if (client_waits(c)) {
            repeat_or_give_up(c, now);
            break;
        }
        c->in_timer = true;
        tftp_session_on_timer(&c->session, now);
        client_pump(c, now);
        c->in_timer = false;
        break;
    }
}

void bench_client_on_unreachable(struct bench_client *c, nsec now)
{
    if (c->phase != BENCH_RUNNING && c->phase != BENCH_PROBING)
        return;
    /* The last DATA may be here already, on its way through a bad network. */
    c->unreachable = true;
    tftp_session_on_unreachable(&c->session, now);
    client_pump(c, now);
}

void bench_client_abandon(struct bench_client *c, nsec now)
{
    if (c->phase == BENCH_IDLE || (c->phase == BENCH_PAUSING && c->stage == 0))
        return;
    if (c->phase != BENCH_LINGERING) {
        count_session(c);
        c->env->result->unfinished++;
        c->env->result->last_end = now;
    }
    bench_io_release(c->env->io, &c->at);
    wheel_del(&c->env->wheel, &c->timer);
    c->phase = BENCH_IDLE;
}
