/*
 * Makes the documents that come from the client's tables, or tells whether a written one is
 * still the same: client-doc manual|bash|zsh|fish [--check] FILE
 *
 * Of the manual page only the sections between marks are made; the rest is kept.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "client/doc.h"

static const char begin_mark[] = ".\\\" begin ";
static const char end_mark[] = ".\\\" end ";

static void write_section(const char *name, FILE *out)
{
    if (strncmp(name, "options", 7) == 0)
        client_doc_manual_options(out);
    else if (strncmp(name, "codes", 5) == 0)
        client_doc_manual_codes(out);
}

/* The page with its sections made anew. */
static void write_manual(FILE *old, FILE *out)
{
    bool inside = false;
    char *line = NULL;
    size_t size = 0;

    while (getline(&line, &size, old) >= 0) {
        if (strncmp(line, end_mark, sizeof(end_mark) - 1) == 0)
            inside = false;
        if (!inside)
            fputs(line, out);
        if (strncmp(line, begin_mark, sizeof(begin_mark) - 1) == 0) {
            write_section(line + sizeof(begin_mark) - 1, out);
            inside = true;
        }
    }
    free(line);
}

static int write_document(const char *kind, FILE *old, FILE *out)
{
    if (strcmp(kind, "manual") == 0 && old)
        write_manual(old, out);
    else if (strcmp(kind, "bash") == 0)
        client_doc_bash(out);
    else if (strcmp(kind, "zsh") == 0)
        client_doc_zsh(out);
    else if (strcmp(kind, "fish") == 0)
        client_doc_fish(out);
    else
        return EX_USAGE;
    return EX_OK;
}

static bool is_same(FILE *file, const char *text, size_t len)
{
    char *have = malloc(len + 1);
    bool same = false;

    if (file && have) {
        rewind(file);
        same = fread(have, 1, len + 1, file) == len && memcmp(have, text, len) == 0;
    }
    free(have);
    return same;
}

static int replace(const char *path, const char *text, size_t len)
{
    FILE *file = fopen(path, "we");
    bool good = file && fwrite(text, 1, len, file) == len;

    if (file && fclose(file) != 0)
        good = false;
    if (!good)
        fprintf(stderr, "client-doc: %s: %s\n", path, strerror(errno));
    return good ? EX_OK : EX_CANTCREAT;
}

static int run(const char *kind, const char *path, bool check)
{
    FILE *old = fopen(path, "re");
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    int rc = out ? write_document(kind, old, out) : EX_OSERR;

    if (out && fclose(out) != 0)
        rc = EX_OSERR;
    if (rc == EX_OK && check && !is_same(old, text, len)) {
        fprintf(stderr, "%s differs from the tables of the client; run: client-doc %s %s\n", path,
                kind, path);
        rc = EX_DATAERR;
    } else if (rc == EX_OK && !check) {
        rc = replace(path, text, len);
    }
    if (old)
        fclose(old);
    free(text);
    return rc;
}

int main(int argc, char **argv)
{
    bool check = argc == 4 && strcmp(argv[2], "--check") == 0;
    int rc = argc == 3 || check ? run(argv[1], argv[argc - 1], check) : EX_USAGE;

    if (rc == EX_USAGE)
        fputs("usage: client-doc manual|bash|zsh|fish [--check] FILE\n", stderr);
    return rc;
}
