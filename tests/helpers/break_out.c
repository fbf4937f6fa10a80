/*
 * Linked into ringtftpd it makes a server that has been taken over: at SIGUSR1 each worker, on its
 * own thread and with its own ring, tries to get out of what the server has shut itself into. One
 * line for each try to standard error:
 *
 *   break-out NAME ERRNO      0: it got through
 *
 * Everything else is the real server. RINGTFTPD_OUTSIDE names a file outside the root that
 * everybody may read.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config.h"
#include "server/worker.h"
#if HAVE_IO_URING
#include "loop/uring_compat.h"
#endif

void __real_worker_log_stats(const struct worker *w);
void __wrap_worker_log_stats(const struct worker *w);

static const char *outside;

static void say(const char *name, int err)
{
    dprintf(STDERR_FILENO, "break-out %s %s\n", name, err ? strerrorname_np(err) : "0");
}

static int outcome(long result)
{
    if (result < 0)
        return errno;
    if (result > 2)
        close((int)result);
    return 0;
}

static void say_call(const char *name, long result)
{
    say(name, outcome(result));
}

/* ---- Files ---- */

static long openat2_at(int dir, const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
                           .mode = flags & O_CREAT ? 0600 : 0};

    return syscall(SYS_openat2, dir, path, &how, sizeof(how));
}

static void try_files(const struct worker *w)
{
    say_call("open", open(outside, O_RDONLY | O_CLOEXEC));
    say_call("openat2", openat2_at(AT_FDCWD, outside, O_RDONLY));
    say_call("openat2-climb", openat2_at(w->root_fd, "../outside", O_RDONLY));
    say_call("openat2-link", openat2_at(w->root_fd, "link", O_RDONLY));
    say_call("openat2-proc", openat2_at(AT_FDCWD, "/proc/self/mem", O_RDWR));
    say_call("write-root", openat2_at(w->root_fd, "planted", O_WRONLY | O_CREAT));
    say_call("write-outside", openat2_at(AT_FDCWD, "/tmp/planted", O_WRONLY | O_CREAT));
    say_call("mkdir", mkdirat(w->root_fd, "planted", 0700));
    say_call("symlink", symlinkat("/", w->root_fd, "planted"));
    say_call("mknod", mknodat(w->root_fd, "planted", S_IFIFO | 0600, 0));
    say_call("chmod", syscall(SYS_fchmodat, w->root_fd, "inside", 0777));
    say_call("mount", mount("none", "/tmp", "tmpfs", 0, NULL));
}

/* ---- The ring ---- */

#if HAVE_IO_URING
struct ring_try {
    struct ring_op op;
    int res;
    bool done;
};

static void tried(struct ring_op *op, int res, uint32_t flags)
{
    struct ring_try *try = container_of(op, struct ring_try, op);

    (void)flags;
    try->res = res;
    try->done = true;
}

static void say_ring(struct ring *ring, const char *name, void (*prep)(struct io_uring_sqe *sqe))
{
    struct ring_try try = {.op = {tried}};
    struct io_uring_sqe *sqe = ring_sqe(ring, &try.op);

    if (!sqe)
        abort();
    prep(sqe);
    while (!try.done && ring_wait(ring, NSEC_NEVER, 0) == 0)
        ring_deliver(ring, 1);
    if (!try.done)
        abort();
    errno = -try.res;
    say_call(name, try.res);
}

static void prep_openat(struct io_uring_sqe *sqe)
{
    io_uring_prep_openat(sqe, AT_FDCWD, outside, O_RDONLY | O_CLOEXEC, 0);
}

static void prep_openat2(struct io_uring_sqe *sqe)
{
    static struct open_how how = {.flags = O_RDONLY | O_CLOEXEC};

    io_uring_prep_openat2(sqe, AT_FDCWD, outside, &how);
}

static void prep_openat2_worker(struct io_uring_sqe *sqe)
{
    prep_openat2(sqe);
    sqe->flags |= IOSQE_ASYNC;
}

static void prep_socket(struct io_uring_sqe *sqe)
{
    io_uring_prep_socket(sqe, AF_UNIX, SOCK_STREAM, 0, 0);
}

static void prep_connect(struct io_uring_sqe *sqe)
{
    static const struct sockaddr_in to = {.sin_family = AF_INET};

    io_uring_prep_connect(sqe, 0, (const struct sockaddr *)&to, sizeof(to));
}

static void prep_mkdir(struct io_uring_sqe *sqe)
{
    io_uring_prep_mkdirat(sqe, AT_FDCWD, "/tmp/planted", 0700);
}

static void try_ring(struct ring *ring)
{
    struct io_uring_params p = {0};
    int fd = 0;

    say_call("second-ring", syscall(SYS_io_uring_setup, 4, &p));
    if (!ring)
        return;
    say_ring(ring, "ring-openat", prep_openat);
    say_ring(ring, "ring-openat2", prep_openat2);
    say_ring(ring, "ring-openat2-worker", prep_openat2_worker);
    say_ring(ring, "ring-socket", prep_socket);
    say_ring(ring, "ring-connect", prep_connect);
    say_ring(ring, "ring-mkdir", prep_mkdir);
    say_call("ring-register-files",
             syscall(SYS_io_uring_register, ring_fd(ring), IORING_REGISTER_FILES, &fd, 1));
}
#else
static void try_ring(struct ring *ring)
{
    (void)ring;
}
#endif

/* ---- The rest of the system ---- */

static void try_sockets(void)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(1), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (tcp < 0) {
        say("connect", errno);
    } else {
        say_call("connect", connect(tcp, (const struct sockaddr *)&to, sizeof(to)));
        close(tcp);
    }
    say_call("unix", socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    say_call("packet", socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    say_call("netlink", socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0));
    say_call("raw", socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_UDP));
    say_call("udp", socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP)); /* it may */
}

static void try_processes(void)
{
    char *const none[] = {NULL};
    void *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    /* No such program: with a way to it the answer would be ENOENT. */
    say_call("exec", execve("/nonexistent", none, none));
    /* Of a process that is not traced yet the answer would be ESRCH. */
    say_call("ptrace", ptrace(PTRACE_PEEKDATA, getppid(), NULL, NULL));
    long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0)
        _exit(0);
    say("fork", child < 0 ? errno : 0);
    say_call("namespace", unshare(CLONE_NEWUSER));
    say_call("kill", kill(getppid(), 0));
    say("code", page == MAP_FAILED ? errno : 0);
    say_call("setuid", setresuid(0, 0, 0));
    say_call("setgid", setresgid(0, 0, 0));
    say_call("bpf", syscall(SYS_bpf, 0, NULL, 0));
    say_call("seccomp", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL));
}

void __wrap_worker_log_stats(const struct worker *w)
{
    outside = getenv("RINGTFTPD_OUTSIDE");
    if (!outside)
        abort();
    try_files(w);
    try_ring(w->ring);
    try_sockets();
    try_processes();
    __real_worker_log_stats(w);
}
