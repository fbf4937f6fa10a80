#include "file/uring_ops.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "file/file_sys.h"

static void prep_read(struct io_uring_sqe *sqe, struct file_req *req, const struct uring_buffers *b,
                      bool at_once)
{
    size_t at = (size_t)((char *)req->buf - b->base);
    bool ours = b->base && (char *)req->buf >= b->base && at < b->size;
    unsigned len = (unsigned)MIN(req->len, URING_BUFFER_MAX);

    if (ours && at / URING_BUFFER_MAX == (at + len - 1) / URING_BUFFER_MAX)
        io_uring_prep_read_fixed(sqe, req->fd, req->buf, len, req->offset,
                                 (int)(at / URING_BUFFER_MAX));
    else
        io_uring_prep_read(sqe, req->fd, req->buf, len, req->offset);
    /* A cold read stalls whoever submits it, for as long as the disk takes to accept its
     * read-ahead: only a worker may. What is in the page cache is copied at once. */
    if (at_once)
        sqe->rw_flags = RWF_NOWAIT;
    else
        sqe->flags |= IOSQE_ASYNC;
}

/* An open on a hung mount may hang in the submitter, whatever the flags: always by a worker. */
static void prep_open(struct io_uring_sqe *sqe, struct file_req *req, struct uring_aux *aux)
{
    aux->how = (struct open_how){
        .flags = (uint64_t)(unsigned)file_sys_open_flags(req),
        .mode = file_sys_open_mode(req),
        .resolve = req->resolve,
    };
    io_uring_prep_openat2(sqe, req->dirfd, req->path, &aux->how);
    sqe->flags |= IOSQE_ASYNC;
}

static void prep_link(struct io_uring_sqe *sqe, struct file_req *req, struct uring_aux *aux)
{
    if (req->stage == STAGE_START) {
        io_uring_prep_linkat(sqe, req->fd, "", req->dirfd, req->path, AT_EMPTY_PATH);
    } else {
        snprintf(aux->proc, sizeof(aux->proc), "/proc/self/fd/%d", req->fd);
        io_uring_prep_linkat(sqe, AT_FDCWD, aux->proc, req->dirfd, req->path, AT_SYMLINK_FOLLOW);
    }
}

/* The last close of a file that was written may free its blocks, which takes time. */
static void prep_close(struct io_uring_sqe *sqe, struct file_req *req)
{
    int flags = fcntl(req->fd, F_GETFL);

    io_uring_prep_close(sqe, req->fd);
    if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY)
        sqe->flags |= IOSQE_ASYNC;
}

void uring_ops_prep(struct io_uring_sqe *sqe, struct file_req *req, struct uring_aux *aux,
                    const struct uring_buffers *buffers, bool at_once)
{
    switch (req->op) {
    case FILE_OPEN:
        prep_open(sqe, req, aux);
        return;
    case FILE_STAT:
        io_uring_prep_statx(sqe, req->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &aux->statx);
        return;
    case FILE_READ:
        prep_read(sqe, req, buffers, at_once);
        return;
    case FILE_WRITE:
        io_uring_prep_write(sqe, req->fd, req->buf, (unsigned)MIN(req->len, URING_BUFFER_MAX),
                            req->offset);
        return;
    case FILE_ALLOCATE:
        io_uring_prep_fallocate(sqe, req->fd, FALLOC_FL_KEEP_SIZE, (off_t)req->offset,
                                (off_t)req->len);
        return;
    case FILE_SYNC:
        io_uring_prep_fsync(sqe, req->fd, 0);
        return;
    case FILE_LINK:
        prep_link(sqe, req, aux);
        return;
    case FILE_RENAME:
        io_uring_prep_renameat(sqe, req->dirfd, req->path, req->dirfd, req->path2,
                               (unsigned)req->flags);
        return;
    case FILE_UNLINK:
        io_uring_prep_unlinkat(sqe, req->dirfd, req->path, 0);
        return;
    case FILE_CLOSE:
        prep_close(sqe, req);
        return;
    case FILE_STATFS:
    case FILE_CHMOD:
    case FILE_TRUNCATE:
    case FILE_OPS:
        assert(false); /* file_uring_can() does not list them */
    }
}

static const int opcodes[FILE_OPS] = {
    [FILE_OPEN] = IORING_OP_OPENAT2,       [FILE_STAT] = IORING_OP_STATX,
    [FILE_READ] = IORING_OP_READ,          [FILE_WRITE] = IORING_OP_WRITE,
    [FILE_ALLOCATE] = IORING_OP_FALLOCATE, [FILE_SYNC] = IORING_OP_FSYNC,
    [FILE_LINK] = IORING_OP_LINKAT,        [FILE_RENAME] = IORING_OP_RENAMEAT,
    [FILE_UNLINK] = IORING_OP_UNLINKAT,    [FILE_CLOSE] = IORING_OP_CLOSE,
};

int uring_ops_code(enum file_op op)
{
    return opcodes[op] ? opcodes[op] : -1;
}

void uring_ops_stat(struct file_stat *to, const struct statx *st)
{
    *to = (struct file_stat){
        .dev = makedev(st->stx_dev_major, st->stx_dev_minor),
        .ino = st->stx_ino,
        .size = st->stx_size,
        .mtime_ns = (uint64_t)st->stx_mtime.tv_sec * NSEC_PER_SEC + st->stx_mtime.tv_nsec,
        .ctime_ns = (uint64_t)st->stx_ctime.tv_sec * NSEC_PER_SEC + st->stx_ctime.tv_nsec,
        .mode = st->stx_mode,
    };
}
