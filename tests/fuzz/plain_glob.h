/*
 * What path_glob() is to say, said a second time: slowly, and as the rule is told.
 */
#ifndef FUZZ_PLAIN_GLOB_H
#define FUZZ_PLAIN_GLOB_H

#include <stdbool.h>

/* It takes exponential time, so it only gets names and patterns of this length. */
#define PLAIN_MAX 14

static inline bool plain_class(const char **pattern, char byte, bool *ret)
{
    const char *p = *pattern + 1;
    bool negate = *p == '!', match = false;
    unsigned char c = (unsigned char)byte;

    p += negate;
    for (bool first = true; first || *p != ']'; first = false) {
        if (*p == '\\' && p[1])
            p++;
        if (!*p)
            return false;
        unsigned char low = (unsigned char)*p++, high = low;
        if (*p == '-' && p[1] && p[1] != ']') {
            p += p[1] == '\\' && p[2] ? 2 : 1;
            high = (unsigned char)*p++;
        }
        match |= low <= c && c <= high;
    }
    *pattern = p + 1;
    *ret = match != negate && byte != '/';
    return true;
}

/* By recursion, as the rule is told. `start`: what comes before the pattern is its begin or '/'. */
static inline bool plain_glob(const char *p, const char *path, bool start)
{
    bool match;

    if (!*p)
        return !*path;
    if (p[0] == '*' && p[1] == '*') {
        while (*p == '*')
            p++;
        bool whole = start && *p == '/';
        if (plain_glob(p + (whole ? 1 : 0), path, whole))
            return true;
        for (; *path; path++) {
            if ((!whole || *path == '/') && plain_glob(p + (whole ? 1 : 0), path + 1, whole))
                return true;
        }
        return false;
    }
    if (*p == '*') {
        for (const char *rest = path;; rest++) {
            if (plain_glob(p + 1, rest, false))
                return true;
            if (!*rest || *rest == '/')
                return false;
        }
    }
    if (!*path)
        return false;
    if (*p == '?')
        return *path != '/' && plain_glob(p + 1, path + 1, false);
    const char *rest = p;
    if (*p == '[' && plain_class(&rest, *path, &match))
        return match && plain_glob(rest, path + 1, false);
    if (*p == '\\' && p[1])
        p++;
    return *p == *path && plain_glob(p + 1, path + 1, *p == '/');
}

#endif
