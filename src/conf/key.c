/*
 * The table of keys and the search in it, with what a mistyped name may have meant.
 */
#include "conf/key.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

const struct conf_key conf_keys[] = {
#define CONF_ROW(s, k, field, kind, reloads, text)                                                 \
    .section = (s), .key = (k), .dotted = s "." k, .doc = (text), .type = (kind),                  \
    .reload = (reloads), .offset = offsetof(struct conf, field)
#define CONF_BOOL(s, k, field, d, reloads, text)                                                   \
    {CONF_ROW(s, k, field, CONF_TYPE_BOOL, reloads, text), .def = (d)},
#define CONF_INT(s, k, field, d, lo, hi, u, reloads, text)                                         \
    {CONF_ROW(s, k, field, CONF_TYPE_INT, reloads, text), .def = (d), .min = (lo), .max = (hi),    \
     .unit = (u)},
#define CONF_STRING(s, k, field, d, reloads, text)                                                 \
    {CONF_ROW(s, k, field, CONF_TYPE_STRING, reloads, text), .words = (d)},
#define CONF_ENUM(s, k, field, d, choices, reloads, text)                                          \
    {CONF_ROW(s, k, field, CONF_TYPE_ENUM, reloads, text), .def = (d), .words = (choices)},
#define CONF_LIST(s, k, field, d, reloads, text)                                                   \
    {CONF_ROW(s, k, field, CONF_TYPE_LIST, reloads, text), .words = (d)},
#include "conf/keys.def"
};

const size_t conf_key_count = ARRAY_LEN(conf_keys);

const struct conf_key *conf_key_find(const char *name)
{
    for (size_t i = 0; i < conf_key_count; i++) {
        if (strcmp(conf_key_name(&conf_keys[i]), name) == 0)
            return &conf_keys[i];
    }
    return NULL;
}

bool conf_section_exists(const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < conf_key_count; i++) {
        const char *section = conf_keys[i].section;
        if (strncmp(section, name, len) == 0 && (section[len] == '\0' || section[len] == '.'))
            return len > 0;
    }
    return false;
}

#define NAME_MAX_COMPARED 96
#define EDITS_MAX         2u

/* Levenshtein's distance; anything beyond EDITS_MAX is as good as infinite. */
static unsigned edit_distance(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b);
    if (a_len > NAME_MAX_COMPARED || b_len > NAME_MAX_COMPARED)
        return UINT_MAX;

    unsigned row[NAME_MAX_COMPARED + 1];
    for (size_t j = 0; j <= b_len; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned replace = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = MIN(MIN(row[j], row[j - 1]) + 1, replace);
        }
    }
    return row[b_len];
}

const struct conf_key *conf_key_nearest(const char *name)
{
    const struct conf_key *nearest = NULL;
    unsigned best = EDITS_MAX + 1;
    for (size_t i = 0; i < conf_key_count; i++) {
        unsigned d = edit_distance(conf_key_name(&conf_keys[i]), name);
        if (d < best) {
            best = d;
            nearest = &conf_keys[i];
        }
    }
    if (nearest)
        return nearest;

    const char *dot = strrchr(name, '.');
    const char *last = dot ? dot + 1 : name;
    for (size_t i = 0; i < conf_key_count; i++) {
        if (strcmp(conf_keys[i].key, last) == 0)
            return &conf_keys[i];
    }
    return NULL;
}

const char *conf_section_nearest(const char *name)
{
    const char *nearest = NULL;
    unsigned best = EDITS_MAX + 1;
    for (size_t i = 0; i < conf_key_count; i++) {
        unsigned d = edit_distance(conf_keys[i].section, name);
        if (d < best && conf_keys[i].section[0]) {
            best = d;
            nearest = conf_keys[i].section;
        }
    }
    return nearest;
}

const char *conf_word_next(const char **pos, size_t *ret_len)
{
    const char *word = *pos;
    if (!word || *word == '\0')
        return NULL;
    *ret_len = strcspn(word, "|");
    *pos = word[*ret_len] ? word + *ret_len + 1 : NULL;
    return word;
}

const char *conf_range_text(const struct conf_key *k, char *buf)
{
    const char *space = k->unit[0] ? " " : "";
    if (k->max == INT64_MAX)
        snprintf(buf, CONF_RANGE_MAX, "%" PRId64 " or more%s%s", k->min, space, k->unit);
    else
        snprintf(buf, CONF_RANGE_MAX, "%" PRId64 " to %" PRId64 "%s%s", k->min, k->max, space,
                 k->unit);
    return buf;
}
