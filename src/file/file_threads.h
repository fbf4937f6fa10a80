/*
 * The pool of threads that does file operations by plain system calls. Everything declared
 * here is called on the worker's thread.
 *
 *   Classes   Slow operations (file_is_slow()) run on at most half of the threads.
 *   Hangs     An operation that takes longer than FILE_STUCK_NSEC while others wait is written
 *             off: its thread no longer counts, and a spare takes its place, up to
 *             FILE_SPARES_MAX. When it returns after all, its result is delivered as usual.
 *   Wake-up   The first result after file_threads_collect() wakes the loop; those that come
 *             before the loop looks are taken with it.
 */
#ifndef FILE_FILE_THREADS_H
#define FILE_FILE_THREADS_H

#include "file/file.h"

#define FILE_STUCK_NSEC (200 * NSEC_PER_MSEC)
#define FILE_SPARES_MAX 32

struct file_threads;

/* At least one thread runs when this returns; the others are started when there is work for
 * them. NULL and errno. */
struct file_threads *file_threads_new(struct loop *loop, unsigned threads, unsigned queue_max);
/* Joins all threads; nothing may be queued or running. */
void file_threads_free(struct file_threads *t);

/* True when queue_max requests wait for a thread. */
bool file_threads_full(const struct file_threads *t);
/* Accepts in any case. Started by the next flush. */
void file_threads_submit(struct file_threads *t, struct file_req *req);
/* Hands what was submitted to the threads. Returns when it must be called again to look for
 * threads that hang, or NSEC_NEVER. */
nsec file_threads_flush(struct file_threads *t, nsec now);
/* Takes back a request that no thread has begun. False when one has. */
bool file_threads_cancel(struct file_threads *t, struct file_req *req);
/* Something waits to be collected. */
bool file_threads_any_done(const struct file_threads *t);
/* Moves finished requests to `done`. */
void file_threads_collect(struct file_threads *t, struct list *done);

/* Requests run on the caller's thread, in the flush, until one of them takes longer than this; from
 * then on by the threads. 0: by the threads. */
void file_threads_run_here(struct file_threads *t, nsec longest);

/* For tests: runs in place of file_sys_run(). Set before the first submit. */
void file_threads_on_run(struct file_threads *t, void (*run)(struct file_req *req));

#endif
