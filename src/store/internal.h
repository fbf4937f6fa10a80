/*
 * What the files of the store share. Everything here belongs to one worker's thread.
 *
 *   store.c   the whole: memory, operations, calls that are owed
 *   handle.c  open files by identity, opening and forgetting them
 *   watch.c   what paths led to, believed while nothing changes
 *   cache.c   chunks of files: loading, waiting, reading
 *   ahead.c   read-ahead and drop-behind
 *   sink.c    uploads
 */
#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include <sys/stat.h>

#include "base/map.h"
#include "base/prng.h"
#include "store/bufpool.h"
#include "store/op.h"
#include "store/store.h"

/*
 * One descriptor of one file as it was when it was opened. It lives while it has readers or
 * operations in flight, and after that until its place is needed (store.idle).
 */
struct store_file {
    struct store *s;
    struct map_node node; /* store.files, while `shared` */
    uint64_t id;          /* never used twice: part of the key of chunks */
    int fd;
    int error;           /* -ESTALE: no more bytes from this one */
    bool shared;         /* new opens may find it */
    struct file_stat st; /* its identity */
    struct list readers; /* store_reader.link */
    unsigned reader_count;
    struct list starved;  /* store_reader.starved */
    struct list chunks;   /* store_chunk.in_file */
    struct list idle;     /* store.idle, while there are no readers */
    struct list known_as; /* the watch's entries */
    unsigned cold_left;   /* reads yet to come that are not asked for as hot ones ... */
    unsigned cold_run;    /* ... of so many since the last that turned out to be cold */
    uint64_t load_end;    /* chunks before this have been read, */
    bool reread;          /* and one of them more than once */
    unsigned ops;         /* reads in flight: the descriptor stays open for them */
    struct store_op close;
};

struct store {
    struct file_io *io;
    struct store_config config;
    struct bufpool pool;
    struct map chunks;   /* by file and index */
    struct map files;    /* by identity */
    struct map opens;    /* opens in flight, by path */
    struct list idle;    /* files without readers, longest unused first */
    struct watch *watch; /* NULL: every open goes to the kernel */
    uint64_t file_ids;
    unsigned file_count;   /* open files */
    unsigned files_read;   /* of these, with readers */
    uint32_t sink_chunks;  /* held by sinks */
    bool tmpfile_nameable; /* an unnamed file can be given a name here */
    struct prng prng;      /* for hidden names */
    struct list pending;   /* file_req.link: refused by the backend so far */
    unsigned in_flight;
    size_t hot_bytes; /* being read as hot: copied by this thread when it submits */
    bool in_done;     /* inside a completion: what is owed will be called at its end */
    struct list due;  /* store_turn.link: calls that are owed */
    struct store_op kick;
    bool kick_busy;
    struct store_stats stats;
};

/* ---- store.c ---- */

/* RESOLVE_... of every name below the root. */
uint64_t store_resolve(const struct store *s);
/* Has turn->run() called from the end of this or some later completion. */
void due_add(struct store *s, struct store_turn *turn);

/* ---- handle.c ---- */

/* An operation of the file has come back; forgets a file that nobody needs any more. */
void file_op_done(struct store_file *f);
/* The file is not what was opened: ends all its readers with -ESTALE. */
void file_stale(struct store_file *f);
/* Its bytes are no more what its name promises: later opens get a file of their own. */
void file_outdated(struct store_file *f);
/* It looks as it did when it was opened. */
bool file_is(const struct store_file *f, const struct stat *st);
/* Forgets the idle file that was unused for longest. False: there is none. */
bool file_evict(struct store *s);

/* Forgets every idle file. */
void file_evict_all(struct store *s);
/* Bytes for one open in flight. */
size_t handle_opening_bytes(void);

/* ---- cache.c ---- */

static inline uint64_t file_chunk_count(const struct store *s, const struct store_file *f)
{
    return (f->st.size >> s->pool.shift) + ((f->st.size & (s->pool.chunk_bytes - 1)) != 0);
}

struct store_chunk *cache_find(const struct store *s, const struct store_file *f, uint64_t index);
/* Takes a buffer, which must be available, and starts reading. */
void cache_load(struct store *s, struct store_file *f, uint64_t index);
/* Removes the chunk from its file; a referenced one keeps its bytes for those who hold it. */
void cache_detach(struct store *s, struct store_chunk *c);
/* A buffer without content and with one reference; one must be available. */
struct store_chunk *cache_take_buffer(struct store *s);
/* Serves who waits for buffers, in order, as far as there are enough. */
void cache_serve(struct store *s);
/* The reader wants nothing any more: leaves all queues and returns its claims. */
void cache_withdraw(struct store *s, struct store_reader *r);
/* Lets the reader's store_read() be called again. */
void reader_wake(struct store *s, struct store_reader *r);

/* ---- ahead.c ---- */

/* The reader begins to read at chunk `index` and has asked for chunks up to before `end`. */
void ahead_move(struct store *s, struct store_reader *r, uint64_t index);
void ahead_run(struct store *s, struct store_reader *r, uint64_t end);
/* The first chunk of a file just opened. */
void ahead_first(struct store *s, struct store_file *f);
/* The last reader has left. */
void ahead_left(struct store *s, struct store_file *f);

/* ---- sink.c ---- */

/* Bytes for one upload, without its chunks. */
size_t sink_work_bytes(void);

#endif
