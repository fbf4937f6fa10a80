/*
 * File operations on the worker's ring. Everything here is called on the worker's thread.
 */
#ifndef FILE_FILE_URING_H
#define FILE_FILE_URING_H

#include "file/file.h"

struct file_uring;

/* NULL and errno. */
struct file_uring *file_uring_new(struct file_io *f, struct ring *ring);
void file_uring_free(struct file_uring *u);

/* This ring can do the operation, as far as its kernel says. */
bool file_uring_can(const struct file_uring *u, enum file_op op);
/* A ring of a newer kernel can do it. */
bool file_uring_knows(enum file_op op);
/* It takes no new requests: it failed. */
bool file_uring_is_dead(const struct file_uring *u);
/* True when as many requests wait for their turn as may. */
bool file_uring_full(const struct file_uring *u);
/* Accepts in any case; completes through file_finish(), or file_hand_over() to the threads. */
void file_uring_submit(struct file_uring *u, struct file_req *req);
void file_uring_cancel(struct file_uring *u, struct file_req *req);
/* Starts what can be started and hands it to the kernel. Returns when to be called again. */
nsec file_uring_flush(struct file_uring *u, nsec now);
/* Takes completions off a ring that the loop does not wait on. */
void file_uring_reap(struct file_uring *u);
/* For reads into [base, base + size). 0; -EEXIST when there are buffers already, -EINVAL when
 * it is more than the ring can take, or what registering them said (-ENOMEM: RLIMIT_MEMLOCK). */
MUST_CHECK int file_uring_register(struct file_uring *u, void *base, size_t size);

#endif
