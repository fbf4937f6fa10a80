#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "conf/rule.h"

static void good_rules(void **state)
{
    char error[CONF_RULE_ERROR_MAX];
    struct conf_rule r;
    (void)state;

    assert_int_equal(conf_rule_parse(&r, "allow read 10.0.0.0/8", error), 0);
    assert_int_equal(r.action, CONF_RULE_ALLOW);
    assert_true(r.read && !r.write && !r.every && !r.pattern);
    assert_int_equal(r.net.bits, 8);

    assert_int_equal(conf_rule_parse(&r, "deny write *", error), 0);
    assert_int_equal(r.action, CONF_RULE_DENY);
    assert_true(!r.read && r.write && r.every && !r.pattern);

    assert_int_equal(conf_rule_parse(&r, " ignore\tany  2001:db8::/32  a b/**", error), 0);
    assert_int_equal(r.action, CONF_RULE_IGNORE);
    assert_true(r.read && r.write && !r.every);
    assert_string_equal(r.pattern, "a b/**");

    assert_int_equal(conf_rule_parse(&r, "allow any ::ffff:10.1.0.0/112 x", error), 0);
    assert_int_equal(r.net.base.family, AF_INET);
    assert_int_equal(r.net.bits, 16);
}

static void mistakes(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"", "ends where an action (allow, deny or ignore) is expected"},
        {"permit read *", "\"permit\" is not an action (allow, deny or ignore)"},
        {"allow", "ends where an operation (read, write or any) is expected"},
        {"allow 10.0.0.0/8", "\"10.0.0.0/8\" is not an operation (read, write or any)"},
        {"deny write", "ends where a network (ADDRESS/BITS with no bit set beyond BITS, one "
                       "ADDRESS, or *) is expected"},
        {"deny write 10.0.0.1/8", "\"10.0.0.1/8\" is not a network (ADDRESS/BITS with no bit set "
                                  "beyond BITS, one ADDRESS, or *)"},
        {"deny read * /boot", "the pattern begins with a slash; names are relative to the root"},
    };
    char error[CONF_RULE_ERROR_MAX];
    struct conf_rule r;
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(conf_rule_parse(&r, cases[i].text, error), -22);
        assert_string_equal(error, cases[i].error);
    }

    /* Longer than any buffer: cut, not overrun. */
    char text[2000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(conf_rule_parse(&r, text, error), -22);
    memcpy(text, "deny any ", 9);
    assert_int_equal(conf_rule_parse(&r, text, error), -22);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_rules),
        cmocka_unit_test(mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
