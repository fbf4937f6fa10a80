#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"

/* Only to those a socket can be bound. */
bool net_is_own(const struct addr *peer)
{
    struct addr any_port = *peer;
    union addr_sock sa;
    int fd = socket(peer->family, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);

    if (fd < 0)
        return false;
    any_port.port = 0;
    bool own = bind(fd, &sa.sa, addr_to_sock(&any_port, peer->family, &sa)) == 0;
    (void)close(fd);
    return own;
}
