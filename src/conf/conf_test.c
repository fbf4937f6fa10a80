/*
 * Defaults, dump and reload.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/conf_test.h"
#include "conf/key.h"

static void test_defaults(void **state)
{
    (void)state;
    struct conf c;
    assert_int_equal(conf_init(&c), 0);
    assert_string_equal(c.root, "/srv/tftp");
    assert_int_equal(c.listen.count, 2);
    assert_string_equal(c.listen.items[0], "0.0.0.0:69");
    assert_string_equal(c.listen.items[1], "[::]:69");
    assert_true(c.world_readable_only);
    assert_false(c.performance_platform_io_uring_enabled);
    assert_int_equal(c.write_max_size, INT64_C(1) << 30);
    assert_int_equal(c.performance_platform_io_uring_sq_thread_cpu, -1);
    assert_string_equal(c.network_port_range, "");

    struct conf_error error = {""};
    assert_int_equal(conf_check(&c, &error), 0);
    conf_fini(&c);
    conf_fini(&c); /* an empty one may be released too */
}

static void test_table_is_sane(void **state)
{
    (void)state;
    for (size_t i = 0; i < conf_key_count; i++) {
        const struct conf_key *k = &conf_keys[i];
        const char *name = conf_key_name(k);
        assert_ptr_equal(conf_key_find(name), k); /* no name twice */
        assert_true(k->doc[0] != '\0' && k->doc[strlen(k->doc) - 1] == '.');
        if (k->type == CONF_TYPE_INT) {
            assert_true(k->min <= k->max);
            assert_true((k->def >= k->min && k->def <= k->max) || k->def == -1);
        }
        if (k->type == CONF_TYPE_ENUM)
            assert_string_not_equal(conf_word(name, (int)k->def), "?");
        /* Sections stand together, or the dump would open one twice. */
        for (size_t j = i + 1; j < conf_key_count; j++) {
            if (strcmp(conf_keys[j].section, k->section) == 0)
                assert_string_equal(conf_keys[j - 1].section, k->section);
        }
    }
}

static void test_word(void **state)
{
    (void)state;
    assert_string_equal(conf_word("symlinks", 0), "never");
    assert_string_equal(conf_word("symlinks", 1), "inside");
    assert_string_equal(conf_word("symlinks", 2), "?");
    assert_string_equal(conf_word("log.level", 0), "error");
    assert_string_equal(conf_word("log.level", 4), "debug");
    assert_string_equal(conf_word("protocol.rollover", 1), "1");
    assert_string_equal(conf_word("performance.platform.network.engine", 2), "mmsg");
    assert_string_equal(conf_word("performance.platform.network.engine", 3), "?");
    assert_string_equal(conf_word("log.level", -1), "?");
    assert_string_equal(conf_word("root", 0), "?");
    assert_string_equal(conf_word("nothing", 0), "?");
}

/* Reads a dump of `c` back over the defaults and over something else; all keys must return. */
static void check_round_trip(const struct conf *c, bool comments)
{
    struct conf_error error = {""};
    struct conf back;
    char *text = test_dump(c, comments);

    assert_int_equal(conf_init(&back), 0);
    test_set(&back, "root=/else/where");
    test_set(&back, "listen=[]");
    test_set(&back, "log.level=error");
    if (test_read(&back, text, &error) < 0)
        fail_msg("%s\n%s", error.text, text);
    for (size_t i = 0; i < conf_key_count; i++) {
        if (!conf_key_equal(c, &back, &conf_keys[i]))
            fail_msg("%s did not come back from:\n%s", conf_key_name(&conf_keys[i]), text);
    }
    char *again = test_dump(&back, comments);
    assert_string_equal(text, again);
    free(again);
    free(text);
    conf_fini(&back);
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Anything a TOML string may hold: controls, quotes, backslashes, several bytes long ones. */
static void random_text(uint32_t *seed, char *buf, size_t size)
{
    static const char *const pieces[] = {
        "a", "\"", "\\", "\n", "\t", "\x01", "\x7f",    "\xc3\xa4",        "\xe2\x82\xac",
        "'", "#",  "]",  "=",  "|",  ",",    "\\u0041", "\xf0\x9f\x90\xa7"};
    buf[0] = '\0';
    for (uint32_t n = next_random(seed) % 12; n > 0; n--) {
        const char *piece = pieces[next_random(seed) % ARRAY_LEN(pieces)];
        assert_true(strlen(buf) + strlen(piece) < size);
        memcpy(buf + strlen(buf), piece, strlen(piece) + 1);
    }
}

static void random_value(struct conf *c, const struct conf_key *k, uint32_t *seed)
{
    char text[128];
    void *field = conf_field(c, k);
    int choices = 0;

    switch (k->type) {
    case CONF_TYPE_BOOL:
        *(bool *)field = next_random(seed) & 1;
        break;
    case CONF_TYPE_INT:
        if (k->def >= k->min || next_random(seed) % 2)
            *(int64_t *)field = next_random(seed) % 3 == 0   ? k->min
                                : next_random(seed) % 2 == 0 ? k->max
                                                             : k->min + (k->max - k->min) / 2;
        break;
    case CONF_TYPE_ENUM:
        while (strcmp(conf_word(conf_key_name(k), choices), "?") != 0)
            choices++;
        *(int *)field = (int)(next_random(seed) % (uint32_t)choices);
        break;
    case CONF_TYPE_STRING:
        random_text(seed, text, sizeof(text));
        assert_int_equal(conf_string_set(field, text), 0);
        break;
    case CONF_TYPE_LIST:
        conf_list_fini(field);
        /* A rule has a form; only its pattern is free. */
        bool rules = strcmp(conf_key_name(k), "access.rules") == 0;
        size_t fixed = rules ? (size_t)snprintf(text, sizeof(text), "deny read * x") : 0;
        for (uint32_t n = next_random(seed) % 6; n > 0; n--) {
            random_text(seed, text + fixed, sizeof(text) - fixed);
            assert_int_equal(conf_list_add(field, text, strlen(text)), 0);
        }
        break;
    }
}

static void test_dump_reads_back(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 200; round++) {
        uint32_t seed = round * 7919;
        struct conf c;
        assert_int_equal(conf_init(&c), 0);
        for (size_t i = 0; round > 0 && i < conf_key_count; i++)
            random_value(&c, &conf_keys[i], &seed);
        check_round_trip(&c, round % 2 == 0);
        conf_fini(&c);
    }
}

static void test_dump_leaves_absent_out(void **state)
{
    (void)state;
    struct conf c;
    assert_int_equal(conf_init(&c), 0);
    char *plain = test_dump(&c, false), *full = test_dump(&c, true);
    assert_null(strstr(plain, "sq_thread_cpu"));
    assert_null(strstr(plain, "\n#"));
    assert_non_null(strstr(full, "\n#sq_thread_cpu = 0\n"));
    assert_non_null(strstr(plain, "\nrollover = 0\n"));
    free(plain);
    free(full);

    test_set(&c, "performance.platform.io_uring.sq_thread_cpu=2");
    plain = test_dump(&c, false);
    assert_non_null(strstr(plain, "\nsq_thread_cpu = 2\n"));
    free(plain);
    conf_fini(&c);
}

static void test_reload_conflicts(void **state)
{
    (void)state;
    struct conf running, wanted;
    char buf[128], tight[8];

    assert_int_equal(conf_init(&running), 0);
    assert_int_equal(conf_init(&wanted), 0);
    assert_int_equal(conf_reload_conflicts(&running, &wanted, buf, sizeof(buf)), 0);
    assert_string_equal(buf, "");

    /* These may change. */
    test_set(&wanted, "log.level=debug");
    test_set(&wanted, "write.enabled=true");
    test_set(&wanted, "network.trusted=127.0.0.0/8");
    test_set(&wanted, "performance.platform.io_uring.enabled=true");
    assert_int_equal(conf_reload_conflicts(&running, &wanted, buf, sizeof(buf)), 0);

    test_set(&wanted, "root=/tftpboot");
    test_set(&wanted, "listen=0.0.0.0:69");
    test_set(&wanted, "performance.threads=8");
    test_set(&wanted, "performance.platform.network.engine=mmsg");
    test_set(&wanted, "performance.platform.network.gso=false");
    assert_int_equal(conf_reload_conflicts(&running, &wanted, buf, sizeof(buf)), 5);
    assert_string_equal(buf, "root\nlisten\nperformance.threads\n"
                             "performance.platform.network.engine\n"
                             "performance.platform.network.gso\n");

    /* Whole names only, and the count stays right. */
    assert_int_equal(conf_reload_conflicts(&running, &wanted, tight, sizeof(tight)), 5);
    assert_string_equal(tight, "root\n");
    assert_int_equal(conf_reload_conflicts(&running, &wanted, NULL, 0), 5);
    conf_fini(&running);
    conf_fini(&wanted);
}

static void test_documents_name_every_key(void **state)
{
    (void)state;
    char *manual, *markdown, row[128];
    size_t len;
    FILE *out = open_memstream(&manual, &len);
    assert_non_null(out);
    conf_manual(out);
    assert_int_equal(fclose(out), 0);
    out = open_memstream(&markdown, &len);
    assert_non_null(out);
    conf_markdown(out);
    assert_int_equal(fclose(out), 0);

    for (size_t i = 0; i < conf_key_count; i++) {
        snprintf(row, sizeof(row), "\n.It Cm %s\n", conf_key_name(&conf_keys[i]));
        assert_non_null(strstr(manual, row));
        snprintf(row, sizeof(row), "\n| `%s` | ", conf_keys[i].key);
        assert_non_null(strstr(markdown, row));
    }
    assert_non_null(strstr(manual, "\nValue: 1 to 256 threads.\nDefault: 4.\n"));
    assert_non_null(strstr(markdown, "| 0 or more bytes | 67108864 (64 MiB) | reload |"));
    free(manual);
    free(markdown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_table_is_sane),
        cmocka_unit_test(test_word),
        cmocka_unit_test(test_dump_reads_back),
        cmocka_unit_test(test_dump_leaves_absent_out),
        cmocka_unit_test(test_reload_conflicts),
        cmocka_unit_test(test_documents_name_every_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
