/*
 * Names and patterns. The first byte is the length of the name, then comes the name, then the
 * pattern. A name that passes keeps what policy/path.h promises and is its own normal form; the
 * glob says what a slow, plain one says.
 */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "plain_glob.h"
#include "policy/path.h"

#define NAME_MAX_LEN 255

static void check_component(const char *p, size_t n)
{
    FUZZ_CHECK(n > 0 && n <= 255);
    FUZZ_CHECK(!(n == 1 && p[0] == '.'));
    FUZZ_CHECK(!(n == 2 && p[0] == '.' && p[1] == '.'));
    FUZZ_CHECK(strncmp(p, PATH_STAGED_PREFIX, strlen(PATH_STAGED_PREFIX)) != 0);
}

static void check_path(const char *path, const uint8_t *name, size_t n)
{
    char again[NAME_MAX_LEN + 1];
    size_t left = 0;

    for (const char *at = path, *end; at; at = end ? end + 1 : NULL) {
        end = strchr(at, '/');
        check_component(at, end ? (size_t)(end - at) : strlen(at));
    }
    for (const char *c = path; *c; c++)
        FUZZ_CHECK((unsigned char)*c >= 32 && *c != 127);
    FUZZ_CHECK(path_normalise(view_of(path, strlen(path)), again, sizeof(again)) == 0);
    FUZZ_CHECK(strcmp(path, again) == 0);
    /* Nothing but slashes was taken away, nothing was added. */
    for (size_t i = 0; i < n; i++) {
        while (path[left] == '/' && name[i] != '/')
            left++;
        if (name[i] != '/')
            FUZZ_CHECK(path[left++] == (char)name[i]);
    }
    FUZZ_CHECK(path[left] == '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    char path[NAME_MAX_LEN + 1], pattern[256];

    if (n < 1)
        return 0;
    size_t len = p[0] < n - 1 ? p[0] : n - 1, rest = n - 1 - len;
    int err = path_normalise(view_of(p + 1, len), path, sizeof(path));
    FUZZ_CHECK(err == 0 || err == -EACCES || err == -ENOENT);
    if (err)
        return 0;
    check_path(path, p + 1, len);
    if (rest >= sizeof(pattern))
        return 0;
    memcpy(pattern, p + 1 + len, rest);
    pattern[rest] = '\0';
    bool match = path_glob(pattern, path);
    if (strlen(pattern) <= PLAIN_MAX && strlen(path) <= PLAIN_MAX)
        FUZZ_CHECK(match == plain_glob(pattern, path, true));
    FUZZ_CHECK(path_glob("**", path));
    return 0;
}
