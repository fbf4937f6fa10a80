/*
 * For tests that overrule the kernel's answer to a submission: linked with --wrap=io_uring_enter2,
 * they define the second and may call the first.
 */
#ifndef LOOP_WRAP_ENTER_H
#define LOOP_WRAP_ENTER_H

#include <stddef.h>

int __real_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait, unsigned flags, void *arg,
                           size_t bytes);
int __wrap_io_uring_enter2(unsigned fd, unsigned submit, unsigned wait, unsigned flags, void *arg,
                           size_t bytes);

#endif
