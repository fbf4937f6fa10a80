#include "server/way_out.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if HAVE_IO_URING
#include "loop/uring_compat.h"
#endif

int way_out_result(long result)
{
    if (result < 0)
        return errno;
    if (result > STDERR_FILENO)
        close((int)result);
    return 0;
}

int way_out_open(const char *path)
{
    return way_out_result(open(path, O_RDONLY | O_CLOEXEC));
}

int way_out_openat2(int dir, const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
                           .mode = flags & O_CREAT ? 0600 : 0};

    return way_out_result(syscall(SYS_openat2, dir, path, &how, sizeof(how)));
}

int way_out_socket(int family, int type, int protocol)
{
    return way_out_result(socket(family, type | SOCK_CLOEXEC, protocol));
}

int way_out_tcp(void)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET,
        .sin_port = htons(1),
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return errno;
    int err = connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 ? errno : 0;
    close(fd);
    return err == ECONNREFUSED ? 0 : err;
}

int way_out_exec(void)
{
    char *const none[] = {NULL};

    return way_out_result(execve("/nonexistent", none, none));
}

#if HAVE_IO_URING
int way_out_second_ring(void)
{
    struct io_uring_params p = {0};

    return way_out_result(syscall(SYS_io_uring_setup, 4, &p));
}

int way_out_ring(struct ring *ring, void (*prep)(struct io_uring_sqe *sqe, const char *path),
                 const char *path)
{
    struct ring_call try;
    struct io_uring_sqe *sqe = ring_call_sqe(ring, &try);

    if (!sqe)
        return EAGAIN;
    prep(sqe, path);
    int res = ring_call_wait(ring, &try);
    errno = -res;
    return way_out_result(res);
}

void way_out_prep_openat(struct io_uring_sqe *sqe, const char *path)
{
    io_uring_prep_openat(sqe, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
}

void way_out_prep_openat2(struct io_uring_sqe *sqe, const char *path)
{
    static struct open_how how = {.flags = O_RDONLY | O_CLOEXEC};

    io_uring_prep_openat2(sqe, AT_FDCWD, path, &how);
}
#endif
