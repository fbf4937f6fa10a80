#include "server/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/net.h"
#include "obs/log.h"
#include "server/settings.h"

/*
 * A bound socket of the worker with this number, or -errno. `at` gets the port that was chosen.
 * Packet info is switched on before the bind: a datagram that arrives earlier would come without
 * the address it was sent to.
 *
 * Workers share a port by SO_REUSEPORT, and would share it with another server of the same user,
 * which would get half of the requests: one that has the port that was asked for, or one that the
 * kernel gave the same free port. So the first of them binds alone, and lets the others in
 * afterwards.
 */
static int bind_one(const struct net_config *config, struct addr *at, unsigned worker,
                    unsigned workers)
{
    union addr_sock sa;
    socklen_t len = sizeof(sa);
    struct addr bound;
    int fd = net_sock_open(config, at, worker > 0);

    if (fd < 0)
        return fd;
    if (worker == 0 && workers > 1 && net_sock_share_port(fd) < 0) {
        close(fd);
        return -ENOPROTOOPT;
    }
    if (getsockname(fd, &sa.sa, &len) < 0 || addr_from_sock(&bound, &sa) < 0) {
        close(fd);
        return -EINVAL;
    }
    at->port = bound.port;
    return fd;
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
    struct addr *addrs = set->addrs;
    struct net_config config = settings_net_config(c);
    char text[ADDR_TEXT_MAX];

    set->addresses = expand(c, addrs, LISTEN_ADDRS_MAX);
    if (c->listen.count > LISTEN_ADDRS_MAX || set->addresses == LISTEN_ADDRS_MAX) {
        snprintf(error, size, "listen: too many addresses, expected fewer than %d",
                 LISTEN_ADDRS_MAX);
        set->addresses = 0;
        return -E2BIG;
    }
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
            int fd = bind_one(&config, &addrs[a], w, workers);
            if (fd < 0) {
                snprintf(error, size, "cannot listen on %s: %s%s", addr_text(&addrs[a], text),
                         strerror(-fd),
                         fd == -EACCES ? "; for this port the server has to be started by root, "
                                         "by systemd, or with CAP_NET_BIND_SERVICE"
                                       : "");
                listen_close(set);
                return fd;
            }
            set->fds[w * set->addresses + a] = fd;
        }
    }
    return 0;
}

/* The place of the socket's address in the set, or -errno. */
static int place_of(struct listen_set *set, int fd)
{
    union addr_sock sa;
    socklen_t len = sizeof(sa), type_len = sizeof(int);
    struct addr bound;
    int type = 0;
    unsigned a = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) < 0 ||
        getsockname(fd, &sa.sa, &len) < 0)
        return -errno;
    if (type != SOCK_DGRAM || addr_from_sock(&bound, &sa) < 0 || bound.port == 0)
        return -EPROTOTYPE;
    while (a < set->addresses && !addr_equal(&set->addrs[a], &bound))
        a++;
    if (a == LISTEN_ADDRS_MAX)
        return -E2BIG;
    if (a == set->addresses)
        set->addrs[set->addresses++] = bound;
    return (int)a;
}

int listen_take(struct listen_set *set, const struct conf *c, int first, unsigned count,
                char *error, size_t size)
{
    struct net_config config = settings_net_config(c);
    unsigned taken[LISTEN_ADDRS_MAX] = {0};

    for (unsigned i = 0; i < count; i++) {
        int place = place_of(set, first + (int)i);
        if (place < 0) {
            snprintf(error, size, "descriptor %d, handed over to listen on, is no bound UDP socket",
                     first + (int)i);
            return place;
        }
    }
    set->workers = count / MAX(1U, set->addresses);
    set->fds = malloc(sizeof(int) * (count + 1));
    if (!set->fds) {
        snprintf(error, size, "out of memory");
        return -ENOMEM;
    }
    for (unsigned i = 0; i < count; i++)
        set->fds[i] = -1;
    for (unsigned i = 0; i < count; i++) {
        unsigned a = (unsigned)place_of(set, first + (int)i);
        if (taken[a] == set->workers) {
            snprintf(error, size,
                     "%u sockets of %u addresses were handed over, expected as many for each "
                     "address",
                     count, set->addresses);
            listen_close(set);
            return -EINVAL;
        }
        net_sock_set_buffers(&config, first + (int)i);
        set->fds[taken[a]++ * set->addresses + a] = first + (int)i;
    }
    return 0;
}

bool listen_hears(const struct listen_set *set, uint16_t family)
{
    for (unsigned a = 0; a < set->addresses; a++) {
        int v6only = 1;
        socklen_t len = sizeof(v6only);

        if (set->addrs[a].family == family)
            return true;
        if (family == AF_INET &&
            getsockopt(set->fds[a], IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &len) == 0 && !v6only)
            return true;
    }
    return false;
}

void listen_log(const struct listen_set *set)
{
    char text[ADDR_TEXT_MAX];
    struct log_event e;

    for (unsigned a = 0; a < set->addresses; a++) {
        log_begin(&e, LOG_NOTICE, "listening");
        log_str(&e, "address", addr_text(&set->addrs[a], text));
        log_end(&e);
    }
}

void listen_close(struct listen_set *set)
{
    for (unsigned i = 0; set->fds && i < set->addresses * set->workers; i++)
        if (set->fds[i] >= 0)
            close(set->fds[i]);
    free(set->fds);
    set->fds = NULL;
}
