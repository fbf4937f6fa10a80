/*
 * Listening sockets, bound before the workers start: the only act that needs the right to use
 * port 69.
 */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include "base/addr.h"
#include "base/util.h"
#include "conf/conf.h"

#define LISTEN_ADDRS_MAX 64

/* One socket for each (address, worker): fds[worker * addresses + address]. */
struct listen_set {
    unsigned addresses;
    unsigned workers;
    int *fds;
    struct addr addrs[LISTEN_ADDRS_MAX]; /* with the ports that were chosen */
};

/*
 * Binds all addresses of the configuration for each worker (SO_REUSEPORT when there are
 * several). Port 0 becomes the same free port for all workers.
 * 0, or -errno with a sentence in error[size].
 */
MUST_CHECK int listen_open(struct listen_set *set, const struct conf *c, unsigned workers,
                           char *error, size_t size);
/*
 * Takes over `count` sockets at descriptors from `first` on that somebody else has bound. Those of
 * one address go to one worker each, so there are as many workers as sockets of each address.
 * They get the buffers of the configuration. 0, or -errno with a sentence.
 */
MUST_CHECK int listen_take(struct listen_set *set, const struct conf *c, int first, unsigned count,
                           char *error, size_t size);
/* Whether clients of this family can reach one of them; an IPv6 socket may be for both. */
bool listen_hears(const struct listen_set *set, uint16_t family);
/* Says each address in the log. */
void listen_log(const struct listen_set *set);
/* Closes what no worker has taken. */
void listen_close(struct listen_set *set);

#endif
