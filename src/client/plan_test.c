#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/plan.h"

struct fixture {
    char folder[64], back[1024];
    struct client_options options;
    struct client_plan plan;
    struct client_error error;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    snprintf(f->folder, sizeof(f->folder), "/tmp/ringtftp-plan-XXXXXX");
    if (!mkdtemp(f->folder) || !getcwd(f->back, sizeof(f->back)) || chdir(f->folder) < 0) {
        free(f);
        return -1;
    }
    client_options_init(&f->options);
    f->options.command = CLIENT_GET;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];

    snprintf(command, sizeof(command), "rm -r %s", f->folder);
    int rc = chdir(f->back) == 0 ? system(command) : -1;
    free(f);
    return rc;
}

static enum client_status make(struct fixture *f, const char *const *operands)
{
    int n = 0;

    while (operands[n])
        n++;
    f->error.text[0] = '\0';
    return client_plan_make(&f->plan, &f->options, (char **)(uintptr_t)operands, n, &f->error);
}

#define MAKE(...) make(f, (const char *const[]){__VA_ARGS__, NULL})

static struct client_item *item(struct fixture *f, unsigned n)
{
    struct list *pos = f->plan.items.next;

    while (n-- > 0)
        pos = pos->next;
    return container_of(pos, struct client_item, link);
}

static void write_file(const char *name, const char *text)
{
    FILE *out = fopen(name, "we");

    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

static void get_names(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(MAKE("127.0.0.1:a/b/kernel", "127.0.0.1:x", "[::1]:70:../../etc/y"),
                     CLIENT_OK);
    assert_int_equal(f->plan.count, 3);
    assert_string_equal(item(f, 0)->local, "kernel");
    assert_string_equal(item(f, 0)->file, "a/b/kernel");
    assert_string_equal(item(f, 2)->local, "y");
    assert_ptr_equal(item(f, 0)->host, item(f, 1)->host);
    assert_int_equal(item(f, 2)->host->addrs[0].port, 70);
    assert_string_equal(f->plan.folder, ".");
    client_plan_fini(&f->plan);
}

static void get_refuses(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"127.0.0.1:",    "127.0.0.1:a/", "127.0.0.1:..",
                                        "127.0.0.1:a/.", "nohost",       "127.0.0.1:.ringtftp-x"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_int_equal(MAKE(names[i]), CLIENT_USAGE);
        client_plan_fini(&f->plan);
    }
    assert_int_equal(MAKE("127.0.0.1:a/x", "127.0.0.1:b/x"), CLIENT_USAGE);
    assert_non_null(strstr(f->error.text, "both become 'x'"));
    client_plan_fini(&f->plan);
    f->options.output = "out";
    assert_int_equal(MAKE("127.0.0.1:a", "127.0.0.1:b"), CLIENT_USAGE);
    client_plan_fini(&f->plan);
    f->options.output = ".";
    assert_int_equal(MAKE("127.0.0.1:a"), CLIENT_USAGE);
    client_plan_fini(&f->plan);
}

static void get_output(void **state)
{
    struct fixture *f = *state;

    f->options.output = "new";
    assert_int_equal(MAKE("127.0.0.1:a/b"), CLIENT_OK);
    assert_string_equal(item(f, 0)->local, "new");
    client_plan_fini(&f->plan);
    f->options.output = "./d/../new";
    assert_int_equal(MAKE("127.0.0.1:a/"), CLIENT_OK);
    assert_string_equal(f->plan.folder, "./d/../");
    client_plan_fini(&f->plan);
    /* The file behind a link is replaced, not the link. */
    write_file("real", "x");
    assert_int_equal(symlink("real", "link"), 0);
    f->options.output = "link";
    assert_int_equal(MAKE("127.0.0.1:a"), CLIENT_OK);
    assert_string_equal(item(f, 0)->local, "real");
    client_plan_fini(&f->plan);
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    f->options.output = "dangling";
    assert_int_equal(MAKE("127.0.0.1:a"), CLIENT_DISK);
    client_plan_fini(&f->plan);
    f->options.output = "/dev/null";
    assert_int_equal(MAKE("127.0.0.1:a"), CLIENT_OK);
    assert_true(f->plan.stream >= 0);
    client_plan_fini(&f->plan);
    f->options.output = "-";
    assert_int_equal(MAKE("127.0.0.1:a/", "127.0.0.1:b/"), CLIENT_OK);
    assert_int_equal(f->plan.stream, STDOUT_FILENO);
    client_plan_fini(&f->plan);
}

static void lists(void **state)
{
    struct fixture *f = *state;

    write_file("names", "one\n\ntwo words\r\nlast");
    f->options.list = "names";
    assert_int_equal(MAKE("127.0.0.1:cfg/"), CLIENT_OK);
    assert_int_equal(f->plan.count, 3);
    assert_string_equal(item(f, 1)->file, "cfg/two words");
    assert_string_equal(item(f, 2)->local, "last");
    client_plan_fini(&f->plan);
    assert_int_equal(MAKE("127.0.0.1:", "127.0.0.1:"), CLIENT_USAGE);
    client_plan_fini(&f->plan);
    f->options.list = "missing";
    assert_int_equal(MAKE("127.0.0.1:"), CLIENT_NOT_FOUND);
    client_plan_fini(&f->plan);
    write_file("empty", "\n\n");
    f->options.list = "empty";
    assert_int_equal(MAKE("127.0.0.1:"), CLIENT_USAGE);
    client_plan_fini(&f->plan);
}

static void put_names(void **state)
{
    struct fixture *f = *state;

    f->options.command = CLIENT_PUT;
    write_file("a", "1");
    write_file("b", "22");
    assert_int_equal(MAKE("a", "./b", "127.0.0.1:d/"), CLIENT_OK);
    assert_string_equal(item(f, 1)->file, "d/b");
    assert_true(item(f, 1)->local[0] != '/');
    assert_true(strstr(item(f, 1)->local, f->folder + 1) == item(f, 1)->local);
    client_plan_fini(&f->plan);
    assert_int_equal(MAKE("a", "127.0.0.1:other"), CLIENT_OK);
    assert_string_equal(item(f, 0)->file, "other");
    client_plan_fini(&f->plan);
    assert_int_equal(MAKE("a", "b", "127.0.0.1:other"), CLIENT_USAGE);
    client_plan_fini(&f->plan);
    assert_int_equal(MAKE("a", "missing", "127.0.0.1:"), CLIENT_NOT_FOUND);
    client_plan_fini(&f->plan);
    assert_int_equal(MAKE(".", "127.0.0.1:"), CLIENT_DISK);
    client_plan_fini(&f->plan);
    assert_int_equal(MAKE("a"), CLIENT_USAGE);
    client_plan_fini(&f->plan);
    f->options.max_size = 1;
    assert_int_equal(MAKE("b", "127.0.0.1:"), CLIENT_TOO_LARGE);
    client_plan_fini(&f->plan);
}

/* A pipe is copied, and the copy does not outlive the plan. */
static void put_spool(void **state)
{
    struct fixture *f = *state;
    char path[40], name[256];
    int fds[2];

    f->options.command = CLIENT_PUT;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "piped", 5), 5);
    close(fds[1]);
    snprintf(path, sizeof(path), "/dev/fd/%d", fds[0]);
    assert_int_equal(MAKE(path, "127.0.0.1:x"), CLIENT_OK);
    close(fds[0]);
    assert_non_null(item(f, 0)->spool);
    snprintf(name, sizeof(name), "%s", item(f, 0)->spool);
    struct stat st;
    assert_int_equal(stat(name, &st), 0);
    assert_int_equal(st.st_size, 5);
    assert_int_equal(st.st_mode & 0777, 0600);
    client_plan_fini(&f->plan);
    assert_int_equal(stat(name, &st), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(get_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(get_refuses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(get_output, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists, set_up, tear_down),
        cmocka_unit_test_setup_teardown(put_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(put_spool, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
