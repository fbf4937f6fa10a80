/*
 * Waiting on epoll.
 */
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "loop/loop_internal.h"

#define MSEC_MAX 60000 /* with epoll_wait; longer waits come in pieces */

static int wait_msec(struct loop *l, nsec left)
{
    nsec ms = left / NSEC_PER_MSEC + (left % NSEC_PER_MSEC != 0);

    return epoll_wait(l->epoll_fd, l->events, LOOP_EVENTS, ms < MSEC_MAX ? (int)ms : MSEC_MAX);
}

/* epoll_pwait2 by number: the C library may be older than the kernel. */
static int wait_nsec(struct loop *l, nsec left)
{
#ifdef SYS_epoll_pwait2
    struct timespec ts = {
        .tv_sec = (time_t)(left / NSEC_PER_SEC),
        .tv_nsec = (long)(left % NSEC_PER_SEC),
    };
    if (!l->no_pwait2) {
        int n = (int)syscall(SYS_epoll_pwait2, l->epoll_fd, l->events, LOOP_EVENTS, &ts, NULL, 0);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM))
            return n;
        l->no_pwait2 = true; /* an older kernel, or a filter that does not know the call */
    }
#endif
    return wait_msec(l, left);
}

unsigned loop_epoll_poll(struct loop *l, nsec deadline, nsec now)
{
    int n;

    if (deadline <= now) {
        n = epoll_wait(l->epoll_fd, l->events, LOOP_EVENTS, 0);
    } else {
        l->stats.waits++;
        n = deadline == NSEC_NEVER ? epoll_wait(l->epoll_fd, l->events, LOOP_EVENTS, -1)
                                   : wait_nsec(l, deadline - now);
    }
    if (n <= 0)
        return 0;

    l->event_count = n;
    for (l->event_at = 0; l->event_at < l->event_count;) {
        struct epoll_event ev = l->events[l->event_at++];
        struct loop_watch *w = ev.data.ptr;

        if (ev.data.ptr == l)
            loop_wake_seen(l);
        else if (w)
            w->ready(w, ev.events);
    }
    l->event_at = l->event_count = 0;
    return (unsigned)n;
}

int loop_epoll_add_wake(struct loop *l)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = l};

    if (l->wake_in_epoll)
        return 0;
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &ev) < 0)
        return -errno;
    l->wake_in_epoll = true;
    return 0;
}

static void epoll_fini(struct loop *l)
{
    (void)l; /* loop_free() closes the descriptors */
}

const struct loop_ops loop_epoll_ops = {
    .name = "epoll",
    .poll = loop_epoll_poll,
    .fini = epoll_fini,
};
