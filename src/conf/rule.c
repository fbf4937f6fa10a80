#include "conf/rule.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/escape.h"

#define SHOWN_MAX 60
#define NET_MAX   64

/* Cuts the next word, parted by blanks, off *text; empty at the end. */
static struct view next_word(const char **text)
{
    const char *from = *text + strspn(*text, " \t");
    size_t n = strcspn(from, " \t");

    *text = from + n;
    return view_of(from, n);
}

static bool is_word(struct view v, const char *word)
{
    return v.n == strlen(word) && memcmp(v.p, word, v.n) == 0;
}

/* "item" is not EXPECTED */
static int fail(char *error, struct view word, const char *expected)
{
    char shown[SHOWN_MAX];

    if (word.n == 0)
        snprintf(error, CONF_RULE_ERROR_MAX, "ends where %s is expected", expected);
    else
        snprintf(error, CONF_RULE_ERROR_MAX, "\"%s\" is not %s",
                 escape_bytes(word, shown, sizeof(shown)), expected);
    return -EINVAL;
}

static int parse_network(struct conf_rule *r, struct view word)
{
    char net[NET_MAX];

    r->every = is_word(word, "*");
    if (r->every)
        return 0;
    if (word.n == 0 || word.n >= sizeof(net))
        return -EINVAL;
    memcpy(net, word.p, word.n);
    net[word.n] = '\0';
    return addr_net_parse(&r->net, net);
}

int conf_rule_parse(struct conf_rule *ret, const char *text, char *error)
{
    static const char *const actions[] = {
        [CONF_RULE_ALLOW] = "allow", [CONF_RULE_DENY] = "deny", [CONF_RULE_IGNORE] = "ignore"};
    struct conf_rule r = {0};
    size_t action = 0;

    struct view word = next_word(&text);
    while (action < ARRAY_LEN(actions) && !is_word(word, actions[action]))
        action++;
    if (action == ARRAY_LEN(actions))
        return fail(error, word, "an action (allow, deny or ignore)");
    r.action = (enum conf_rule_action)action;

    word = next_word(&text);
    r.read = is_word(word, "read") || is_word(word, "any");
    r.write = is_word(word, "write") || is_word(word, "any");
    if (!r.read && !r.write)
        return fail(error, word, "an operation (read, write or any)");

    word = next_word(&text);
    if (parse_network(&r, word) < 0)
        return fail(error, word,
                    "a network (ADDRESS/BITS with no bit set beyond BITS, one ADDRESS, or *)");

    /* The rest, blanks within it too, is the pattern. */
    text += strspn(text, " \t");
    r.pattern = *text ? text : NULL;
    if (r.pattern && *r.pattern == '/') {
        snprintf(error, CONF_RULE_ERROR_MAX,
                 "the pattern begins with a slash; names are relative to the root");
        return -EINVAL;
    }
    *ret = r;
    return 0;
}
