/*
 * One file operation, done at once by plain system calls. Used by the pool's threads; keeps
 * nothing between calls, any thread.
 */
#ifndef FILE_FILE_SYS_H
#define FILE_FILE_SYS_H

#include "file/file.h"

/*
 * Where an operation made of several calls stands. The ring may hand a request over in any
 * stage, and the threads carry on from there.
 */
enum file_stage {
    STAGE_START,
    STAGE_STAT, /* OPEN: `result` is the descriptor, READ with stat_after: the bytes read */
    STAGE_UNDO, /* OPEN: `result` is the descriptor, to be closed, priv[PRIV_ERROR] the answer */
    STAGE_DONE, /* its result waits to be delivered */
};

/* Does what `req` asks, from its stage on, and fills in `result`, `st` and `space`. */
void file_sys_run(struct file_req *req);

/* Whether this kernel, and the sandbox we are in, know openat2(2). Any thread. */
bool file_sys_has_openat2(void);

/* Flags and mode of an OPEN as the kernel gets them. */
int file_sys_open_flags(const struct file_req *req);
mode_t file_sys_open_mode(const struct file_req *req);

/*
 * Opens path below dirfd component by component, for kernels and sandboxes without openat2.
 * Never leaves dirfd: "..", an absolute path and, with RESOLVE_NO_XDEV, a mount point are
 * -EXDEV; a symbolic link is -ELOOP wherever it points. The descriptor or -errno.
 */
MUST_CHECK int file_sys_walk(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve);

#endif
