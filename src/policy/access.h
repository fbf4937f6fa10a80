/*
 * Access rules: who may read or write what. Pure; looked at before anything is opened.
 */
#ifndef POLICY_ACCESS_H
#define POLICY_ACCESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"

enum access_verdict {
    ACCESS_ALLOW,
    ACCESS_DENY,   /* ERROR 2 */
    ACCESS_IGNORE, /* no answer at all */
};

struct access_rule {
    enum access_verdict verdict;
    bool read, write; /* what it is about */
    bool every;       /* every peer; else those in `net` */
    struct addr_net net;
    char *pattern; /* glob of path_glob(); NULL: every name. Owned by whoever owns the rule */
};

struct access_rules {
    struct access_rule *rules;
    size_t count;
};

/*
 * What the first rule says that fits; ACCESS_ALLOW when none does. `path` as path_normalise() made
 * it, or NULL when the request names nothing that could exist: then rules with a pattern do not
 * fit.
 */
enum access_verdict access_check(const struct access_rules *a, const struct addr *peer,
                                 bool writing, const char *path);

#endif
