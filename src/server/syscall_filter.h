/*
 * The system calls that a server at work needs; every other one fails (seccomp).
 */
#ifndef SERVER_SYSCALL_FILTER_H
#define SERVER_SYSCALL_FILTER_H

#include <linux/filter.h>
#include <stddef.h>

#include "base/util.h"

/*
 * For all threads of the process and all they start, once and for good. What it denies fails with
 * EPERM; a call of another architecture ends the process. Needs no_new_privs, and no memory: there
 * is no filter with something missing. A ring does not pass here: loop/ring_restrict.c is for that,
 * and this takes care that there will be no other ring.
 * 0 or -errno: ENOSYS also where the numbers of the machine's calls are not known to be right.
 */
MUST_CHECK int syscall_filter_load(void);

/* For the process that reads the configuration: it may write to `answers`, open files for reading
 * relative to `folder`, read and close, and end. 0 or -errno. */
MUST_CHECK int syscall_filter_load_reader(int answers, int folder);

#define SYSCALL_FILTER_MAX 512

/* The program as it is loaded, of at most SYSCALL_FILTER_MAX steps; how many there are, 0: none for
 * this machine. */
size_t syscall_filter_build(struct sock_filter *prog);

#endif
