/*
 * Reading TOML: what is taken over, and each kind of mistake with its sentence.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <unistd.h>

#include "conf/conf_test.h"

static void test_values(void **state)
{
    (void)state;
    struct conf c;
    struct conf_error error = {""};
    const char *text = "root = '/data' # here\n"
                       "listen = \"127.0.0.1:0\"\n"
                       "symlinks = \"never\"\n"
                       "log.format = \"json\"\n"
                       "write = { enabled = true, allowed_patterns = [\"a/*\", \"b/**\"] }\n"
                       "[protocol]\n"
                       "rollover = 1\n"
                       "windowsize_max = 6_5535\n"
                       "[performance.platform.io_uring]\n"
                       "sq_thread_cpu = 2\n"
                       "queue_depth = 0x100\n"
                       "[performance]\n"
                       "threads = 256\n";

    assert_int_equal(conf_init(&c), 0);
    if (test_read(&c, text, &error) < 0)
        fail_msg("%s", error.text);
    assert_string_equal(c.root, "/data");
    assert_int_equal(c.listen.count, 1);
    assert_string_equal(c.listen.items[0], "127.0.0.1:0");
    assert_int_equal(c.symlinks, 0);
    assert_int_equal(c.log_format, 1);
    assert_true(c.write_enabled);
    assert_int_equal(c.write_allowed_patterns.count, 2);
    assert_string_equal(c.write_allowed_patterns.items[1], "b/**");
    assert_int_equal(c.protocol_rollover, 1);
    assert_int_equal(c.protocol_windowsize_max, 65535);
    assert_int_equal(c.performance_platform_io_uring_sq_thread_cpu, 2);
    assert_int_equal(c.performance_platform_io_uring_queue_depth, 256);
    assert_int_equal(c.performance_threads, 256);

    /* Only what a text names changes. */
    assert_int_equal(test_read(&c, "protocol.rollover = \"0\"\nlisten = []", &error), 0);
    assert_int_equal(c.protocol_rollover, 0);
    assert_int_equal(c.listen.count, 0);
    assert_string_equal(c.root, "/data");
    assert_int_equal(test_read(&c, "", &error), 0);
    conf_fini(&c);
}

struct mistake {
    const char *text;
    const char *sentence;
};

static const struct mistake mistakes[] = {
    /* lists with a form of their own */
    {"[access]\nrules = [\n  \"allow read *\",\n  \"permit any *\",\n]\n",
     "f.toml:4:3: access.rules: item 2: \"permit\" is not an action (allow, deny or ignore)"},
    {"[access]\nrules = \"deny write 10.0.0.1/8\"",
     "f.toml:2:9: access.rules: item 1: \"10.0.0.1/8\" is not a network (ADDRESS/BITS with no bit "
     "set beyond BITS, one ADDRESS, or *)"},
    /* range */
    {"[performance]\nthreads = 0\n",
     "f.toml:2:11: performance.threads: 0 is out of range, expected 1 to 256 threads"},
    {"[performance]\n  threads = 257", "f.toml:2:13: performance.threads: 257 is out of range, "
                                       "expected 1 to 256 threads"},
    {"write.max_size = 0",
     "f.toml:1:18: write.max_size: 0 is out of range, expected 1 or more bytes"},
    {"[performance.platform.io_uring]\nsq_thread_cpu = -1\n",
     "f.toml:2:17: performance.platform.io_uring.sq_thread_cpu: -1 is out of range, expected 0 "
     "to 4095"},
    {"[performance.platform.io_uring]\nqueue_depth = 4097\n",
     "f.toml:2:15: performance.platform.io_uring.queue_depth: 4097 is out of range, expected 1 "
     "to 4096 operations"},
    /* type */
    {"[performance]\nthreads = \"4\"\n",
     "f.toml:2:11: performance.threads: expected an integer, found a string"},
    {"[performance]\nthreads = 4.5\n",
     "f.toml:2:11: performance.threads: expected an integer, found a number with a fraction"},
    {"[write]\nenabled = 1\n",
     "f.toml:2:11: write.enabled: expected true or false, found an integer"},
    {"[write]\nenabled = \"yes\"\n",
     "f.toml:2:11: write.enabled: expected true or false, found a string"},
    {"root = true", "f.toml:1:8: root: expected a string, found true or false"},
    {"root = [\"/srv\"]", "f.toml:1:8: root: expected a string, found a list"},
    {"root = 2026-01-01", "f.toml:1:8: root: expected a string, found a date or time"},
    {"listen = 69", "f.toml:1:10: listen: expected a list of strings, found an integer"},
    {"listen = [\"[::]:69\", 69]",
     "f.toml:1:22: listen: item 2: expected a string, found an integer"},
    {"[[listen]]\nport = 69", "f.toml:1:1: listen: item 1: expected a string, found a section"},
    {"log.level = 3", "f.toml:1:13: log.level: expected a string, found an integer"},
    {"root = \"/srv\\u0000x\"", "f.toml:1:8: root: the string contains a NUL character"},
    {"listen = [\"\\u0000\"]", "f.toml:1:11: listen: the string contains a NUL character"},
    /* choices */
    {"log.level = \"loud\"", "f.toml:1:13: log.level: \"loud\" is not one of: error, warning, "
                             "notice, info, debug"},
    {"log.level = \"err\"", "f.toml:1:13: log.level: \"err\" is not one of: error, warning, "
                            "notice, info, debug"},
    {"log.level = \"\\u0007\\\"\"", "f.toml:1:13: log.level: \"\\x07\\\"\" is not one of: error, "
                                    "warning, notice, info, debug"},
    {"log.format = \"\"", "f.toml:1:14: log.format: \"\" is not one of: text, json"},
    {"protocol.rollover = 2", "f.toml:1:21: protocol.rollover: \"2\" is not one of: 0, 1"},
    {"protocol.rollover = false",
     "f.toml:1:21: protocol.rollover: expected a string, found true or false"},
    /* names */
    {"\n[write]\n  enabeld = true\n",
     "f.toml:3:3: write.enabeld: unknown key, did you mean write.enabled?"},
    {"rot = \"/\"", "f.toml:1:1: rot: unknown key, did you mean root?"},
    {"[performance]\nengine = \"mmsg\"", "f.toml:2:1: performance.engine: unknown key, did you "
                                         "mean performance.platform.network.engine?"},
    {"blksize_max = 8", "f.toml:1:1: blksize_max: unknown key, did you mean protocol.blksize_max?"},
    {"colour = 1", "f.toml:1:1: colour: unknown key"},
    {"[wirte]\nenabled = true\n", "f.toml:1:2: wirte: unknown section, did you mean [write]?"},
    {"[safety]\nenabled = true\n", "f.toml:1:2: safety: unknown section"},
    {"[performance.platform.iouring]\nenabled = true\n",
     "f.toml:1:23: performance.platform.iouring: unknown section, did you mean "
     "[performance.platform.io_uring]?"},
    {"[performance.platform]\nqueue_depth = 1\n",
     "f.toml:2:1: performance.platform.queue_depth: unknown key, did you mean "
     "performance.platform.io_uring.queue_depth?"},
    {"\"write.enabled\" = true",
     "f.toml:1:1: write.enabled: unknown key, did you mean write.enabled?"},
    {"\"\" = true", "f.toml:1:1: : unknown key"},
    {"\"\\u001b[31m\" = 1", "f.toml:1:1: \\x1b[31m: unknown key"},
    /* sections and keys exchanged */
    {"write = true",
     "f.toml:1:1: write: is a section, not a key; expected [write] and its keys below"},
    {"[[write]]\nenabled = true",
     "f.toml:1:3: write: is a section, not a key; expected [write] and its keys below"},
    {"[performance]\nplatform = 1", "f.toml:2:1: performance.platform: is a section, not a key; "
                                    "expected [performance.platform] and its keys below"},
    {"[root]\npath = \"/srv\"", "f.toml:1:2: root: is a key, not a section; expected a string"},
    {"[log]\nlevel.file = 1", "f.toml:2:1: log.level: is a key, not a section; expected a string"},
    {"[write.allowed_patterns]\n",
     "f.toml:1:8: write.allowed_patterns: is a key, not a section; expected a list of strings"},
    /* the first one in the text, whatever the order of the tree */
    {"[write]\nenabled = 1\n[log]\nlevel = 1\n",
     "f.toml:2:11: write.enabled: expected true or false, found an integer"},
    {"[performance.platform.network]\ngso = true\n[write]\nenabled = 1\n[performance]\nspin = -1\n",
     "f.toml:4:11: write.enabled: expected true or false, found an integer"},
};

static void test_mistakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
        struct conf c;
        struct conf_error error = {""};
        assert_int_equal(conf_init(&c), 0);
        char *before = test_dump(&c, false);

        assert_int_equal(test_read(&c, mistakes[i].text, &error), -EINVAL);
        assert_string_equal(error.text, mistakes[i].sentence);
        /* Nothing of a bad text is taken over. */
        char *after = test_dump(&c, false);
        assert_string_equal(before, after);
        free(before);
        free(after);
        conf_fini(&c);
    }
}

/* What is not TOML at all: the sentence is the parser's, the place is ours to check. */
static const struct mistake broken[] = {
    {"root =\n", "f.toml:1:7: "},
    {"a = 1\nroot = /srv\n", "f.toml:2:8: "},
    {"root = \"/srv\nx = 1", "f.toml:1:13: "},
    {"[write\nenabled = true", "f.toml:1:7: "},
    {"root = \"/a\"\nroot = \"/b\"\n", "f.toml:2:"},
    {"[performance]\nthreads = 064\n", "f.toml:2:"},
    {"[performance]\nthreads = 99999999999999999999\n", "f.toml:2:"},
    {"root = \"\xff\xfe\"\n", "f.toml:1:8: "},
    {"\xc4\x90 = 1\n", "f.toml:1:1: "},
    {"root = \"/x\" \xe3\x80\x81\n", "f.toml:1:13: "},
};

static void test_not_toml(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        struct conf c;
        struct conf_error error = {""};
        assert_int_equal(conf_init(&c), 0);
        assert_int_equal(test_read(&c, broken[i].text, &error), -EINVAL);
        size_t len = strlen(broken[i].sentence);
        if (strncmp(error.text, broken[i].sentence, len) != 0 || strlen(error.text) < len + 10)
            fail_msg("expected %s..., got %s", broken[i].sentence, error.text);
        conf_fini(&c);
    }
}

static void test_long_names_and_values(void **state)
{
    (void)state;
    struct conf c;
    struct conf_error error = {""};
    char *text = malloc(20000);
    assert_non_null(text);
    assert_int_equal(conf_init(&c), 0);

    memset(text, 'k', 8000);
    memcpy(text + 8000, " = 1\n", 6);
    assert_int_equal(test_read(&c, text, &error), -EINVAL);
    assert_non_null(strstr(error.text, "...: unknown key"));

    memcpy(text, "log.level = \"", 13);
    memset(text + 13, 'v', 8000);
    memcpy(text + 8013, "\"\n", 3);
    assert_int_equal(test_read(&c, text, &error), -EINVAL);
    assert_non_null(strstr(error.text, "...\" is not one of: error, "));

    /* A file name that fills the sentence alone. */
    memset(text, 'n', 5000);
    text[5000] = '\0';
    assert_int_equal(conf_read_text(&c, "a = 1", 5, text, &error), -EINVAL);
    assert_int_equal(strlen(error.text), CONF_ERROR_MAX - 1);
    free(text);
    conf_fini(&c);
}

/* Levels without end, by every way TOML has to make some. */
static void test_deep(void **state)
{
    (void)state;
    struct conf c;
    struct conf_error error = {""};
    char *text = malloc(1 << 20), *at = text;
    assert_non_null(text);
    assert_int_equal(conf_init(&c), 0);

    memset(text, 'a', 20000);
    for (unsigned i = 1; i < 20000; i += 2)
        text[i] = '.';
    memcpy(text + 19999, "=1", 3);
    assert_int_equal(test_read(&c, text, &error), -EINVAL);
    assert_string_equal(error.text,
                        "f.toml:1:1: the line is too long, expected at most 8192 bytes");

    /* A header, a key and nested values, each as deep as a line may be. */
    for (unsigned line = 0; line < 7; line++) {
        *at++ = line == 0 ? '[' : line == 1 ? ' ' : '{';
        for (unsigned i = 0; i < 8180; i++)
            *at++ = i % 2 ? '.' : 'a';
        at += snprintf(at, 16, line == 0 ? "a]\n" : line < 4 ? "a = [\n" : "a = 1\n");
    }
    *at = '\0';
    assert_int_equal(test_read(&c, text, &error), -EINVAL);

    memset(text, '[', 8000);
    memcpy(text, "root =", 6);
    text[8000] = '\0';
    assert_int_equal(test_read(&c, text, &error), -EINVAL);
    free(text);
    conf_fini(&c);
}

static void test_file(void **state)
{
    (void)state;
    struct conf c;
    struct conf_error error = {""};
    char path[] = "/tmp/conf-read-test-XXXXXX", expected[256];

    assert_int_equal(conf_init(&c), 0);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    const char *text = "root = \"/x\"\nspin = 1\n";
    assert_int_equal(write(fd, text, 11), 11);
    assert_int_equal(conf_read_file(&c, path, &error), 0);
    assert_string_equal(c.root, "/x");

    assert_int_equal(write(fd, text + 11, strlen(text + 11)), (ssize_t)strlen(text + 11));
    int rc = conf_read_file(&c, path, &error);
    snprintf(expected, sizeof(expected),
             "%s:2:1: spin: unknown key, did you mean performance.spin?", path);
    assert_int_equal(rc, -EINVAL);
    assert_string_equal(error.text, expected);

    assert_int_equal(ftruncate(fd, 2 << 20), 0);
    rc = conf_read_file(&c, path, &error);
    assert_int_equal(unlink(path), 0);
    close(fd);
    assert_int_equal(rc, -EFBIG);

    snprintf(expected, sizeof(expected), "%s: No such file or directory", path);
    assert_int_equal(conf_read_file(&c, path, &error), -ENOENT);
    assert_string_equal(error.text, expected);
    assert_int_equal(conf_read_file(&c, "/", &error), -EISDIR);
    assert_string_equal(error.text, "/: Is a directory");
    conf_fini(&c);
}

/* Bytes of the sample changed, lost, doubled: any answer is right, but for a crash. */
static void test_mutations(void **state)
{
    (void)state;
    struct conf defaults;
    uint32_t seed = 1;
    unsigned taken = 0, refused = 0;

    assert_int_equal(conf_init(&defaults), 0);
    char *sample = test_dump(&defaults, true);
    size_t len = strlen(sample);
    char *text = malloc(2 * len);
    assert_non_null(text);

    for (unsigned round = 0; round < 2000; round++) {
        size_t size = len;
        memcpy(text, sample, len);
        for (unsigned n = 1 + round % 4; n > 0; n--) {
            seed = seed * 1664525u + 1013904223u;
            size_t at = (seed >> 4) % size, run = 1 + (seed >> 27);
            run = MIN(run, size - at);
            switch (seed >> 30) {
            case 0: /* another byte */
                text[at] = (char)(seed >> 12);
                break;
            case 1: /* one that means something */
                text[at] = "[]{}=.,\"'#\n\\0-_\t"[(seed >> 12) % 16];
                break;
            case 2: /* a hole */
                memmove(text + at, text + at + run, size - at - run);
                size -= run;
                break;
            default: /* twice the same */
                memmove(text + at + run, text + at, size - at);
                size += run;
                break;
            }
        }
        struct conf c;
        struct conf_error error = {""};
        assert_int_equal(conf_init(&c), 0);
        int rc = conf_read_text(&c, text, size, "f.toml", &error);
        if (rc == 0) {
            taken++;
            (void)!conf_check(&c, &error);
            free(test_dump(&c, false));
        } else {
            refused++;
            assert_int_equal(rc, -EINVAL);
            assert_int_equal(strncmp(error.text, "f.toml:", 7), 0);
        }
        conf_fini(&c);
    }
    assert_true(taken > 200 && refused > 200);
    free(text);
    free(sample);
    conf_fini(&defaults);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),    cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_not_toml),  cmocka_unit_test(test_long_names_and_values),
        cmocka_unit_test(test_deep),      cmocka_unit_test(test_file),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
