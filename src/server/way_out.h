/*
 * Ways out of what the process has shut itself into, to be tried: by --self-test, and by the
 * server that the tests take over. Each says 0 when it got through, else the errno it was refused
 * with.
 */
#ifndef SERVER_WAY_OUT_H
#define SERVER_WAY_OUT_H

#include "base/util.h"
#include "config.h"
#include "loop/ring.h"

/* Of a system call's result; what it opened is closed. */
int way_out_result(long result);

int way_out_open(const char *path);
/* A new file is nobody else's. */
int way_out_openat2(int dir, const char *path, int flags);
int way_out_socket(int family, int type, int protocol);
/* To a port where nobody listens: being refused from there is getting through. */
int way_out_tcp(void);
/* Of a program that does not exist: with a way to it the answer is ENOENT. */
int way_out_exec(void);

#if HAVE_IO_URING
int way_out_second_ring(void);
/* One operation through the server's own ring, where nothing else is under way. */
int way_out_ring(struct ring *ring, void (*prep)(struct io_uring_sqe *sqe, const char *path),
                 const char *path);
void way_out_prep_openat(struct io_uring_sqe *sqe, const char *path);
void way_out_prep_openat2(struct io_uring_sqe *sqe, const char *path);
#endif

#endif
