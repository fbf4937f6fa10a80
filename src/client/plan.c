#include "client/plan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/escape.h"
#include "client/plan_impl.h"

#define LABEL_MAX 256

const char *plan_last_part(const char *name)
{
    const char *slash = strrchr(name, '/');

    return slash ? slash + 1 : name;
}

enum client_status plan_problem(struct planner *p, enum client_status status, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(p->error->text, sizeof(p->error->text), fmt, args);
    va_end(args);
    return status;
}

enum client_status plan_out_of_memory(struct planner *p)
{
    return plan_problem(p, CLIENT_SYSTEM, "out of memory");
}

static void item_free(struct client_item *item)
{
    list_del(&item->link);
    if (item->spool)
        (void)unlink(item->spool);
    free(item->file);
    free(item->local);
    free(item->label);
    free(item->spool);
    free(item);
}

/* Bounds how much of a hostile name is printed, and how. */
static char *printable(const char *label)
{
    char text[LABEL_MAX];

    return strdup(escape_bytes(view_of(label, strlen(label)), text, sizeof(text)));
}

/* What tells one file from the next on a narrow line. */
static const char *name_in(const char *label)
{
    const char *name = plan_last_part(label);
    const char *colon = strrchr(name, ':');

    if (colon && colon[1] != '\0')
        name = colon + 1;
    return *name ? name : label;
}

enum client_status plan_add(struct planner *p, const struct client_target *t, char *file,
                            char *local, char *spool, const char *label)
{
    struct client_item *item = calloc(1, sizeof(*item));

    if (!item) {
        if (spool)
            (void)unlink(spool);
        free(file);
        free(local);
        free(spool);
        return plan_out_of_memory(p);
    }
    list_push_back(&p->plan->items, &item->link);
    p->plan->count++;
    item->file = file;
    item->local = local;
    item->spool = spool;
    item->label = printable(label);
    if (!item->label)
        return plan_out_of_memory(p);
    item->name = name_in(item->label);
    item->mode = t->mode_given ? t->mode : p->options->mode;
    if (*file == '\0')
        return plan_problem(p, CLIENT_USAGE, "'%s': the name of the remote file is missing",
                            item->label);
    int err = client_host_find(&p->plan->hosts, t, p->options, &item->host, p->error);
    if (err == -ENOMEM)
        return plan_out_of_memory(p);
    return err < 0 ? CLIENT_UNREACHABLE : CLIENT_OK;
}

enum client_status
plan_each_line(struct planner *p,
               enum client_status (*fn)(struct planner *p, const char *line, void *arg), void *arg)
{
    const char *name = p->options->list;
    FILE *in = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
    enum client_status status = CLIENT_OK;
    char *line = NULL;
    size_t size = 0;
    ssize_t n;

    if (!in)
        return plan_problem(p, errno == ENOENT ? CLIENT_NOT_FOUND : CLIENT_DISK,
                            "--list: cannot read %s: %s", name, strerror(errno));
    while (status == CLIENT_OK && (n = getline(&line, &size, in)) >= 0) {
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            line[--n] = '\0';
        if (strlen(line) != (size_t)n)
            status = plan_problem(p, CLIENT_USAGE, "--list: %s has a zero byte in a name", name);
        else if (n > 0)
            status = fn(p, line, arg);
    }
    if (status == CLIENT_OK && ferror(in))
        status = plan_problem(p, CLIENT_DISK, "--list: cannot read %s: %s", name, strerror(errno));
    free(line);
    if (in != stdin)
        fclose(in);
    if (status == CLIENT_OK && p->plan->count == 0)
        status = plan_problem(p, CLIENT_USAGE, "--list: %s names no file", name);
    return status;
}

enum client_status client_plan_make(struct client_plan *plan, const struct client_options *o,
                                    char **operands, int count, struct client_error *error)
{
    struct planner p = {plan, o, error};

    *plan = (struct client_plan){.stream = -1};
    list_init(&plan->hosts);
    list_init(&plan->items);
    return o->command == CLIENT_PUT ? plan_put(&p, operands, count) : plan_get(&p, operands, count);
}

void client_plan_fini(struct client_plan *plan)
{
    while (!list_empty(&plan->items))
        item_free(container_of(plan->items.next, struct client_item, link));
    client_hosts_free(&plan->hosts);
    if (plan->spool_dir)
        (void)rmdir(plan->spool_dir);
    free(plan->spool_dir);
    free(plan->folder);
    if (plan->stream > STDERR_FILENO)
        (void)close(plan->stream);
}
