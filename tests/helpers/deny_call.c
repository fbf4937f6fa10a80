/*
 * Runs a program that may not make one system call, as in a sandbox or on an older kernel:
 *
 *   deny-call CALL ERRNO PROGRAM [ARGUMENT]...
 *
 * The call fails with that number (0: it says that it succeeded, and does nothing); everything else
 * is allowed. Root keeps what it can do.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"

#define UNAVAILABLE 77

static const struct {
    const char *name;
    long nr;
} calls[] = {
    {"io_uring_setup", SYS_io_uring_setup},
    {"io_uring_register", SYS_io_uring_register},
    {"setgroups", SYS_setgroups},
    {"setresgid", SYS_setresgid},
    {"setresuid", SYS_setresuid},
    {"capset", SYS_capset},
    {"prctl", SYS_prctl},
    {"chroot", SYS_chroot},
    {"landlock_create_ruleset", SYS_landlock_create_ruleset},
    {"landlock_add_rule", SYS_landlock_add_rule},
    {"landlock_restrict_self", SYS_landlock_restrict_self},
    {"seccomp", SYS_seccomp},
    {"openat2", SYS_openat2},
    {"socketpair", SYS_socketpair},
};

static long call_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        if (strcmp(calls[i].name, name) == 0)
            return calls[i].nr;
    return -1;
}

static int install(long nr, unsigned err)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {ARRAY_LEN(filter), filter};

    /* Root may without no_new_privs, which is for the program to set. */
    if (geteuid() != 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog);
}

int main(int argc, char **argv)
{
    char *end = "";
    unsigned long err = argc > 3 ? strtoul(argv[2], &end, 10) : 4096;
    long nr = argc > 3 ? call_of(argv[1]) : -1;

    if (err > 4095 || *end || nr < 0) {
        fputs("usage: deny-call CALL ERRNO PROGRAM [ARGUMENT]...\n", stderr);
        return 64;
    }
    if (install(nr, (unsigned)err) != 0) {
        fprintf(stderr, "deny-call: seccomp: %s\n", strerror(errno));
        return UNAVAILABLE;
    }
    execv(argv[3], argv + 3);
    fprintf(stderr, "deny-call: %s: %s\n", argv[3], strerror(errno));
    return 127;
}
