/*
 * Linked into ringtftpd it makes a server that has been taken over: at SIGUSR1 each worker, on its
 * own thread and with its own ring, tries to get out of what the server has shut itself into. So
 * does the process that reads the configuration again, where it opens the file. One line for each
 * try to standard error:
 *
 *   break-out NAME ERRNO             0: it got through
 *   reader-break-out NAME ERRNO
 *
 * Everything else is the real server. RINGTFTPD_OUTSIDE names a file outside the root that
 * everybody may read.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
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
#include "server/way_out.h"
#include "server/worker.h"
#if HAVE_IO_URING
#include "loop/uring_compat.h"
#endif

int __real_openat64(int dir, const char *path, int flags, ...);
int __wrap_openat64(int dir, const char *path, int flags, ...);
void __real_worker_log_stats(struct worker *w);
void __wrap_worker_log_stats(struct worker *w);

static const char *outside;

static void say(const char *name, int err)
{
    dprintf(STDERR_FILENO, "break-out %s %s\n", name, err ? strerrorname_np(err) : "0");
}

static void say_call(const char *name, long result)
{
    say(name, way_out_result(result));
}

/* ---- Files ---- */

static void try_files(const struct worker *w)
{
    say("open", way_out_open(outside));
    say("openat2", way_out_openat2(AT_FDCWD, outside, O_RDONLY));
    say("openat2-climb", way_out_openat2(w->root_fd, "../outside", O_RDONLY));
    say("openat2-link", way_out_openat2(w->root_fd, "link", O_RDONLY));
    say("openat2-proc", way_out_openat2(AT_FDCWD, "/proc/self/mem", O_RDWR));
    say("write-root", way_out_openat2(w->root_fd, "planted", O_WRONLY | O_CREAT));
    say("write-outside", way_out_openat2(AT_FDCWD, "/tmp/planted", O_WRONLY | O_CREAT));
    say_call("mkdir", mkdirat(w->root_fd, "planted", 0700));
    say_call("symlink", symlinkat("/", w->root_fd, "planted"));
    say_call("mknod", mknodat(w->root_fd, "planted", S_IFIFO | 0600, 0));
    say_call("chmod", syscall(SYS_fchmodat, w->root_fd, "inside", 0777));
    say_call("mount", mount("none", "/tmp", "tmpfs", 0, NULL));
}

/* ---- The ring ---- */

#if HAVE_IO_URING
static void prep_openat2_worker(struct io_uring_sqe *sqe, const char *path)
{
    way_out_prep_openat2(sqe, path);
    sqe->flags |= IOSQE_ASYNC;
}

static void prep_socket(struct io_uring_sqe *sqe, const char *path)
{
    (void)path;
    io_uring_prep_socket(sqe, AF_UNIX, SOCK_STREAM, 0, 0);
}

static void prep_connect(struct io_uring_sqe *sqe, const char *path)
{
    static const struct sockaddr_in to = {.sin_family = AF_INET};

    (void)path;
    io_uring_prep_connect(sqe, 0, (const struct sockaddr *)&to, sizeof(to));
}

static void prep_mkdir(struct io_uring_sqe *sqe, const char *path)
{
    io_uring_prep_mkdirat(sqe, AT_FDCWD, path, 0700);
}

static void try_ring(struct ring *ring)
{
    int fd = 0;

    say("second-ring", way_out_second_ring());
    if (!ring)
        return;
    say("ring-openat", way_out_ring(ring, way_out_prep_openat, outside));
    say("ring-openat2", way_out_ring(ring, way_out_prep_openat2, outside));
    say("ring-openat2-worker", way_out_ring(ring, prep_openat2_worker, outside));
    say("ring-socket", way_out_ring(ring, prep_socket, NULL));
    say("ring-connect", way_out_ring(ring, prep_connect, NULL));
    say("ring-mkdir", way_out_ring(ring, prep_mkdir, "/tmp/planted"));
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
    say("connect", way_out_tcp());
    say("unix", way_out_socket(AF_UNIX, SOCK_STREAM, 0));
    say("packet", way_out_socket(AF_PACKET, SOCK_RAW, 0));
    say("netlink", way_out_socket(AF_NETLINK, SOCK_RAW, 0));
    say("raw", way_out_socket(AF_INET, SOCK_RAW, IPPROTO_UDP));
    say("udp", way_out_socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP)); /* it may */
}

static void try_processes(void)
{
    void *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    say("exec", way_out_exec());
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

/* ---- The reader of the configuration ---- */

/* Seen by both processes: the reader has no way to say anything but its answers. */
static struct reader_tries {
    size_t count;
    struct {
        const char *name;
        int err;
    } of[16];
} * reader;

static bool in_reader;

static void forked(void)
{
    in_reader = true;
}

__attribute__((constructor)) static void share(void)
{
    pthread_atfork(NULL, NULL, forked);
    reader = mmap(NULL, sizeof(*reader), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (reader == MAP_FAILED)
        abort();
}

static void note(const char *name, int err)
{
    if (reader->count < ARRAY_LEN(reader->of)) {
        reader->of[reader->count].name = name;
        reader->of[reader->count++].err = err;
    }
}

static void reader_tries(int folder, const char *path)
{
    long file = __real_openat64(folder, path, O_RDONLY | O_CLOEXEC);

    note("outside", way_out_open(getenv("RINGTFTPD_OUTSIDE")));
    note("climb", way_out_result(__real_openat64(folder, "../outside", O_RDONLY | O_CLOEXEC)));
    note("write", way_out_result(__real_openat64(folder, path, O_WRONLY | O_CLOEXEC)));
    note("stderr", way_out_result(write(STDERR_FILENO, "", 0)));
    note("tcp", way_out_tcp());
    note("udp", way_out_socket(AF_INET, SOCK_DGRAM, 0));
    note("exec", way_out_exec());
#if HAVE_IO_URING
    note("ring", way_out_second_ring());
#endif
    note("ptrace", way_out_result(ptrace(PTRACE_PEEKDATA, getppid(), NULL, NULL)));
    note("kill", way_out_result(kill(getppid(), 0)));
    note("setuid", way_out_result(setresuid(0, 0, 0)));
    note("memory",
         mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0);
    note("its-file", way_out_result(file)); /* it may */
}

int __wrap_openat64(int dir, const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list rest;

    if (flags & O_CREAT) {
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    if (in_reader && reader->count == 0)
        reader_tries(dir, path);
    return __real_openat64(dir, path, flags, mode);
}

void __wrap_worker_log_stats(struct worker *w)
{
    outside = getenv("RINGTFTPD_OUTSIDE");
    if (!outside)
        abort();
    try_files(w);
    try_ring(w->ring);
    try_sockets();
    try_processes();
    for (size_t i = 0; i < reader->count; i++)
        dprintf(STDERR_FILENO, "reader-break-out %s %s\n", reader->of[i].name,
                reader->of[i].err ? strerrorname_np(reader->of[i].err) : "0");
    __real_worker_log_stats(w);
}
