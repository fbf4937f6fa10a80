/*
 * The keys as a part of the manual page and as Markdown.
 */
#include "conf/doc.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"

/* "131072 (128 KiB)": the second part for sizes that are whole multiples. */
static void write_number(FILE *out, int64_t value, const char *unit)
{
    static const char *const sizes[] = {"", "KiB", "MiB", "GiB", "TiB"};
    size_t i = 0;
    int64_t rest = value;

    fprintf(out, "%" PRId64, value);
    if (strcmp(unit, "bytes") != 0)
        return;
    while (rest != 0 && rest % 1024 == 0 && i + 1 < ARRAY_LEN(sizes)) {
        rest /= 1024;
        i++;
    }
    if (i > 0)
        fprintf(out, " (%" PRId64 " %s)", rest, sizes[i]);
}

static void write_words(FILE *out, const char *words, const char *between)
{
    const char *word;
    size_t len;
    for (const char *pos = words; (word = conf_word_next(&pos, &len));)
        fprintf(out, "%s%.*s", word == words ? "" : between, (int)len, word);
}

static void write_type(FILE *out, const struct conf_key *k)
{
    switch (k->type) {
    case CONF_TYPE_BOOL:
        fputs("true or false", out);
        break;
    case CONF_TYPE_INT:
        write_number(out, k->min, k->unit);
        if (k->max == INT64_MAX) {
            fputs(" or more", out);
        } else {
            fputs(" to ", out);
            write_number(out, k->max, k->unit);
        }
        fprintf(out, "%s%s", k->unit[0] ? " " : "", k->unit);
        break;
    case CONF_TYPE_STRING:
        fputs("string", out);
        break;
    case CONF_TYPE_ENUM:
        write_words(out, k->words, ", ");
        break;
    case CONF_TYPE_LIST:
        fputs("list of strings", out);
        break;
    }
}

static void write_default(FILE *out, const struct conf_key *k)
{
    switch (k->type) {
    case CONF_TYPE_BOOL:
        fputs(k->def ? "true" : "false", out);
        break;
    case CONF_TYPE_INT:
        if (k->def < k->min || k->def > k->max)
            fputs("absent", out);
        else
            write_number(out, k->def, k->unit);
        break;
    case CONF_TYPE_ENUM:
        fputs(conf_word(conf_key_name(k), (int)k->def), out);
        break;
    case CONF_TYPE_STRING:
        fputs(k->words[0] ? k->words : "empty", out);
        break;
    case CONF_TYPE_LIST:
        write_words(out, k->words[0] ? k->words : "empty", ", ");
        break;
    }
}

void conf_doc_facts(FILE *out, const struct conf_key *k)
{
    fputs("Value: ", out);
    write_type(out, k);
    fputs(". Default: ", out);
    write_default(out, k);
    fputs(k->reload ? ". Reload takes a change over." : ". A change needs a restart.", out);
}

/* What a writer prints, as one string to be freed; NULL when memory ran out. */
static char *text_of(void (*write)(FILE *, const struct conf_key *), const struct conf_key *k)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return NULL;
    write(out, k);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* Text lines of mdoc: a sentence to a line, nothing taken for a macro or an escape. */
static void write_mdoc(FILE *out, const char *text)
{
    bool line_start = true;
    for (const char *at = text; *at; at++) {
        if (line_start && (*at == '.' || *at == '\''))
            fputs("\\&", out);
        line_start = false;
        if (*at == '\\') {
            fputs("\\e", out);
        } else if (*at == '.' && at[1] == ' ') {
            fputs(".\n", out);
            at++;
            line_start = true;
        } else {
            fputc(*at, out);
        }
    }
    fputc('\n', out);
}

void conf_manual(FILE *out)
{
    fputs(
        ".\\\" Made from the table of keys by conf-doc.\n"
        ".Dd November 25, 2026\n"
        ".Dt RINGTFTPD.TOML 5\n"
        ".Os\n"
        ".Sh NAME\n"
        ".Nm ringtftpd.toml\n"
        ".Nd configuration of ringtftpd\n"
        ".Sh DESCRIPTION\n"
        "The file that\n"
        ".Xr ringtftpd 8\n"
        "reads by\n"
        ".Fl c\n"
        "is TOML; every key may be left out.\n"
        "A key\n"
        ".Cm section.key\n"
        "stands as\n"
        ".Cm key\n"
        "below the line\n"
        ".Li [section] .\n"
        "Unknown keys, wrong types and values out of range are errors.\n"
        ".Pp\n"
        "The option\n"
        ".Fl o Ar section.key=value\n"
        "sets any key from the command line, after the file: the value is TOML, and where a string "
        "is\nexpected, bare words do as well, for a list with commas between them.\n"
        ".Sh KEYS\n"
        ".Bl -tag -width Ds\n",
        out);
    for (size_t i = 0; i < conf_key_count; i++) {
        const struct conf_key *k = &conf_keys[i];
        char *facts = text_of(conf_doc_facts, k);
        fprintf(out, ".It Cm %s\n", conf_key_name(k));
        write_mdoc(out, k->doc);
        if (facts)
            write_mdoc(out, facts);
        free(facts);
    }
    fputs(".El\n.Sh SEE ALSO\n.Xr ringtftpd 8\n", out);
}

/* Text in a cell of a Markdown table. */
static void write_markdown(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (strchr("*_|<>[]\\`", *text))
            fputc('\\', out);
        fputc(*text, out);
    }
}

/* The same, as code: only the bar has a meaning there. */
static void write_markdown_code(FILE *out, const char *text)
{
    fputc('`', out);
    for (; *text; text++) {
        if (*text == '|')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputc('`', out);
}

static void write_row(FILE *out, const struct conf_key *k)
{
    char *type = text_of(write_type, k), *def = text_of(write_default, k);

    fputs("| ", out);
    write_markdown_code(out, k->key);
    fputs(" | ", out);
    write_markdown(out, type ? type : "");
    fputs(" | ", out);
    if (def && !strchr(def, '*'))
        write_markdown(out, def);
    else if (def)
        write_markdown_code(out, def);
    fprintf(out, " | %s | ", k->reload ? "reload" : "restart");
    write_markdown(out, k->doc);
    fputs(" |\n", out);
    free(type);
    free(def);
}

void conf_markdown(FILE *out)
{
    const char *section = NULL;

    fputs("# Configuration\n\n"
          "`ringtftpd -c FILE` reads a TOML file; every key may be left out. "
          "`-o section.key=value` sets any key\nfrom the command line, after the file: "
          "the value is TOML, and where a string is expected, bare words\ndo as well, for a list "
          "with commas between them. `--check-config` only checks, `--dump-config` prints\nall "
          "keys with the values in effect.\n\n"
          "Unknown keys, wrong types and values out of range are errors, each with file, line, "
          "column and what\nwas expected. A change of a key marked *reload* is taken over by a "
          "running server when it reloads its\nconfiguration, one marked *restart* is not.\n",
          out);
    for (size_t i = 0; i < conf_key_count; i++) {
        const struct conf_key *k = &conf_keys[i];
        if (!section || strcmp(section, k->section) != 0) {
            section = k->section;
            if (section[0])
                fprintf(out, "\n## [%s]\n", section);
            else
                fputs("\n## Top of the file\n", out);
            fputs("\n| Key | Value | Default | Change by | Meaning |\n"
                  "| --- | --- | --- | --- | --- |\n",
                  out);
        }
        write_row(out, k);
    }
}
