/*
 * Copies of what can be read only once, in a folder that only we can enter.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/plan_impl.h"

static int make_folder(struct client_plan *plan)
{
    const char *tmp = getenv("TMPDIR");

    if (plan->spool_dir)
        return 0;
    if (asprintf(&plan->spool_dir, "%s/ringtftp-XXXXXX", tmp && *tmp ? tmp : "/tmp") < 0) {
        plan->spool_dir = NULL;
        return -ENOMEM;
    }
    if (mkdtemp(plan->spool_dir))
        return 0;
    int err = -errno;
    free(plan->spool_dir);
    plan->spool_dir = NULL;
    return err;
}

static int write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);
        if (done < 0)
            return -errno;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

static int copy(int from, int to, uint64_t max)
{
    char buf[64 * 1024];
    uint64_t total = 0;
    int err = 0;

    while (err == 0) {
        ssize_t n = read(from, buf, sizeof(buf));
        if (n == 0)
            break;
        if (n < 0)
            return -errno;
        total += (uint64_t)n;
        err = total > max ? -EFBIG : write_all(to, buf, (size_t)n);
    }
    return err;
}

int plan_spool(struct client_plan *plan, int fd, uint64_t max, char **ret)
{
    char *path;

    int err = make_folder(plan);
    if (err < 0)
        return err;
    if (asprintf(&path, "%s/%u", plan->spool_dir, plan->count) < 0)
        return -ENOMEM;
    int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0) {
        err = -errno;
        free(path);
        return err;
    }
    err = copy(fd, to, max);
    if (close(to) < 0 && err == 0)
        err = -errno;
    if (err < 0) {
        (void)unlink(path);
        free(path);
        return err;
    }
    *ret = path;
    return 0;
}
