/*
 * Makes the documents that come from the table of keys, and tells whether a written one is
 * still the same: conf-doc sample|markdown|manual [--check FILE]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "conf/conf.h"

static int write_document(const char *kind, FILE *out)
{
    struct conf c;

    if (strcmp(kind, "markdown") == 0) {
        conf_markdown(out);
    } else if (strcmp(kind, "manual") == 0) {
        conf_manual(out);
    } else if (strcmp(kind, "sample") == 0) {
        if (conf_init(&c) < 0)
            return EX_OSERR;
        conf_dump(&c, true, out);
        conf_fini(&c);
    } else {
        fprintf(stderr, "conf-doc: %s: no such document\n", kind);
        return EX_USAGE;
    }
    return EX_OK;
}

/* Whether the file holds exactly this text. */
static bool is_same(const char *path, const char *text, size_t len)
{
    FILE *file = fopen(path, "re");
    char *have = malloc(len + 1);
    bool same = false;

    if (file && have) {
        size_t n = fread(have, 1, len + 1, file);
        same = n == len && memcmp(have, text, len) == 0;
    }
    free(have);
    if (file)
        fclose(file);
    return same;
}

static int check_document(const char *kind, const char *path)
{
    char *text;
    size_t len;

    FILE *out = open_memstream(&text, &len);
    if (!out)
        return EX_OSERR;
    int rc = write_document(kind, out);
    if (fclose(out) != 0)
        rc = EX_OSERR;
    if (rc == EX_OK && !is_same(path, text, len)) {
        fprintf(stderr, "%s differs from the table of keys; run: conf-doc %s > %s\n", path, kind,
                path);
        rc = EX_DATAERR;
    }
    free(text);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc == 2)
        return write_document(argv[1], stdout);
    if (argc == 4 && strcmp(argv[2], "--check") == 0)
        return check_document(argv[1], argv[3]);
    fputs("usage: conf-doc sample|markdown|manual [--check FILE]\n", stderr);
    return EX_USAGE;
}
