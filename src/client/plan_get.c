/*
 * get and probe: remote files, and where they go. The local name is the last part of the remote
 * name as it was typed (or listed), or what --output says.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/plan_impl.h"
#include "policy/path.h"

/* The name of the new local file, or NULL with a sentence. */
static enum client_status local_name(struct planner *p, const char *file, char **ret)
{
    const char *name = plan_last_part(file);

    *ret = NULL;
    if (p->plan->stream >= 0 || p->options->output || p->options->command == CLIENT_PROBE ||
        *file == '\0')
        return CLIENT_OK;
    if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return plan_problem(p, CLIENT_USAGE,
                            "'%s' gives no name for the local file, use --output FILE", file);
    if (strlen(name) > NAME_MAX || strncmp(name, PATH_STAGED_PREFIX, 10) == 0)
        return plan_problem(p, CLIENT_USAGE,
                            "'%.60s' cannot be the name of a local file, use --output FILE", name);
    *ret = strdup(name);
    return *ret ? CLIENT_OK : plan_out_of_memory(p);
}

static enum client_status add_remote(struct planner *p, const struct client_target *t, char *file,
                                     const char *label)
{
    char *local = NULL;
    enum client_status status = file ? local_name(p, file, &local) : plan_out_of_memory(p);

    if (status == CLIENT_OK)
        return plan_add(p, t, file, local, NULL, label);
    free(file);
    return status;
}

static enum client_status add_operand(struct planner *p, const char *operand)
{
    struct client_target t;

    int err = client_target_parse(&t, operand, p->error);
    if (err < 0)
        return err == -ENOMEM ? CLIENT_SYSTEM : CLIENT_USAGE;
    enum client_status status = add_remote(p, &t, strdup(t.file), operand);
    client_target_fini(&t);
    return status;
}

struct listed {
    struct client_target *target;
    const char *operand;
};

static enum client_status add_listed(struct planner *p, const char *line, void *arg)
{
    const struct listed *listed = arg;
    char *file = NULL, *label = NULL;
    enum client_status status;

    if (asprintf(&file, "%s%s", listed->target->file, line) < 0 ||
        asprintf(&label, "%s%s", listed->operand, line) < 0) {
        free(file);
        return plan_out_of_memory(p);
    }
    status = add_remote(p, listed->target, file, label);
    free(label);
    return status;
}

static enum client_status add_list(struct planner *p, char **operands, int count)
{
    struct client_target t;

    if (count != 1)
        return plan_problem(p, CLIENT_USAGE,
                            "--list wants one operand, HOST: or HOST:DIR/, and got %d", count);
    int err = client_target_parse(&t, operands[0], p->error);
    if (err < 0)
        return err == -ENOMEM ? CLIENT_SYSTEM : CLIENT_USAGE;
    enum client_status status = plan_each_line(p, add_listed, &(struct listed){&t, operands[0]});
    client_target_fini(&t);
    return status;
}

/* ---- Where it goes ---- */

/* A place that is no regular file (a device, a pipe) is written as it comes. */
static enum client_status open_place(struct planner *p, const char *path)
{
    p->plan->stream = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (p->plan->stream >= 0)
        return CLIENT_OK;
    return plan_problem(p, CLIENT_DISK, "cannot write to %s: %s", path, strerror(errno));
}

static enum client_status split_output(struct planner *p, const char *path)
{
    const char *name = plan_last_part(path);
    size_t len = (size_t)(name - path);

    if (*name == '\0')
        return plan_problem(p, CLIENT_USAGE, "--output: '%s' is a folder, use --output-dir", path);
    p->plan->folder = len > 0 ? strndup(path, len) : strdup(".");
    return p->plan->folder ? CLIENT_OK : plan_out_of_memory(p);
}

/* Where a symbolic link at the place points to is what is replaced, not the link. */
static enum client_status choose_output(struct planner *p, char **ret_name)
{
    const char *path = p->options->output;
    enum client_status status;
    char *real = NULL;
    struct stat st;

    *ret_name = NULL;
    if (stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return plan_problem(p, CLIENT_USAGE, "--output: '%s' is a folder, use --output-dir",
                                path);
        if (!S_ISREG(st.st_mode))
            return open_place(p, path);
        real = realpath(path, NULL);
    } else if (lstat(path, &st) == 0) {
        return plan_problem(p, CLIENT_DISK, "--output: '%s' is a symbolic link that leads nowhere",
                            path);
    }
    status = split_output(p, real ? real : path);
    if (status == CLIENT_OK) {
        *ret_name = strdup(plan_last_part(real ? real : path));
        if (!*ret_name)
            status = plan_out_of_memory(p);
    }
    free(real);
    return status;
}

static enum client_status choose_folder(struct planner *p)
{
    p->plan->folder = strdup(p->options->output_dir ? p->options->output_dir : ".");
    return p->plan->folder ? CLIENT_OK : plan_out_of_memory(p);
}

static int by_name(const void *a, const void *b)
{
    const struct client_item *const *x = a, *const *y = b;

    return strcmp((*x)->local, (*y)->local);
}

/* Two remote files must not become one local file. */
static enum client_status check_distinct(struct planner *p)
{
    struct client_item **sorted = calloc(p->plan->count, sizeof(struct client_item *));
    enum client_status status = CLIENT_OK;
    struct list *pos;
    unsigned n = 0;

    if (!sorted)
        return plan_out_of_memory(p);
    list_for_each (pos, &p->plan->items)
        sorted[n++] = container_of(pos, struct client_item, link);
    qsort(sorted, n, sizeof(struct client_item *), by_name);
    for (unsigned i = 1; i < n && status == CLIENT_OK; i++)
        if (strcmp(sorted[i - 1]->local, sorted[i]->local) == 0)
            status = plan_problem(p, CLIENT_USAGE,
                                  "%s and %s would both become '%s'; fetch them into different "
                                  "folders with --output-dir",
                                  sorted[i - 1]->label, sorted[i]->label, sorted[i]->local);
    free(sorted);
    return status;
}

/* The single file of --output or --sha256. */
static enum client_status check_single(struct planner *p, const char *option)
{
    if (p->plan->count == 1)
        return CLIENT_OK;
    return plan_problem(p, CLIENT_USAGE, "--%s is for a single file, and there are %u", option,
                        p->plan->count);
}

static enum client_status check_get(struct planner *p, char *name)
{
    enum client_status status = CLIENT_OK;

    if (name) {
        status = check_single(p, "output");
        if (status == CLIENT_OK) {
            struct client_item *only = container_of(p->plan->items.next, struct client_item, link);
            free(only->local);
            only->local = name;
            name = NULL;
        }
    }
    free(name);
    if (status == CLIENT_OK && p->options->check_sha256)
        status = check_single(p, "sha256");
    if (status == CLIENT_OK && p->plan->stream < 0)
        status = check_distinct(p);
    return status;
}

enum client_status plan_get(struct planner *p, char **operands, int count)
{
    const struct client_options *o = p->options;
    enum client_status status = CLIENT_OK;
    char *name = NULL;

    if (o->command == CLIENT_GET) {
        bool dash =
            count > 1 && !o->output && !o->output_dir && strcmp(operands[count - 1], "-") == 0;
        if (dash && o->json)
            return plan_problem(p, CLIENT_USAGE,
                                "--json and the file itself cannot both go to standard output");
        if (dash)
            count--;
        if (dash || (o->output && strcmp(o->output, "-") == 0))
            p->plan->stream = STDOUT_FILENO;
        else
            status = o->output ? choose_output(p, &name) : choose_folder(p);
    }
    if (status == CLIENT_OK && count == 0)
        status = plan_problem(p, CLIENT_USAGE, "expected HOST:FILE (try --help)");
    if (status == CLIENT_OK && o->list)
        status = add_list(p, operands, count);
    for (int i = 0; status == CLIENT_OK && !o->list && i < count; i++)
        status = add_operand(p, operands[i]);
    if (status == CLIENT_OK && o->command == CLIENT_GET)
        return check_get(p, name);
    free(name);
    return status;
}
