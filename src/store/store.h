/*
 * Bytes between disk and wire, for one worker: a fixed pool of chunk buffers, open files
 * pinned by identity, a shared read cache with single flight and read-ahead, and upload sinks.
 * Everything runs on the worker's thread; all waiting is by callback, never by blocking.
 *
 * Memory is one region of store_config.cache_bytes, cut into chunks, mapped at start and
 * touched only when used. Who may hold chunks (store.c has the sum): one per reader being
 * served, one read ahead, one per sink. When all are held, requests wait in order of arrival.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/util.h"
#include "file/file.h"

struct store;
struct store_file;  /* one open file, shared by all who asked for it while it had that identity */
struct store_chunk; /* one buffer of the pool with bytes of one file */

enum store_symlinks {
    STORE_SYMLINKS_NEVER,  /* RESOLVE_NO_SYMLINKS */
    STORE_SYMLINKS_INSIDE, /* followed while they stay below the root */
};

struct store_config {
    int root_fd; /* O_PATH directory; not owned */
    enum store_symlinks symlinks;
    bool world_readable_only; /* files without the o+r bit are refused as EACCES */
    size_t chunk_bytes;       /* power of two, >= 4096 */
    size_t cache_bytes;       /* all chunks of this worker together; at least four */
    unsigned read_ahead;      /* chunks requested ahead of a reader at most */
    unsigned files_max;       /* open files at most (readers and idle ones) */
    bool advise;              /* posix_fadvise hints */
    bool watch;               /* answers to opens may be remembered; see store_open_now() */
    /* Uploads */
    uint64_t upload_max_bytes;  /* one file */
    uint64_t free_space_min;    /* bytes that must stay free on the file system */
    bool durable;               /* fsync file and directory before the final ACK */
    mode_t upload_mode;         /* of published files; never more than 0666 of it */
    bool upload_mode_masked;    /* by the umask or the folder's default access list */
    size_t upload_buffer_bytes; /* bytes of one upload between wire and disk; 0: 64 KiB */
    /* Asked for all bytes that an upload takes in; false ends it with EDQUOT. What did not come to
     * be published is given back. NULL: no such quota. */
    bool (*upload_take)(void *arg, uint64_t bytes);
    void (*upload_return)(void *arg, uint64_t bytes);
    void *upload_arg;
};

/* NULL and errno. `io` must outlive the store. */
struct store *store_new(struct file_io *io, const struct store_config *config);
/* All readers and sinks must be closed; waits for nothing: store_idle() first. */
void store_free(struct store *s);
/* No operation of the store is in flight and no call is owed. */
bool store_idle(const struct store *s);
/*
 * Tells that requests have been received: before they are dispatched, each time. Files remembered
 * from earlier opens are then compared with what has happened to them up to now, once for all of
 * these requests. Without such calls it is done at each open.
 */
void store_begin_turn(struct store *s, nsec now);
/* Forgets the cached files that nobody reads; their descriptors are closed by the backend. */
void store_trim(struct store *s);
/* All the memory a store of that configuration can come to hold, in bytes. */
size_t store_memory_max(const struct store_config *config);
/* Reload: both limits hold from now on, for running uploads too. */
void store_set_upload_limits(struct store *s, uint64_t upload_max_bytes, uint64_t free_space_min);
/* The region of all chunks, for file_io_register_buffers(). */
void *store_region(const struct store *s, size_t *ret_bytes);

/* ---- Reading ---- */

/* A waiting place, embedded in the reader's owner. */
struct store_wait {
    void (*ready)(struct store_wait *w);
    struct list link; /* the store's */
};

/* A place in one of the store's queues: for buffers, or for a call that is owed. Private. */
struct store_turn {
    struct list link;
    unsigned (*need)(struct store *s, struct store_turn *turn); /* chunks, to be served */
    void (*run)(struct store *s, struct store_turn *turn);
};

/*
 * One transfer's view of a file. Opening is asynchronous: ready() is called when `result` is
 * set: 0 (then `size` is the size at open, and stays what this reader delivers), or -errno:
 * ENOENT, ENOTDIR, EACCES, EISDIR, ELOOP, EXDEV, ENXIO (not a regular file), EMFILE, ENOMEM
 * (too many open files), EIO...  ready() is never called from inside a store_ function.
 *
 * The file is pinned by identity: a file replaced or unlinked later does not change what this
 * reader gets. One changed in place gives -ESTALE from store_read() rather than a mixture:
 * after every read of a chunk the file is looked at again, and the chunk is shown only when
 * the modification time and size are those of the open. One exception: a file that has become
 * longer is taken as appended to, and its first `size` bytes are delivered; from outside,
 * appending cannot be told from rewriting and appending at once. A write within the same tick
 * of the file system's clock as the one seen at the open, and one through a shared mapping
 * before the kernel has marked it, go unseen.
 */
struct store_reader {
    struct store_file *file;
    uint64_t size;
    int result;
    struct store_wait wait; /* ready() is the owner's; used for open and for reads */
    struct list link;       /* the store's */
    uint64_t position;      /* last offset asked for: drives read-ahead and drop-behind */
    bool opening;
    bool waiting; /* ready() is owed */

    /* The store's own from here on. */
    bool started;             /* has read */
    uint8_t ahead;            /* chunks read ahead at present */
    int error;                /* what store_read() answers from now on */
    struct store_chunk *hint; /* where the last read began */
    uint64_t index;           /* of that chunk */
    uint64_t first, end;      /* chunks wanted while waiting */
    bool claimed;             /* has a reference on each of [first, end) */
    struct store_turn turn;
    struct list starved; /* store_file.starved, while waiting for buffers */
};

/* `path` is relative to the root, already checked by policy; copied. r->wait.ready must be set. */
void store_open(struct store *s, struct store_reader *r, const char *path);
/*
 * The same, answered at once where it can be: 0, or -ENOENT, which are `result` too, and ready() is
 * not called for the open; -EINPROGRESS: it will be called. With store_config.watch a path asked
 * for repeatedly is answered without a system call, and yet never with what the path led to
 * before a change that was complete when the request came; only file systems mounted meanwhile
 * and writes through shared mappings are seen up to a second late.
 */
MUST_CHECK int store_open_now(struct store *s, struct store_reader *r, const char *path);
/* Also while the open is pending (ready() is then not called any more). Idempotent. */
void store_close(struct store *s, struct store_reader *r);

/* A piece of a chunk that is in memory, with one reference. */
struct store_slice {
    const uint8_t *p;
    uint32_t n;
    struct store_chunk *chunk;
};

/*
 * The bytes of [offset, offset + len), cut at `size`, as far as they are in memory, from `offset`
 * on, as at most `max` slices, each with a reference that the caller returns with
 * store_release(). Returns the number of slices, or -ESTALE, -EIO, ...: the file cannot be
 * delivered; errors are final for this reader.
 * When fewer bytes than asked came, and not because of `max`, ready() will be called once: when
 * more is there, or an error. What is missing is being read meanwhile, up to half of all
 * chunks for one call; so the bytes a caller needs together must fit into half less one chunk.
 * A later call replaces the wish of an earlier one. While a reader waits, and from ready() until
 * it reads again, the chunks it asked for stay in memory: ready() should be answered by a read.
 * Also moves the reader's position and starts read-ahead.
 */
int store_read(struct store *s, struct store_reader *r, uint64_t offset, uint64_t len,
               struct store_slice *slices, unsigned max);
/* May be called long after the reader is closed, e.g. when the kernel is done with the bytes. */
void store_release(struct store *s, struct store_chunk *chunk);
void store_retain(struct store_chunk *chunk);

/* ---- Writing ---- */

enum store_sink_state {
    STORE_SINK_OPENING,
    STORE_SINK_OPEN,
    STORE_SINK_PUBLISHING,
    STORE_SINK_PUBLISHED,
    STORE_SINK_FAILED,
    STORE_SINK_CLOSED,
};

/*
 * One upload: staged where no name leads to it (O_TMPFILE, else a hidden name that is swept at
 * start), published whole. Opening checks policy of existence, room for `size_hint`, and
 * preallocates. changed() is called on each step: open done, bytes written, published, failed.
 * It is never called from inside a store_ function.
 *
 * A target that is no regular file is refused, a symbolic link too, also as a folder (ELOOP). Free
 * space is looked at again every few MiB. Closed while PUBLISHING, an upload may still appear,
 * whole.
 */
struct store_sink {
    enum store_sink_state state;
    int error; /* -errno when FAILED: EEXIST, ENOSPC, EDQUOT, EFBIG, EACCES, EROFS, EIO ... */
    uint64_t received; /* bytes taken by store_sink_write() */
    uint64_t stored;   /* bytes written to the file */
    void (*changed)(struct store_sink *sink);
    void *owner;
    struct store_sink_work *work; /* the store's; so are the rest */
    struct store_turn turn;
    int owed; /* error that is about to be told */
};

#define STORE_SIZE_UNKNOWN UINT64_MAX

/* `path` is copied. `overwrite`: replacing an existing regular file is allowed; `create`: making
 * a new one is. */
void store_sink_open(struct store *s, struct store_sink *sink, const char *path, bool overwrite,
                     bool create, uint64_t size_hint);
/* Room for at least this many more bytes now; 0 while buffers are all waiting for the disk. */
size_t store_sink_room(const struct store_sink *sink);
/* Takes n <= room bytes; none, and changed() tells of the failure, where they would make the file
 * larger than upload_max_bytes. Without effect unless OPEN. */
void store_sink_write(struct store_sink *sink, const void *p, size_t n);
/* Hands what is buffered to the disk; changed() tells when `stored` has moved. */
void store_sink_flush(struct store_sink *sink);
/* All has been received: flush, size check, fsync, give it its name, fsync the directory;
 * then PUBLISHED, or FAILED with nothing visible. */
void store_sink_publish(struct store_sink *sink);
/* Drops the staged file unless PUBLISHED; the struct may be freed at once. */
void store_sink_close(struct store *s, struct store_sink *sink);

/* Removes stale staged files (hidden names of ours) below the root; returns how many. Blocks:
 * start-up only. */
unsigned store_sweep(int root_fd);

struct store_stats {
    uint64_t opens, open_shared, open_failed;
    uint64_t open_known; /* of opens: answered without asking the kernel */
    uint64_t chunk_hits, chunk_misses, chunk_waits; /* waits: joined a read already in flight */
    uint64_t read_ahead, evicted;
    uint64_t bytes_read; /* from the backend */
    uint64_t bytes_written;
    uint64_t stale;          /* transfers ended because their file changed */
    uint64_t out_of_buffers; /* times somebody had to wait for a chunk */
    uint64_t published, upload_failed;
    uint32_t files_open, chunks_total;
    uint32_t chunks_used; /* held, or with content */
};
const struct store_stats *store_stats(const struct store *s);

#endif
