/*
 * One key takes one TOML value: types and ranges, and the sentences about what does not fit.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "conf/key.h"
#include "conf/rule.h"

#define SHOWN_MAX 80 /* a value or name of the user's, in a sentence */

int conf_fail(struct conf_error *ret, const struct conf_origin *from, struct toml_place at,
              const char *format, ...)
{
    int len;
    if (from->places)
        len = snprintf(ret->text, sizeof(ret->text), "%s:%u:%u: ", from->name, at.line, at.column);
    else
        len = snprintf(ret->text, sizeof(ret->text), "%s ", from->name);
    size_t used = len < 0 ? 0 : MIN((size_t)len, sizeof(ret->text) - 1);

    va_list args;
    va_start(args, format);
    vsnprintf(ret->text + used, sizeof(ret->text) - used, format, args);
    va_end(args);
    return -EINVAL;
}

int conf_fail_errno(struct conf_error *ret, const char *name, int err)
{
    char reason[128];
    snprintf(ret->text, sizeof(ret->text), "%s: %s", name, strerror_r(err, reason, sizeof(reason)));
    return -err;
}

static const char *escape_text(const char *text, size_t len, char *buf, size_t size)
{
    return escape_bytes((struct view){(const uint8_t *)text, len}, buf, size);
}

int conf_fail_unknown(struct conf_error *ret, const struct conf_origin *from, struct toml_place at,
                      const char *name, bool is_section)
{
    char shown[SHOWN_MAX];
    escape_text(name, strlen(name), shown, sizeof(shown));
    const char *what = is_section ? "section" : "key";

    const char *section = is_section ? conf_section_nearest(name) : NULL;
    if (section)
        return conf_fail(ret, from, at, "%s: unknown section, did you mean [%s]?", shown, section);
    const struct conf_key *key = conf_key_nearest(name);
    if (key)
        return conf_fail(ret, from, at, "%s: unknown %s, did you mean %s?", shown, what,
                         conf_key_name(key));
    return conf_fail(ret, from, at, "%s: unknown %s", shown, what);
}

static const char *kind_text(enum toml_kind kind)
{
    switch (kind) {
    case TOML_KIND_TABLE:
        return "a section";
    case TOML_KIND_ARRAY:
        return "a list";
    case TOML_KIND_STRING:
        return "a string";
    case TOML_KIND_INTEGER:
        return "an integer";
    case TOML_KIND_FLOAT:
        return "a number with a fraction";
    case TOML_KIND_BOOL:
        return "true or false";
    case TOML_KIND_TIME:
        return "a date or time";
    }
    return "something else";
}

static const char *type_text(enum conf_type type)
{
    switch (type) {
    case CONF_TYPE_BOOL:
        return "true or false";
    case CONF_TYPE_INT:
        return "an integer";
    case CONF_TYPE_LIST:
        return "a list of strings";
    case CONF_TYPE_STRING:
    case CONF_TYPE_ENUM:
        return "a string";
    }
    return "something else";
}

static int fail_type(const struct conf_key *k, const struct toml_node *v,
                     const struct conf_origin *from, struct conf_error *ret)
{
    if (v->kind == TOML_KIND_TABLE)
        return conf_fail(ret, from, v->name ? v->key : v->place,
                         "%s: is a key, not a section; expected %s", conf_key_name(k),
                         type_text(k->type));
    return conf_fail(ret, from, v->place, "%s: expected %s, found %s", conf_key_name(k),
                     type_text(k->type), kind_text(v->kind));
}

/* The fields end at a NUL, so one inside would cut the value short unseen. */
static bool has_nul(const struct toml_node *v)
{
    return memchr(v->string, '\0', v->string_len) != NULL;
}

static int fail_nul(const struct conf_key *k, const struct toml_node *v,
                    const struct conf_origin *from, struct conf_error *ret)
{
    return conf_fail(ret, from, v->place, "%s: the string contains a NUL character",
                     conf_key_name(k));
}

static int assign_int(struct conf *c, const struct conf_key *k, const struct toml_node *v,
                      const struct conf_origin *from, struct conf_error *ret)
{
    char range[CONF_RANGE_MAX];
    if (v->kind != TOML_KIND_INTEGER)
        return fail_type(k, v, from, ret);
    if (v->integer < k->min || v->integer > k->max)
        return conf_fail(ret, from, v->place, "%s: %" PRId64 " is out of range, expected %s",
                         conf_key_name(k), v->integer, conf_range_text(k, range));
    *(int64_t *)conf_field(c, k) = v->integer;
    return 0;
}

static int assign_enum(struct conf *c, const struct conf_key *k, const struct toml_node *v,
                       const struct conf_origin *from, struct conf_error *ret)
{
    char number[24], choices[256] = "", shown[SHOWN_MAX];
    const char *text = v->string, *pos = k->words, *word;
    size_t text_len = v->string_len, len, used = 0;

    if (v->kind == TOML_KIND_INTEGER && strpbrk(k->words, "0123456789")) {
        /* A choice that is a number may be written as one. */
        text_len = (size_t)snprintf(number, sizeof(number), "%" PRId64, v->integer);
        text = number;
    } else if (v->kind != TOML_KIND_STRING) {
        return fail_type(k, v, from, ret);
    }

    for (int index = 0; (word = conf_word_next(&pos, &len)); index++) {
        if (len == text_len && memcmp(word, text, len) == 0) {
            *(int *)conf_field(c, k) = index;
            return 0;
        }
        if (used < sizeof(choices))
            used += (size_t)snprintf(choices + used, sizeof(choices) - used, "%s%.*s",
                                     index ? ", " : "", (int)len, word);
    }
    return conf_fail(ret, from, v->place, "%s: \"%s\" is not one of: %s", conf_key_name(k),
                     escape_text(text, text_len, shown, sizeof(shown)), choices);
}

static int assign_string(struct conf *c, const struct conf_key *k, const struct toml_node *v,
                         const struct conf_origin *from, struct conf_error *ret)
{
    if (v->kind != TOML_KIND_STRING)
        return fail_type(k, v, from, ret);
    if (has_nul(v))
        return fail_nul(k, v, from, ret);
    return conf_string_set(conf_field(c, k), v->string);
}

/* Lists whose items have a form of their own: the place of a mistake is known only here. */
static int check_item(const struct conf_key *k, const struct toml_node *item, unsigned n,
                      const struct conf_origin *from, struct conf_error *ret)
{
    char wrong[CONF_RULE_ERROR_MAX];
    struct conf_rule rule;

    if (strcmp(conf_key_name(k), "access.rules") != 0 ||
        conf_rule_parse(&rule, item->string, wrong) == 0)
        return 0;
    return conf_fail(ret, from, item->place, "%s: item %u: %s", conf_key_name(k), n, wrong);
}

static int collect_items(struct conf_list *list, const struct conf_key *k,
                         const struct toml_node *v, const struct conf_origin *from,
                         struct conf_error *ret)
{
    /* A string alone is a list of one. */
    const struct toml_node *item = v->kind == TOML_KIND_STRING ? v : v->child;
    for (unsigned n = 1; item; n++, item = item == v ? NULL : item->sibling) {
        if (item->kind != TOML_KIND_STRING)
            return conf_fail(ret, from, item->place, "%s: item %u: expected a string, found %s",
                             conf_key_name(k), n, kind_text(item->kind));
        if (has_nul(item))
            return fail_nul(k, item, from, ret);
        int rc = check_item(k, item, n, from, ret);
        if (rc < 0)
            return rc;
        rc = conf_list_add(list, item->string, item->string_len);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int assign_list(struct conf *c, const struct conf_key *k, const struct toml_node *v,
                       const struct conf_origin *from, struct conf_error *ret)
{
    if (v->kind != TOML_KIND_STRING && v->kind != TOML_KIND_ARRAY)
        return fail_type(k, v, from, ret);

    struct conf_list list = {0};
    int rc = collect_items(&list, k, v, from, ret);
    if (rc < 0) {
        conf_list_fini(&list);
        return rc;
    }
    conf_list_fini(conf_field(c, k));
    *(struct conf_list *)conf_field(c, k) = list;
    return 0;
}

int conf_assign(struct conf *c, const struct conf_key *k, const struct toml_node *value,
                const struct conf_origin *from, struct conf_error *ret)
{
    int rc = -EINVAL;
    switch (k->type) {
    case CONF_TYPE_BOOL:
        if (value->kind != TOML_KIND_BOOL)
            return fail_type(k, value, from, ret);
        *(bool *)conf_field(c, k) = value->boolean;
        return 0;
    case CONF_TYPE_INT:
        return assign_int(c, k, value, from, ret);
    case CONF_TYPE_ENUM:
        return assign_enum(c, k, value, from, ret);
    case CONF_TYPE_STRING:
        rc = assign_string(c, k, value, from, ret);
        break;
    case CONF_TYPE_LIST:
        rc = assign_list(c, k, value, from, ret);
        break;
    }
    if (rc == -ENOMEM)
        return conf_fail_errno(ret, from->name, ENOMEM);
    return rc;
}
