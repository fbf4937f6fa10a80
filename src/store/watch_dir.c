#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "obs/log.h"
#include "store/watch_internal.h"

#define DIR_EVENTS                                                                                 \
    (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF |            \
     IN_MOVE_SELF | IN_ONLYDIR)

/* ---- The kernel's side ---- */

int watch_open(const struct watch *w, const char *path, int flags)
{
    struct open_how how = {
        .flags = (unsigned)(O_PATH | O_CLOEXEC | flags),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
    };
    long fd = syscall(SYS_openat2, w->s->config.root_fd, path, &how, sizeof(how));

    return fd < 0 ? -errno : (int)fd;
}

int watch_add(struct watch *w, int fd, uint32_t mask)
{
    char proc[sizeof("/proc/self/fd/-2147483648")];

    snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
    int wd = inotify_add_watch(w->fd, proc, mask);
    if (wd >= 0)
        return wd;
    int err = errno;
    if (err == ENOSPC || err == ENOMEM) {
        log_line(LOG_NOTICE,
                 "no more watches of files (%s; fs.inotify.max_user_watches): files are opened for "
                 "each request",
                 strerrorname_np(err));
        w->failed = true;
    }
    return -err;
}

int watch_add_dir(struct watch *w, int fd)
{
    return watch_add(w, fd, DIR_EVENTS);
}

void watch_remove(struct watch *w, int wd)
{
    if (w->fd >= 0)
        (void)inotify_rm_watch(w->fd, wd); /* gone already when the file is */
}

/* ---- Directories ---- */

uint32_t wd_hash(int wd)
{
    return (uint32_t)prng_mix((uint64_t)wd);
}

static bool dir_has_wd(const struct map_node *node, const void *key)
{
    return container_of(node, struct watch_dir, by_wd)->wd == *(const int *)key;
}

struct watch_dir *dir_of_wd(const struct watch *w, int wd)
{
    struct map_node *node = map_find(&w->dirs_by_wd, wd_hash(wd), dir_has_wd, &wd);
    return node == NULL ? NULL : container_of(node, struct watch_dir, by_wd);
}

static bool dir_has_path(const struct map_node *node, const void *key)
{
    const struct watch_dir *d = container_of(node, struct watch_dir, by_path);
    const struct view *path = key;
    return d->len == path->n && memcmp(d->path, path->p, path->n) == 0;
}

void dir_set_wd(struct watch *w, struct watch_dir *d, int wd)
{
    if (d->wd >= 0)
        map_remove(&w->dirs_by_wd, &d->by_wd);
    d->wd = wd;
    if (wd >= 0)
        map_insert(&w->dirs_by_wd, &d->by_wd, wd_hash(wd));
}

void dir_put(struct watch *w, struct watch_dir *d)
{
    while (d != NULL && --d->refs == 0) {
        struct watch_dir *parent = d->parent;
        if (d->wd >= 0)
            watch_remove(w, d->wd);
        dir_set_wd(w, d, -1);
        map_remove(&w->dirs, &d->by_path);
        free(d);
        d = parent;
    }
}

/* Looks which directory has the path now, and watches that one. */
static bool dir_look(struct watch *w, struct watch_dir *d)
{
    int fd = d->len == 0 ? w->s->config.root_fd : watch_open(w, d->path, O_DIRECTORY);
    if (fd < 0)
        return false;
    int wd = watch_add_dir(w, fd);
    if (d->len != 0)
        close(fd);
    if (wd < 0)
        return false;
    struct watch_dir *other = dir_of_wd(w, wd);
    if (other != d) {
        /* Two ways to one directory: it has been moved this very moment. */
        if (other != NULL && other->shape == w->shape)
            return false;
        if (other != NULL)
            dir_set_wd(w, other, -1);
        if (d->wd >= 0)
            watch_remove(w, d->wd);
        dir_set_wd(w, d, wd);
    }
    d->shape = w->shape;
    return true;
}

/* One reference; takes over the caller's on `parent`, also when it fails. */
static struct watch_dir *dir_get(struct watch *w, struct watch_dir *parent, struct view path)
{
    uint32_t hash = (uint32_t)prng_mix(path.n);
    for (size_t i = 0; i < path.n; i++)
        hash = (hash ^ path.p[i]) * UINT32_C(0x01000193);
    struct map_node *node = map_find(&w->dirs, hash, dir_has_path, &path);
    struct watch_dir *d;

    if (node != NULL) {
        d = container_of(node, struct watch_dir, by_path);
        d->refs++;
        dir_put(w, parent);
    } else {
        d = w->dirs.count < WATCH_DIRS_MAX ? calloc(1, sizeof(*d) + path.n + 1) : NULL;
        if (d == NULL) {
            dir_put(w, parent);
            return NULL;
        }
        d->parent = parent;
        d->refs = 1;
        d->wd = -1;
        d->len = path.n;
        memcpy(d->path, path.p, path.n);
        map_insert(&w->dirs, &d->by_path, hash);
    }
    if ((d->wd < 0 || d->shape != w->shape) && !dir_look(w, d)) {
        dir_put(w, d);
        return NULL;
    }
    return d;
}

/*
 * The directory that holds `path`, with all above it watched, from the root down: when one is
 * looked for, its name is already under watch.
 */
struct watch_dir *dir_get_all(struct watch *w, const char *path)
{
    struct watch_dir *d = dir_get(w, NULL, view_of(path, 0));

    for (const char *at = path; d != NULL && (at = strchr(at, '/')) != NULL; at++)
        d = dir_get(w, d, view_of(path, (size_t)(at - path)));
    return d;
}
