/*
 * A world: drawn from a seed, run to its end.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file/file_internal.h"
#include "sim.h"

#define HEAL_AFTER_MAX   (20 * NSEC_PER_SEC)
#define RECOVERY         (600 * NSEC_PER_SEC) /* whoever still runs ends within, at the most */
#define HANG             (30 * NSEC_PER_SEC)
#define PROBES           4
#define ROLLOVER_PER_MIL 1000 /* worlds with a file of more than 65,535 blocks */

static struct sim *clock_of; /* the world whose time it is */

static nsec sim_clock(void)
{
    return clock_of->now;
}

void sim_say(const struct sim *s, const char *fmt, ...)
{
    va_list ap;

    if (!s->verbose)
        return;
    printf("%12.6f ", (double)(s->now - SIM_T0) / 1e9);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

void sim_fail(const struct sim *s, const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    fprintf(stderr, "seed %llu, at %.6f s: ", (unsigned long long)s->seed,
            (double)(s->now - SIM_T0) / 1e9);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    if (s->fail_file_op)
        fprintf(stderr, " (file operation %llu failed)", (unsigned long long)s->fail_file_op);
    if (s->fail_alloc)
        fprintf(stderr, " (allocation %llu failed)", (unsigned long long)s->fail_alloc);
    fprintf(stderr, "\nto see it: sim --seed %llu --verbose\n", (unsigned long long)s->seed);
    exit(1);
}

uint8_t sim_byte(unsigned file, bool text, unsigned version, uint64_t offset)
{
    uint64_t x = offset * 31 + (offset >> 8) * 7 + (offset >> 16) + file * 57 + version * 101;

    if (!text)
        return (uint8_t)x;
    static const uint8_t letters[16] = "a\r\nb\r\r\n\0cdef\ngh";
    return letters[(x ^ x >> 4) & 15];
}

/* ---- Drawing ---- */

static bool maybe(struct sim *s)
{
    return prng_chance(&s->prng, 300000);
}

static uint32_t chance_up_to(struct sim *s, uint32_t most)
{
    return maybe(s) ? (uint32_t)prng_below(&s->prng, most) : 0;
}

static void draw_faults(struct sim *s)
{
    struct sim_faults *f = &s->faults;
    struct prng *p = &s->prng;

    f->loss = chance_up_to(s, 300000);
    f->twice = chance_up_to(s, 300000);
    f->late = chance_up_to(s, 250000);
    f->jitter = maybe(s) ? prng_below(p, 50 * NSEC_PER_MSEC) : 0;
    if (maybe(s)) {
        f->bytes_per_sec = 100000 + prng_below(p, 10000000);
        f->queue_bytes = 3000 + prng_below(p, 100000);
    }
    if (maybe(s)) {
        f->partition_from = s->now + prng_below(p, 3 * NSEC_PER_SEC);
        f->partition_until = f->partition_from + prng_below(p, 90 * NSEC_PER_SEC);
    }
    if (prng_chance(p, 100000))
        f->hole = 600 + (unsigned)prng_below(p, 900);
    if (prng_chance(p, 100000)) {
        f->cut = chance_up_to(s, 50000);
        f->flip = (uint32_t)prng_below(p, 50000);
        s->damaging = true;
    }
    f->send_error = chance_up_to(s, 20000);
    f->gso_refused = chance_up_to(s, 300000);
    f->bind_error = chance_up_to(s, 300000);
}

static void draw_file_faults(struct sim *s)
{
    struct sim_faults *f = &s->faults;
    struct prng *p = &s->prng;

    f->file_delay = maybe(s) ? prng_below(p, 200 * NSEC_PER_MSEC) : 0;
    s->disk_delay = f->file_delay;
    f->file_short = chance_up_to(s, 500000);
    if (!s->kind) {
        f->tx_delay = maybe(s) ? prng_below(p, 30 * NSEC_PER_MSEC) : 0;
        s->tx_late = f->tx_delay > 0;
        f->file_error = chance_up_to(s, 50000);
        f->file_hang = chance_up_to(s, 20000);
        f->file_replaced = chance_up_to(s, 100000);
    }
}

static int file_fault(struct sim *s, const struct file_req *req)
{
    static const int errors[] = {-EIO, -EIO, -ENOMEM, -ENOSPC, -EDQUOT, -EMFILE, -EACCES, -EROFS};

    s->file_ops++;
    if (s->fail_file_op && !s->healed &&
        (s->file_ops == s->fail_file_op || (s->fail_on && s->file_ops > s->fail_file_op)))
        return -EIO;
    if (req->op != FILE_CLOSE && prng_chance(&s->prng, s->faults.file_error))
        return errors[prng_below(&s->prng, ARRAY_LEN(errors))];
    return 0;
}

static int on_file_op(void *arg, const struct file_req *req, nsec *delay, size_t *max_bytes)
{
    struct sim *s = arg;
    int err = file_fault(s, req);

    if (s->faults.file_delay)
        *delay = prng_below(&s->prng, s->faults.file_delay);
    if (prng_chance(&s->prng, s->faults.file_hang))
        *delay = HANG;
    if (prng_chance(&s->prng, s->faults.file_short) && req->len > 1)
        *max_bytes = 1 + prng_below(&s->prng, req->len);
    if (err)
        sim_say(s, "  file: %s %s fails: %d", file_op_name(req->op), req->path ? req->path : "",
                err);
    return err;
}

static uint64_t draw_size(struct sim *s)
{
    static const unsigned units[] = {8, 512, 1024, 1428, 1468, 16384, 32768};
    struct prng *p = &s->prng;
    uint64_t unit = units[prng_below(p, ARRAY_LEN(units))];

    if (prng_chance(p, ROLLOVER_PER_MIL))
        return 65536 * 8 + prng_below(p, 40000);
    if (prng_chance(p, 300000))
        return prng_below(p, 100000);
    uint64_t size = unit * prng_below(p, 20);
    if (prng_chance(p, 300000))
        return size + 1;
    return size > 0 && prng_chance(p, 300000) ? size - 1 : size;
}

static void add_version(struct sim *s, unsigned i)
{
    struct sim_file *f = &s->file[i];

    if (f->versions == SIM_VERSIONS_MAX)
        return;
    unsigned v = f->versions++;
    f->size[v] = draw_size(s);
    uint8_t *p = malloc(f->size[v] + 1);
    if (!p)
        abort();
    for (uint64_t o = 0; o < f->size[v]; o++)
        p[o] = sim_byte(i, f->text, v, o);
    file_mem_put(s->files, f->name, p, f->size[v]);
    free(p);
}

/* ---- Start ---- */

static unsigned path_payload(const struct addr *peer, const struct addr *local)
{
    (void)local;
    return peer->ip[0] == 10 ? 65507 : 1472;
}

static void configure(struct sim *s)
{
    struct conf *c = &s->conf;
    struct prng *p = &s->prng;

    if (conf_init(c) < 0)
        abort();
    c->write_enabled = true;
    c->write_allow_overwrite = prng_chance(p, 500000);
    c->write_durable = prng_chance(p, 800000);
    c->performance_workers = 1;
    c->performance_chunk_size = 16384;
    c->performance_cache_size = 16384 * (8 + (int64_t)prng_below(p, 64));
    c->limits_transfers_max = prng_chance(p, 200000) ? 4 : 64;
    c->network_shared_ports = 1 + (int64_t)prng_below(p, 8);
    c->network_transfer_ports = (int)prng_below(p, 4); /* all but a range */
    c->performance_read_ahead = (int64_t)prng_below(p, 5);
    c->protocol_rollover = (int)prng_below(p, 2);
}

static void make_worker(struct sim *s)
{
    struct worker *w = calloc(1, sizeof(*w));
    struct addr listen = s->server;

    if (!w)
        abort();
    listen.port = SIM_LISTEN_PORT;
    s->worker = w;
    s->files = file_io_new_mem(NULL);
    w->conf = &s->conf;
    w->root_fd = -1;
    w->settings = settings_new(&s->conf, 1);
    w->limiter = calloc(1, sizeof(*w->limiter));
    if (!w->limiter)
        abort();
    w->limiter->key = prng_mix(s->seed);
    w->listen_count = 1;
    w->parts = (struct worker_parts){
        .net = engine_new(s),
        .files = s->files,
        .listen = &listen,
        .clock = sim_clock,
        .path_payload = path_payload,
        .seed = prng_next(&s->prng) | 1,
    };
    if (!s->files || !w->settings || !w->parts.net || worker_set_up(w) < 0)
        sim_fail(s, "cannot set up a worker: %s", w->start_what);
    w->parts.listen = NULL;
    file_mem_advance(s->files, s->now);
    file_mem_script(s->files, on_file_op, s);
    for (unsigned i = 0; i < SIM_FILES; i++) {
        snprintf(s->file[i].name, sizeof(s->file[i].name), "boot/file-%u", i);
        s->file[i].text = i % 3 == 2;
        add_version(s, i);
    }
}

static void draw_clients(struct sim *s)
{
    s->clients = 1 + (unsigned)prng_below(&s->prng, SIM_CLIENTS_MAX - PROBES);
    for (unsigned i = 0; i < s->clients; i++) {
        enum sim_kind kind = SIM_CORE;

        if (s->kind && prng_chance(&s->prng, 400000))
            kind = SIM_GRUB + (enum sim_kind)prng_below(&s->prng, 3);
        else if (!s->kind && prng_chance(&s->prng, 600000))
            kind = (enum sim_kind)prng_below(&s->prng, SIM_KINDS);
        client_init(s, &s->client[i], kind);
    }
}

/* ---- Running ---- */

static nsec clients_next(const struct sim *s)
{
    nsec at = NSEC_NEVER;

    for (unsigned i = 0; i < s->clients; i++)
        at = nsec_min(at, client_deadline(&s->client[i]));
    return at;
}

static bool files_have_work(const struct sim *s)
{
    return !list_empty(&s->files->done);
}

static nsec next_event(struct sim *s)
{
    nsec at = nsec_min(link_next(&s->link), clients_next(s));

    if (engine_has_work(&s->engine) || files_have_work(s))
        return s->now;
    at = nsec_min(at, worker_deadline(s->worker));
    at = nsec_min(at, s->engine.tx_due);
    return nsec_min(at, file_mem_next(s->files));
}

static void deliver(struct sim *s)
{
    struct sim_datagram *d;

    while ((d = link_take(&s->link, s->now)) != NULL) {
        if (addr_same_host(&d->to, &s->server)) {
            engine_arrive(s, d);
            continue;
        }
        for (unsigned i = 0; i < s->clients; i++)
            if (addr_same_host(&s->client[i].at, &d->to)) {
                client_datagram(s, &s->client[i], d);
                break;
            }
        free(d);
    }
}

static void run_clients(struct sim *s)
{
    for (unsigned i = 0; i < s->clients; i++)
        if (client_deadline(&s->client[i]) <= s->now)
            client_timer(s, &s->client[i]);
}

static void heal(struct sim *s)
{
    sim_say(s, "healed");
    s->healed = true;
    s->faults = (struct sim_faults){0};
    alloc_fail(0, false);
}

/* One event, and all that it brings. False when nothing will ever happen again before `until`. */
static bool step(struct sim *s, nsec until)
{
    nsec at = next_event(s);

    if (!s->healed && at >= s->heal_at)
        at = s->heal_at;
    if (at > until) {
        s->now = until;
        return false;
    }
    s->now = MAX(s->now, at);
    if (!s->healed && s->now >= s->heal_at)
        heal(s);
    if (prng_chance(&s->prng, s->faults.file_replaced))
        add_version(s, (unsigned)prng_below(&s->prng, SIM_FILES));
    deliver(s);
    run_clients(s);
    engine_advance(s);
    file_mem_advance(s->files, s->now);
    alloc_arm(true);
    (void)worker_pass(s->worker, s->now);
    alloc_arm(false);
    check_worker(s);
    return true;
}

static bool all_ended(const struct sim *s)
{
    for (unsigned i = 0; i < s->clients; i++)
        if (!s->client[i].ended)
            return false;
    return true;
}

static bool worker_is_empty(const struct sim *s)
{
    return s->worker->peers.count == 0 && store_idle(s->worker->store) && file_io_idle(s->files) &&
           link_next(&s->link) == NSEC_NEVER;
}

static void run_until_ended(struct sim *s, nsec until)
{
    while (!all_ended(s) && step(s, until))
        ;
    for (unsigned i = 0; i < s->clients; i++)
        if (!s->client[i].ended)
            sim_fail(s, "client %u does not come to an end", i);
}

static void run_until_empty(struct sim *s)
{
    nsec until = s->now + RECOVERY;

    while (!worker_is_empty(s) && step(s, until))
        ;
    if (s->worker->peers.count)
        sim_fail(s, "%zu transfers are left", s->worker->peers.count);
    if (!worker_is_empty(s))
        sim_fail(s, "file operations are left");
}

/* Nothing goes wrong any more: new clients are served. */
static void probe(struct sim *s)
{
    unsigned first = s->clients;

    if (!s->healed) {
        s->now = s->heal_at;
        heal(s);
        run_until_empty(s);
    }
    s->damaging = false;
    s->serial += 100; /* a request damaged on its way may have stored the next name already */
    for (unsigned i = 0; i < PROBES; i++) {
        enum sim_kind kind = i < 2 ? SIM_CORE : SIM_GRUB + (enum sim_kind)prng_below(&s->prng, 3);

        s->clients++;
        client_init(s, &s->client[first + i], kind);
        /* Four uploads at once need more buffers than the smallest caches have. */
        s->client[first + i].must_succeed =
            !s->client[first + i].writing || s->conf.performance_cache_size >= 40 * 16384;
    }
    run_until_ended(s, s->now + 2 * RECOVERY);
}

static void tear_down(struct sim *s)
{
    store_trim(s->worker->store);
    run_until_empty(s);
    check_end(s);
    worker_tear_down(s->worker);
    free(s->worker->limiter);
    free(s->worker);
    link_clear(&s->link);
    for (unsigned i = 0; i < s->clients; i++)
        free(s->client[i].wire);
    conf_fini(&s->conf);
}

static void begin(struct sim *s, uint64_t seed, bool verbose)
{
    memset(s, 0, sizeof(*s));
    clock_of = s;
    s->seed = seed;
    s->verbose = verbose;
    s->now = SIM_T0;
    prng_seed(&s->prng, seed);
    s->server = (struct addr){.family = AF_INET, .ip = {10, 0, 0, 1}};
    s->delay = 50 * NSEC_PER_USEC + prng_below(&s->prng, 20 * NSEC_PER_MSEC);
    s->heal_at = s->now + NSEC_PER_SEC + prng_below(&s->prng, HEAL_AFTER_MAX);
}

static void end(struct sim *s, uint64_t allocations)
{
    run_until_ended(s, s->heal_at + RECOVERY);
    run_until_empty(s);
    probe(s);
    run_until_empty(s);
    tear_down(s);
    if (alloc_in_use() != allocations)
        sim_fail(s, "%lld allocations are left", (long long)(alloc_in_use() - allocations));
}

static struct sim world;

void sim_run(uint64_t seed, bool verbose, struct sim_totals *totals)
{
    struct sim *s = &world;
    uint64_t allocations = alloc_in_use();

    begin(s, seed, verbose);
    s->kind = prng_chance(&s->prng, 150000);
    alloc_fail(0, false);
    configure(s);
    make_worker(s);
    draw_clients(s);
    if (!s->kind)
        draw_faults(s);
    else if (prng_chance(&s->prng, 400000)) {
        s->doubled = true;
        s->faults.twice = 500000;
    }
    draw_file_faults(s);
    end(s, allocations);
    totals->worlds++;
    totals->transfers += s->transfers;
    totals->succeeded += s->succeeded;
    totals->packets += s->packets;
    totals->simulated += s->now - SIM_T0;
}

uint64_t sim_run_failing(uint64_t seed, bool allocations, uint64_t nth, bool on, bool verbose)
{
    struct sim *s = &world;
    uint64_t in_use = alloc_in_use();

    begin(s, seed, verbose);
    s->heal_at = s->now + 10 * NSEC_PER_SEC;
    s->fail_on = on;
    *(allocations ? &s->fail_alloc : &s->fail_file_op) = nth;
    configure(s);
    make_worker(s);
    draw_clients(s);
    alloc_fail(s->fail_alloc, on);
    run_until_ended(s, s->heal_at + RECOVERY);
    uint64_t made = allocations ? alloc_made() : s->file_ops;
    end(s, in_use);
    return made;
}
