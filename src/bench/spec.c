#include "bench/spec.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/profile.h"

#define SOURCES_MAX (1U << 20)

int bench_spec_complain(struct bench_parse *p, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(p->error, p->error_size, format, args);
    va_end(args);
    return -EINVAL;
}

int bench_spec_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text))
        return -EINVAL;
    errno = 0;
    unsigned long long n = strtoull(text, NULL, 10);
    if (errno != 0 || n < min || n > max)
        return -EINVAL;
    *ret = n;
    return 0;
}

int bench_spec_real(const char *text, const char *after, double min, double max, double *ret)
{
    char *end;

    if (!isdigit((unsigned char)text[0]) && text[0] != '.')
        return -EINVAL;
    double x = strtod(text, &end);
    if (end == text || !(x >= min && x <= max))
        return -EINVAL;
    if (*end != '\0' && !strchr(after, *end))
        return -EINVAL;
    *ret = x;
    return 0;
}

static uint32_t low_bits(const struct addr *a)
{
    const uint8_t *ip = a->ip + (a->family == AF_INET ? 0 : 12);

    return (uint32_t)ip[0] << 24 | (uint32_t)ip[1] << 16 | (uint32_t)ip[2] << 8 | ip[3];
}

int bench_spec_source(struct bench_parse *p, const char *text)
{
    struct addr first, last;
    char from[ADDR_TEXT_MAX];
    const char *dash = strchr(text, '-');
    size_t len = dash ? (size_t)(dash - text) : strlen(text);
    static const char wanted[] = "expected an address, or a range as in 127.1.0.1-127.1.3.255";

    if (len >= sizeof(from))
        return bench_spec_complain(p, "--source %.60s: %s", text, wanted);
    memcpy(from, text, len);
    from[len] = '\0';
    if (addr_parse(&first, from, 0) < 0 || first.family == 0 || first.port != 0 ||
        addr_parse(&last, dash ? dash + 1 : from, 0) < 0 || last.family != first.family ||
        last.port != 0 || low_bits(&last) < low_bits(&first) ||
        (first.family == AF_INET6 && memcmp(first.ip, last.ip, 12) != 0))
        return bench_spec_complain(p, "--source %.90s: %s", text, wanted);
    uint64_t count = (uint64_t)low_bits(&last) - low_bits(&first) + 1;
    if (count > SOURCES_MAX)
        return bench_spec_complain(p, "--source %.90s: more than %u addresses", text, SOURCES_MAX);
    p->plan->source_first = first;
    p->plan->source_count = (unsigned)count;
    return 0;
}

/*
 * Splits "in=X,out=Y" or "X": calls take(X) for each of the two directions it is for.
 * What take() refuses ends it.
 */
static int both_ways(struct bench_parse *p, const char *text,
                     int (*take)(struct bench_impairment *m, const char *text, size_t field),
                     size_t field)
{
    if (strncmp(text, "in=", 3) != 0 && strncmp(text, "out=", 4) != 0) {
        int err = take(&p->plan->in, text, field);
        return err < 0 ? err : take(&p->plan->out, text, field);
    }
    while (*text != '\0') {
        bool in = strncmp(text, "in=", 3) == 0;
        if (!in && strncmp(text, "out=", 4) != 0)
            return -EINVAL;
        text += in ? 3 : 4;
        int err = take(in ? &p->plan->in : &p->plan->out, text, field);
        if (err < 0)
            return err;
        text += strcspn(text, ",");
        if (*text == ',' && *++text == '\0')
            return -EINVAL;
    }
    return 0;
}

static int take_chance(struct bench_impairment *m, const char *text, size_t field)
{
    double percent;

    if (bench_spec_real(text, "%,", 0, 100, &percent) < 0)
        return -EINVAL;
    *(uint32_t *)(void *)((char *)m + field) = (uint32_t)llround(percent * 10000);
    return 0;
}

int bench_spec_chance(struct bench_parse *p, const char *name, const char *text, size_t field)
{
    if (both_ways(p, text, take_chance, field) < 0)
        return bench_spec_complain(
            p, "--%s %.60s: expected a percentage from 0 to 100, or in=PERCENT,out=PERCENT", name,
            text);
    return 0;
}

static int take_delay(struct bench_impairment *m, const char *text, size_t field)
{
    double delay, jitter = 0;

    (void)field;
    if (bench_spec_real(text, "~,", 0, 60000, &delay) < 0)
        return -EINVAL;
    const char *wave = text + strcspn(text, "~,");
    if (*wave == '~' && bench_spec_real(wave + 1, ",", 0, 60000, &jitter) < 0)
        return -EINVAL;
    m->delay = (nsec)llround(delay * (double)NSEC_PER_MSEC);
    m->jitter = (nsec)llround(jitter * (double)NSEC_PER_MSEC);
    return 0;
}

int bench_spec_delay(struct bench_parse *p, const char *text)
{
    if (both_ways(p, text, take_delay, 0) < 0)
        return bench_spec_complain(
            p, "--delay %.60s: expected milliseconds, as in 20, 20~5 or in=20~5,out=1", text);
    return 0;
}

int bench_spec_misbehave(struct bench_parse *p, const char *text)
{
    static const char *const names[] = {
        [BENCH_NEVER_ACK] = "never-ack",
        [BENCH_LATE_ACK] = "late-ack",
        [BENCH_VANISH] = "vanish",
        [BENCH_REPEAT_REQUEST] = "repeat-request",
    };
    size_t len = strcspn(text, ":");
    double percent = 100;

    if (text[len] == ':' && bench_spec_real(text + len + 1, "%", 0, 100, &percent) < 0)
        return bench_spec_complain(p, "--misbehave %.60s: expected a percentage after the colon",
                                   text);
    for (unsigned i = 1; i < ARRAY_LEN(names); i++) {
        if (strlen(names[i]) != len || strncmp(text, names[i], len) != 0)
            continue;
        p->plan->misbehave = (enum bench_misbehaviour)i;
        p->plan->misbehave_share = (uint32_t)llround(percent * 10000);
        return 0;
    }
    return bench_spec_complain(
        p, "--misbehave %.60s: expected never-ack, late-ack, vanish or repeat-request", text);
}

/* One "key=value" or weight of a class. */
static int take_class_word(struct bench_class *c, const char *word, uint32_t *weight)
{
    uint64_t n;

    if (bench_spec_number(word, 1, 1000000, &n) == 0)
        *weight = (uint32_t)n;
    else if (strncmp(word, "blksize=", 8) == 0 &&
             bench_spec_number(word + 8, TFTP_BLKSIZE_MIN, TFTP_BLKSIZE_MAX, &n) == 0)
        c->blksize = (int32_t)n;
    else if (strncmp(word, "windowsize=", 11) == 0 &&
             bench_spec_number(word + 11, 1, 32768, &n) == 0)
        c->windowsize = (int32_t)n;
    else if (strncmp(word, "timeout=", 8) == 0 && bench_spec_number(word + 8, 1, 255, &n) == 0)
        c->timeout_s = (int32_t)n;
    else if (strncmp(word, "tsize=", 6) == 0 && bench_spec_number(word + 6, 0, 1, &n) == 0)
        c->tsize = (int32_t)n;
    else if (strcmp(word, "mode=octet") == 0)
        c->mode = TFTP_OCTET;
    else if (strcmp(word, "mode=netascii") == 0)
        c->mode = TFTP_NETASCII;
    else
        return -EINVAL;
    return 0;
}

static int add_class(struct bench_parse *p, const char *spec)
{
    struct bench_plan *plan = p->plan;
    struct bench_class *c = &plan->classes[plan->class_count];
    uint32_t weight = 1;
    char text[200], *rest = text;

    if (strlen(spec) >= sizeof(text))
        return bench_spec_complain(p, "--client %.60s...: too long", spec);
    memcpy(text, spec, strlen(spec) + 1);
    *c = (struct bench_class){
        .blksize = p->n.blksize ? (int32_t)p->n.blksize : -1,
        .windowsize = p->n.windowsize ? (int32_t)p->n.windowsize : -1,
        .timeout_s = p->n.timeout_s ? (int32_t)p->n.timeout_s : -1,
        .tsize = p->tsize,
        .mode = p->mode,
    };
    c->profile = bench_profile_find(strsep(&rest, ":"));
    if (!c->profile)
        return bench_spec_complain(p, "--client %.60s: there is no such client (see --help)", spec);
    for (char *word; (word = strsep(&rest, ":")) != NULL;)
        if (take_class_word(c, word, &weight) < 0)
            return bench_spec_complain(p,
                                       "--client %.60s: %.40s: expected a weight, or blksize=, "
                                       "windowsize=, timeout=, tsize=0|1, mode= with its value",
                                       spec, word);
    c->weight = weight + (plan->class_count > 0 ? c[-1].weight : 0);
    plan->class_count++;
    if (bench_class_build(c) < 0)
        return bench_spec_complain(p, "--client %.60s: too many options", spec);
    return 0;
}

int bench_spec_classes(struct bench_parse *p)
{
    int err = p->client_count == 0 ? add_class(p, "plain") : 0;

    for (unsigned i = 0; i < p->client_count && err == 0; i++)
        err = add_class(p, p->clients[i]);
    return err;
}
