/*
 * put: local files, and what they are called at the server. What cannot be read twice (standard
 * input, a pipe) is copied first: lost blocks have to be sent again, and the server is told the
 * size before the first byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/plan_impl.h"

struct destination {
    struct client_target target;
    const char *operand;
    bool folder; /* a prefix, the file's own name follows */
};

static enum client_status local_problem(struct planner *p, const char *path, int err)
{
    if (err == EINTR)
        return plan_problem(p, CLIENT_INTERRUPTED, "interrupted");
    if (err == EFBIG)
        return plan_problem(p, CLIENT_TOO_LARGE, "%s: larger than --max-size", path);
    return plan_problem(p, err == ENOENT ? CLIENT_NOT_FOUND : CLIENT_DISK, "%s: %s", path,
                        strerror(err));
}

/* The file's path below the root folder, without symbolic links. */
static enum client_status find_local(struct planner *p, const char *path, char **ret, char **spool)
{
    bool dash = strcmp(path, "-") == 0;
    struct stat st;
    char *real;

    int fd = dash ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return local_problem(p, path, errno);
    int err = fstat(fd, &st) < 0 ? errno : S_ISDIR(st.st_mode) ? EISDIR : 0;
    if (err == 0 && (dash || !S_ISREG(st.st_mode)))
        err = -plan_spool(p->plan, fd, p->options->max_size, spool);
    else if (err == 0 && (uint64_t)st.st_size > p->options->max_size)
        err = EFBIG;
    if (!dash)
        (void)close(fd);
    if (err != 0)
        return local_problem(p, dash ? "standard input" : path, err);
    real = realpath(*spool ? *spool : path, NULL);
    if (!real)
        return local_problem(p, path, errno);
    *ret = strdup(real + 1);
    free(real);
    return *ret ? CLIENT_OK : plan_out_of_memory(p);
}

static enum client_status remote_name(struct planner *p, const struct destination *d,
                                      const char *path, char **ret)
{
    if (!d->folder) {
        *ret = strdup(d->target.file);
    } else if (strcmp(path, "-") == 0) {
        return plan_problem(p, CLIENT_USAGE, "standard input has no name, expected one behind '%s'",
                            d->operand);
    } else if (asprintf(ret, "%s%s", d->target.file, plan_last_part(path)) < 0) {
        *ret = NULL;
    }
    return *ret ? CLIENT_OK : plan_out_of_memory(p);
}

static enum client_status add_local(struct planner *p, const char *path, void *arg)
{
    const struct destination *d = arg;
    char *file = NULL, *local = NULL, *spool = NULL;

    enum client_status status = remote_name(p, d, path, &file);
    if (status == CLIENT_OK)
        status = find_local(p, path, &local, &spool);
    if (status == CLIENT_OK)
        return plan_add(p, &d->target, file, local, spool, path);
    if (spool)
        (void)unlink(spool);
    free(spool);
    free(file);
    return status;
}

enum client_status plan_put(struct planner *p, char **operands, int count)
{
    bool listed = p->options->list != NULL;
    struct destination d = {.operand = count > 0 ? operands[count - 1] : NULL};

    if (listed ? count != 1 : count < 2)
        return plan_problem(p, CLIENT_USAGE,
                            listed ? "--list wants one operand, HOST: or HOST:DIR/"
                                   : "expected FILE... HOST:[DIR/] (try --help)");
    int err = client_target_parse(&d.target, d.operand, p->error);
    if (err < 0)
        return err == -ENOMEM ? CLIENT_SYSTEM : CLIENT_USAGE;
    size_t len = strlen(d.target.file);
    d.folder = len == 0 || d.target.file[len - 1] == '/';
    enum client_status status = CLIENT_OK;
    if (!d.folder && (listed || count > 2))
        status = plan_problem(p, CLIENT_USAGE,
                              "several files go to a folder: '%s' should end in '/'", d.operand);
    if (status == CLIENT_OK && listed)
        status = plan_each_line(p, add_local, &d);
    for (int i = 0; status == CLIENT_OK && !listed && i < count - 1; i++)
        status = add_local(p, operands[i], &d);
    client_target_fini(&d.target);
    return status;
}
