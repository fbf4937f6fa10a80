/*
 * Reading TOML: the tree is walked against the table of keys. All of a text is taken over, or
 * nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/conf.h"
#include "conf/key.h"

#define FILE_SIZE_MAX ((size_t)1 << 20)
#define PATH_SIZE     256 /* of a dotted name; no key's is near it */

struct reader {
    struct conf *conf;
    struct conf_origin from;
    struct conf_error *ret;   /* the mistake that stands first in the text */
    struct toml_place failed; /* where that is; line 0: none so far */
};

static bool is_before(struct toml_place a, struct toml_place b)
{
    return a.line != b.line ? a.line < b.line : a.column < b.column;
}

/* The tree is not in the order of the text, the report of the first mistake is. */
static int keep_first(struct reader *r, struct toml_place at, const struct conf_error *error)
{
    if (r->failed.line == 0 || is_before(at, r->failed)) {
        r->failed = at;
        *r->ret = *error;
    }
    return 0;
}

static int read_table(struct reader *r, const struct toml_node *table, const char *path);

static int read_entry(struct reader *r, const struct toml_node *node, const char *path)
{
    struct conf_error error;
    char name[PATH_SIZE];
    int rc;

    snprintf(name, sizeof(name), "%s%s%s", path, path[0] ? "." : "", node->name);
    /* A quoted key may hold a dot or a NUL and only look like one of ours. */
    bool plain = strlen(node->name) == node->name_len && !strchr(node->name, '.');
    const struct conf_key *k = plain ? conf_key_find(name) : NULL;

    if (k) {
        rc = conf_assign(r->conf, k, node, &r->from, &error);
    } else if (plain && conf_section_exists(name)) {
        if (node->kind == TOML_KIND_TABLE)
            return read_table(r, node, name);
        rc = conf_fail(&error, &r->from, node->key,
                       "%s: is a section, not a key; expected [%s] and its keys below", name, name);
    } else {
        rc = conf_fail_unknown(&error, &r->from, node->key, name, node->kind == TOML_KIND_TABLE);
    }
    if (rc == -EINVAL)
        return keep_first(r, node->key, &error);
    if (rc < 0)
        *r->ret = error;
    return rc;
}

static int read_table(struct reader *r, const struct toml_node *table, const char *path)
{
    for (const struct toml_node *node = table->child; node; node = node->sibling) {
        int rc = read_entry(r, node, path);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int conf_read_text(struct conf *c, const char *text, size_t len, const char *name,
                   struct conf_error *ret)
{
    struct reader r = {.from = {.name = name, .places = true}, .ret = ret};
    struct toml_error error;
    struct toml_doc *doc;
    struct conf fresh;

    int rc = toml_parse(&doc, text, len, &error);
    if (rc == -EINVAL)
        return conf_fail(ret, &r.from, error.place, "%s", error.text);
    if (rc < 0)
        return conf_fail_errno(ret, name, -rc);

    rc = conf_copy(&fresh, c);
    if (rc < 0) {
        conf_fail_errno(ret, name, -rc);
        goto out;
    }
    r.conf = &fresh;
    rc = read_table(&r, toml_root(doc), "");
    if (rc == 0 && r.failed.line != 0)
        rc = -EINVAL;
    if (rc == 0) {
        struct conf old = *c;
        *c = fresh;
        fresh = old;
    }
    conf_fini(&fresh);
out:
    toml_free(doc);
    return rc;
}

/* Reads to the end, from a pipe too; *ret is to be freed. */
static int read_all(int fd, char **ret, size_t *ret_len)
{
    char *text = malloc(FILE_SIZE_MAX + 1);
    size_t len = 0;
    int rc = 0;

    if (!text)
        return -ENOMEM;
    for (;;) {
        ssize_t n = read(fd, text + len, FILE_SIZE_MAX + 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = -errno;
        if (n <= 0)
            break;
        len += (size_t)n;
        if (len > FILE_SIZE_MAX) {
            rc = -EFBIG;
            break;
        }
    }
    if (rc < 0) {
        free(text);
        return rc;
    }
    *ret = text;
    *ret_len = len;
    return 0;
}

int conf_read_file(struct conf *c, const char *path, struct conf_error *ret)
{
    char *text;
    size_t len;

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return conf_fail_errno(ret, path, errno);
    int rc = read_all(fd, &text, &len);
    close(fd);
    if (rc < 0)
        return conf_fail_errno(ret, path, -rc);
    rc = conf_read_text(c, text, len, path, ret);
    free(text);
    return rc;
}
