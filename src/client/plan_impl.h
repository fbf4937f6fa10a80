/*
 * What the files of the plan share. Private to plan*.c.
 */
#ifndef CLIENT_PLAN_IMPL_H
#define CLIENT_PLAN_IMPL_H

#include "client/plan.h"

/* A plan in the making. */
struct planner {
    struct client_plan *plan;
    const struct client_options *options;
    struct client_error *error;
};

/* The part behind the last slash. */
const char *plan_last_part(const char *name);

/* Adds a file; takes over `file`, `local` and `spool` (malloc'd; also on failure). */
enum client_status plan_add(struct planner *p, const struct client_target *t, char *file,
                            char *local, char *spool, const char *label);

/* Calls fn for each line of --list that is not empty. */
enum client_status
plan_each_line(struct planner *p,
               enum client_status (*fn)(struct planner *p, const char *line, void *arg), void *arg);

enum client_status plan_out_of_memory(struct planner *p);
enum client_status plan_problem(struct planner *p, enum client_status status, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

enum client_status plan_get(struct planner *p, char **operands, int count);
enum client_status plan_put(struct planner *p, char **operands, int count);

/*
 * Copies what stands at descriptor `fd` to a new file in the plan's temporary folder, at most
 * `max` bytes. The path is malloc'd. 0, -EFBIG, -EINTR, or another -errno.
 */
MUST_CHECK int plan_spool(struct client_plan *plan, int fd, uint64_t max, char **ret);

#endif
