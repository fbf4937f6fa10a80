/*
 * What the server believes of the process that reads its configuration: no more than a file of a
 * megabyte can be, whatever that process has become.
 */
#include "server/conf_reader.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static int fds[2];

/* The answer to the next question: a length or an error, and what follows. */
static int ask(int64_t result, const char *bytes, char **ret_text, size_t *ret_len)
{
    struct conf_reader r = {.pid = 1, .folder = -1};

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    r.fd = fds[0];
    assert_int_equal(write(fds[1], &result, sizeof(result)), sizeof(result));
    assert_int_equal(write(fds[1], bytes, strlen(bytes)), strlen(bytes));
    int err = conf_reader_read(&r, ret_text, ret_len);
    close(fds[0]);
    close(fds[1]);
    return err;
}

static void answers(void **state)
{
    char *text = NULL;
    size_t len = 0;

    (void)state;
    assert_int_equal(ask(3, "abc", &text, &len), 0);
    assert_int_equal(len, 3);
    assert_string_equal(text, "abc");
    free(text);
    assert_int_equal(ask(-ENOENT, "", &text, &len), -ENOENT);
}

static void too_much_is_not_believed(void **state)
{
    char *text = NULL;
    size_t len = 0;

    (void)state;
    assert_int_equal(ask((1 << 20) + 1, "abc", &text, &len), -EPIPE);
    assert_int_equal(ask(INT64_MAX, "abc", &text, &len), -EPIPE);
    assert_null(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(too_much_is_not_believed),
    };

    return cmocka_run_group_tests_name("conf_reader", tests, NULL, NULL);
}
