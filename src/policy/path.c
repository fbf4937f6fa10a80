/*
 * Names and patterns. Pure: no file system, no allocation.
 */
#include <errno.h>
#include <string.h>

#include "policy/path.h"

#define COMPONENT_MAX 255 /* NAME_MAX of every file system we know */

static bool is_control(uint8_t c)
{
    return c < 0x20 || c == 0x7F;
}

static bool is_dots(struct view c)
{
    return (c.n == 1 && c.p[0] == '.') || (c.n == 2 && c.p[0] == '.' && c.p[1] == '.');
}

static bool is_staged(struct view c)
{
    size_t n = sizeof(PATH_STAGED_PREFIX) - 1;
    return c.n >= n && memcmp(c.p, PATH_STAGED_PREFIX, n) == 0;
}

/* Cuts the next component off `name`, leading slashes skipped; empty at the end. */
static struct view next_component(struct view *name)
{
    size_t from = 0;
    while (from < name->n && name->p[from] == '/')
        from++;
    size_t to = from;
    while (to < name->n && name->p[to] != '/')
        to++;
    if (to == 0)
        return *name; /* nothing is left, perhaps not even a pointer */
    struct view component = view_of(name->p + from, to - from);
    *name = view_of(name->p + to, name->n - to);
    return component;
}

int path_normalise(struct view name, char *buf, size_t size)
{
    for (size_t i = 0; i < name.n; i++) {
        if (is_control(name.p[i]))
            return -EACCES;
    }

    /* A name that cannot exist is still read to its end: a refusal weighs more. */
    bool missing = name.n && name.p[name.n - 1] == '/';
    size_t len = 0;
    bool any = false;
    for (;;) {
        struct view c = next_component(&name);
        if (c.n == 0)
            break;
        if (is_dots(c))
            return -EACCES;
        size_t slash = any ? 1 : 0;
        any = true;
        if (c.n > COMPONENT_MAX || is_staged(c) || len + slash + c.n >= size)
            missing = true;
        if (missing)
            continue;
        if (slash)
            buf[len++] = '/';
        memcpy(buf + len, c.p, c.n);
        len += c.n;
    }
    if (!any)
        return -EACCES;
    if (missing)
        return -ENOENT;
    buf[len] = '\0';
    return 0;
}

/*
 * Matches a byte against the class that begins at p ("[..."). Returns what follows the class, or
 * NULL if it has no end, and then the bracket is an ordinary byte.
 */
static const char *match_class(const char *p, char byte, bool *ret_match)
{
    unsigned char c = (unsigned char)byte;
    bool negate = *++p == '!';
    bool match = false;
    if (negate)
        p++;
    for (bool first = true; *p != ']' || first; first = false) {
        if (*p == '\\' && p[1])
            p++;
        if (!*p)
            return NULL;
        unsigned char low = (unsigned char)*p++;
        unsigned char high = low;
        if (p[0] == '-' && p[1] && p[1] != ']') {
            p++;
            if (*p == '\\' && p[1])
                p++;
            high = (unsigned char)*p++;
        }
        match |= low <= c && c <= high;
    }
    *ret_match = match != negate;
    return p + 1;
}

/* One step of the pattern that is no star, against one byte of the path: what follows it in the
 * pattern, or NULL when the byte does not match. */
static const char *match_one(const char *p, char byte)
{
    if (!*p || !byte)
        return NULL;
    if (*p == '?')
        return byte != '/' ? p + 1 : NULL;
    if (*p == '[') {
        bool match;
        const char *rest = match_class(p, byte, &match);
        if (rest)
            return match && byte != '/' ? rest : NULL;
    }
    if (*p == '\\' && p[1])
        p++;
    return *p == byte ? p + 1 : NULL;
}

/* A point to which a failed match returns: the pattern after a star, and the path from where the
 * star has not yet swallowed a byte. */
struct retry {
    const char *pattern; /* NULL: there is none */
    const char *path;
};

/* Lets ** swallow more: one byte, or, if whole components are asked for, up to the next one.
 * False when nothing is left. */
static bool swallow(struct retry *deep, bool whole)
{
    const char *path = deep->path;
    if (whole) {
        path = strchr(path, '/');
        if (!path)
            return false;
    }
    if (!*path)
        return false;
    deep->path = path + 1;
    return true;
}

/*
 * Only the latest star of either kind is ever tried again: what an earlier one could swallow in
 * addition, the later one could swallow as well. So the time is bounded by the product of the
 * lengths, not exponential, whatever name a peer sends.
 */
bool path_glob(const char *pattern, const char *path)
{
    const char *start = pattern;
    struct retry star = {0};
    struct retry deep = {0};
    bool whole = false; /* deep is "**" + "/": it stands for whole components */

    for (;;) {
        if (pattern[0] == '*' && pattern[1] == '*') {
            bool opens = pattern == start || pattern[-1] == '/';
            while (*pattern == '*')
                pattern++;
            whole = opens && *pattern == '/';
            deep = (struct retry){pattern + (whole ? 1 : 0), path};
            star = (struct retry){0};
            pattern = deep.pattern;
            continue;
        }
        if (*pattern == '*') {
            star = (struct retry){++pattern, path};
            continue;
        }
        if (!*pattern && !*path)
            return true;
        const char *rest = match_one(pattern, *path);
        if (rest) {
            pattern = rest;
            path++;
        } else if (star.pattern && *star.path && *star.path != '/') {
            pattern = star.pattern;
            path = ++star.path;
        } else if (deep.pattern && swallow(&deep, whole)) {
            star = (struct retry){0};
            pattern = deep.pattern;
            path = deep.path;
        } else {
            return false;
        }
    }
}
