#include "server/conf_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/landlock.h"
#include "server/privileges.h"
#include "server/syscall_filter.h"

#define FILE_BYTES_MAX (1 << 20)

/* Before the bytes: how many, or -errno. */
struct answer {
    int64_t result;
};

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* "a/b" -> "a", "b" -> ".", "/b" -> "/". */
static int open_folder(const char *path)
{
    char folder[PATH_MAX];
    size_t n = (size_t)(base_name(path) - path);

    if (n >= sizeof(folder))
        return -ENAMETOOLONG;
    memcpy(folder, path, n);
    folder[n] = '\0';
    int fd = open(n > 0 ? folder : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int conf_reader_prepare(struct conf_reader *r, const char *path)
{
    *r = (struct conf_reader){.fd = -1, .folder = -1, .path = path};
    if (!path)
        return 0;
    r->folder = open_folder(path);
    return r->folder < 0 ? r->folder : 0;
}

/* ---- In the process ---- */

static bool send_all(int fd, const void *bytes, size_t len)
{
    const char *at = bytes;

    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static int64_t read_file(int folder, const char *name, char *buf)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int64_t len = 0;
    ssize_t n;

    if (fd < 0)
        return -errno;
    while (len <= FILE_BYTES_MAX && (n = read(fd, buf + len, (size_t)(FILE_BYTES_MAX + 1 - len))))
        if (n > 0) {
            len += n;
        } else if (errno != EINTR) {
            len = -errno;
            break;
        }
    close(fd);
    return len > FILE_BYTES_MAX ? -EFBIG : len;
}

/* Reading files below that folder, and where a link leads that it may be; nothing else. */
static int fence_files(const struct conf_reader *r)
{
    struct landlock l;
    char real[PATH_MAX];
    int err = landlock_open(&l);

    if (err < 0)
        return err;
    int target = realpath(r->path, real) ? open_folder(real) : -1;
    err = landlock_allow(&l, r->folder, LANDLOCK_USE_READ);
    if (target >= 0) {
        int other = landlock_allow(&l, target, LANDLOCK_USE_READ);
        err = err < 0 ? err : other;
        close(target);
    }
    /* What cannot be allowed is not read: the fence stands all the same. */
    int fence = landlock_enforce(&l);
    return fence < 0 ? fence : err;
}

/* As the server itself; what it lacks, the server lacks too and says so. */
static bool shut_in(const struct conf_reader *r, const struct conf *conf)
{
    if (conf->security_landlock != CONFINE_OFF && fence_files(r) < 0 &&
        conf->security_landlock == CONFINE_REQUIRE)
        return false;
    return conf->security_seccomp == CONFINE_OFF ||
           syscall_filter_load_reader(r->fd, r->folder) == 0 ||
           conf->security_seccomp != CONFINE_REQUIRE;
}

/* Ends with the server: then the socket is closed. */
static _Noreturn void serve(const struct conf_reader *r, const struct confinement *c)
{
    char error[256], ask;
    char *buf = malloc(FILE_BYTES_MAX + 1);

    prctl(PR_SET_NAME, "ringtftpd-conf", 0, 0, 0);
    if (!buf || privileges_drop(&c->who, false, error, sizeof(error)) != 0 || !shut_in(r, c->conf))
        _exit(1);
    while (read(r->fd, &ask, 1) == 1) {
        struct answer answer = {read_file(r->folder, base_name(r->path), buf)};

        if (!send_all(r->fd, &answer, sizeof(answer)) ||
            (answer.result > 0 && !send_all(r->fd, buf, (size_t)answer.result)))
            break;
    }
    _exit(0);
}

/* Only what it works with is left open, at the lowest numbers after the standard ones. */
static void close_others(struct conf_reader *r)
{
    int keep[2] = {r->fd, r->folder};

    for (int i = 0; i < 2; i++)
        if (keep[i] < 5)
            keep[i] = fcntl(keep[i], F_DUPFD_CLOEXEC, 5);
    r->fd = dup2(keep[0], 3);
    r->folder = dup2(keep[1], 4);
    (void)close_range(5, ~0U, 0);
}

/* ---- In the server ---- */

int conf_reader_start(struct conf_reader *r, const struct confinement *c)
{
    int fds[2];

    if (r->folder < 0)
        return 0;
    r->user = c->who.user;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    r->pid = fork();
    if (r->pid < 0) {
        int err = -errno;
        r->pid = 0;
        close(fds[0]);
        close(fds[1]);
        return err;
    }
    if (r->pid == 0) {
        r->fd = fds[1];
        close_others(r);
        serve(r, c);
    }
    close(fds[1]);
    close(r->folder);
    r->folder = -1;
    r->fd = fds[0];
    return 0;
}

static bool receive_all(int fd, void *buf, size_t len)
{
    char *at = buf;

    while (len > 0) {
        ssize_t n = read(fd, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

/* The next answer begins behind these bytes. */
static bool skip(int fd, size_t len)
{
    char buf[512];
    bool whole = true;

    for (size_t n; len > 0 && whole; len -= n) {
        n = MIN(len, sizeof(buf));
        whole = receive_all(fd, buf, n);
    }
    return whole;
}

int conf_reader_read(struct conf_reader *r, char **ret_text, size_t *ret_len)
{
    struct answer answer;

    if (!r->pid || !send_all(r->fd, "", 1) || !receive_all(r->fd, &answer, sizeof(answer)))
        return -EPIPE;
    if (answer.result > FILE_BYTES_MAX) /* whoever says that is not our reader any more */
        return -EPIPE;
    if (answer.result < 0)
        return (int)answer.result;
    char *text = malloc((size_t)answer.result + 1);
    if (!text)
        return skip(r->fd, (size_t)answer.result) ? -ENOMEM : -EPIPE;
    if (!receive_all(r->fd, text, (size_t)answer.result)) {
        free(text);
        return -EPIPE;
    }
    text[answer.result] = '\0';
    *ret_text = text;
    *ret_len = (size_t)answer.result;
    return 0;
}

void conf_reader_stop(struct conf_reader *r)
{
    if (r->folder >= 0)
        close(r->folder);
    if (r->pid) {
        close(r->fd);
        while (waitpid(r->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    *r = (struct conf_reader){.fd = -1, .folder = -1};
}
