/*
 * The system calls that a server at work needs; every other one fails (seccomp).
 */
#ifndef SERVER_SYSCALL_FILTER_H
#define SERVER_SYSCALL_FILTER_H

#include "base/util.h"

/*
 * For all threads of the process and all they start, once and for good. What it denies fails with
 * EPERM. Needs no_new_privs. A ring does not pass here: loop/ring_restrict.c is for that, and this
 * takes care that there will be no other ring.
 * 0 or -errno: ENOSYS also when built without libseccomp.
 */
MUST_CHECK int syscall_filter_load(void);

#endif
