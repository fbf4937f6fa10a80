#include "server/syscall_filter.h"

#include <errno.h>

#include "config.h"

#if HAVE_SECCOMP
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "file/file_sys.h"
#if HAVE_IO_URING
#include "loop/uring_compat.h"
#endif

#define SOCK_TYPE_MASK          0xf
#define REGISTER_VIA_REGISTERED (1U << 31) /* the ring is named by its registered number */

/* Without a look at their arguments, so that the kernel can decide by a bitmap (Linux 5.11): the
 * whole data path is here. */
static const int allowed[] = {
    /* packets */
    SCMP_SYS(recvmmsg),
    SCMP_SYS(recvmsg),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendmmsg),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(bind),
    SCMP_SYS(connect),
    SCMP_SYS(getsockname),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    /* waiting */
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(eventfd2),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(futex),
    SCMP_SYS(sched_yield),
    SCMP_SYS(pause),
    SCMP_SYS(wait4),
    SCMP_SYS(waitid),
    /* files: Landlock says which */
    SCMP_SYS(openat2),
    SCMP_SYS(close),
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(pread64),
    SCMP_SYS(preadv),
    SCMP_SYS(preadv2),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(pwrite64),
    SCMP_SYS(pwritev),
    SCMP_SYS(lseek),
    SCMP_SYS(fstat),
    SCMP_SYS(fstat64),
    SCMP_SYS(newfstatat),
    SCMP_SYS(fstatat64),
    SCMP_SYS(statx),
    SCMP_SYS(fstatfs),
    SCMP_SYS(fstatfs64),
    SCMP_SYS(fallocate),
    SCMP_SYS(ftruncate),
    SCMP_SYS(ftruncate64),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(fchmod),
    SCMP_SYS(linkat),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(unlinkat),
    SCMP_SYS(fadvise64),
    SCMP_SYS(fadvise64_64),
    SCMP_SYS(arm_fadvise64_64),
    SCMP_SYS(fcntl),
    SCMP_SYS(fcntl64),
    SCMP_SYS(inotify_init1),
    SCMP_SYS(inotify_add_watch),
    SCMP_SYS(inotify_rm_watch),
    /* memory */
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    /* threads, signals, time, chance */
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(membarrier),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(getrusage),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(getrandom),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(capget),
    /* the same with 64-bit times, where machines have both */
    SCMP_SYS(recvmmsg_time64),
    SCMP_SYS(ppoll_time64),
    SCMP_SYS(clock_nanosleep_time64),
    SCMP_SYS(futex_time64),
    SCMP_SYS(rt_sigtimedwait_time64),
    SCMP_SYS(clock_gettime64),
};

#if HAVE_IO_URING
/* Registrations of a ring at work that only give something back. */
static const unsigned ring_calls[] = {
    IORING_UNREGISTER_BUFFERS,   IORING_UNREGISTER_EVENTFD,   IORING_UNREGISTER_RING_FDS,
    IORING_UNREGISTER_PBUF_RING, IORING_REGISTER_SYNC_CANCEL,
};
#else
static const unsigned ring_calls[] = {};
#endif

static int allow_plain(scmp_filter_ctx f)
{
    int err = 0;

    /* A call that this machine does not have is none to allow. */
    for (size_t i = 0; i < ARRAY_LEN(allowed) && (err == 0 || err == -EDOM); i++)
        err = allowed[i] >= 0 ? seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0) : 0;
    return err;
}

/* UDP and nothing else: path MTUs are asked and private ports opened while it runs. */
static int allow_sockets(scmp_filter_ctx f)
{
    static const int families[] = {AF_INET, AF_INET6};
    int err = 0;

    for (size_t i = 0; i < ARRAY_LEN(families) && err == 0; i++)
        err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 3,
                               SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i], 0),
                               SCMP_A1(SCMP_CMP_MASKED_EQ, SOCK_TYPE_MASK, SOCK_DGRAM),
                               SCMP_A2(SCMP_CMP_EQ, IPPROTO_UDP, 0));
    return err;
}

static int allow_ring_calls(scmp_filter_ctx f)
{
    int err = 0;

    for (size_t i = 0; i < ARRAY_LEN(ring_calls) && err == 0; i++)
        err =
            seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(io_uring_register), 1,
                             SCMP_A1(SCMP_CMP_MASKED_EQ, ~REGISTER_VIA_REGISTERED, ring_calls[i]));
    return err;
}

/* Memory is data, and stays it. */
static int allow_memory(scmp_filter_ctx f)
{
    static const int calls[] = {SCMP_SYS(mmap), SCMP_SYS(mmap2), SCMP_SYS(mprotect)};
    int err = 0;

    for (size_t i = 0; i < ARRAY_LEN(calls) && (err == 0 || err == -EDOM); i++)
        err = calls[i] >= 0 ? seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 1,
                                               SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0))
                            : 0;
    return err;
}

/* A thread, but no process; a signal, but to ourselves (abort); a limit, but to look at it. */
static int allow_parts(scmp_filter_ctx f)
{
    int err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                               SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));

    /* Its flags are in memory, where no filter can look; without, the C library uses clone. */
    if (err == 0)
        err = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (err == 0)
        err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                               SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
    if (err == 0)
        err =
            seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A2(SCMP_CMP_EQ, 0, 0));
    if (err == 0) /* --self-test looks */
        err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
                               SCMP_A0(SCMP_CMP_EQ, PR_GET_NO_NEW_PRIVS, 0));
    /* A kernel without openat2 is walked through with this. */
    if (err == 0 && !file_sys_has_openat2())
        err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(openat), 0);
    return err;
}

int syscall_filter_load(void)
{
    static int (*const parts[])(scmp_filter_ctx f) = {
        allow_plain, allow_sockets, allow_ring_calls, allow_memory, allow_parts,
    };
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int err = 0;

    if (!f)
        return -ENOMEM;
    /* All threads at once; and without the slower loads that keep one sandbox of a process from
     * spying on another: there is only one here. */
    if (seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1) < 0 ||
        seccomp_attr_set(f, SCMP_FLTATR_API_SYSRAWRC, 1) < 0)
        err = -EOPNOTSUPP;
    (void)seccomp_attr_set(f, SCMP_FLTATR_CTL_SSB, 1); /* before Linux 4.17 there is none */
    for (size_t i = 0; i < ARRAY_LEN(parts) && err == 0; i++)
        err = parts[i](f);
    if (err == 0)
        err = seccomp_load(f);
    seccomp_release(f);
    return err;
}

#else

int syscall_filter_load(void)
{
    return -ENOSYS;
}

#endif
