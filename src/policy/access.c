#include "policy/access.h"

#include "policy/path.h"

static bool fits(const struct access_rule *r, const struct addr *peer, bool writing,
                 const char *path)
{
    if (!(writing ? r->write : r->read))
        return false;
    if (!r->every && !addr_net_contains(&r->net, peer))
        return false;
    return !r->pattern || (path && path_glob(r->pattern, path));
}

enum access_verdict access_check(const struct access_rules *a, const struct addr *peer,
                                 bool writing, const char *path)
{
    for (size_t i = 0; i < a->count; i++)
        if (fits(&a->rules[i], peer, writing, path))
            return a->rules[i].verdict;
    return ACCESS_ALLOW;
}
