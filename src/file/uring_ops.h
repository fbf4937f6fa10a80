/*
 * How each file operation is asked of a ring. Only fills in submission entries.
 */
#ifndef FILE_URING_OPS_H
#define FILE_URING_OPS_H

#include <linux/openat2.h>
#include <sys/stat.h>

#include "file/file.h"
#include "loop/uring_compat.h"

#define URING_BUFFER_MAX (UINT64_C(1) << 30) /* the kernel's limit for one registered buffer */

/* What an operation needs beside its request, until it completes. */
struct uring_aux {
    union {
        struct open_how how;
        struct statx statx;
        char proc[32];
    };
};

/* Registered in pieces of URING_BUFFER_MAX, from index 0. */
struct uring_buffers {
    char *base; /* NULL: none */
    size_t size;
};

/* IORING_OP_..., or -1 when a ring has nothing of the kind. */
int uring_ops_code(enum file_op op);
/* `sqe` keeps its user data. For an operation with a code only. `at_once`: a read is tried
 * without a worker, and answered with -EAGAIN when it would have to wait. */
void uring_ops_prep(struct io_uring_sqe *sqe, struct file_req *req, struct uring_aux *aux,
                    const struct uring_buffers *buffers, bool at_once);
void uring_ops_stat(struct file_stat *to, const struct statx *st);

#endif
