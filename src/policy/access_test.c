#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/util.h"
#include "policy/access.h"

static struct access_rule rule(enum access_verdict verdict, bool read, bool write, const char *net,
                               char *pattern)
{
    struct access_rule r = {
        .verdict = verdict, .read = read, .write = write, .every = !net, .pattern = pattern};
    if (net)
        assert_int_equal(addr_net_parse(&r.net, net), 0);
    return r;
}

static enum access_verdict ask(const struct access_rules *a, const char *peer, bool writing,
                               const char *path)
{
    struct addr addr;
    assert_int_equal(addr_parse(&addr, peer, 1234), 0);
    return access_check(a, &addr, writing, path);
}

static void allowed_without_rules(void **state)
{
    const struct access_rules none = {0};
    (void)state;

    assert_int_equal(ask(&none, "192.0.2.1", false, "x"), ACCESS_ALLOW);
    assert_int_equal(ask(&none, "2001:db8::1", true, NULL), ACCESS_ALLOW);
}

static void first_match_decides(void **state)
{
    struct access_rule rules[] = {
        rule(ACCESS_DENY, true, false, "10.9.0.0/16", "secret/**"),
        rule(ACCESS_ALLOW, true, true, "10.0.0.0/8", NULL),
        rule(ACCESS_ALLOW, true, false, "2001:db8::/32", "boot/*"),
        rule(ACCESS_IGNORE, true, true, "203.0.113.0/24", NULL),
        rule(ACCESS_DENY, true, true, NULL, NULL),
    };
    const struct access_rules a = {rules, ARRAY_LEN(rules)};
    const struct {
        const char *peer;
        bool writing;
        const char *path;
        enum access_verdict verdict;
    } cases[] = {
        {"10.9.1.2", false, "secret/key", ACCESS_DENY},
        {"10.9.1.2", true, "secret/key", ACCESS_ALLOW},
        {"10.9.1.2", false, "secrets", ACCESS_ALLOW},
        {"10.9.1.2", false, NULL, ACCESS_ALLOW}, /* no name: the rule about names does not fit */
        {"10.8.1.2", false, "secret/key", ACCESS_ALLOW},
        {"::ffff:10.9.0.1", false, "secret/a/b", ACCESS_DENY},
        {"2001:db8::5", false, "boot/x", ACCESS_ALLOW},
        {"2001:db8::5", false, "boot/x/y", ACCESS_DENY},
        {"2001:db8::5", true, "boot/x", ACCESS_DENY},
        {"2001:db9::5", false, "boot/x", ACCESS_DENY},
        {"203.0.113.7", false, "boot/x", ACCESS_IGNORE},
        {"203.0.113.7", true, NULL, ACCESS_IGNORE},
        {"192.0.2.1", false, "x", ACCESS_DENY},
    };
    (void)state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (ask(&a, cases[i].peer, cases[i].writing, cases[i].path) != cases[i].verdict)
            fail_msg("case %zu: %s %s", i, cases[i].peer, cases[i].path ? cases[i].path : "-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allowed_without_rules),
        cmocka_unit_test(first_match_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
