#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/doc.h"
#include "client/option.h"

#define ARGS_MAX 16

/* The words of a command line, NULL at the end. */
static int parse(struct client_options *o, struct client_error *error, int *first, char **argv)
{
    int argc = 0;

    while (argv[argc])
        argc++;
    error->text[0] = '\0';
    return client_options_parse(o, argc, argv, first, error);
}

#define PARSE(...)                                                                                 \
    parse(&o, &error, &first, (char *[]){(char *)(uintptr_t) "ringtftp", __VA_ARGS__, NULL})
#define W(text) (char *)(uintptr_t)(text)

static void defaults(void **state)
{
    struct client_error error;
    struct client_options o;
    int first;

    (void)state;
    assert_int_equal(PARSE(W("get"), W("h:f")), 0);
    assert_int_equal(o.command, CLIENT_GET);
    assert_int_equal(first, 2);
    assert_int_equal(o.jobs, 8);
    assert_int_equal(o.retries, 5);
    assert_true(o.max_size == CLIENT_SIZE_ANY);
    assert_int_equal(o.blksize, 0);
    assert_int_equal(o.family, AF_UNSPEC);
    assert_false(o.no_options);
}

static void values(void **state)
{
    struct client_error error;
    struct client_options o;
    int first;

    (void)state;
    assert_int_equal(PARSE(W("put"), W("a"), W("-b"), W("1428"), W("--windowsize=16"), W("-t2"),
                           W("h:"), W("--max-size"), W("3M"), W("-6"), W("--mode"), W("netascii"),
                           W("--local-port"), W("6000-6010"), W("--bind"), W("::1"),
                           W("--rollover"), W("1")),
                     0);
    assert_int_equal(o.blksize, 1428);
    assert_int_equal(o.windowsize, 16);
    assert_int_equal(o.timeout_s, 2);
    assert_int_equal(o.max_size, 3 << 20);
    assert_int_equal(o.family, AF_INET6);
    assert_int_equal(o.mode, TFTP_NETASCII);
    assert_int_equal(o.local_port_first, 6000);
    assert_int_equal(o.local_port_last, 6010);
    assert_int_equal(o.bind.family, AF_INET6);
    assert_int_equal(o.rollover, TFTP_ROLLOVER_1);
    assert_int_equal(first, 17); /* the operands have been moved behind the options */
    assert_int_equal(PARSE(W("get"), W("-v"), W("--"), W("-x:y")), 0);
    assert_int_equal(first, 4);
    assert_int_equal(PARSE(W("get"), W("h:f"), W("-")), 0);
    assert_int_equal(first, 2);
}

static void refusals(void **state)
{
    struct client_error error;
    struct client_options o;
    int first;

    (void)state;
    assert_int_equal(parse(&o, &error, &first, (char *[]){W("ringtftp"), NULL}), -EINVAL);
    assert_int_equal(PARSE(W("fetch"), W("h:f")), -EINVAL);
    assert_int_equal(PARSE(W("-v"), W("get")), -EINVAL);
    assert_int_equal(PARSE(W("put"), W("-o"), W("x")), -EINVAL);
    assert_non_null(strstr(error.text, "'put'"));
    assert_int_equal(PARSE(W("get"), W("--nonsense")), -EINVAL);
    assert_string_equal(error.text, "there is no option --nonsense (try --help)");
    assert_int_equal(PARSE(W("get"), W("--nonsense=1")), -EINVAL);
    assert_string_equal(error.text, "there is no option --nonsense (try --help)");
    assert_int_equal(PARSE(W("get"), W("--no")), -EINVAL);
    assert_string_equal(error.text, "--no stands for more than one option (try --help)");
    assert_int_equal(PARSE(W("get"), W("-x")), -EINVAL);
    assert_string_equal(error.text, "there is no option -x (try --help)");
    assert_int_equal(PARSE(W("get"), W("-b")), -EINVAL);
    assert_non_null(strstr(error.text, "needs a value"));
    assert_int_equal(PARSE(W("get"), W("--quiet=1")), -EINVAL);
    assert_int_equal(PARSE(W("get"), W("-q"), W("-v")), -EINVAL);
    assert_int_equal(PARSE(W("get"), W("-o"), W("x"), W("-O"), W("y")), -EINVAL);
    assert_int_equal(PARSE(W("get"), W("-4"), W("--bind"), W("::1")), -EINVAL);
    assert_int_equal(PARSE(W("get"), W("--no-options"), W("-b"), W("1428")), -EINVAL);
    assert_int_equal(PARSE(W("get"), W("--no-options"), W("-w"), W("4")), -EINVAL);
    assert_int_equal(PARSE(W("get"), W("--no-options"), W("-t"), W("4")), 0);
    assert_int_equal(PARSE(W("get"), W("--max-size"), W("17592186044416T")), -EINVAL);
    assert_int_equal(PARSE(W("get"), W("-C"), W("h:f")), -EINVAL);
    assert_non_null(strstr(error.text, "resume is not in TFTP"));
}

/* Rows that a parser or a reader would stumble over. */
static void table_is_sound(void **state)
{
    (void)state;
    for (unsigned i = 0; i < client_option_count; i++) {
        const struct client_option *a = &client_options[i];

        assert_non_null(a->take);
        assert_true(a->commands != 0 && (a->commands & ~(unsigned)CLIENT_ALL) == 0);
        assert_int_equal(a->doc[strlen(a->doc) - 1], '.');
        for (unsigned k = 0; k < i; k++) {
            assert_string_not_equal(a->name, client_options[k].name);
            assert_true(!a->letter || a->letter != client_options[k].letter);
        }
    }
}

/* Every option is in every document. */
static void documents(void **state)
{
    static void (*const kinds[])(FILE *) = {client_doc_manual_options, client_doc_bash,
                                            client_doc_zsh, client_doc_fish};

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        char *text;
        size_t size;
        FILE *out = open_memstream(&text, &size);
        assert_non_null(out);
        kinds[k](out);
        assert_int_equal(fclose(out), 0);
        for (unsigned i = 0; i < client_option_count; i++)
            assert_non_null(strstr(text, client_options[i].name));
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),       cmocka_unit_test(values),    cmocka_unit_test(refusals),
        cmocka_unit_test(table_is_sound), cmocka_unit_test(documents),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
