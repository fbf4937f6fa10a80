/*
 * What the files of uploads share: sink.c (life, writing), sink_open.c (until the first byte is
 * welcome) and sink_publish.c (after the last one).
 */
#ifndef STORE_SINK_INTERNAL_H
#define STORE_SINK_INTERNAL_H

#include "policy/path.h"
#include "store/internal.h"

enum { SINK_NAME_TRIES = 8 };

/*
 * One upload. One operation of it is in flight at a time; this owns all that the operation
 * points to, and outlives the sink where one is still under way.
 */
struct store_sink_work {
    struct store *s;
    struct store_sink *sink; /* NULL: nobody is interested any more, only clean up */
    struct store_op op;
    bool busy;              /* op is in flight */
    struct store_turn turn; /* in the queue for buffers */
    int dir, fd;            /* -1 */
    bool overwrite, create;
    bool absent; /* nothing stood under the name when it was looked at */
    bool hidden; /* the hidden name exists */
    unsigned name_tries;
    uint64_t size_hint;
    uint64_t flush_to;     /* bytes to be written without waiting for a full buffer */
    uint64_t room_checked; /* at this many bytes stored */
    int look_error; /* what was wrong with the target, while its descriptor is being closed */
    char *folder;   /* relative to the root */
    char *name;     /* in the folder */
    char hidden_name[sizeof(PATH_STAGED_PREFIX) + 16];
    unsigned buffer_count;
    bool buffers_counted; /* in store.sink_chunks */
    bool buffers_held;
    struct store_chunk *buffers[];
};

/* Starts the next operation of the upload. */
void sink_step(struct store_sink_work *w, struct file_req req, void (*done)(struct store_op *op));
/* To be called first in every done(). */
struct store_sink_work *sink_finished(struct store_op *op);
/*
 * Whether the upload is still wanted after a completed operation; if not, its end is on the
 * way. What the operation made must have been noted in `w` before.
 */
bool sink_goes_on(struct store_sink_work *w);
/* Both, for an operation whose failure is the upload's; NULL when it does not go on. */
struct store_sink_work *sink_succeeded(struct store_op *op);
/* The two ends. The last thing a completion does: the owner is called, and `w` is gone. */
void sink_fail(struct store_sink_work *w, int error);
void sink_published(struct store_sink_work *w);
/* Chooses a new hidden name. */
void sink_choose_name(struct store_sink_work *w);
/* Whether `bytes` more leave enough of the free `space`. */
bool sink_room_left(const struct store_sink_work *w, uint64_t space, uint64_t bytes);

/* sink_open.c: from the name to the first changed(). */
void sink_open_start(struct store_sink_work *w);
/* sink_publish.c: all bytes are stored. */
void sink_publish_start(struct store_sink_work *w);

#endif
