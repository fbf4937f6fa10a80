#include "server/upload_places.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "file/file_sys.h"

/* How much of the pattern names a folder: up to the last slash before the first sign. */
static size_t folder_len(const char *pattern)
{
    size_t n = strcspn(pattern, "*?[\\");

    while (n > 0 && pattern[n - 1] != '/')
        n--;
    while (n > 0 && pattern[n - 1] == '/')
        n--;
    return n;
}

static int open_below(int root_fd, const char *path)
{
    const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    struct open_how how = {.flags = flags, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};

    if (!file_sys_has_openat2())
        return file_sys_walk(root_fd, path, flags, 0, RESOLVE_BENEATH);
    long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
    return fd < 0 ? -errno : (int)fd;
}

int upload_place_open(int root_fd, const char *pattern)
{
    char path[PATH_MAX];
    size_t n = folder_len(pattern);
    int fd;

    if (n >= sizeof(path))
        return -ENAMETOOLONG;
    memcpy(path, pattern, n);
    do {
        path[n] = '\0';
        fd = open_below(root_fd, n > 0 ? path : ".");
        while (n > 0 && path[n - 1] != '/')
            n--;
        while (n > 0 && path[n - 1] == '/')
            n--;
    } while (fd == -ENOENT && path[0] != '\0');
    return fd;
}

static bool is_below(const char *pattern, const char *folder_pattern)
{
    size_t n = folder_len(pattern), above = folder_len(folder_pattern);

    return above == 0 || (n >= above && memcmp(pattern, folder_pattern, above) == 0 &&
                          (n == above || pattern[above] == '/'));
}

bool upload_places_within(const struct conf *wanted, const struct conf *started)
{
    const struct conf_list *have = &started->write_allowed_patterns;
    bool within = started->write_enabled;

    if (!wanted->write_enabled)
        return true;
    for (size_t i = 0; i < wanted->write_allowed_patterns.count && within; i++) {
        within = false;
        for (size_t k = 0; k < have->count && !within; k++)
            within = is_below(wanted->write_allowed_patterns.items[i], have->items[k]);
    }
    return within;
}
