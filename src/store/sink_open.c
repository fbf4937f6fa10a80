/*
 * The first half of an upload: its folder, what stands under its name now, room on the file
 * system, buffers, and a file that no name leads to yet.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>

#include "store/sink_internal.h"

static mode_t file_mode(const struct store *s)
{
    return s->config.upload_mode & 0666;
}

/* No links, wherever they lead: what may be written is said in names, which a link would evade. */
static uint64_t resolve_strictly(const struct store *s)
{
    return store_resolve(s) | RESOLVE_NO_SYMLINKS;
}

static void opened(struct store_sink_work *w)
{
    w->sink->state = STORE_SINK_OPEN;
    w->sink->changed(w->sink);
}

static void allocate_done(struct store_op *op)
{
    struct store_sink_work *w = sink_finished(op);
    int64_t r = op->req.result;

    if (!sink_goes_on(w))
        return;
    /* Preallocation is a service of some file systems; only a lack of room counts. */
    if (r == -ENOSPC || r == -EDQUOT || r == -EFBIG || r == -EIO)
        sink_fail(w, (int)r);
    else
        opened(w);
}

static void allocate(struct store_sink_work *w)
{
    if (w->size_hint == STORE_SIZE_UNKNOWN || w->size_hint == 0)
        opened(w);
    else
        sink_step(w, (struct file_req){.op = FILE_ALLOCATE, .fd = w->fd, .len = w->size_hint},
                  allocate_done);
}

static void mode_done(struct store_op *op)
{
    struct store_sink_work *w = sink_succeeded(op);

    if (w)
        allocate(w);
}

static void stage(struct store_sink_work *w, bool unnamed);

static void stage_done(struct store_op *op)
{
    struct store_sink_work *w = sink_finished(op);
    int64_t r = op->req.result;
    bool unnamed = (op->req.flags & O_CREAT) == 0;

    if (r >= 0) {
        w->fd = (int)r;
        w->hidden = !unnamed;
    }
    if (!sink_goes_on(w))
        return;
    if (r >= 0) {
        /* The umask, or a default access list of the folder, may have had its say. */
        if (w->s->config.upload_mode_masked || (op->req.st.mode & 07777) == file_mode(w->s))
            allocate(w);
        else
            sink_step(w, (struct file_req){.op = FILE_CHMOD, .fd = w->fd, .mode = file_mode(w->s)},
                      mode_done);
    } else if (unnamed && (r == -EOPNOTSUPP || r == -EISDIR || r == -EINVAL || r == -ENOENT)) {
        stage(w, false);
    } else if (!unnamed && r == -EEXIST && w->name_tries < SINK_NAME_TRIES) {
        stage(w, false);
    } else {
        sink_fail(w, (int)r);
    }
}

static void stage(struct store_sink_work *w, bool unnamed)
{
    struct file_req req = {
        .op = FILE_OPEN,
        .dirfd = w->dir,
        .mode = file_mode(w->s),
        .resolve = resolve_strictly(w->s),
    };

    if (unnamed) {
        req.path = ".";
        req.flags = O_TMPFILE | O_WRONLY;
    } else {
        w->name_tries++;
        sink_choose_name(w);
        req.path = w->hidden_name;
        req.flags = O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY;
    }
    sink_step(w, req, stage_done);
}

static unsigned buffers_need(struct store *s, struct store_turn *turn)
{
    (void)s;
    return container_of(turn, struct store_sink_work, turn)->buffer_count;
}

static void buffers_served(struct store *s, struct store_turn *turn)
{
    struct store_sink_work *w = container_of(turn, struct store_sink_work, turn);

    for (unsigned i = 0; i < w->buffer_count; i++)
        w->buffers[i] = cache_take_buffer(s);
    w->buffers_held = true;
    stage(w, s->tmpfile_nameable);
}

static void get_buffers(struct store_sink_work *w)
{
    struct store *s = w->s;

    if (s->sink_chunks + w->buffer_count > s->pool.total / 2) {
        sink_fail(w, -ENOMEM);
        return;
    }
    s->sink_chunks += w->buffer_count;
    w->buffers_counted = true;
    w->turn.need = buffers_need;
    w->turn.run = buffers_served;
    if (!list_empty(&s->pool.waiters) || pool_available(&s->pool) < w->buffer_count)
        s->stats.out_of_buffers++;
    list_push_back(&s->pool.waiters, &w->turn.link);
    cache_serve(s);
}

static void room_done(struct store_op *op)
{
    struct store_sink_work *w = sink_finished(op);
    uint64_t bytes = w->size_hint == STORE_SIZE_UNKNOWN ? 0 : w->size_hint;

    if (!sink_goes_on(w))
        return;
    /* A file system that does not say has its say at the writes. */
    if (op->req.result == 0 && !sink_room_left(w, op->req.space, bytes))
        sink_fail(w, -ENOSPC);
    else
        get_buffers(w);
}

static void check_room(struct store_sink_work *w)
{
    sink_step(w, (struct file_req){.op = FILE_STATFS, .fd = w->dir}, room_done);
}

/* What stands under the name now; 0: an upload may go there. */
static int judge_target(const struct store_sink_work *w, const struct file_stat *st)
{
    if (S_ISDIR(st->mode))
        return -EISDIR;
    if (S_ISLNK(st->mode))
        return -ELOOP;
    if (!S_ISREG(st->mode))
        return -EACCES;
    return w->overwrite ? 0 : -EEXIST;
}

static void look_closed(struct store_op *op)
{
    struct store_sink_work *w = sink_finished(op);
    if (!sink_goes_on(w))
        return;
    if (w->look_error != 0)
        sink_fail(w, w->look_error);
    else
        check_room(w);
}

static void look_done(struct store_op *op)
{
    struct store_sink_work *w = sink_finished(op);
    int64_t r = op->req.result;

    if (r >= 0) {
        w->look_error = judge_target(w, &op->req.st);
        sink_step(w, (struct file_req){.op = FILE_CLOSE, .fd = (int)r}, look_closed);
        return;
    }
    if (!sink_goes_on(w))
        return;
    w->absent = r == -ENOENT;
    if (!w->absent || !w->create)
        sink_fail(w, (int)r);
    else
        check_room(w);
}

static void folder_done(struct store_op *op)
{
    struct store_sink_work *w = sink_finished(op);
    int64_t r = op->req.result;

    if (r >= 0)
        w->dir = (int)r;
    if (!sink_goes_on(w))
        return;
    if (r < 0) {
        sink_fail(w, (int)r);
        return;
    }
    sink_step(w,
              (struct file_req){
                  .op = FILE_OPEN,
                  .dirfd = w->dir,
                  .path = w->name,
                  .flags = O_PATH | O_NOFOLLOW,
                  .resolve = resolve_strictly(w->s),
              },
              look_done);
}

void sink_open_start(struct store_sink_work *w)
{
    /* A folder that may be searched but not read can take uploads too, unless it has to be
     * synced. */
    sink_step(w,
              (struct file_req){
                  .op = FILE_OPEN,
                  .dirfd = w->s->config.root_fd,
                  .path = w->folder,
                  .flags = (w->s->config.durable ? O_RDONLY : O_PATH) | O_DIRECTORY,
                  .resolve = resolve_strictly(w->s),
              },
              folder_done);
}
