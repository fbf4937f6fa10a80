/*
 * The second half of an upload: size, disk, name, and the folder that holds the name.
 *
 *   target absent     unnamed file: link             hidden name: rename, never replacing
 *   target replaced   unnamed file: link to a        hidden name: rename
 *                     hidden name, then rename
 *
 * One that was absent and has appeared meanwhile is replaced where that was asked for.
 */
#include <errno.h>
#include <stdio.h>

#include "store/sink_internal.h"

static void folder_synced(struct store_op *op)
{
    struct store_sink_work *w = sink_succeeded(op);

    if (w)
        sink_published(w);
}

/* The name stands. */
static void named(struct store_sink_work *w)
{
    if (w->s->config.durable)
        sink_step(w, (struct file_req){.op = FILE_SYNC, .fd = w->dir}, folder_synced);
    else
        sink_published(w);
}

static void unhidden(struct store_op *op)
{
    struct store_sink_work *w = sink_finished(op);
    if (sink_goes_on(w))
        named(w);
}

static void link_as(struct store_sink_work *w, const char *name, void (*done)(struct store_op *))
{
    sink_step(w, (struct file_req){.op = FILE_LINK, .fd = w->fd, .dirfd = w->dir, .path = name},
              done);
}

static void give_name(struct store_sink_work *w);

static void link_done(struct store_op *op)
{
    struct store_sink_work *w = sink_finished(op);
    int64_t r = op->req.result;

    if (!sink_goes_on(w))
        return;
    if (r == -EEXIST && w->overwrite && w->absent) {
        w->absent = false;
        give_name(w);
    } else if (r < 0) {
        /* The descriptor has no path through /proc, after all: later uploads do without. */
        if (r == -ENOENT && !w->hidden)
            w->s->tmpfile_nameable = false;
        sink_fail(w, (int)r);
    } else if (w->hidden) {
        w->hidden = false;
        sink_step(w, (struct file_req){.op = FILE_UNLINK, .dirfd = w->dir, .path = w->hidden_name},
                  unhidden);
    } else {
        named(w);
    }
}

static void rename_done(struct store_op *op)
{
    struct store_sink_work *w = sink_finished(op);
    int64_t r = op->req.result;
    bool exclusive = op->req.flags & RENAME_NOREPLACE;

    if (r >= 0)
        w->hidden = false;
    if (!sink_goes_on(w))
        return;
    if (r >= 0)
        named(w);
    else if (exclusive && (r == -EINVAL || r == -ENOSYS || r == -EOPNOTSUPP))
        link_as(w, w->name, link_done); /* this file system cannot; a link never replaces */
    else
        sink_fail(w, (int)r);
}

static void rename_hidden(struct store_sink_work *w, int flags)
{
    sink_step(w,
              (struct file_req){
                  .op = FILE_RENAME,
                  .dirfd = w->dir,
                  .path = w->hidden_name,
                  .path2 = w->name,
                  .flags = flags,
              },
              rename_done);
}

static void link_hidden_done(struct store_op *op)
{
    struct store_sink_work *w = sink_finished(op);
    int64_t r = op->req.result;

    /* The name may have been given before the error; anybody else's would be -EEXIST. */
    w->hidden = r != -EEXIST;
    if (!sink_goes_on(w))
        return;
    if (r >= 0) {
        rename_hidden(w, 0);
    } else if (r == -EEXIST && w->name_tries < SINK_NAME_TRIES) {
        w->name_tries++;
        sink_choose_name(w);
        link_as(w, w->hidden_name, link_hidden_done);
    } else {
        if (r == -ENOENT)
            w->s->tmpfile_nameable = false;
        sink_fail(w, (int)r);
    }
}

/* The whole file is stored, and on the disk if that was asked for. */
static void give_name(struct store_sink_work *w)
{
    if (w->hidden) {
        rename_hidden(w, w->overwrite ? 0 : RENAME_NOREPLACE);
    } else if (w->overwrite && !w->absent) {
        /* linkat() cannot replace; rename() can, but needs a name to begin with. */
        sink_choose_name(w);
        link_as(w, w->hidden_name, link_hidden_done);
    } else {
        link_as(w, w->name, link_done);
    }
}

static void synced(struct store_op *op)
{
    struct store_sink_work *w = sink_succeeded(op);

    /* Final: after a failed fsync the kernel may have dropped the pages it could not write, so
     * a second one that succeeds would mean nothing. */
    if (w)
        give_name(w);
}

static void size_done(struct store_op *op)
{
    struct store_sink_work *w = sink_succeeded(op);

    if (!w)
        return;
    if (op->req.st.size != w->sink->received)
        sink_fail(w, -EIO);
    else if (w->s->config.durable)
        sink_step(w, (struct file_req){.op = FILE_SYNC, .fd = w->fd}, synced);
    else
        give_name(w);
}

static void check_size(struct store_sink_work *w)
{
    sink_step(w, (struct file_req){.op = FILE_STAT, .fd = w->fd}, size_done);
}

static void truncate_done(struct store_op *op)
{
    struct store_sink_work *w = sink_succeeded(op);

    if (w)
        check_size(w);
}

void sink_publish_start(struct store_sink_work *w)
{
    uint64_t size = w->sink->received;

    /* Fewer came than were announced and allocated. */
    if (w->size_hint != STORE_SIZE_UNKNOWN && size < w->size_hint)
        sink_step(w, (struct file_req){.op = FILE_TRUNCATE, .fd = w->fd, .offset = size},
                  truncate_done);
    else
        check_size(w);
}
