#include "server/systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_FD 3

static unsigned long read_number(const char *name)
{
    const char *text = getenv(name);
    char *end;

    if (!text)
        return 0;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    return *text && *end == '\0' && errno == 0 ? n : 0;
}

unsigned systemd_sockets(int *ret_first)
{
    unsigned long n = read_number("LISTEN_FDS");

    if (read_number("LISTEN_PID") != (unsigned long)getpid() || n > INT_MAX - FIRST_FD)
        n = 0;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    for (int i = 0; i < (int)n; i++)
        (void)fcntl(FIRST_FD + i, F_SETFD, FD_CLOEXEC);
    *ret_first = FIRST_FD;
    return (unsigned)n;
}

int systemd_notify_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t len = path ? strlen(path) : 0;

    if (len < 2 || len >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
        return -1;
    memcpy(to.sun_path, path, len);
    if (path[0] == '@')
        to.sun_path[0] = '\0'; /* an abstract name */
    unsetenv("NOTIFY_SOCKET");
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&to,
                           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

void systemd_notify(int fd, const char *state)
{
    if (fd >= 0)
        (void)!send(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT);
}
