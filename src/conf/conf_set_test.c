/*
 * Keys set from the command line, and the checks that span keys.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/conf_test.h"

static int setup(void **state)
{
    static struct conf c;
    *state = &c;
    return conf_init(&c);
}

static int teardown(void **state)
{
    conf_fini(*state);
    return 0;
}

static void test_forms(void **state)
{
    struct conf *c = *state;

    test_set(c, "root=/tftp boot/#1");
    assert_string_equal(c->root, "/tftp boot/#1");
    test_set(c, "root=\"/q\\u0041\"");
    assert_string_equal(c->root, "/qA");
    test_set(c, "root='/raw\\x'");
    assert_string_equal(c->root, "/raw\\x");
    test_set(c, "root=C:\\x\"y=z");
    assert_string_equal(c->root, "C:\\x\"y=z");
    test_set(c, "network.port_range=");
    assert_string_equal(c->network_port_range, "");
    test_set(c, "write.file_mode=0640");
    assert_string_equal(c->write_file_mode, "0640");
    test_set(c, " performance.threads = 1_6 ");
    assert_int_equal(c->performance_threads, 16);
    test_set(c, "write.enabled=true");
    assert_true(c->write_enabled);
    test_set(c, "log.level=debug");
    assert_int_equal(c->log_level, 4);
    test_set(c, "log.level=\"error\"");
    assert_int_equal(c->log_level, 0);
    test_set(c, "protocol.rollover=1");
    assert_int_equal(c->protocol_rollover, 1);
    test_set(c, "performance.platform.io_uring.sq_thread_cpu=0");
    assert_int_equal(c->performance_platform_io_uring_sq_thread_cpu, 0);
}

static void test_lists(void **state)
{
    struct conf *c = *state;

    test_set(c, "listen=127.0.0.1:0");
    assert_int_equal(c->listen.count, 1);
    assert_string_equal(c->listen.items[0], "127.0.0.1:0");
    test_set(c, "listen=[::]:69, [::1]:70 ,:71");
    assert_int_equal(c->listen.count, 3);
    assert_string_equal(c->listen.items[0], "[::]:69");
    assert_string_equal(c->listen.items[1], "[::1]:70");
    assert_string_equal(c->listen.items[2], ":71");
    test_set(c, "listen=[\"a\", 'b']");
    assert_int_equal(c->listen.count, 2);
    assert_string_equal(c->listen.items[1], "b");
    test_set(c, "listen=[ ]");
    assert_int_equal(c->listen.count, 0);
    test_set(c, "listen=\"one, still one\"");
    assert_int_equal(c->listen.count, 1);
    assert_string_equal(c->listen.items[0], "one, still one");
    test_set(c, "write.allowed_patterns=[ab]*,**/x");
    assert_int_equal(c->write_allowed_patterns.count, 2);
    assert_string_equal(c->write_allowed_patterns.items[0], "[ab]*");
    test_set(c, "network.trusted=");
    assert_int_equal(c->network_trusted.count, 0);
}

struct mistake {
    const char *text;
    const char *sentence;
};

static const struct mistake mistakes[] = {
    {"performance.threads=0",
     "-o performance.threads: 0 is out of range, expected 1 to 256 threads"},
    {"write.enabled=1", "-o write.enabled: expected true or false, found an integer"},
    {"log.level=loud", "-o log.level: \"loud\" is not one of: error, warning, notice, info, debug"},
    {"log.levle=info", "-o log.levle: unknown key, did you mean log.level?"},
    {"safety=1", "-o safety: unknown key"},
    {"=1", "-o : unknown key"},
    {"write=true", "-o write: is a section; expected write.KEY=VALUE"},
    {"performance.platform={}",
     "-o performance.platform: is a section; expected performance.platform.KEY=VALUE"},
    {"root", "-o root: expected section.key=value"},
    {"performance.threads=1\nroot = 2", "-o performance.threads: expected one value"},
    {"root=\"a\\u0000b\"", "-o root: the string contains a NUL character"},
    {"listen=[\"a\", 1]", "-o listen: item 2: expected a string, found an integer"},
};

static void test_mistakes(void **state)
{
    struct conf *c = *state;
    struct conf_error error = {""};
    char *before = test_dump(c, false);

    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
        assert_int_equal(conf_set(c, mistakes[i].text, &error), -EINVAL);
        assert_string_equal(error.text, mistakes[i].sentence);
    }
    /* The parser's own words follow the name of the key. */
    static const char *const broken[] = {"performance.threads=",
                                         "performance.threads=x",
                                         "write.enabled=yes",
                                         "root=\"open",
                                         "root=\xff",
                                         "listen=\"a\",\"b\""};
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        char start[64];
        snprintf(start, sizeof(start), "-o %.*s: ", (int)strcspn(broken[i], "="), broken[i]);
        assert_int_equal(conf_set(c, broken[i], &error), -EINVAL);
        assert_int_equal(strncmp(error.text, start, strlen(start)), 0);
    }
    char *after = test_dump(c, false);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void expect_verdict(struct conf *c, const char *assignment, const char *sentence)
{
    struct conf_error error = {""};
    test_set(c, assignment);
    int rc = conf_check(c, &error);
    if (rc != (sentence ? -EINVAL : 0))
        fail_msg("%s: %d %s", assignment, rc, error.text);
    if (sentence)
        assert_string_equal(error.text, sentence);
}

static void test_check_addresses(void **state)
{
    struct conf *c = *state;
    expect_verdict(c, "listen=[]", "listen: expected at least one address");
    expect_verdict(c, "listen=[::]:0,127.0.0.1,*:69,:70", NULL);
    expect_verdict(c, "listen=[::]:69,example",
                   "listen: \"example\" is not an address, expected ADDRESS:PORT");
    expect_verdict(c, "listen=0.0.0.0:65536",
                   "listen: \"0.0.0.0:65536\" is not an address, expected ADDRESS:PORT");
    expect_verdict(c, "listen=[\"\"]", "listen: \"\" is not an address, expected ADDRESS:PORT");
    test_set(c, "listen=:69");
    expect_verdict(c, "network.trusted=[]", NULL);
    expect_verdict(c, "network.trusted=10.0.0.0/8,fe80::/10,192.0.2.1", NULL);
    expect_verdict(
        c, "network.trusted=10.0.0.1/8",
        "network.trusted: \"10.0.0.1/8\" is not a network, expected ADDRESS/BITS with no "
        "bit set beyond BITS");
}

static void test_check_ports(void **state)
{
    struct conf *c = *state;
    expect_verdict(c, "network.port_range=1-65535", NULL);
    expect_verdict(c, "network.transfer_ports=range", NULL);
    expect_verdict(c, "network.port_range=30000-30000", NULL);
    expect_verdict(c, "network.port_range=",
                   "network.port_range: expected FIRST-LAST, because network.transfer_ports is "
                   "\"range\"");
    test_set(c, "network.transfer_ports=auto");
    expect_verdict(c, "network.port_range=", NULL);

    static const char *const bad[] = {"2-1",  "0-9",   "1-65536", "1",   "1-",
                                      "-9",   "1-2-3", "1- 2",    "a-b", "1-99999999999999999999",
                                      "+1-2", "1-2x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char assignment[80], sentence[160];
        snprintf(assignment, sizeof(assignment), "network.port_range=%s", bad[i]);
        snprintf(sentence, sizeof(sentence),
                 "network.port_range: \"%s\" is not a range, expected FIRST-LAST from 1 to 65535",
                 bad[i]);
        expect_verdict(c, assignment, sentence);
    }
}

static void test_check_files(void **state)
{
    struct conf *c = *state;
    static const char *const bad[] = {"4644", "1777", "1000", "00644", "0o644", "648", "", "-1"};
    static const char *const good[] = {"0", "644", "0600", "0777"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char assignment[80], sentence[160];
        snprintf(assignment, sizeof(assignment), "write.file_mode=%s", bad[i]);
        snprintf(sentence, sizeof(sentence),
                 "write.file_mode: \"%s\" is not a file mode, expected octal digits from \"0000\" "
                 "to \"0777\"",
                 bad[i]);
        expect_verdict(c, assignment, sentence);
    }
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        char assignment[80];
        snprintf(assignment, sizeof(assignment), "write.file_mode=%s", good[i]);
        expect_verdict(c, assignment, NULL);
    }
    expect_verdict(c, "write.allowed_patterns=[]", NULL);
    expect_verdict(c, "write.allowed_patterns=a,,b",
                   "write.allowed_patterns: item 2: expected a glob, found an empty string");
    test_set(c, "write.allowed_patterns=**");
    expect_verdict(c, "root=", "root: expected a directory, found an empty string");
}

static void test_check_numbers(void **state)
{
    struct conf *c = *state;
    expect_verdict(c, "performance.chunk_size=4194304", NULL);
    expect_verdict(c, "performance.cache_size=33554432", NULL);
    expect_verdict(c, "performance.cache_size=33554431",
                   "performance.cache_size: 33554431 is too small, expected at least 8 times "
                   "performance.chunk_size, which is 4194304");
    expect_verdict(c, "performance.chunk_size=20000",
                   "performance.chunk_size: 20000 is not a power of two");
    test_set(c, "performance.chunk_size=16384");
    expect_verdict(c, "protocol.retransmit_max=100", NULL);
    expect_verdict(c, "protocol.retransmit_max=99",
                   "protocol.retransmit_min: 100 is above protocol.retransmit_max, which is 99");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_forms, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mistakes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_check_addresses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_check_ports, setup, teardown),
        cmocka_unit_test_setup_teardown(test_check_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_check_numbers, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
