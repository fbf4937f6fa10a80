#include "server/listen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/addr.h"
#include "obs/log.h"

/* A bound socket, or -errno. `at` gets the port that was chosen. */
static int bind_one(struct addr *at, bool shared)
{
    union addr_sock sa;
    socklen_t len = addr_to_sock(at, at->family, &sa);
    int one = 1;
    int fd = socket(at->family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    if (at->family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0)
        goto fail;
    if (bind(fd, &sa.sa, len) < 0)
        goto fail;
    len = sizeof(sa);
    struct addr bound;
    if (getsockname(fd, &sa.sa, &len) < 0 || addr_from_sock(&bound, &sa) < 0)
        goto fail;
    at->port = bound.port;
    return fd;
fail:;
    int err = errno ? -errno : -EINVAL;
    close(fd);
    return err;
}

/* "*:69" stands for both families. Returns the number of addresses, at most `max`. */
static unsigned expand(const struct conf *c, struct addr *out, unsigned max)
{
    unsigned n = 0;

    for (size_t i = 0; i < c->listen.count && n < max; i++) {
        struct addr a;
        if (addr_parse(&a, c->listen.items[i], 69) < 0)
            continue; /* conf_check() has refused it */
        if (a.family != 0) {
            out[n++] = a;
            continue;
        }
        a.family = AF_INET;
        out[n++] = a;
        if (n < max) {
            a.family = AF_INET6;
            out[n++] = a;
        }
    }
    return n;
}

int listen_open(struct listen_set *set, const struct conf *c, unsigned workers, char *error,
                size_t size)
{
    struct addr addrs[LISTEN_ADDRS_MAX];
    char text[ADDR_TEXT_MAX];

    set->addresses = expand(c, addrs, LISTEN_ADDRS_MAX);
    set->workers = workers;
    set->fds = malloc(sizeof(int) * (set->addresses * workers + 1));
    if (!set->fds) {
        snprintf(error, size, "out of memory");
        return -ENOMEM;
    }
    for (unsigned i = 0; i < set->addresses * workers; i++)
        set->fds[i] = -1;
    for (unsigned a = 0; a < set->addresses; a++) {
        for (unsigned w = 0; w < workers; w++) {
            int fd = bind_one(&addrs[a], workers > 1);
            if (fd < 0) {
                snprintf(error, size, "cannot listen on %s: %s", addr_text(&addrs[a], text),
                         strerror(-fd));
                listen_close(set);
                return fd;
            }
            set->fds[w * set->addresses + a] = fd;
        }
        struct log_event e;
        log_begin(&e, LOG_NOTICE, "listening");
        log_str(&e, "address", addr_text(&addrs[a], text));
        log_end(&e);
    }
    return 0;
}

void listen_close(struct listen_set *set)
{
    for (unsigned i = 0; set->fds && i < set->addresses * set->workers; i++)
        if (set->fds[i] >= 0)
            close(set->fds[i]);
    free(set->fds);
    set->fds = NULL;
}
