#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "client/target.h"

static void good(void **state)
{
    static const struct {
        const char *text, *host, *port, *file;
        bool mode_given;
        enum tftp_mode mode;
    } rows[] = {
        {"boot:vmlinuz", "boot", NULL, "vmlinuz", false, TFTP_OCTET},
        {"boot:", "boot", NULL, "", false, TFTP_OCTET},
        {"boot:69:a/b", "boot", "69", "a/b", false, TFTP_OCTET},
        {"boot:65535:", "boot", "65535", "", false, TFTP_OCTET},
        {"boot:1234", "boot", NULL, "1234", false, TFTP_OCTET},
        {"boot:69:12:34", "boot", "69", "12:34", false, TFTP_OCTET},
        {"boot:/etc/x;mode=octet", "boot", NULL, "/etc/x;mode=octet", false, TFTP_OCTET},
        {"10.0.0.1:C:\\x", "10.0.0.1", NULL, "C:\\x", false, TFTP_OCTET},
        {"[::1]:f", "::1", NULL, "f", false, TFTP_OCTET},
        {"[fe80::1%eth0]:70:f", "fe80::1%eth0", "70", "f", false, TFTP_OCTET},
        {"tftp://boot/f", "boot", NULL, "f", false, TFTP_OCTET},
        {"TFTP://boot//abs", "boot", NULL, "/abs", false, TFTP_OCTET},
        {"tftp://boot:70/d/f;mode=netascii", "boot", "70", "d/f", true, TFTP_NETASCII},
        {"tftp://[::1]:70/f;MODE=Octet", "::1", "70", "f", true, TFTP_OCTET},
        {"tftp://[fe80::1%25eth0]/f", "fe80::1%eth0", NULL, "f", false, TFTP_OCTET},
        {"tftp://boot/a%20b%2Fc%3bmode=x", "boot", NULL, "a b/c;mode=x", false, TFTP_OCTET},
        {"boot://abs", "boot", NULL, "//abs", false, TFTP_OCTET},
        {"http:abs", "http", NULL, "abs", false, TFTP_OCTET},
        {"tftp://boot/", "boot", NULL, "", false, TFTP_OCTET},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct client_error error = {""};
        struct client_target t;

        assert_int_equal(client_target_parse(&t, rows[i].text, &error), 0);
        assert_string_equal(t.host, rows[i].host);
        assert_string_equal(t.port ? t.port : "none", rows[i].port ? rows[i].port : "none");
        assert_string_equal(t.file, rows[i].file);
        assert_int_equal(t.mode_given, rows[i].mode_given);
        assert_int_equal(t.mode, rows[i].mode);
        client_target_fini(&t);
    }
}

static void bad(void **state)
{
    static const char *const rows[] = {
        "",
        "file",
        "/path/to:x",
        ":x",
        "::1:x",
        "fe80::1:x",
        "[]:x",
        "[::1",
        "[::1]x",
        "boot:0:x",
        "boot:65536:x",
        "boot:99999999999999999999:x",
        "tftp://",
        "tftp:///x",
        "tftp://boot",
        "tftp://boot:/x",
        "tftp://boot:0/x",
        "tftp://boot:7x/x",
        "tftp://boot/a%2",
        "tftp://boot/a%zz",
        "tftp://boot/a%00b",
        "tftp://boot/a;mode=mail",
        "tftp://boot/a;mode=",
        "http://boot/a",
        "HTTPS://boot:8080/a",
        "ftp://boot/a",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct client_error error = {""};
        struct client_target t;

        if (client_target_parse(&t, rows[i], &error) != -EINVAL)
            fail_msg("'%s' was taken", rows[i]);
        assert_true(strlen(error.text) > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),
        cmocka_unit_test(bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
