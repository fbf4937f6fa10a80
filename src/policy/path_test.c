#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/path.h"

static int normalise(const char *name, char *buf, size_t size)
{
    return path_normalise(view_of(name, strlen(name)), buf, size);
}

/* What is asked for, in words, and what becomes of it: a path, or the refusal. */
static const struct {
    const char *what, *name, *path;
    int rc;
} names[] = {
    {"plain", "pxelinux.0", "pxelinux.0", 0},
    {"folder", "boot/grub/x86_64-efi/core.efi", "boot/grub/x86_64-efi/core.efi", 0},
    {"climbs out at once", "../etc/passwd", NULL, -EACCES},
    {"climbs out later", "x/../../y", NULL, -EACCES},
    {"climbs and stays inside", "a/../b", NULL, -EACCES},
    {"dot inside", "a/./b", NULL, -EACCES},
    {"dot in front", "./a", NULL, -EACCES},
    {"only dots", "..", NULL, -EACCES},
    {"only a dot", ".", NULL, -EACCES},
    {"dots last", "a/..", NULL, -EACCES},
    {"dots, then slash", "a/../", NULL, -EACCES},
    {"dots after slashes", "//..//x", NULL, -EACCES},
    {"absolute", "/etc/passwd", "etc/passwd", 0},
    {"absolute, many slashes", "////etc/passwd", "etc/passwd", 0},
    {"four dots", "....//x", "..../x", 0},
    {"three dots", ".../x", ".../x", 0},
    {"dots and two slashes", "..//x", NULL, -EACCES},
    {"hidden file", ".profile", ".profile", 0},
    {"dots within a name", "a..b", "a..b", 0},
    {"name that begins with dots", "..a/b", "..a/b", 0},
    {"backslash climbs nowhere", "..\\x", "..\\x", 0},
    {"backslash and dots inside", "a\\..\\b", "a\\..\\b", 0},
    {"backslash in front", "\\x", "\\x", 0},
    {"drive and backslash", "C:\\x", "C:\\x", 0},
    {"drive", "C:x", "C:x", 0},
    {"network share", "\\\\h\\s\\f", "\\\\h\\s\\f", 0},
    {"percent is not decoded", "%2e%2e%2fx", "%2e%2e%2fx", 0},
    {"host form", "//h/x", "h/x", 0},
    {"doubled slash", "a//b", "a/b", 0},
    {"run of slashes", "a/////b////c", "a/b/c", 0},
    {"only slashes", "///", NULL, -EACCES},
    {"one slash", "/", NULL, -EACCES},
    {"nothing", "", NULL, -EACCES},
    {"overlong UTF-8 dots and slash", "\xC0\xAE\xC0\xAE\x2F", NULL, -ENOENT},
    {"overlong UTF-8 is ordinary bytes", "\xC0\xAE\xC0\xAE\xC0\xAFx", "\xC0\xAE\xC0\xAE\xC0\xAFx",
     0},
    {"UTF-8 name, not normalised", "caf\xC3\xA9 cafe\xCC\x81", "caf\xC3\xA9 cafe\xCC\x81", 0},
    {"byte FF",
     "a\xFF"
     "b",
     "a\xFF"
     "b",
     0},
    {"C1 control in UTF-8 is ordinary", "a\xC2\x85", "a\xC2\x85", 0},
    {"line feed", "a\nb", NULL, -EACCES},
    {"carriage return", "a\rb", NULL, -EACCES},
    {"escape", "\x1B[2J", NULL, -EACCES},
    {"byte 01", "\x01", NULL, -EACCES},
    {"byte 1F", "a\x1F", NULL, -EACCES},
    {"DEL", "a\x7F", NULL, -EACCES},
    {"tab", "a\tb", NULL, -EACCES},
    {"control in a folder", "a\x02/b", NULL, -EACCES},
    {"format directives", "%n%s%x", "%n%s%x", 0},
    {"pipe", "|", "|", 0},
    {"command", ";id", ";id", 0},
    {"command substitution", "$(id)", "$(id)", 0},
    {"backquotes", "`id`", "`id`", 0},
    {"folder asked for", "boot/", NULL, -ENOENT},
    {"folder with several slashes", "boot//", NULL, -ENOENT},
    {"staged upload", ".ringtftp-1a2b", NULL, -ENOENT},
    {"staged upload in a folder", "/up//.ringtftp-1a2b", NULL, -ENOENT},
    {"under a folder named like one", ".ringtftp-1/x", NULL, -ENOENT},
    {"only the prefix", ".ringtftp-", NULL, -ENOENT},
    {"less than the prefix", ".ringtftp", ".ringtftp", 0},
    {"prefix not in front", "x.ringtftp-1", "x.ringtftp-1", 0},
    {"prefix in other letters", ".RINGTFTP-1", ".RINGTFTP-1", 0},
    {"staged, then climbing: the refusal wins", ".ringtftp-1/../x", NULL, -EACCES},
    {"folder, with a control byte: the refusal wins", "a\x01/", NULL, -EACCES},
    {"letter case is kept", "PXELinux.0", "PXELinux.0", 0},
    {"one space", " ", " ", 0},
    {"trailing dot", "name.", "name.", 0},
    {"trailing space", "name ", "name ", 0},
    {"leading minus", "-rf", "-rf", 0},
    {"tilde", "~root/x", "~root/x", 0},
};

static void name_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char buf[600] = "untouched";
        int rc = normalise(names[i].name, buf, sizeof(buf));
        if (rc != names[i].rc || (rc == 0 && strcmp(buf, names[i].path) != 0))
            fail_msg("%s: %d, %s", names[i].what, rc, buf);
    }
}

/* A NUL cannot come from a packet's string, and is refused all the same. */
static void embedded_nul(void **state)
{
    (void)state;
    char buf[64];
    assert_int_equal(path_normalise(view_of("a\0b", 3), buf, sizeof(buf)), -EACCES);
    assert_int_equal(path_normalise(view_of(NULL, 0), buf, sizeof(buf)), -EACCES);
}

static void long_components(void **state)
{
    (void)state;
    char name[600], buf[600];
    memset(name, 'x', 255);
    name[255] = '\0';
    assert_int_equal(normalise(name, buf, sizeof(buf)), 0);
    assert_string_equal(buf, name);
    memcpy(name + 255, "x", 2);
    assert_int_equal(normalise(name, buf, sizeof(buf)), -ENOENT);
    memcpy(name + 256, "/../y", 6);
    assert_int_equal(normalise(name, buf, sizeof(buf)), -EACCES);
}

static void many_components(void **state)
{
    (void)state;
    char name[491], buf[600];
    for (size_t i = 0; i < 490; i++)
        name[i] = i % 2 ? '/' : 'd';
    name[489] = 'd';
    name[490] = '\0';
    assert_int_equal(normalise(name, buf, sizeof(buf)), 0);
    assert_string_equal(buf, name);

    char formats[80 * 6 + 1];
    for (size_t i = 0; i < 80; i++)
        memcpy(formats + 6 * i, "%n%s%x", 7);
    assert_int_equal(normalise(formats, buf, sizeof(buf)), -ENOENT); /* longer than a component */
}

/* Room for exactly the result and its NUL is enough; a byte less is a name that cannot exist. */
static void every_size(void **state)
{
    (void)state;
    static const char name[] = "//ab//cde/f";
    static const char path[] = "ab/cde/f";
    for (size_t size = 1; size < 20; size++) {
        char *buf = malloc(size);
        assert_non_null(buf);
        int rc = path_normalise(view_of(name, sizeof(name) - 1), buf, size);
        assert_int_equal(rc, size >= sizeof(path) ? 0 : -ENOENT);
        if (rc == 0)
            assert_string_equal(buf, path);
        free(buf);
    }
}

/* The n-th string over an alphabet, by length and then by letters; returns its length. */
static unsigned nth_string(const char *alphabet, unsigned n, char *buf)
{
    unsigned base = (unsigned)strlen(alphabet);
    unsigned len = 0;
    unsigned of_len = 1;
    for (; n >= of_len; of_len *= base, len++)
        n -= of_len;
    for (unsigned i = 0; i < len; i++, n /= base)
        buf[i] = alphabet[n % base];
    buf[len] = '\0';
    return len;
}

/* Every string of up to six bytes of an alphabet that has all the trouble: the result, if there
 * is one, keeps what path.h promises and is its own normal form. */
static void exhaustive(void **state)
{
    (void)state;
    unsigned fine = 0;
    char name[8], padded[24], buf[16], again[16];
    for (unsigned n = 0; nth_string("/.a\\\x1F", n, name) <= 6; n++) {
        if (normalise(name, buf, sizeof(buf)) < 0)
            continue;
        fine++;
        assert_true(buf[0] != '/' && buf[0] != '\0');
        assert_null(strstr(buf, "//"));
        assert_null(strchr(buf, '\x1F'));
        snprintf(padded, sizeof(padded), "/%s/", buf);
        assert_null(strstr(padded, "/../"));
        assert_null(strstr(padded, "/./"));
        assert_int_equal(normalise(buf, again, sizeof(again)), 0);
        assert_string_equal(buf, again);
    }
    assert_true(fine > 1000);
}

static const struct {
    const char *pattern, *path;
    bool match;
} globs[] = {
    {"a", "a", true},
    {"a", "b", false},
    {"a", "ab", false},
    {"ab", "a", false},
    {"", "", true},
    {"", "a", false},
    {"?", "a", true},
    {"?", "", false},
    {"a?b", "a/b", false},
    {"*", "abc", true},
    {"*", "a/b", false},
    {"*", "", true},
    {"*.cfg", "sw1.cfg", true},
    {"*.cfg", ".cfg", true},
    {"*.cfg", "x/sw1.cfg", false},
    {"*.cfg", "sw1.cfg.bak", false},
    {"a*b*c", "aXbYc", true},
    {"a*b*c", "abbcbc", true},
    {"a*b*c", "acb", false},
    {"cfg/*", "cfg/a", true},
    {"cfg/*", "cfg", false},
    {"cfg/*", "cfg/a/b", false},
    {"*/x", "a/x", true},
    {"*/x", "a/b/x", false},
    {"*a/b", "aa/b", true},
    {"*a/*b/c", "xa/xb/c", true},
    {"*a/*b/c", "xa/xb/xb/c", false},
    {"**", "a", true},
    {"**", "a/b/c", true},
    {"**/x", "x", true},
    {"**/x", "a/x", true},
    {"**/x", "a/b/c/x", true},
    {"**/x", "ax", false},
    {"**/x", "a/bx", false},
    {"a/**/b", "a/b", true},
    {"a/**/b", "a/x/b", true},
    {"a/**/b", "a/x/y/b", true},
    {"a/**/b", "ab", false},
    {"a/**/b", "a/xb", false},
    {"a/**", "a/b/c", true},
    {"a/**", "a", false},
    {"a/**", "b/c", false},
    {"**/*.cfg", "sw1.cfg", true},
    {"**/*.cfg", "a/b/sw1.cfg", true},
    {"**/*.cfg", "a.cfg/b", false},
    {"**.cfg", "a/b/sw1.cfg", true},
    {"up**", "upload/x", true},
    {"**/a/**/b", "x/a/y/a/z/b", true},
    {"**/a/*/b", "a/x/a/y/b", true},
    {"**/a/*/b", "a/x/y/b", false},
    {"**/**/x", "x", true},
    {"***", "a/b", true},
    {"[abc]", "b", true},
    {"[abc]", "d", false},
    {"[a-c]x", "bx", true},
    {"[a-c]", "d", false},
    {"[!a-c]", "d", true},
    {"[!a-c]", "b", false},
    {"a[!x]b", "a/b", false},
    {"a[/]b", "a/b", false},
    {"a[.-0]b", "a/b", false},
    {"[]]", "]", true},
    {"[!]]", "]", false},
    {"[]a]", "a", true},
    {"[a-]", "-", true},
    {"[-a]", "-", true},
    {"[\\]]", "]", true},
    {"[\\]]", "\\", false},
    {"[a\\-c]", "b", false},
    {"[a\\-c]", "-", true},
    {"[a", "[a", true},
    {"[a", "a", false},
    {"[", "[", true},
    {"[\x80-\xFF]", "\xC3", true},
    {"[c-a]", "b", false},
    {"*[0-9]", "host7", true},
    {"*[0-9]", "host", false},
    {"\\*", "*", true},
    {"\\*", "a", false},
    {"\\?", "a", false},
    {"\\[a]", "[a]", true},
    {"a\\b", "ab", true},
    {"a\\", "a\\", true},
    {"\\\\", "\\", true},
    {"x]", "x]", true},
    {".*", ".hidden", true},
    {"*", ".hidden", true},
};

static void glob_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(globs); i++) {
        if (path_glob(globs[i].pattern, globs[i].path) != globs[i].match)
            fail_msg("\"%s\" against \"%s\"", globs[i].pattern, globs[i].path);
    }
}

/* The definition written down as plain recursion, for letters, stars and slashes. */
static bool glob_by_definition(const char *pattern, const char *start, const char *path)
{
    if (!*pattern)
        return !*path;
    if (pattern[0] == '*' && pattern[1] == '*') {
        bool whole = (pattern == start || pattern[-1] == '/') && pattern[2] == '/';
        if (glob_by_definition(pattern + (whole ? 3 : 2), start, path))
            return true;
        for (; *path; path++) {
            if (whole ? *path == '/' && glob_by_definition(pattern + 3, start, path + 1)
                      : glob_by_definition(pattern + 2, start, path + 1))
                return true;
        }
        return false;
    }
    if (*pattern == '*') {
        for (;; path++) {
            if (glob_by_definition(pattern + 1, start, path))
                return true;
            if (!*path || *path == '/')
                return false;
        }
    }
    return *pattern == *path && glob_by_definition(pattern + 1, start, path + 1);
}

/* All patterns of up to six and all paths of up to five bytes: retrying the latest star only
 * loses nothing. */
static void glob_exhaustive(void **state)
{
    (void)state;
    char pattern[8], path[8];
    for (unsigned p = 0; nth_string("a*/b", p, pattern) <= 6; p++) {
        if (strstr(pattern, "***"))
            continue;
        for (unsigned t = 0; nth_string("a/b", t, path) <= 5; t++) {
            if (path_glob(pattern, path) != glob_by_definition(pattern, pattern, path))
                fail_msg("\"%s\" against \"%s\"", pattern, path);
        }
    }
}

/* Would run for ages if each star multiplied the time. */
static void glob_is_not_exponential(void **state)
{
    (void)state;
    char path[500];
    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_false(path_glob("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", path));
    assert_false(path_glob("**a**a**a**a**a**a**a**a**a**a**a**b", path));
    for (size_t i = 1; i < sizeof(path) - 1; i += 2)
        path[i] = '/';
    assert_false(path_glob("**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/b", path));
    assert_false(path_glob("**/*a/**/*a/**/*a/**/*a/**/*a/**/*a/**/*a/**/b", path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_table),
        cmocka_unit_test(embedded_nul),
        cmocka_unit_test(long_components),
        cmocka_unit_test(many_components),
        cmocka_unit_test(every_size),
        cmocka_unit_test(exhaustive),
        cmocka_unit_test(glob_table),
        cmocka_unit_test(glob_exhaustive),
        cmocka_unit_test(glob_is_not_exponential),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
