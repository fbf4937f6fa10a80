/*
 * Removes what uploads left behind when the server was killed: hidden names where O_TMPFILE
 * was not to be had, and those that were about to replace a file.
 *
 * Only names exactly as sink.c makes them, of regular files of our own user. No symbolic link
 * is followed. Uploads of another server running on the same root would be taken for ours:
 * two servers that accept uploads need separate roots or separate users.
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/path.h"
#include "store/store.h"

enum { DEPTH_MAX = 64 };

static bool is_staged_name(const char *name)
{
    const size_t prefix = sizeof(PATH_STAGED_PREFIX) - 1;

    return strncmp(name, PATH_STAGED_PREFIX, prefix) == 0 && strlen(name + prefix) == 16 &&
           strspn(name + prefix, "0123456789abcdef") == 16;
}

static bool remove_staged(int dir, const char *name)
{
    struct stat st;

    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           st.st_uid == geteuid() && unlinkat(dir, name, 0) == 0;
}

static bool may_be_folder(int dir, const struct dirent *e)
{
    struct stat st;

    if (e->d_type != DT_UNKNOWN)
        return e->d_type == DT_DIR;
    return fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static unsigned sweep(int parent, const char *name, unsigned depth)
{
    unsigned removed = 0;

    if (depth == 0)
        return 0;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return 0;
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        return 0;
    }
    const struct dirent *e;
    while ((e = readdir(dir)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (is_staged_name(e->d_name))
            removed += remove_staged(fd, e->d_name);
        else if (may_be_folder(fd, e))
            removed += sweep(fd, e->d_name, depth - 1);
    }
    closedir(dir);
    return removed;
}

unsigned store_sweep(int root_fd)
{
    return sweep(root_fd, ".", DEPTH_MAX);
}
