#include "server/syscall_filter.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config.h"
#include "file/file_sys.h"
#if HAVE_IO_URING
#include "loop/uring_compat.h"
#endif

/* Where every call below is direct and has its arguments in the same places. */
#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#elif defined(__arm__) && defined(__ARM_EABI__)
#define ARCH AUDIT_ARCH_ARM
#else
#define ARCH 0
#endif

#define SOCK_TYPE_MASK          0xf
#define REGISTER_VIA_REGISTERED (1U << 31) /* the ring is named by its registered number */
#define WHOLE                   UINT32_MAX
#define DENY                    (SECCOMP_RET_ERRNO | EPERM)

/* Without a look at their arguments, so that the kernel can decide by a bitmap (Linux 5.11): the
 * whole data path is here. */
static const uint32_t plain[] = {
    /* packets */
    SYS_recvmmsg,
    SYS_recvmsg,
    SYS_recvfrom,
    SYS_sendmmsg,
    SYS_sendmsg,
    SYS_sendto,
    SYS_bind,
    SYS_connect,
    SYS_getsockname,
    SYS_getsockopt,
    SYS_setsockopt,
    /* waiting */
    SYS_io_uring_enter,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
#ifdef SYS_epoll_pwait2
    SYS_epoll_pwait2,
#endif
    SYS_eventfd2,
    SYS_ppoll,
    SYS_nanosleep,
    SYS_clock_nanosleep,
    SYS_futex,
    SYS_sched_yield,
    SYS_wait4,
    SYS_waitid,
    /* files: Landlock says which */
    SYS_openat2,
    SYS_close,
    SYS_read,
    SYS_readv,
    SYS_pread64,
    SYS_preadv,
    SYS_preadv2,
    SYS_write,
    SYS_writev,
    SYS_pwrite64,
    SYS_pwritev,
    SYS_lseek,
    SYS_fstat,
    SYS_statx,
    SYS_fstatfs,
    SYS_fallocate,
    SYS_ftruncate,
    SYS_fsync,
    SYS_fdatasync,
    SYS_fchmod,
    SYS_linkat,
    SYS_renameat2,
    SYS_unlinkat,
    SYS_fcntl,
    SYS_inotify_init1,
    SYS_inotify_add_watch,
    SYS_inotify_rm_watch,
    /* memory */
    SYS_brk,
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    /* threads, signals, time, chance */
    SYS_set_robust_list,
    SYS_rseq,
    SYS_membarrier,
    SYS_sched_getaffinity,
    SYS_getrusage,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_rt_sigtimedwait,
    SYS_sigaltstack,
    SYS_restart_syscall,
    SYS_getpid,
    SYS_gettid,
    SYS_exit,
    SYS_exit_group,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_gettimeofday,
    SYS_getrandom,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_capget,
/* older forms, which newer machines do not have */
#ifdef SYS_epoll_wait
    SYS_epoll_wait,
#endif
#ifdef SYS_poll
    SYS_poll,
#endif
#ifdef SYS_pause
    SYS_pause,
#endif
#ifdef SYS_renameat
    SYS_renameat,
#endif
#ifdef SYS_time
    SYS_time,
#endif
/* names that differ with the width of the machine */
#ifdef SYS_newfstatat
    SYS_newfstatat,
#endif
#ifdef SYS_fadvise64
    SYS_fadvise64,
#endif
#ifdef SYS_arm_fadvise64_64
    SYS_arm_fadvise64_64,
#endif
#ifdef SYS_fstat64
    SYS_fstat64,
    SYS_fstatat64,
    SYS_fstatfs64,
    SYS_ftruncate64,
    SYS_fcntl64,
#endif
#ifdef SYS_futex_time64
    SYS_recvmmsg_time64,
    SYS_ppoll_time64,
    SYS_clock_nanosleep_time64,
    SYS_futex_time64,
    SYS_rt_sigtimedwait_time64,
    SYS_clock_gettime64,
#endif
};

/* What a rule asks of one argument, or of its upper half. */
struct condition {
    uint32_t mask; /* 0: nothing more is asked */
    uint32_t value;
    uint8_t arg;
    bool upper;
};

struct rule {
    uint32_t nr;
    struct condition only_if[3];
};

static const struct rule rules[] = {
    /* UDP and nothing else: path MTUs are asked and private ports opened while it runs. */
    {SYS_socket,
     {{WHOLE, AF_INET, 0, false},
      {SOCK_TYPE_MASK, SOCK_DGRAM, 1, false},
      {WHOLE, IPPROTO_UDP, 2, false}}},
    {SYS_socket,
     {{WHOLE, AF_INET6, 0, false},
      {SOCK_TYPE_MASK, SOCK_DGRAM, 1, false},
      {WHOLE, IPPROTO_UDP, 2, false}}},
/* Memory is data, and stays it. */
#ifdef SYS_mmap
    {SYS_mmap, {{PROT_EXEC, 0, 2, false}}},
#endif
#ifdef SYS_mmap2
    {SYS_mmap2, {{PROT_EXEC, 0, 2, false}}},
#endif
    {SYS_mprotect, {{PROT_EXEC, 0, 2, false}}},
#if HAVE_IO_URING
    /* Registrations of a ring at work that only give something back. */
    {SYS_io_uring_register, {{~REGISTER_VIA_REGISTERED, IORING_UNREGISTER_BUFFERS, 1, false}}},
    {SYS_io_uring_register, {{~REGISTER_VIA_REGISTERED, IORING_UNREGISTER_EVENTFD, 1, false}}},
    {SYS_io_uring_register, {{~REGISTER_VIA_REGISTERED, IORING_UNREGISTER_RING_FDS, 1, false}}},
    {SYS_io_uring_register, {{~REGISTER_VIA_REGISTERED, IORING_UNREGISTER_PBUF_RING, 1, false}}},
    {SYS_io_uring_register, {{~REGISTER_VIA_REGISTERED, IORING_REGISTER_SYNC_CANCEL, 1, false}}},
#endif
    /* A thread, but no process; a limit, but to look at it. */
    {SYS_clone, {{CLONE_THREAD, CLONE_THREAD, 0, false}}},
    {SYS_prlimit64, {{WHOLE, 0, 2, false}, {WHOLE, 0, 2, true}}},
    {SYS_prctl, {{WHOLE, PR_GET_NO_NEW_PRIVS, 0, false}}}, /* --self-test looks */
};

struct builder {
    struct sock_filter *prog;
    size_t count;
};

static void add(struct builder *b, uint16_t code, uint32_t k, size_t if_true, size_t if_false)
{
    assert(b->count < SYSCALL_FILTER_MAX && if_true <= UINT8_MAX && if_false <= UINT8_MAX);
    b->prog[b->count++] = (struct sock_filter){code, (uint8_t)if_true, (uint8_t)if_false, k};
}

static void load(struct builder *b, size_t offset)
{
    add(b, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void give(struct builder *b, uint32_t verdict)
{
    add(b, BPF_RET | BPF_K, verdict, 0, 0);
}

/* `verdict` for that call; else behind it, where the number still is what was loaded. */
static void decide(struct builder *b, uint32_t nr, uint32_t verdict)
{
    add(b, BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1);
    give(b, verdict);
}

static size_t half(const struct condition *c)
{
    bool second = c->upper == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

    return offsetof(struct seccomp_data, args) + c->arg * sizeof(uint64_t) +
           (second ? sizeof(uint32_t) : 0);
}

/* Allowed if all conditions hold; else the next rule decides. */
static void allow_if(struct builder *b, const struct rule *r)
{
    size_t conditions = 0;

    while (conditions < ARRAY_LEN(r->only_if) && r->only_if[conditions].mask)
        conditions++;
    size_t end = b->count + 3 + 3 * conditions; /* behind this rule */
    load(b, offsetof(struct seccomp_data, nr));
    add(b, BPF_JMP | BPF_JEQ | BPF_K, r->nr, 0, end - b->count - 1);
    for (size_t i = 0; i < conditions; i++) {
        const struct condition *c = &r->only_if[i];

        load(b, half(c));
        add(b, BPF_ALU | BPF_AND | BPF_K, c->mask, 0, 0);
        add(b, BPF_JMP | BPF_JEQ | BPF_K, c->value, 0, end - b->count - 1);
    }
    give(b, SECCOMP_RET_ALLOW);
}

/* Leaves the number of the call loaded. */
static void begin(struct builder *b)
{
    load(b, offsetof(struct seccomp_data, arch));
    add(b, BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    give(b, SECCOMP_RET_KILL_PROCESS);
    load(b, offsetof(struct seccomp_data, nr));
}

size_t syscall_filter_build(struct sock_filter *prog)
{
    struct builder b = {prog, 0};
    /* A signal, but to ourselves (abort). */
    const struct rule own_signals = {SYS_tgkill, {{WHOLE, (uint32_t)getpid(), 0, false}}};

    if (ARCH == 0)
        return 0;
    begin(&b);
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        decide(&b, plain[i], SECCOMP_RET_ALLOW);
    /* A kernel without openat2 is walked through with this. */
    if (!file_sys_has_openat2())
        decide(&b, SYS_openat, SECCOMP_RET_ALLOW);
    /* Its flags are in memory, where no filter can look; without, the C library uses clone. */
    decide(&b, SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS);
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        allow_if(&b, &rules[i]);
    allow_if(&b, &own_signals);
    give(&b, DENY);
    return b.count;
}

static int set_filter(unsigned flags, const struct sock_fprog *f)
{
    long n = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, f);

    return n < 0 ? -errno : n > 0 ? -ESRCH : 0; /* the number of a thread that cannot follow */
}

/* All threads at once; and without the slower loads that keep one sandbox of a process from spying
 * on another: there is only one here. Before Linux 4.17 that cannot be said. */
static int install(struct sock_filter *prog, size_t count)
{
    struct sock_fprog f = {.len = (unsigned short)count, .filter = prog};

    if (count == 0)
        return -ENOSYS;
    int err = set_filter(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &f);
    return err == -EINVAL ? set_filter(SECCOMP_FILTER_FLAG_TSYNC, &f) : err;
}

int syscall_filter_load(void)
{
    struct sock_filter prog[SYSCALL_FILTER_MAX];

    return install(prog, syscall_filter_build(prog));
}

int syscall_filter_load_reader(int answers, int folder)
{
    static const uint32_t calls[] = {SYS_read, SYS_close, SYS_exit_group, SYS_rt_sigreturn,
                                     SYS_restart_syscall};
    const struct rule own[] = {
        {SYS_write, {{WHOLE, (uint32_t)answers, 0, false}}},
        {SYS_openat,
         {{WHOLE, (uint32_t)folder, 0, false}, {O_ACCMODE | O_CREAT | O_TRUNC, 0, 2, false}}},
    };
    struct sock_filter prog[SYSCALL_FILTER_MAX];
    struct builder b = {prog, 0};

    if (ARCH == 0)
        return -ENOSYS;
    begin(&b);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        decide(&b, calls[i], SECCOMP_RET_ALLOW);
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        allow_if(&b, &own[i]);
    give(&b, DENY);
    return install(prog, b.count);
}
