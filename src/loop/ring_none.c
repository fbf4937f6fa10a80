/*
 * The ring of a build without liburing: it cannot be made, so nothing else is ever called.
 */
#include "loop/ring.h"

#include <errno.h>
#include <stdlib.h>

struct ring *ring_new(const struct ring_config *config)
{
    (void)config;
    errno = ENOSYS;
    return NULL;
}

void ring_free(struct ring *r)
{
    if (r)
        abort();
}

uint32_t ring_features(const struct ring *r)
{
    (void)r;
    return 0;
}

bool ring_supports(const struct ring *r, int opcode)
{
    (void)r, (void)opcode;
    return false;
}

unsigned ring_workers(const struct ring *r)
{
    (void)r;
    return 0;
}

int ring_fd(const struct ring *r)
{
    (void)r;
    return -1;
}

struct io_uring *ring_raw(struct ring *r)
{
    (void)r;
    return NULL;
}

int ring_error(const struct ring *r)
{
    (void)r;
    return -ENOSYS;
}

struct io_uring_sqe *ring_sqe(struct ring *r, struct ring_op *op)
{
    (void)r, (void)op;
    return NULL;
}

int ring_submit(struct ring *r)
{
    (void)r;
    return -ENOSYS;
}

int ring_wait(struct ring *r, nsec deadline, nsec now)
{
    (void)r, (void)deadline, (void)now;
    return -ENOSYS;
}

bool ring_reap(struct ring *r)
{
    (void)r;
    return false;
}

unsigned ring_deliver(struct ring *r, unsigned budget)
{
    (void)r, (void)budget;
    return 0;
}

unsigned ring_in_flight(const struct ring *r)
{
    (void)r;
    return 0;
}

const struct ring_stats *ring_stats(const struct ring *r)
{
    static const struct ring_stats none;

    (void)r;
    return &none;
}
