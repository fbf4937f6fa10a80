/*
 * A configuration as plain data: defaults, copies, comparison and release, key by key along the
 * table. Strings and lists are owned by their struct conf.
 */
#include "conf/conf.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "conf/key.h"

int conf_string_set(char **field, const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        return -ENOMEM;
    free(*field);
    *field = copy;
    return 0;
}

void conf_list_fini(struct conf_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct conf_list){0};
}

int conf_list_add(struct conf_list *list, const char *text, size_t len)
{
    char **items = reallocarray(list->items, list->count + 1, sizeof(*items));
    if (!items)
        return -ENOMEM;
    list->items = items;
    char *copy = strndup(text, len);
    if (!copy)
        return -ENOMEM;
    list->items[list->count++] = copy;
    return 0;
}

static int list_add_words(struct conf_list *list, const char *words)
{
    const char *word;
    size_t len;
    while ((word = conf_word_next(&words, &len))) {
        int rc = conf_list_add(list, word, len);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int list_copy(struct conf_list *ret, const struct conf_list *from)
{
    for (size_t i = 0; i < from->count; i++) {
        int rc = conf_list_add(ret, from->items[i], strlen(from->items[i]));
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int set_default(struct conf *c, const struct conf_key *k)
{
    void *field = conf_field(c, k);
    switch (k->type) {
    case CONF_TYPE_BOOL:
        *(bool *)field = k->def != 0;
        return 0;
    case CONF_TYPE_INT:
        *(int64_t *)field = k->def;
        return 0;
    case CONF_TYPE_ENUM:
        *(int *)field = (int)k->def;
        return 0;
    case CONF_TYPE_STRING:
        return conf_string_set(field, k->words);
    case CONF_TYPE_LIST:
        return list_add_words(field, k->words);
    }
    assert(false && "a key of no known type");
    return -EINVAL;
}

int conf_init(struct conf *c)
{
    *c = (struct conf){0};
    for (size_t i = 0; i < conf_key_count; i++) {
        int rc = set_default(c, &conf_keys[i]);
        if (rc < 0) {
            conf_fini(c);
            return rc;
        }
    }
    return 0;
}

void conf_fini(struct conf *c)
{
    for (size_t i = 0; i < conf_key_count; i++) {
        const struct conf_key *k = &conf_keys[i];
        if (k->type == CONF_TYPE_STRING)
            free(*(char **)conf_field(c, k));
        else if (k->type == CONF_TYPE_LIST)
            conf_list_fini(conf_field(c, k));
    }
    *c = (struct conf){0};
}

int conf_copy(struct conf *ret, const struct conf *from)
{
    struct conf copy = *from;
    int rc = 0;

    /* Nothing may be shared before something can fail. */
    for (size_t i = 0; i < conf_key_count; i++) {
        if (conf_keys[i].type == CONF_TYPE_STRING)
            *(char **)conf_field(&copy, &conf_keys[i]) = NULL;
        else if (conf_keys[i].type == CONF_TYPE_LIST)
            *(struct conf_list *)conf_field(&copy, &conf_keys[i]) = (struct conf_list){0};
    }
    for (size_t i = 0; i < conf_key_count && rc == 0; i++) {
        const struct conf_key *k = &conf_keys[i];
        if (k->type == CONF_TYPE_STRING)
            rc = conf_string_set(conf_field(&copy, k), *(char *const *)conf_field_const(from, k));
        else if (k->type == CONF_TYPE_LIST)
            rc = list_copy(conf_field(&copy, k), conf_field_const(from, k));
    }
    if (rc < 0) {
        conf_fini(&copy);
        return rc;
    }
    *ret = copy;
    return 0;
}

static bool list_equal(const struct conf_list *a, const struct conf_list *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->items[i], b->items[i]) != 0)
            return false;
    }
    return true;
}

bool conf_key_equal(const struct conf *a, const struct conf *b, const struct conf_key *k)
{
    const void *left = conf_field_const(a, k), *right = conf_field_const(b, k);
    switch (k->type) {
    case CONF_TYPE_BOOL:
        return *(const bool *)left == *(const bool *)right;
    case CONF_TYPE_INT:
        return *(const int64_t *)left == *(const int64_t *)right;
    case CONF_TYPE_ENUM:
        return *(const int *)left == *(const int *)right;
    case CONF_TYPE_STRING:
        return strcmp(*(char *const *)left, *(char *const *)right) == 0;
    case CONF_TYPE_LIST:
        return list_equal(left, right);
    }
    assert(false && "a key of no known type");
    return false;
}

unsigned conf_reload_conflicts(const struct conf *running, const struct conf *wanted, char *buf,
                               size_t size)
{
    unsigned count = 0;
    size_t used = 0;
    bool room = true;

    if (size > 0)
        buf[0] = '\0';
    for (size_t i = 0; i < conf_key_count; i++) {
        const struct conf_key *k = &conf_keys[i];
        if (k->reload || conf_key_equal(running, wanted, k))
            continue;
        count++;
        size_t len = strlen(conf_key_name(k));
        room = room && used + len + 2 <= size; /* line feed and NUL; only whole names */
        if (!room)
            continue;
        memcpy(buf + used, conf_key_name(k), len);
        used += len;
        buf[used++] = '\n';
        buf[used] = '\0';
    }
    return count;
}

/*
 * The table has the words of a key in one text; here each ends in a NUL. The choices of all keys
 * one after the other, in the order of the table; filled once, read-only from then on.
 */
static char words[0
#define CONF_ENUM(section, key, field, def, choices, reload, doc) +sizeof(choices)
#include "conf/keys.def"
];
static pthread_once_t words_once = PTHREAD_ONCE_INIT;

static void split_words(void)
{
    char *at = words;
    for (size_t i = 0; i < conf_key_count; i++) {
        if (conf_keys[i].type != CONF_TYPE_ENUM)
            continue;
        for (const char *from = conf_keys[i].words; *from; from++)
            *at++ = *from == '|' ? '\0' : *from;
        *at++ = '\0';
    }
    assert(at == words + sizeof(words));
}

const char *conf_word(const char *key, int value)
{
    const char *at = words;
    pthread_once(&words_once, split_words);
    for (size_t i = 0; i < conf_key_count; i++) {
        if (conf_keys[i].type != CONF_TYPE_ENUM)
            continue;
        size_t len = strlen(conf_keys[i].words) + 1;
        if (strcmp(conf_key_name(&conf_keys[i]), key) != 0) {
            at += len;
            continue;
        }
        for (const char *end = at + len; at < end; at += strlen(at) + 1) {
            if (value-- == 0)
                return at;
        }
        break;
    }
    return "?";
}
