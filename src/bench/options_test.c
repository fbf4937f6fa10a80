/* The command line: what it means, and that each mistake is told in one sentence. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/options.h"
#include "bench/profile.h"

#define WORDS_MAX 24

static struct bench_plan plan;
static char error[512];

/* Parses "ringtftp-bench" and the words of `line`. */
static int parse(const char *line)
{
    static char text[512];
    char *argv[WORDS_MAX] = {"ringtftp-bench"}, *save;
    int argc = 1;

    bench_plan_fini(&plan);
    error[0] = '\0';
    snprintf(text, sizeof(text), "%s", line);
    for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    return bench_options_parse(&plan, argc, argv, error, sizeof(error));
}

static void wrong(const char *line, const char *part)
{
    assert_int_equal(parse(line), -EINVAL);
    if (!strstr(error, part))
        fail_msg("\"%s\": expected a word of \"%s\", got: %s", line, part, error);
    assert_null(strchr(error, '\n'));
    assert_true(strlen(error) < 200);
}

static void test_defaults(void **state)
{
    (void)state;
    assert_int_equal(parse("127.0.0.1 pxelinux.0"), 0);
    assert_int_equal(plan.server.port, 69);
    assert_int_equal(plan.clients, 1);
    assert_int_equal(plan.count, 1);
    assert_int_equal(plan.threads, 1);
    assert_int_equal(plan.class_count, 1);
    assert_string_equal(plan.classes[0].profile->name, "plain");
    assert_int_equal(plan.classes[0].request[0].count, 0);
    assert_true(plan.verify && plan.gro && !plan.put);
    assert_int_equal(parse("127.0.0.1 -c 50 f"), 0);
    assert_int_equal(plan.count, 50);
    assert_int_equal(parse("127.0.0.1 -d 1.5 f"), 0);
    assert_int_equal(plan.count, 0);
    assert_true(plan.duration == 1500 * NSEC_PER_MSEC);
    assert_true(plan.grace == 10 * NSEC_PER_SEC);
    assert_int_equal(parse("[::1]:6969 --rate 20 f"), 0);
    assert_int_equal(plan.server.family, AF_INET6);
    assert_int_equal(plan.server.port, 6969);
    assert_int_equal(plan.clients, 10000);
}

static void test_files(void **state)
{
    (void)state;
    assert_int_equal(parse("localhost:6969 --put a=/dev/null:3 b=/etc/hostname"), -EINVAL);
    assert_non_null(strstr(error, "regular file"));
    assert_int_equal(parse("127.0.0.1 --in-turn a b:3 dir/c:d"), 0);
    assert_true(plan.in_turn);
    assert_int_equal(plan.corpus.count, 3);
    assert_string_equal(plan.corpus.files[1].name, "b");
    assert_string_equal(plan.corpus.files[2].name, "dir/c:d");
    assert_int_equal(plan.corpus.weight, 5);
    wrong("127.0.0.1 a:0", "weight");
    wrong("127.0.0.1 =x", "file name");
    wrong("127.0.0.1", "name of a file");
    wrong("", "HOST");
    assert_int_equal(parse("127.0.0.1 --local /nonexistent a"), -ENOENT);
    assert_non_null(strstr(error, "/nonexistent/a"));
    assert_int_equal(parse("127.0.0.1 --list /nonexistent"), -ENOENT);
    assert_int_equal(parse("127.0.0.1 --put /nonexistent/a"), -ENOENT);
    assert_string_equal(plan.corpus.files[0].name, "a");
    assert_string_equal(plan.corpus.files[0].local, "/nonexistent/a");
}

static void test_list(void **state)
{
    char path[] = "/tmp/bench-list-XXXXXX", line[80];
    int fd = mkstemp(path);
    FILE *out = fdopen(fd, "w");

    (void)state;
    fprintf(out, "# files\n\na weight=4\nb sha256=%064d\nc local=%s\n", 7, path);
    fclose(out);
    snprintf(line, sizeof(line), "127.0.0.1 --list %s", path);
    assert_int_equal(parse(line), 0);
    assert_int_equal(plan.corpus.count, 3);
    assert_int_equal(plan.corpus.weight, 6);
    assert_true(plan.corpus.files[1].hashed && plan.corpus.files[1].sha256[31] == 7);
    assert_true(plan.corpus.files[2].known);
    out = fopen(path, "w");
    fputs("a sha256=12\n", out);
    fclose(out);
    wrong(line, ":1: sha256: expected 64 hexadecimal");
    out = fopen(path, "w");
    fputs("a\nb \033[1mcolour=red\n", out);
    fclose(out);
    wrong(line, ":2: expected weight=");
    assert_null(strchr(error, '\033')); /* a list may be any file */
    out = fopen(path, "w");
    fputs("a weight=4x\n", out);
    fclose(out);
    wrong(line, ":1: expected a weight");
    unlink(path);
}

static void test_source(void **state)
{
    (void)state;
    assert_int_equal(parse("127.0.0.1 --source 127.1.0.250-127.1.1.5 f"), 0);
    assert_int_equal(plan.source_count, 12);
    assert_int_equal(parse("127.0.0.1 --source 127.0.0.9 f"), 0);
    assert_int_equal(plan.source_count, 1);
    wrong("127.0.0.1 --source 127.0.0.9-127.0.0.1 f", "range");
    wrong("127.0.0.1 --source 10.0.0.1:99 f", "range");
    wrong("127.0.0.1 --source ::1 f", "family");
    wrong("127.0.0.1 --source 10.0.0.0-10.255.255.255 f", "more than");
}

static void test_network(void **state)
{
    (void)state;
    assert_int_equal(parse("127.0.0.1 --loss 2.5% --dup in=1,out=0.5 --delay 20~5 f"), 0);
    assert_int_equal(plan.in.loss, 25000);
    assert_int_equal(plan.out.loss, 25000);
    assert_int_equal(plan.in.duplicate, 10000);
    assert_int_equal(plan.out.duplicate, 5000);
    assert_true(plan.in.delay == 20 * NSEC_PER_MSEC && plan.out.jitter == 5 * NSEC_PER_MSEC);
    assert_int_equal(parse("127.0.0.1 --delay in=7,out=1~1 f"), 0);
    assert_true(plan.in.delay == 7 * NSEC_PER_MSEC && plan.in.jitter == 0);
    assert_true(plan.out.delay == NSEC_PER_MSEC && plan.out.jitter == NSEC_PER_MSEC);
    wrong("127.0.0.1 --loss 101 f", "percentage");
    wrong("127.0.0.1 --loss -1 f", "percentage");
    wrong("127.0.0.1 --loss up=1 f", "percentage");
    wrong("127.0.0.1 --loss in=1, f", "percentage");
    wrong("127.0.0.1 --delay 5~x f", "milliseconds");
    assert_int_equal(parse("127.0.0.1 --misbehave vanish:20 --hold 2 f"), 0);
    assert_int_equal(plan.misbehave, BENCH_VANISH);
    assert_int_equal(plan.misbehave_share, 200000);
    wrong("127.0.0.1 --misbehave sulk f", "never-ack");
    wrong("127.0.0.1 --misbehave vanish:x f", "percentage");
}

static void option_is(const struct bench_class *c, unsigned which, unsigned i, const char *text)
{
    const struct tftp_option *o = &c->request[which].options[i];
    char got[64];

    assert_true(i < c->request[which].count);
    snprintf(got, sizeof(got), "%.*s=%.*s", (int)o->name.n, (const char *)o->name.p,
             (int)o->value.n, (const char *)o->value.p);
    assert_string_equal(got, text);
}

static void test_classes(void **state)
{
    (void)state;
    assert_int_equal(parse("127.0.0.1 --client edk2:3 --client grub:blksize=512:2 -w 8 f"), 0);
    assert_int_equal(plan.class_count, 2);
    assert_int_equal(plan.classes[0].weight, 3);
    assert_int_equal(plan.classes[1].weight, 5);
    option_is(&plan.classes[0], 0, 0, "tsize=0");
    option_is(&plan.classes[0], 0, 1, "blksize=1468");
    option_is(&plan.classes[0], 0, 2, "windowsize=8");
    option_is(&plan.classes[0], 1, 0, "blksize=1468");
    assert_int_equal(plan.classes[0].request[1].count, 2);
    option_is(&plan.classes[1], 0, 0, "blksize=512");
    option_is(&plan.classes[1], 0, 1, "tsize=0");
    option_is(&plan.classes[1], 0, 2, "windowsize=8");
    assert_true(bench_has_windows(&plan));
    assert_int_equal(bench_datagram_max(&plan), 1472);
    assert_int_equal(parse("127.0.0.1 -b 65464 --timeout 3 --tsize --client plain f"), 0);
    assert_int_equal(plan.classes[0].request[0].count, 3);
    assert_int_equal(plan.classes[0].request[0].size_at, 2);
    assert_false(bench_has_windows(&plan));
    assert_int_equal(parse("127.0.0.1 --client ipxe --no-tsize f"), 0);
    assert_int_equal(plan.classes[0].request[0].count, 1);
    wrong("127.0.0.1 --client windows f", "no such client");
    wrong("127.0.0.1 --client plain:blksize=7 f", "blksize=7");
    wrong("127.0.0.1 --client plain:0 f", "weight");
    wrong("127.0.0.1 --client plain::3 f", "weight");
}

static void test_mistakes(void **state)
{
    (void)state;
    wrong("127.0.0.1 -c 0 f", "from 1 to");
    wrong("127.0.0.1 -c many f", "whole number");
    wrong("127.0.0.1 -c f", "whole number");
    wrong("127.0.0.1 -b 65465 f", "65464");
    wrong("127.0.0.1 -w 32769 f", "32768");
    wrong("127.0.0.1 --rate fast f", "transfers a second");
    wrong("127.0.0.1 --rate 5 --think 1 f", "--think");
    wrong("127.0.0.1 -d nan f", "seconds");
    wrong("127.0.0.1 --mode mail f", "octet");
    wrong("127.0.0.1 --arrivals odd f", "random or even");
    wrong("127.0.0.1 --put --put-as %x f", "per cent");
    wrong("127.0.0.1 --put --put-as a% f", "per cent");
    wrong("127.0.0.1 --bogus f", "there is no option --bogus (try --help)");
    wrong("127.0.0.1 f --blksize", "--blksize needs a value (try --help)");
    wrong("127.0.0.1:0 f", "port");
    wrong("host:port f", "HOST:PORT");
    assert_int_equal(parse("--help"), BENCH_OPTIONS_HELP);
    assert_int_equal(parse("--version"), BENCH_OPTIONS_VERSION);
}

static int fini(void **state)
{
    (void)state;
    bench_plan_fini(&plan);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_files),
        cmocka_unit_test(test_list),     cmocka_unit_test(test_source),
        cmocka_unit_test(test_network),  cmocka_unit_test(test_classes),
        cmocka_unit_test(test_mistakes),
    };

    return cmocka_run_group_tests(tests, NULL, fini);
}
