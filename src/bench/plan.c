#include "bench/plan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench/profile.h"

struct bench_file *bench_draw_file(const struct bench_plan *plan, struct prng *prng)
{
    const struct bench_corpus *c = &plan->corpus;
    unsigned low = 0, high = c->count - 1;

    if (c->count == 1)
        return c->files;
    uint64_t x = prng_below(prng, c->weight);
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (x < c->files[middle].weight)
            high = middle;
        else
            low = middle + 1;
    }
    return &c->files[low];
}

const struct bench_class *bench_draw_class(const struct bench_plan *plan, struct prng *prng)
{
    const struct bench_class *c = plan->classes;

    if (plan->class_count == 1)
        return c;
    uint64_t x = prng_below(prng, plan->classes[plan->class_count - 1].weight);
    while (x >= c->weight)
        c++;
    return c;
}

/* What the class asks for under this name in its main request; 0 when it does not. */
static uint64_t asked(const struct bench_class *c, const char *name)
{
    unsigned main_request = c->profile->second ? 1 : 0;

    for (unsigned i = 0; i < c->request[main_request].count; i++) {
        const struct tftp_option *o = &c->request[main_request].options[i];
        uint64_t value = 0;
        if (!tftp_is_word(o->name, name))
            continue;
        for (size_t k = 0; k < o->value.n; k++)
            value = value * 10 + (uint64_t)(o->value.p[k] - '0');
        return value;
    }
    return 0;
}

bool bench_has_windows(const struct bench_plan *plan)
{
    for (unsigned i = 0; i < plan->class_count; i++)
        if (asked(&plan->classes[i], "windowsize") > 1)
            return true;
    return false;
}

unsigned bench_datagram_max(const struct bench_plan *plan)
{
    uint64_t most = TFTP_BLKSIZE_DEFAULT; /* a server may ignore all options */

    for (unsigned i = 0; i < plan->class_count; i++)
        most = MAX(most, asked(&plan->classes[i], "blksize"));
    return (unsigned)most + TFTP_HEADER_LEN;
}

struct wanted {
    const char *name;
    int32_t value; /* -1: as the profile says */
};

/* Appends "name\0value\0" to the request's text and lists it. */
static int add_option(struct bench_class *c, unsigned which, size_t *used, const char *name,
                      size_t name_len, unsigned value)
{
    char *text = c->text[which] + *used;
    size_t room = sizeof(c->text[which]) - *used;
    unsigned i = c->request[which].count;

    if (i == BENCH_OPTIONS_MAX)
        return -EINVAL;
    int n = snprintf(text, room, "%.*s%c%u", (int)name_len, name, 0, value);
    if (n < 0 || (size_t)n >= room)
        return -EINVAL;
    c->request[which].options[i].name = view_of(text, name_len);
    c->request[which].options[i].value = view_of(text + name_len + 1, (size_t)n - name_len - 1);
    if (strncmp(name, "tsize", name_len) == 0)
        c->request[which].size_at = (int)i;
    c->request[which].count++;
    *used += (size_t)n + 1;
    return 0;
}

/* The profile's options in its order, with the values of the command line; then those that only
 * the command line asks for. */
static int build(struct bench_class *c, unsigned which, const char *options)
{
    struct wanted wanted[] = {{"blksize", c->blksize},
                              {"windowsize", c->windowsize},
                              {"timeout", c->timeout_s},
                              {"tsize", c->tsize}};
    size_t used = 0;
    int err = 0;

    c->request[which].count = 0;
    c->request[which].size_at = -1;
    for (const char *p = options; *p != '\0' && err == 0;) {
        size_t name_len = strcspn(p, "="), len = strcspn(p, " ");
        unsigned value = 0;
        bool left_out = false;
        if (sscanf(p + name_len, "=%u", &value) != 1)
            return -EINVAL;
        for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
            bool is_size = strcmp(wanted[i].name, "tsize") == 0;
            if (strlen(wanted[i].name) != name_len || strncmp(p, wanted[i].name, name_len) != 0)
                continue;
            if (is_size)
                left_out = wanted[i].value == 0;
            else if (wanted[i].value >= 0)
                value = (unsigned)wanted[i].value;
            wanted[i].value = -1;
        }
        if (!left_out)
            err = add_option(c, which, &used, p, name_len, value);
        p += len;
        p += strspn(p, " ");
    }
    for (size_t i = 0; i < ARRAY_LEN(wanted) && err == 0; i++) {
        bool is_size = strcmp(wanted[i].name, "tsize") == 0;
        if (wanted[i].value < 0 || (is_size && (wanted[i].value == 0 || which == 1)))
            continue;
        err = add_option(c, which, &used, wanted[i].name, strlen(wanted[i].name),
                         is_size ? 0 : (unsigned)wanted[i].value);
    }
    return err;
}

int bench_class_build(struct bench_class *c)
{
    int err = build(c, 0, c->profile->options);

    if (err == 0 && c->profile->second)
        err = build(c, 1, c->profile->second);
    return err;
}
