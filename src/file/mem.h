/*
 * Script for the mem backend: files, delays and errors, in virtual or real time.
 *
 * Paths are plain names below a root, with "/" between directories, which need not be made: any
 * name may be opened as a directory, and is one while files stand below it. A descriptor that
 * the backend has not given out (a dirfd of the test, AT_FDCWD) stands for the root.
 *
 * An operation takes effect when it completes. What survives a crash: a file's bytes as of its
 * last FILE_SYNC, under the names its directory had when that was last synced; what
 * file_mem_put() adds is there from the start.
 */
#ifndef FILE_MEM_H
#define FILE_MEM_H

#include "file/file.h"

/* Adds or replaces a file; the bytes are copied. Out of memory ends the process: tests only. */
void file_mem_put(struct file_io *f, const char *path, const void *data, size_t size);
/* A file whose bytes are computed: byte at offset o is fill(o). */
void file_mem_put_pattern(struct file_io *f, const char *path, uint64_t size,
                          uint8_t (*fill)(uint64_t offset));
void file_mem_remove(struct file_io *f, const char *path);
/* Content as it now is; NULL when there is none of that name. `synced`: what survives a crash. */
const uint8_t *file_mem_get(struct file_io *f, const char *path, bool synced, size_t *ret_size);

/*
 * Asked for each operation when it is submitted: *delay after which it completes, *max_bytes
 * for a short read or write; the return value, if not 0, is its result (-errno) instead.
 */
typedef int file_mem_script_fn(void *arg, const struct file_req *req, nsec *delay,
                               size_t *max_bytes);
void file_mem_script(struct file_io *f, file_mem_script_fn *fn, void *arg);

/*
 * Time is real until the first _advance(), and virtual from then on: it completes what is due
 * at `now`, for file_complete() to deliver. NSEC_NEVER from _next() when nothing waits.
 */
void file_mem_advance(struct file_io *f, nsec now);
nsec file_mem_next(const struct file_io *f);

#endif
