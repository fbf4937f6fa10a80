#include "file/file_sys.h"

#include <errno.h>
#include <limits.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "file/file_internal.h"

#define RETRY_MAX      16 /* for EAGAIN, which no regular file should give */
#define RETRY_MSEC     5
#define PROC_PATH_SIZE sizeof("/proc/self/fd/-2147483648")
#define IO_BYTES_MAX   0x7ffff000 /* what one read or write moves at most on Linux */

/* -1: not yet known. The same for the whole process, as seccomp and the kernel are. */
static atomic_int have_openat2 = -1;

static int sys_openat2(int dirfd, const char *path, struct open_how *how)
{
    long fd = syscall(SYS_openat2, dirfd, path, how, sizeof(*how));

    return fd < 0 ? -errno : (int)fd;
}

/* Asked with a path that can always be opened: a sandbox may answer EPERM for a call it does
 * not know, which is also an honest answer for a file. */
bool file_sys_has_openat2(void)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC};
    int works = atomic_load(&have_openat2);
    int fd;

    if (works >= 0)
        return works;
    fd = sys_openat2(AT_FDCWD, "/", &how);
    if (fd >= 0)
        close(fd);
    works = !(fd == -ENOSYS || fd == -EPERM);
    atomic_store(&have_openat2, works);
    return works;
}

int file_sys_open_flags(const struct file_req *req)
{
    int added = req->flags & O_PATH ? O_CLOEXEC : O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

    return req->flags | added;
}

mode_t file_sys_open_mode(const struct file_req *req)
{
    bool creates = req->flags & O_CREAT || (req->flags & O_TMPFILE) == O_TMPFILE;

    return creates ? req->mode & 07777 : 0;
}

/* ------------------------------------------------------------- opening without openat2 */

struct walk {
    int dir;      /* where we are; ours to close when it is not the caller's */
    bool dir_own; /* that it is ours */
    dev_t dev;
    bool no_xdev;
};

static void walk_to(struct walk *w, int dir)
{
    if (w->dir_own)
        close(w->dir);
    w->dir = dir;
    w->dir_own = true;
}

static int walk_check_dev(const struct walk *w, int fd)
{
    struct stat st;

    if (!w->no_xdev)
        return 0;
    if (fstat(fd, &st) < 0)
        return -errno;
    return st.st_dev == w->dev ? 0 : -EXDEV;
}

static int walk_step(struct walk *w, const char *name)
{
    int fd = openat(w->dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    int err;

    if (fd < 0) {
        err = -errno;
        if (err == -ENOTDIR && fstatat(w->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISLNK(st.st_mode))
            return -ELOOP;
        return err;
    }
    err = walk_check_dev(w, fd);
    if (err) {
        close(fd);
        return err;
    }
    walk_to(w, fd);
    return 0;
}

static int walk_last(struct walk *w, const char *name, int flags, mode_t mode)
{
    int fd = openat(w->dir, name, flags | O_NOFOLLOW, mode);
    int err;

    if (fd < 0)
        return -errno;
    err = walk_check_dev(w, fd);
    if (err) {
        close(fd);
        return err;
    }
    return fd;
}

/* Copies the next component to `name`; false at the end. Empty ones and "." are passed over. */
static bool next_name(const char **path, char name[NAME_MAX + 1], int *ret_err)
{
    for (;;) {
        size_t n;

        *path += strspn(*path, "/");
        n = strcspn(*path, "/");
        if (n == 0)
            return false;
        if (n > NAME_MAX) {
            *ret_err = -ENAMETOOLONG;
            return false;
        }
        memcpy(name, *path, n);
        name[n] = '\0';
        *path += n;
        if (strcmp(name, "..") == 0) {
            *ret_err = -EXDEV;
            return false;
        }
        if (strcmp(name, ".") != 0)
            return true;
    }
}

int file_sys_walk(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
    struct walk w = {.dir = dirfd, .no_xdev = resolve & RESOLVE_NO_XDEV};
    char name[NAME_MAX + 1], next[NAME_MAX + 1];
    struct stat st;
    int err = 0;
    int fd = -1;
    size_t length = strlen(path);

    if (length == 0)
        return -ENOENT;
    if (path[0] == '/')
        return -EXDEV;
    if (w.no_xdev) {
        if (fstatat(dirfd, ".", &st, 0) < 0)
            return -errno;
        w.dev = st.st_dev;
    }
    if (path[length - 1] == '/' || (length > 1 && strcmp(path + length - 2, "/.") == 0))
        flags |= O_DIRECTORY;

    if (!next_name(&path, name, &err)) {
        fd = err ? err : walk_last(&w, ".", flags, mode);
    } else {
        while (next_name(&path, next, &err) && (err = walk_step(&w, name)) == 0)
            memcpy(name, next, sizeof(name));
        fd = err ? err : walk_last(&w, name, flags, mode);
    }
    if (w.dir_own)
        close(w.dir);
    return fd;
}

/* ---------------------------------------------------------------------- the operations */

static void fill_stat(struct file_stat *to, const struct stat *st)
{
    *to = (struct file_stat){
        .dev = st->st_dev,
        .ino = st->st_ino,
        .size = (uint64_t)st->st_size,
        .mtime_ns = (uint64_t)st->st_mtim.tv_sec * NSEC_PER_SEC + (uint64_t)st->st_mtim.tv_nsec,
        .ctime_ns = (uint64_t)st->st_ctim.tv_sec * NSEC_PER_SEC + (uint64_t)st->st_ctim.tv_nsec,
        .mode = st->st_mode,
    };
}

static int64_t run_stat(struct file_req *req, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    fill_stat(&req->st, &st);
    return 0;
}

static int64_t open_plain(struct file_req *req)
{
    int flags = file_sys_open_flags(req);
    mode_t mode = file_sys_open_mode(req);
    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags,
        .mode = mode,
        .resolve = req->resolve,
    };
    int fd;

    if (file_sys_has_openat2())
        return sys_openat2(req->dirfd, req->path, &how);
    if (req->resolve)
        return file_sys_walk(req->dirfd, req->path, flags, mode, req->resolve);
    fd = openat(req->dirfd, req->path, flags, mode);
    return fd < 0 ? -errno : fd;
}

static int64_t run_open(struct file_req *req)
{
    int64_t fd = req->stage == STAGE_START ? open_plain(req) : req->result;
    int64_t err;

    if (fd < 0)
        return fd;
    /* From here a repetition, if any, goes on with the same descriptor. */
    req->result = fd;
    err = req->stage == STAGE_UNDO ? file_priv(req, PRIV_ERROR) : run_stat(req, (int)fd);
    if (err) {
        close((int)fd);
        return err;
    }
    return fd;
}

static int64_t run_read(struct file_req *req)
{
    size_t len = MIN(req->len, IO_BYTES_MAX);
    int64_t n =
        req->stage == STAGE_STAT ? req->result : pread(req->fd, req->buf, len, (off_t)req->offset);
    int64_t err;

    if (n < 0)
        return -errno;
    err = req->stat_after ? run_stat(req, req->fd) : 0;
    return err ? err : n;
}

static int64_t run_link(struct file_req *req)
{
    char proc[PROC_PATH_SIZE];

    if (linkat(req->fd, "", req->dirfd, req->path, AT_EMPTY_PATH) == 0)
        return 0;
    /* ENOENT also means: not privileged to do it this way. */
    if (errno != ENOENT)
        return -errno;
    snprintf(proc, sizeof(proc), "/proc/self/fd/%d", req->fd);
    return linkat(AT_FDCWD, proc, req->dirfd, req->path, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int64_t run_rename(struct file_req *req)
{
    int ret = req->flags
                  ? renameat2(req->dirfd, req->path, req->dirfd, req->path2, (unsigned)req->flags)
                  : renameat(req->dirfd, req->path, req->dirfd, req->path2);

    return ret < 0 ? -errno : 0;
}

static int64_t run_statfs(struct file_req *req)
{
    struct statvfs vfs;

    if (fstatvfs(req->fd, &vfs) < 0)
        return -errno;
    req->space = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    return 0;
}

/* Closed is closed on Linux, interrupted or not. */
static int64_t run_close(struct file_req *req)
{
    return close(req->fd) < 0 && errno != EINTR ? -errno : 0;
}

static int64_t run_once(struct file_req *req)
{
    switch (req->op) {
    case FILE_OPEN:
        return run_open(req);
    case FILE_STAT:
        return run_stat(req, req->fd);
    case FILE_READ:
        return run_read(req);
    case FILE_WRITE: {
        ssize_t n = pwrite(req->fd, req->buf, MIN(req->len, IO_BYTES_MAX), (off_t)req->offset);
        return n < 0 ? -errno : n;
    }
    case FILE_ALLOCATE:
        return fallocate(req->fd, FALLOC_FL_KEEP_SIZE, (off_t)req->offset, (off_t)req->len) < 0
                   ? -errno
                   : 0;
    case FILE_SYNC:
        return fsync(req->fd) < 0 ? -errno : 0;
    case FILE_LINK:
        return run_link(req);
    case FILE_RENAME:
        return run_rename(req);
    case FILE_UNLINK:
        return unlinkat(req->dirfd, req->path, 0) < 0 ? -errno : 0;
    case FILE_CLOSE:
        return run_close(req);
    case FILE_STATFS:
        return run_statfs(req);
    case FILE_CHMOD:
        return fchmod(req->fd, req->mode & 07777) < 0 ? -errno : 0;
    case FILE_TRUNCATE:
        return ftruncate(req->fd, (off_t)req->offset) < 0 ? -errno : 0;
    case FILE_OPS:
        break;
    }
    return -EINVAL;
}

void file_sys_run(struct file_req *req)
{
    int64_t result;
    int tries = 0;

    do {
        result = run_once(req);
        if (result == -EAGAIN) {
            if (++tries > RETRY_MAX)
                result = -EIO;
            else
                (void)poll(NULL, 0, RETRY_MSEC);
        }
    } while (result == -EINTR || result == -EAGAIN);
    req->result = result;
}
