/*
 * "section.key=value" of the command line. Bare words become TOML strings first, so that every
 * value goes the same way as one from a file.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/key.h"

#define NAME_SIZE 256

static const struct conf_origin origin = {.name = "-o", .places = false};
static const struct toml_place nowhere;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* text[*len] without blanks around it. */
static const char *trim(const char *text, size_t *len)
{
    while (*len > 0 && is_blank(*text)) {
        text++;
        (*len)--;
    }
    while (*len > 0 && is_blank(text[*len - 1]))
        (*len)--;
    return text;
}

/*
 * Whether the value is TOML already. "[" alone does not make it a list: [::]:69 is an address
 * and [ab]* a pattern.
 */
static bool is_toml(enum conf_type type, const char *value)
{
    if (type == CONF_TYPE_BOOL || type == CONF_TYPE_INT)
        return true;
    if (*value == '"' || *value == '\'')
        return true;
    if (type != CONF_TYPE_LIST || *value != '[')
        return false;
    do
        value++;
    while (is_blank(*value));
    return *value == '"' || *value == '\'' || *value == ']';
}

static void write_words(FILE *out, const char *value, size_t len)
{
    const char *end = value + len;
    fputc('[', out);
    while (value < end) {
        const char *comma = memchr(value, ',', (size_t)(end - value));
        size_t word_len = (size_t)((comma ? comma : end) - value);
        const char *word = trim(value, &word_len);
        conf_write_quoted(out, word, word_len);
        fputc(',', out);
        value = comma ? comma + 1 : end;
    }
    fputc(']', out);
}

/* A TOML document with the value as its only key; *ret is to be freed. -ENOMEM. */
static int make_document(const struct conf_key *k, const char *value, size_t len, char **ret,
                         size_t *ret_len)
{
    *ret = NULL;
    FILE *out = open_memstream(ret, ret_len);
    if (!out)
        return -ENOMEM;
    fputs("value = ", out);
    if (is_toml(k->type, value))
        fwrite(value, 1, len, out);
    else if (k->type == CONF_TYPE_LIST)
        write_words(out, value, len);
    else
        conf_write_quoted(out, value, len);
    fputc('\n', out);

    bool failed = ferror(out);
    failed |= fclose(out) != 0;
    if (failed || !*ret) { /* glibc 2.36 closes one without a buffer as if all were well */
        free(*ret);
        return -ENOMEM;
    }
    return 0;
}

static int set_value(struct conf *c, const struct conf_key *k, const char *value, size_t len,
                     struct conf_error *ret)
{
    struct toml_error error;
    struct toml_doc *doc;
    char *text;
    size_t text_len;

    int rc = make_document(k, value, len, &text, &text_len);
    if (rc < 0)
        return conf_fail_errno(ret, origin.name, -rc);
    rc = toml_parse(&doc, text, text_len, &error);
    free(text);
    if (rc == -EINVAL)
        return conf_fail(ret, &origin, nowhere, "%s: %s", conf_key_name(k), error.text);
    if (rc < 0)
        return conf_fail_errno(ret, origin.name, -rc);

    const struct toml_node *node = toml_root(doc)->child;
    if (!node || node->sibling)
        rc = conf_fail(ret, &origin, nowhere, "%s: expected one value", conf_key_name(k));
    else
        rc = conf_assign(c, k, node, &origin, ret);
    toml_free(doc);
    return rc;
}

int conf_set(struct conf *c, const char *assignment, struct conf_error *ret)
{
    const char *equals = strchr(assignment, '=');
    if (!equals)
        return conf_fail(ret, &origin, nowhere, "%s: expected section.key=value", assignment);

    char name[NAME_SIZE];
    size_t name_len = (size_t)(equals - assignment), len = strlen(equals + 1);
    const char *name_from = trim(assignment, &name_len);
    snprintf(name, sizeof(name), "%.*s", (int)MIN(name_len, sizeof(name) - 1), name_from);
    const char *value = trim(equals + 1, &len);

    const struct conf_key *k = conf_key_find(name);
    if (k)
        return set_value(c, k, value, len, ret);
    if (conf_section_exists(name))
        return conf_fail(ret, &origin, nowhere, "%s: is a section; expected %s.KEY=VALUE", name,
                         name);
    return conf_fail_unknown(ret, &origin, nowhere, name, false);
}
