/*
 * Access rules, from their text to the verdict, against a second, plain implementation: all
 * addresses are 128 bits in a row, and a network is compared bit by bit.
 *
 * Input: what is asked (2 bytes), a name (length, bytes), a number of rules, the rules, and the
 * peer: 16 bytes, or the network of a rule and which of its bits is another.
 */
#include <arpa/inet.h>
#include <string.h>

#include "conf/rule.h"
#include "fuzz.h"
#include "plain_glob.h"
#include "policy/access.h"
#include "policy/path.h"

#define RULES_MAX   4
#define MAPPED_BITS 96

struct input {
    const uint8_t *p;
    size_t n;
};

struct plain_rule {
    unsigned action, ops; /* in the order of the texts; bit 0: read, 1: write */
    bool every, four;
    uint8_t ip[16];
    unsigned bits; /* of 128 */
    char pattern[PLAIN_MAX + 1];
};

static const uint8_t mapped[MAPPED_BITS / 8] = {[10] = 0xff, [11] = 0xff};

static unsigned next(struct input *in)
{
    if (in->n == 0)
        return 0;
    in->n--;
    return *in->p++;
}

static void take(struct input *in, uint8_t *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)next(in);
}

static size_t take_text(struct input *in, char *to)
{
    size_t n = next(in) % (PLAIN_MAX + 1);

    take(in, (uint8_t *)to, n);
    to[n] = '\0';
    return n;
}

static bool bit(const uint8_t *ip, unsigned i)
{
    return ip[i / 8] >> (7 - i % 8) & 1;
}

/* ---- Rules ---- */

/* Its text into `text`; whether that is a rule. */
static bool make_rule(struct input *in, struct plain_rule *r, char *text, size_t size)
{
    static const char *const actions[] = {"allow", "deny", "ignore"};
    static const char *const ops[] = {"", "read", "write", "any"};
    char host[INET6_ADDRSTRLEN], net[INET6_ADDRSTRLEN + 8], pattern[PLAIN_MAX + 1];
    unsigned flags = next(in), bits = next(in), offset = 0, all = 128;
    bool bare = bits == UINT8_MAX, fits = true;

    *r = (struct plain_rule){.action = flags % 3, .ops = flags >> 2 & 3, .every = flags & 0x80};
    r->ops = r->ops ? r->ops : 3;
    take(in, r->ip, sizeof(r->ip));
    if (flags & 0x30)
        memcpy(r->ip, mapped, sizeof(mapped));
    if ((flags & 0x30) == 0x20) { /* in the form of IPv4 */
        offset = MAPPED_BITS;
        all = 32;
    }
    r->bits = bare ? 128 : offset + bits;
    for (unsigned i = r->bits; i < 128; i++) {
        if (flags & 0x40) /* a network in most cases */
            r->ip[i / 8] &= (uint8_t) ~(0x80U >> i % 8);
        fits &= !bit(r->ip, i);
    }
    r->four = memcmp(r->ip, mapped, sizeof(mapped)) == 0;
    fits &= bare || (bits <= all && (!r->four || r->bits >= MAPPED_BITS));
    inet_ntop(offset ? AF_INET : AF_INET6, r->ip + offset / 8, host, sizeof(host));
    snprintf(net, sizeof(net), bare ? "%s" : "%s/%u", host, bits);
    take_text(in, pattern);
    snprintf(text, size, "%s %s %s %s", actions[r->action], ops[r->ops], r->every ? "*" : net,
             pattern);
    const char *begin = pattern + strspn(pattern, " \t");
    memcpy(r->pattern, begin, strlen(begin) + 1);
    return (r->every || fits) && r->pattern[0] != '/';
}

static bool rule_fits(const struct plain_rule *r, const uint8_t *ip, bool four, bool writing,
                      const char *path)
{
    if (!(r->ops & (writing ? 2 : 1)))
        return false;
    if (!r->every && r->four != four)
        return false;
    for (unsigned i = 0; !r->every && i < r->bits; i++)
        if (bit(r->ip, i) != bit(ip, i))
            return false;
    return r->pattern[0] == '\0' || (path && plain_glob(r->pattern, path, true));
}

/* ---- The peer ---- */

static void make_peer(struct input *in, bool near, const struct plain_rule *rules, size_t count,
                      uint8_t *ip)
{
    if (near && count > 0) {
        memcpy(ip, rules[next(in) % count].ip, 16);
        unsigned i = next(in) % 129;
        if (i < 128)
            ip[i / 8] ^= (uint8_t)(0x80U >> i % 8);
    } else {
        take(in, ip, 16);
    }
}

/* As it comes from a socket of either family. */
static struct addr address(const uint8_t *ip, bool four_socket)
{
    union addr_sock sa = {.in6 = {.sin6_family = AF_INET6, .sin6_port = htons(1234)}};
    struct addr peer;

    memcpy(&sa.in6.sin6_addr, ip, 16);
    if (four_socket) {
        sa = (union addr_sock){.in = {.sin_family = AF_INET, .sin_port = htons(1234)}};
        memcpy(&sa.in.sin_addr, ip + 12, 4);
    }
    FUZZ_CHECK(addr_from_sock(&peer, &sa) == 0);
    return peer;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const enum access_verdict verdicts[] = {ACCESS_ALLOW, ACCESS_DENY, ACCESS_IGNORE};
    struct plain_rule plain[RULES_MAX];
    struct access_rule rules[RULES_MAX];
    struct access_rules set = {rules, 0};
    struct input in = {p, n};
    char name[PLAIN_MAX + 1], path[PLAIN_MAX + 1], text[160], error[CONF_RULE_ERROR_MAX];
    enum access_verdict expected = ACCESS_ALLOW;
    struct conf_rule r;
    uint8_t ip[16];

    unsigned flags = next(&in);
    bool writing = flags & 1;
    size_t len = take_text(&in, name);
    bool named = path_normalise(view_of(name, len), path, sizeof(path)) == 0;
    for (unsigned count = next(&in) % (RULES_MAX + 1); count > 0; count--) {
        struct plain_rule *own = &plain[set.count];
        bool valid = make_rule(&in, own, text, sizeof(text));
        FUZZ_CHECK((conf_rule_parse(&r, text, error) == 0) == valid);
        if (!valid)
            continue;
        rules[set.count++] = (struct access_rule){.verdict = verdicts[r.action],
                                                  .read = r.read,
                                                  .write = r.write,
                                                  .every = r.every,
                                                  .net = r.net,
                                                  .pattern = r.pattern ? own->pattern : NULL};
    }
    make_peer(&in, flags & 2, plain, set.count, ip);
    bool four = memcmp(ip, mapped, sizeof(mapped)) == 0;
    struct addr peer = address(ip, four && flags & 4);
    for (size_t i = set.count; i-- > 0;)
        if (rule_fits(&plain[i], ip, four, writing, named ? path : NULL))
            expected = verdicts[plain[i].action];
    FUZZ_CHECK(access_check(&set, &peer, writing, named ? path : NULL) == expected);
    return 0;
}
