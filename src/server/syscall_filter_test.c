/*
 * The filter's program, run as the kernel runs it. That a server works behind it, and what a server
 * that was taken over can do, is tested with the whole server.
 */
#include "server/syscall_filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define EPERM_INSTEAD  (SECCOMP_RET_ERRNO | EPERM)
#define ENOSYS_INSTEAD (SECCOMP_RET_ERRNO | ENOSYS)

static struct sock_filter prog[SYSCALL_FILTER_MAX];
static size_t count;

static uint32_t run(const struct seccomp_data *data)
{
    uint32_t a = 0;

    for (size_t at = 0; at < count; at++) {
        const struct sock_filter *step = &prog[at];
        switch (step->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            assert_true(step->k <= sizeof(*data) - sizeof(a) && step->k % sizeof(a) == 0);
            memcpy(&a, (const char *)data + step->k, sizeof(a));
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= step->k;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            at += a == step->k ? step->jt : step->jf;
            break;
        case BPF_RET | BPF_K:
            return step->k;
        default:
            fail_msg("step %zu: unknown code %#x", at, step->code);
        }
    }
    fail_msg("the program has no end");
    return 0;
}

static struct seccomp_data call(long nr, uint64_t a, uint64_t b, uint64_t c)
{
    /* The second step asks for the architecture. */
    return (struct seccomp_data){.nr = (int)nr, .arch = prog[1].k, .args = {a, b, c}};
}

static uint32_t ask(long nr, uint64_t a, uint64_t b, uint64_t c)
{
    struct seccomp_data data = call(nr, a, b, c);

    return run(&data);
}

static int build(void **state)
{
    (void)state;
    count = syscall_filter_build(prog);
    return 0;
}

/* All that the data path needs, and nothing that has no rule. */
static void calls_without_arguments(void **state)
{
    static const long wanted[] = {SYS_recvmmsg,   SYS_sendmmsg, SYS_sendmsg,   SYS_epoll_pwait2,
                                  SYS_futex,      SYS_pread64,  SYS_openat2,   SYS_close,
                                  SYS_exit_group, SYS_capget,   SYS_newfstatat};
    static const long refused[] = {
        SYS_execve, SYS_ptrace,  SYS_io_uring_setup, SYS_kill,  SYS_process_vm_readv, SYS_setresuid,
        SYS_bpf,    SYS_seccomp, SYS_unshare,        SYS_tkill, SYS_pkey_mprotect};
    unsigned allowed = 0;
    (void)state;

    if (count == 0)
        skip();
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        assert_int_equal(ask(wanted[i], 0, 0, 0), SECCOMP_RET_ALLOW);
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        assert_int_equal(ask(refused[i], 0, 0, 0), EPERM_INSTEAD);
    for (long nr = -1; nr < 4096; nr++) {
        uint32_t verdict = ask(nr, UINT64_MAX, UINT64_MAX, UINT64_MAX);
        allowed += verdict == SECCOMP_RET_ALLOW;
        assert_true(verdict == SECCOMP_RET_ALLOW || verdict == EPERM_INSTEAD ||
                    (nr == SYS_clone3 && verdict == ENOSYS_INSTEAD));
    }
    assert_in_range(allowed, 70, 110);
    assert_int_equal(ask(SYS_recvmmsg | 0x40000000, 0, 0, 0), EPERM_INSTEAD); /* x32's number */
}

static void calls_by_arguments(void **state)
{
    const uint64_t up = UINT64_C(1) << 32, self = (uint64_t)getpid();
    const struct {
        uint32_t verdict;
        long nr;
        uint64_t args[3];
    } cases[] = {
        {SECCOMP_RET_ALLOW, SYS_socket, {AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP}},
        {SECCOMP_RET_ALLOW, SYS_socket, {AF_INET6, SOCK_DGRAM, IPPROTO_UDP}},
        {EPERM_INSTEAD, SYS_socket, {AF_INET, SOCK_STREAM, IPPROTO_UDP}},
        {EPERM_INSTEAD, SYS_socket, {AF_INET, SOCK_RAW, IPPROTO_UDP}},
        {EPERM_INSTEAD, SYS_socket, {AF_INET, SOCK_DGRAM, 0}},
        {EPERM_INSTEAD, SYS_socket, {AF_UNIX, SOCK_DGRAM, IPPROTO_UDP}},
        {EPERM_INSTEAD, SYS_socket, {AF_NETLINK, SOCK_DGRAM, IPPROTO_UDP}},
        {SECCOMP_RET_ALLOW, SYS_mprotect, {0, 4096, PROT_READ | PROT_WRITE}},
        {EPERM_INSTEAD, SYS_mprotect, {0, 4096, PROT_READ | PROT_EXEC}},
        {SECCOMP_RET_ALLOW, SYS_mprotect, {0, 4096, PROT_NONE}},
        {EPERM_INSTEAD, SYS_mprotect, {0, 4096, PROT_EXEC}},
        {SECCOMP_RET_ALLOW, SYS_clone, {CLONE_VM | CLONE_THREAD, 0, 0}},
        {EPERM_INSTEAD, SYS_clone, {CLONE_VM | CLONE_VFORK, 0, 0}},
        {SECCOMP_RET_ALLOW, SYS_tgkill, {self, 1, 6}},
        {EPERM_INSTEAD, SYS_tgkill, {self + 1, 1, 6}},
        {SECCOMP_RET_ALLOW, SYS_prlimit64, {0, 7, 0}},
        {EPERM_INSTEAD, SYS_prlimit64, {0, 7, 1}},
        {EPERM_INSTEAD, SYS_prlimit64, {0, 7, up}},
        {EPERM_INSTEAD, SYS_prctl, {1, 0, 0}},
        {EPERM_INSTEAD, SYS_io_uring_register, {5, 2, 0}}, /* files */
        {ENOSYS_INSTEAD, SYS_clone3, {0, 0, 0}},
    };
    (void)state;

    if (count == 0)
        skip();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const uint64_t *args = cases[i].args;
        uint32_t verdict = ask(cases[i].nr, args[0], args[1], args[2]);
        if (verdict != cases[i].verdict)
            fail_msg("case %zu, call %ld: %#x", i, cases[i].nr, verdict);
    }
}

/* The same numbers mean other calls there. */
static void another_architecture(void **state)
{
    struct seccomp_data data = call(SYS_recvmmsg, 0, 0, 0);
    (void)state;

    if (count == 0)
        skip();
    data.arch ^= __AUDIT_ARCH_64BIT;
    assert_int_equal(run(&data), SECCOMP_RET_KILL_PROCESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_without_arguments),
        cmocka_unit_test(calls_by_arguments),
        cmocka_unit_test(another_architecture),
    };
    return cmocka_run_group_tests(tests, build, NULL);
}
