/*
 * A configuration as TOML; with comments it is the sample file.
 */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/doc.h"
#include "conf/key.h"

#define COMMENT_WIDTH 78 /* without "# " */

void conf_write_quoted(FILE *out, const char *text, size_t len)
{
    fputc('"', out);
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte == '"' || byte == '\\')
            fprintf(out, "\\%c", byte);
        else if (byte < 0x20 || byte == 0x7f)
            fprintf(out, "\\u%04X", byte);
        else
            fputc(byte, out);
    }
    fputc('"', out);
}

static void write_list(FILE *out, const struct conf_list *list)
{
    /* Long ones get a line for each item. */
    bool tall = list->count > 3;

    fputc('[', out);
    for (size_t i = 0; i < list->count; i++) {
        fputs(tall ? "\n    " : i ? ", " : "", out);
        conf_write_quoted(out, list->items[i], strlen(list->items[i]));
        if (tall)
            fputc(',', out);
    }
    fputs(tall ? "\n]" : "]", out);
}

static bool is_number(const char *word)
{
    return word[0] != '\0' && word[strspn(word, "0123456789")] == '\0';
}

void conf_write_value(FILE *out, const struct conf *c, const struct conf_key *k)
{
    const void *field = conf_field_const(c, k);
    const char *text;

    switch (k->type) {
    case CONF_TYPE_BOOL:
        fputs(*(const bool *)field ? "true" : "false", out);
        break;
    case CONF_TYPE_INT:
        fprintf(out, "%" PRId64, *(const int64_t *)field);
        break;
    case CONF_TYPE_ENUM:
        text = conf_word(conf_key_name(k), *(const int *)field);
        if (is_number(text))
            fputs(text, out);
        else
            conf_write_quoted(out, text, strlen(text));
        break;
    case CONF_TYPE_STRING:
        text = *(char *const *)field;
        conf_write_quoted(out, text, strlen(text));
        break;
    case CONF_TYPE_LIST:
        write_list(out, field);
        break;
    }
}

bool conf_key_present(const struct conf *c, const struct conf_key *k)
{
    if (k->type != CONF_TYPE_INT)
        return true;
    int64_t value = *(const int64_t *)conf_field_const(c, k);
    return value >= k->min && value <= k->max;
}

/* Text as comment lines, broken between words. */
static void write_comment(FILE *out, const char *text)
{
    size_t column = 0;
    while (*text) {
        size_t len = strcspn(text, " ");
        if (column > 0 && column + 1 + len > COMMENT_WIDTH) {
            fputc('\n', out);
            column = 0;
        }
        if (column == 0)
            fputc('#', out);
        fprintf(out, " %.*s", (int)len, text);
        column += 1 + len;
        text += len;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static void write_key_comment(FILE *out, const struct conf_key *k)
{
    char *facts;
    size_t len;

    fputc('\n', out);
    write_comment(out, k->doc);
    FILE *text = open_memstream(&facts, &len);
    if (!text)
        return; /* the dump is complete without its comments */
    conf_doc_facts(text, k);
    if (fclose(text) == 0)
        write_comment(out, facts);
    free(facts);
}

void conf_dump(const struct conf *c, bool comments, FILE *out)
{
    const char *section = "";

    if (comments)
        write_comment(out, "Configuration of ringtftpd. Every key may be left out and has the "
                           "default named here then; any can be set on the command line by "
                           "-o section.key=value.");
    for (size_t i = 0; i < conf_key_count; i++) {
        const struct conf_key *k = &conf_keys[i];
        bool present = conf_key_present(c, k);
        if (strcmp(section, k->section) != 0) {
            section = k->section;
            fprintf(out, "\n[%s]\n", section);
        }
        if (comments)
            write_key_comment(out, k);
        if (!present && !comments)
            continue;
        if (present) {
            fprintf(out, "%s = ", k->key);
            conf_write_value(out, c, k);
        } else {
            fprintf(out, "#%s = %" PRId64, k->key, k->min);
        }
        fputc('\n', out);
    }
}
