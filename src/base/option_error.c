#include "base/option_error.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

void option_error(int code, const char *word, const struct option *longs, char *ret, size_t size)
{
    const char *name = NULL; /* of the long option that optopt stands for */
    bool begun = false;      /* the word is the beginning of one */
    int len = (int)strcspn(word, "=");

    for (const struct option *o = longs; o->name; o++) {
        if (o->val == optopt)
            name = o->name;
        begun |= len > 2 && strncmp(o->name, word + 2, (size_t)len - 2) == 0;
    }
    if (code == ':' && strncmp(word, "--", 2) == 0)
        snprintf(ret, size, "%.*s needs a value (try --help)", len, word);
    else if (code == ':')
        snprintf(ret, size, "-%c needs a value (try --help)", optopt);
    else if (optopt == 0 && begun)
        snprintf(ret, size, "%.*s stands for more than one option (try --help)", len, word);
    else if (optopt == 0)
        snprintf(ret, size, "there is no option %.*s (try --help)", len, word);
    else if (name)
        snprintf(ret, size, "--%s takes no value (try --help)", name);
    else /* whose word may not have been left behind yet */
        snprintf(ret, size, "there is no option -%c (try --help)", optopt);
}
