#include "bench/options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/option_error.h"
#include "bench/corpus.h"
#include "bench/profile.h"
#include "bench/spec.h"

#define TFTP_PORT 69

struct row;
typedef int take_fn(struct bench_parse *p, const struct row *row, const char *value);

/* One option. `at` and the bounds are for the common kinds. */
struct row {
    const char *name;
    char letter; /* 0: none */
    take_fn *take;
    size_t at;
    double min, max;
    const char *argument; /* NULL: takes none */
    const char *help;
};

static int take_number(struct bench_parse *p, const struct row *row, const char *value)
{
    uint64_t n;

    if (bench_spec_number(value, (uint64_t)row->min, (uint64_t)row->max, &n) < 0)
        return bench_spec_complain(p, "--%s %s: expected a whole number from %.0f to %.0f",
                                   row->name, value, row->min, row->max);
    *(uint64_t *)(void *)((char *)p + row->at) = n;
    return 0;
}

static int take_time(struct bench_parse *p, const struct row *row, const char *value)
{
    double x;

    if (bench_spec_real(value, "", row->min, row->max, &x) < 0)
        return bench_spec_complain(p, "--%s %s: expected seconds, from %g to %g", row->name, value,
                                   row->min, row->max);
    *(nsec *)(void *)((char *)p + row->at) = (nsec)llround(x * (double)NSEC_PER_SEC);
    return 0;
}

static int take_rate(struct bench_parse *p, const struct row *row, const char *value)
{
    if (bench_spec_real(value, "", row->min, row->max, &p->plan->rate) < 0)
        return bench_spec_complain(p, "--rate %s: expected transfers a second, from %g to %.0f",
                                   value, row->min, row->max);
    return 0;
}

static int take_text(struct bench_parse *p, const struct row *row, const char *value)
{
    if (value[0] == '\0')
        return bench_spec_complain(p, "--%s: expected a value, not nothing", row->name);
    *(const char **)(void *)((char *)p + row->at) = value;
    return 0;
}

static int take_put_name(struct bench_parse *p, const struct row *row, const char *value)
{
    for (const char *at = strchr(value, '%'); at; at = strchr(at + 2, '%'))
        if (at[1] == '\0' || !strchr("fcn%", at[1]))
            return bench_spec_complain(p,
                                       "--put-as %.90s: expected %%f, %%c, %%n or %%%% after a "
                                       "per cent sign",
                                       value);
    return take_text(p, row, value);
}

static int take_flag(struct bench_parse *p, const struct row *row, const char *value)
{
    (void)value;
    *(bool *)(void *)((char *)p + row->at) = true;
    return 0;
}

static int take_no_tsize(struct bench_parse *p, const struct row *row, const char *value)
{
    (void)row;
    (void)value;
    p->tsize = 0;
    return 0;
}

static int take_tsize(struct bench_parse *p, const struct row *row, const char *value)
{
    (void)row;
    (void)value;
    p->tsize = 1;
    return 0;
}

static int take_mode(struct bench_parse *p, const struct row *row, const char *value)
{
    (void)row;
    if (strcmp(value, "octet") == 0)
        p->mode = TFTP_OCTET;
    else if (strcmp(value, "netascii") == 0)
        p->mode = TFTP_NETASCII;
    else
        return bench_spec_complain(p, "--mode %s: expected octet or netascii", value);
    return 0;
}

static int take_arrivals(struct bench_parse *p, const struct row *row, const char *value)
{
    (void)row;
    if (strcmp(value, "random") != 0 && strcmp(value, "even") != 0)
        return bench_spec_complain(p, "--arrivals %s: expected random or even", value);
    p->plan->poisson = value[0] == 'r';
    return 0;
}

static int take_client(struct bench_parse *p, const struct row *row, const char *value)
{
    (void)row;
    if (p->client_count == BENCH_CLASSES_MAX)
        return bench_spec_complain(p, "more than %d --client options", BENCH_CLASSES_MAX);
    p->clients[p->client_count++] = value; /* looked at when all defaults are known */
    return 0;
}

static int take_list(struct bench_parse *p, const struct row *row, const char *value)
{
    (void)row;
    return bench_corpus_add_list(&p->plan->corpus, value, p->error, p->error_size);
}

static int take_source(struct bench_parse *p, const struct row *row, const char *value)
{
    (void)row;
    return bench_spec_source(p, value);
}

static int take_chance(struct bench_parse *p, const struct row *row, const char *value)
{
    return bench_spec_chance(p, row->name, value, row->at);
}

static int take_delay(struct bench_parse *p, const struct row *row, const char *value)
{
    (void)row;
    return bench_spec_delay(p, value);
}

static int take_misbehave(struct bench_parse *p, const struct row *row, const char *value)
{
    (void)row;
    return bench_spec_misbehave(p, value);
}

#define NUM(field, low, high)  take_number, offsetof(struct bench_parse, field), low, high
#define TIME(field, low, high) take_time, offsetof(struct bench_parse, field), low, high
#define TEXT(field)            take_text, offsetof(struct bench_parse, field), 0, 0
#define FLAG(field)            take_flag, offsetof(struct bench_parse, field), 0, 0
#define CALL(fn)               fn, 0, 0, 0
#define CHANCE(field)          take_chance, offsetof(struct bench_impairment, field), 0, 0

/* A row without a name is a heading of the help. */
static const struct row rows[] = {
    {NULL, 0, CALL(NULL), NULL, "How much"},
    {"clients", 'c', NUM(n.clients, 1, BENCH_CLIENTS_MAX), "N",
     "clients at all times, or at most with --rate (default 1; 10000 with --rate)"},
    {"count", 'n', NUM(n.count, 1, 1e15), "N",
     "transfers in all (default: as many as clients, unless there is a duration)"},
    {"duration", 'd', TIME(times.duration, 0.001, 1e7), "SECONDS", "begin no transfer after this"},
    {"rate", 'r', take_rate, 0, 0.001, 1e7, "R",
     "open loop: R transfers begin each second, and latency counts from when one should have"},
    {"arrivals", 0, CALL(take_arrivals), "HOW", "random (default) or even"},
    {"ramp", 0, TIME(times.ramp, 0, 1e6), "SECONDS", "reach the full load after this"},
    {"think", 0, TIME(times.think, 0, 1e6), "SECONDS", "a client's pause between transfers"},
    {"threads", 't', NUM(n.threads, 1, BENCH_THREADS_MAX), "N", "threads (default 1)"},

    {NULL, 0, CALL(NULL), NULL, "What"},
    {"put", 0, FLAG(put), NULL, "send the files instead of fetching them"},
    {"put-as", 0, take_put_name, offsetof(struct bench_parse, put_name), 0, 0, "NAME",
     "name on the server; %f file, %c client, %n transfer (default %f.%c)"},
    {"list", 0, CALL(take_list), "FILE",
     "one file a line: NAME [weight=N] [local=PATH] [sha256=HEX]"},
    {"in-turn", 0, FLAG(in_turn), NULL, "the files one after the other, not at random by weight"},
    {"local", 0, TEXT(local), "DIR", "local copies to compare with (or to send)"},
    {"no-verify", 0, FLAG(no_verify), NULL, "do not look at the content"},

    {NULL, 0, CALL(NULL), NULL, "How clients ask"},
    {"client", 0, CALL(take_client), "KIND[:WEIGHT][:KEY=VALUE]...",
     "behave as this one; again for a mix; keys are the options below"},
    {"blksize", 'b', NUM(n.blksize, TFTP_BLKSIZE_MIN, TFTP_BLKSIZE_MAX), "N", "block size"},
    {"windowsize", 'w', NUM(n.windowsize, 1, 32768), "N", "blocks between two ACKs"},
    {"timeout", 0, NUM(n.timeout_s, 1, 255), "SECONDS", "ask for this timeout"},
    {"tsize", 0, CALL(take_tsize), NULL, "ask for the size"},
    {"no-tsize", 0, CALL(take_no_tsize), NULL, "do not ask for the size"},
    {"mode", 'm', CALL(take_mode), "MODE", "octet (default) or netascii"},
    {"retry", 0, TIME(times.retry, 0.01, 255), "SECONDS",
     "plain clients repeat after this at first (default 1)"},
    {"patience", 0, TIME(times.patience, 0.01, 1e6), "SECONDS",
     "... and give up after this (default 60)"},
    {"source", 0, CALL(take_source), "ADDRESS[-LAST]",
     "send from here; with a range each client has an address of its own"},

    {NULL, 0, CALL(NULL), NULL, "What goes wrong (PERCENT: 2, or in=1,out=3)"},
    {"loss", 0, CHANCE(loss), "PERCENT", "packets lost on the way"},
    {"dup", 0, CHANCE(duplicate), "PERCENT", "packets that arrive twice"},
    {"reorder", 0, CHANCE(reorder), "PERCENT", "packets that later ones overtake"},
    {"delay", 0, CALL(take_delay), "MS[~JITTER]", "delay of every packet; also in=MS,out=MS"},
    {"rcvbuf-packets", 0, NUM(n.rcvbuf_packets, 1, 100000), "N",
     "clients lose what comes in one burst beyond N packets"},
    {"misbehave", 0, CALL(take_misbehave), "HOW[:PERCENT]",
     "never-ack, late-ack, vanish or repeat-request; of all clients or of some"},
    {"hold", 0, TIME(times.late_ack, 0.001, 1e5), "SECONDS",
     "how late late-ack is, how long never-ack is silent (default 0.5)"},
    {"seed", 0, NUM(n.seed, 0, 9e18), "N", "repeat the chances of an earlier run"},

    {NULL, 0, CALL(NULL), NULL, "Results"},
    {"json", 0, TEXT(json_path), "FILE", "write the numbers there (-: standard output)"},
    {"quiet", 'q', FLAG(quiet), NULL, "no live line, no summary"},
    {"server-pid", 0, NUM(n.server_pid, 1, 4194304), "PID",
     "report what this process and its children use"},
    {"server-cgroup", 0, TEXT(server_cgroup), "GROUP",
     "report what this control group uses (with --server-pid: its CPU)"},
    {"grace", 0, TIME(times.grace, 0, 1e6), "SECONDS",
     "running transfers have this long after the duration (default 10)"},

    {NULL, 0, CALL(NULL), NULL, "Details"},
    {"ports", 0, NUM(n.ports, 1, 4096), "N", "sockets that a range of sources shares (default 4)"},
    {"no-gro", 0, FLAG(no_gro), NULL, "take the datagrams of a window one by one"},
    {"spin", 0, FLAG(spin), NULL, "look for packets without sleeping"},
    {"version", 0, CALL(NULL), NULL, "print the version"},
    {"help", 'h', CALL(NULL), NULL, "print this"},
};

void bench_options_help(FILE *out)
{
    fputs("Usage: ringtftp-bench HOST[:PORT] [options] FILE[=LOCAL][:WEIGHT]...\n"
          "\n"
          "Puts load on a TFTP server and reports throughput, failures and latency. Closed loop:\n"
          "each client begins a transfer when its last one has ended. Open loop: --rate.\n",
          out);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[64];
        if (!rows[i].name) {
            fprintf(out, "\n%s:\n", rows[i].help);
            continue;
        }
        snprintf(text, sizeof(text), "--%s%s%s", rows[i].name, rows[i].argument ? " " : "",
                 rows[i].argument ? rows[i].argument : "");
        if (rows[i].letter)
            fprintf(out, "  -%c, %-26s %s\n", rows[i].letter, text, rows[i].help);
        else
            fprintf(out, "      %-26s %s\n", text, rows[i].help);
    }
    fputs("\nClients:", out);
    for (unsigned i = 0; bench_profile_at(i); i++)
        fprintf(out, " %s", bench_profile_at(i)->name);
    fputs(".\nExit code: 0 when every transfer succeeded, 75 when one did not.\n", out);
}

/* "HOST", "HOST:PORT", "[IPv6]:PORT". */
static int take_host(struct bench_parse *p, const char *text)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *found = NULL;
    char host[256];
    uint64_t port = TFTP_PORT;

    if (addr_parse(&p->plan->server, text, TFTP_PORT) == 0) {
        if (p->plan->server.family == 0 || p->plan->server.port == 0)
            return bench_spec_complain(p, "%s: expected a server's address and port", text);
        return 0;
    }
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : strlen(text);
    if (len == 0 || len >= sizeof(host) ||
        (colon && bench_spec_number(colon + 1, 1, 65535, &port) < 0))
        return bench_spec_complain(p, "%s: expected HOST or HOST:PORT, as in [2001:db8::1]:69",
                                   text);
    memcpy(host, text, len);
    host[len] = '\0';
    int code = getaddrinfo(host, NULL, &hints, &found);
    if (code != 0) {
        bench_spec_complain(p, "%s: %s", host, gai_strerror(code));
        return -EHOSTUNREACH;
    }
    union addr_sock sa;
    memset(&sa, 0, sizeof(sa));
    memcpy(&sa, found->ai_addr, MIN(found->ai_addrlen, sizeof(sa)));
    freeaddrinfo(found);
    int err = addr_from_sock(&p->plan->server, &sa);
    p->plan->server.port = (uint16_t)port;
    return err;
}

/* All rows as getopt_long() wants them; values are indices into rows, from 256 on. */
static void fill_options(struct option *options, char *letters)
{
    unsigned n = 0;

    *letters++ = ':';
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!rows[i].name)
            continue;
        int has = rows[i].argument ? required_argument : no_argument;
        options[n++] = (struct option){rows[i].name, has, NULL, 256 + (int)i};
        if (rows[i].letter)
            *letters++ = rows[i].letter;
        if (rows[i].letter && rows[i].argument)
            *letters++ = ':';
    }
    options[n] = (struct option){0};
    *letters = '\0';
}

static const struct row *row_of(int opt)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].name && (opt == 256 + (int)i || (opt < 256 && rows[i].letter == opt)))
            return &rows[i];
    return NULL;
}

static int take_options(struct bench_parse *p, int argc, char **argv)
{
    struct option options[ARRAY_LEN(rows) + 1];
    char letters[2 * ARRAY_LEN(rows) + 2];
    int opt, err = 0;

    fill_options(options, letters);
    optind = 0; /* getopt(3): begin anew */
    opterr = 0;
    while (err == 0 && (opt = getopt_long(argc, argv, letters, options, NULL)) != -1) {
        if (opt == '?' || opt == ':') {
            option_error(opt, argv[optind > 0 ? optind - 1 : 0], options, p->error, p->error_size);
            return -EINVAL;
        }
        const struct row *row = row_of(opt);
        if (!row->take)
            return row->letter == 'h' ? BENCH_OPTIONS_HELP : BENCH_OPTIONS_VERSION;
        err = row->take(p, row, optarg);
    }
    return err;
}

/* The numbers, in their places; and what follows from them. */
static int settle(struct bench_parse *p)
{
    struct bench_plan *plan = p->plan;

    plan->clients = p->n.clients ? (unsigned)p->n.clients : plan->rate > 0 ? 10000 : 1;
    plan->count = p->n.count;
    plan->duration = p->times.duration;
    plan->ramp = p->times.ramp;
    plan->think = p->times.think;
    plan->grace = p->times.grace;
    plan->retry = p->times.retry;
    plan->patience = p->times.patience;
    plan->late_ack = p->times.late_ack;
    plan->threads = (unsigned)MIN(p->n.threads, plan->clients);
    plan->ports = (unsigned)p->n.ports;
    plan->rcvbuf_packets = (unsigned)p->n.rcvbuf_packets;
    plan->server_pid = (int)p->n.server_pid;
    plan->server_cgroup = p->server_cgroup;
    plan->json_path = p->json_path;
    plan->seed = p->n.seed;
    plan->put = p->put;
    plan->in_turn = p->in_turn;
    plan->put_name = p->put_name ? p->put_name : "%f.%c";
    plan->verify = !p->no_verify;
    plan->gro = !p->no_gro;
    plan->spin = p->spin;
    plan->quiet = p->quiet;
    if (plan->count == 0 && plan->duration == 0)
        plan->count = plan->clients;
    if (plan->duration == 0)
        plan->grace = 0;
    if (plan->source_first.family != 0 && plan->source_first.family != plan->server.family)
        return bench_spec_complain(p, "--source: expected an address of the server's family");
    if (plan->corpus.count == 0)
        return bench_spec_complain(p, "expected the name of a file (or --list)");
    if (plan->think > 0 && plan->rate > 0)
        return bench_spec_complain(p, "--think: only without --rate, which says when to begin");
    return bench_spec_classes(p);
}

int bench_options_parse(struct bench_plan *plan, int argc, char **argv, char *error, size_t size)
{
    struct bench_parse p = {.plan = plan, .error = error, .error_size = size, .tsize = -1};

    memset(plan, 0, sizeof(*plan));
    plan->poisson = true;
    p.n.threads = 1;
    p.times.grace = 10 * NSEC_PER_SEC;
    p.times.retry = NSEC_PER_SEC;
    p.times.patience = 60 * NSEC_PER_SEC;
    p.times.late_ack = NSEC_PER_SEC / 2;
    if (getrandom(&p.n.seed, sizeof(p.n.seed), GRND_NONBLOCK) < 0)
        p.n.seed = 1;
    p.n.seed >>= 16; /* short enough to be typed in again */
    int err = take_options(&p, argc, argv);
    if (err != 0)
        return err;
    if (optind >= argc)
        return bench_spec_complain(&p, "expected HOST[:PORT] (try --help)");
    err = take_host(&p, argv[optind++]);
    while (err == 0 && optind < argc)
        err = bench_corpus_add(&plan->corpus, argv[optind++], error, size);
    if (err == 0)
        err = settle(&p);
    return err < 0 ? err : bench_corpus_map(&plan->corpus, p.local, plan->put, error, size);
}

void bench_plan_fini(struct bench_plan *plan)
{
    bench_corpus_fini(&plan->corpus);
}
