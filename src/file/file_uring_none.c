/*
 * The ring backend of a build without liburing. No ring can be made there, so file_io has none
 * of this either.
 */
#include "file/file_uring.h"

#include <errno.h>

struct file_uring *file_uring_new(struct file_io *f, struct ring *ring)
{
    (void)f, (void)ring;
    errno = ENOSYS;
    return NULL;
}

void file_uring_free(struct file_uring *u)
{
    (void)u;
}

bool file_uring_can(const struct file_uring *u, enum file_op op)
{
    (void)u, (void)op;
    return false;
}

bool file_uring_knows(enum file_op op)
{
    (void)op;
    return false;
}

bool file_uring_is_dead(const struct file_uring *u)
{
    (void)u;
    return true;
}

bool file_uring_full(const struct file_uring *u)
{
    (void)u;
    return true;
}

void file_uring_submit(struct file_uring *u, struct file_req *req)
{
    (void)u, (void)req;
}

void file_uring_cancel(struct file_uring *u, struct file_req *req)
{
    (void)u, (void)req;
}

nsec file_uring_flush(struct file_uring *u, nsec now)
{
    (void)u, (void)now;
    return NSEC_NEVER;
}

void file_uring_reap(struct file_uring *u)
{
    (void)u;
}

int file_uring_register(struct file_uring *u, void *base, size_t size)
{
    (void)u, (void)base, (void)size;
    return -ENOSYS;
}
