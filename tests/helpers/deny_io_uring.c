/*
 * Runs a program that may not have an io_uring, as a sandbox would:
 *
 *   deny-io-uring ERRNO PROGRAM [ARGUMENT]...
 *
 * io_uring_setup(2) fails with that number; everything else is allowed.
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

int main(int argc, char **argv)
{
    char *end = "";
    unsigned long err = argc > 2 ? strtoul(argv[1], &end, 10) : 0;
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {ARRAY_LEN(filter), filter};

    if (err < 1 || err > 4095 || *end) {
        fputs("usage: deny-io-uring ERRNO PROGRAM [ARGUMENT]...\n", stderr);
        return 64;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) != 0) {
        fprintf(stderr, "deny-io-uring: seccomp: %s\n", strerror(errno));
        return UNAVAILABLE;
    }
    execv(argv[2], argv + 2);
    fprintf(stderr, "deny-io-uring: %s: %s\n", argv[2], strerror(errno));
    return 127;
}
