/*
 * Files that are named buffers, with delays and errors by script.
 *
 * Single thread. Everything is found by linear search: tests have few files.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "file/file_internal.h"
#include "file/mem.h"
#include "file/mem_backend.h"
#include "file/mem_tree.h"

#define FD_FIRST   1000
#define SPACE_FREE (UINT64_C(1) << 40)

struct handle {
    bool open;
    int flags;
    struct mem_inode *inode; /* NULL: a directory */
    char *path;              /* of a directory, "" for the root */
};

/* A request that waits for its time. */
struct due {
    struct list link;
    struct file_req *req;
    nsec at;
    int error;
    size_t max_bytes;
};

struct file_mem {
    struct file_io *f;
    bool is_virtual;
    nsec now;
    struct mem_tree tree;
    struct list due; /* by time */
    struct handle *handles;
    size_t handle_count;
    file_mem_script_fn *script;
    void *script_arg;
};

/* ------------------------------------------------------------------------ handles */

static struct handle *handle_of(struct file_mem *m, int fd)
{
    size_t i = (size_t)(fd - FD_FIRST);

    if (fd < FD_FIRST || i >= m->handle_count || !m->handles[i].open)
        return NULL;
    return &m->handles[i];
}

static int handle_new(struct file_mem *m, struct mem_inode *inode, const char *dir, int flags)
{
    size_t i = 0;

    while (i < m->handle_count && m->handles[i].open)
        i++;
    if (i == m->handle_count)
        m->handles = mem_must(realloc(m->handles, ++m->handle_count * sizeof(*m->handles)));
    m->handles[i] = (struct handle){
        .open = true,
        .flags = flags,
        .inode = mem_inode_ref(inode),
        .path = inode ? NULL : mem_must(strdup(dir)),
    };
    return FD_FIRST + (int)i;
}

static void handle_close(struct handle *h)
{
    mem_inode_unref(h->inode);
    free(h->path);
    *h = (struct handle){0};
}

/* The whole name of path below dirfd, without "." and superfluous slashes; "" is the root. */
static char *full_path(struct file_mem *m, int dirfd, const char *path)
{
    struct handle *h = handle_of(m, dirfd);
    const char *dir = h && h->path ? h->path : "";
    char *full = mem_must(calloc(1, strlen(dir) + strlen(path) + 2));
    size_t len = strlen(dir);

    memcpy(full, dir, len);
    while (*path) {
        size_t n = strcspn(path, "/");
        if (n > 0 && !(n == 1 && path[0] == '.')) {
            if (len)
                full[len++] = '/';
            memcpy(full + len, path, n);
            len += n;
        }
        path += n;
        path += strspn(path, "/");
    }
    full[len] = '\0';
    return full;
}

/* ------------------------------------------------------------------------ the operations */

static void mem_stat(const struct mem_inode *i, struct file_stat *st)
{
    *st = (struct file_stat){.dev = 1, .mode = S_IFDIR | 0755};
    if (!i)
        return;
    st->ino = i->number;
    st->size = i->live.size;
    st->mtime_ns = st->ctime_ns = i->mtime_ns;
    st->mode = S_IFREG | i->mode;
}

static int64_t mem_open_at(struct file_mem *m, struct file_req *req, const char *path)
{
    struct mem_inode *i = mem_find(&m->tree, path);
    int flags = req->flags;
    bool writes = (flags & O_ACCMODE) != O_RDONLY;
    int fd;

    if ((flags & O_TMPFILE) == O_TMPFILE) {
        i = mem_inode_new(&m->tree, req->mode);
    } else if (flags & O_DIRECTORY) {
        if (i)
            return -ENOTDIR;
    } else if (i && flags & O_CREAT && flags & O_EXCL) {
        return -EEXIST;
    } else if (!i && mem_is_dir(&m->tree, path)) {
        if (writes || flags & O_CREAT)
            return -EISDIR;
    } else if (!i) {
        if (!(flags & O_CREAT))
            return -ENOENT;
        i = mem_inode_new(&m->tree, req->mode);
        mem_name_set(&m->tree, path, i);
    }
    if (i && flags & O_TRUNC && writes) {
        mem_inode_resize(i, 0);
        i->mtime_ns = mem_tree_time(&m->tree);
    }
    fd = handle_new(m, i, path, flags);
    mem_stat(i, &req->st);
    return fd;
}

static int64_t mem_read(struct handle *h, struct file_req *req, size_t max_bytes)
{
    struct mem_inode *i = h->inode;
    uint64_t left;
    size_t n;

    if (!i)
        return -EISDIR;
    if (h->flags & O_PATH || (h->flags & O_ACCMODE) == O_WRONLY)
        return -EBADF;
    left = req->offset < i->live.size ? i->live.size - req->offset : 0;
    n = MIN(MIN(req->len, max_bytes), left);
    if (n && !i->fill)
        memcpy(req->buf, i->live.p + req->offset, n);
    for (size_t o = 0; i->fill && o < n; o++)
        ((uint8_t *)req->buf)[o] = i->fill(req->offset + o);
    if (req->stat_after)
        mem_stat(i, &req->st);
    return (int64_t)n;
}

static int64_t mem_write(struct file_mem *m, struct handle *h, struct file_req *req,
                         size_t max_bytes)
{
    struct mem_inode *i = h->inode;
    size_t n = MIN(req->len, max_bytes);
    uint64_t end = req->offset + n;

    if (!i || h->flags & O_PATH || (h->flags & O_ACCMODE) == O_RDONLY)
        return -EBADF;
    mem_inode_resize(i, MAX(end, i->live.size));
    if (n)
        memcpy(i->live.p + req->offset, req->buf, n);
    i->mtime_ns = mem_tree_time(&m->tree);
    return (int64_t)n;
}

static int64_t mem_sync(struct file_mem *m, struct handle *h)
{
    if (h && h->inode)
        mem_inode_sync(h->inode);
    else
        mem_dir_sync(&m->tree, h ? h->path : "");
    return 0;
}

static int64_t mem_link(struct file_mem *m, struct handle *h, const char *path)
{
    if (!h || !h->inode)
        return -EBADF;
    if (mem_find(&m->tree, path) || mem_is_dir(&m->tree, path))
        return -EEXIST;
    mem_name_set(&m->tree, path, h->inode);
    return 0;
}

static int64_t mem_rename(struct file_mem *m, struct file_req *req, const char *from,
                          const char *to)
{
    struct mem_inode *i = mem_find(&m->tree, from);

    if (!i)
        return -ENOENT;
    if (req->flags & RENAME_NOREPLACE && mem_find(&m->tree, to))
        return -EEXIST;
    if (mem_is_dir(&m->tree, to))
        return -EISDIR;
    if (strcmp(from, to) == 0)
        return 0;
    mem_name_set(&m->tree, to, i);
    mem_name_set(&m->tree, from, NULL);
    return 0;
}

static int64_t mem_by_name(struct file_mem *m, struct file_req *req)
{
    char *path = full_path(m, req->dirfd, req->path);
    char *path2 = req->op == FILE_RENAME ? full_path(m, req->dirfd, req->path2) : NULL;
    int64_t result;

    switch (req->op) {
    case FILE_OPEN:
        result = *req->path ? mem_open_at(m, req, path) : -ENOENT;
        break;
    case FILE_LINK:
        result = mem_link(m, handle_of(m, req->fd), path);
        break;
    case FILE_RENAME:
        result = mem_rename(m, req, path, path2);
        break;
    default:
        assert(req->op == FILE_UNLINK);
        result = mem_find(&m->tree, path) ? 0 : -ENOENT;
        if (!result)
            mem_name_set(&m->tree, path, NULL);
    }
    free(path2);
    free(path);
    return result;
}

static int64_t mem_truncate(struct file_mem *m, struct handle *h, uint64_t size)
{
    if (!h->inode || (h->flags & O_ACCMODE) == O_RDONLY)
        return -EINVAL;
    mem_inode_resize(h->inode, size);
    h->inode->mtime_ns = mem_tree_time(&m->tree);
    return 0;
}

static int64_t mem_run(struct file_mem *m, struct file_req *req, size_t max_bytes)
{
    struct handle root = {.open = true, .path = (char *)""};
    struct handle *h = handle_of(m, req->fd);

    if (req->op == FILE_OPEN || req->op == FILE_LINK || req->op == FILE_RENAME ||
        req->op == FILE_UNLINK)
        return mem_by_name(m, req);
    if (!h && req->fd < FD_FIRST)
        h = &root;
    if (!h)
        return -EBADF;
    switch (req->op) {
    case FILE_STAT:
        mem_stat(h->inode, &req->st);
        return 0;
    case FILE_READ:
        return mem_read(h, req, max_bytes);
    case FILE_WRITE:
        return mem_write(m, h, req, max_bytes);
    case FILE_SYNC:
        return mem_sync(m, h);
    case FILE_CLOSE:
        if (h == &root)
            return -EBADF;
        handle_close(h);
        return 0;
    case FILE_STATFS:
        req->space = SPACE_FREE;
        return 0;
    case FILE_CHMOD:
        if (h->inode)
            h->inode->mode = req->mode & 07777;
        return 0;
    case FILE_TRUNCATE:
        return mem_truncate(m, h, req->offset);
    default:
        return req->op == FILE_ALLOCATE ? 0 : -EINVAL;
    }
}

/* ------------------------------------------------------------------------ time */

nsec file_mem_now(const struct file_mem *m)
{
    return m->is_virtual ? m->now : loop_clock();
}

void file_mem_submit(struct file_mem *m, struct file_req *req)
{
    struct due *d = mem_must(calloc(1, sizeof(*d)));
    struct list *at = m->due.prev;
    nsec delay = 0;

    d->req = req;
    d->max_bytes = SIZE_MAX;
    if (m->script)
        d->error = m->script(m->script_arg, req, &delay, &d->max_bytes);
    d->at = nsec_add(file_mem_now(m), delay);
    while (at != &m->due && container_of(at, struct due, link)->at > d->at)
        at = at->prev;
    list_insert_after(at, &d->link);
}

static void finish(struct file_mem *m, struct due *d)
{
    struct file_req *req = d->req;
    int64_t result = d->error;

    /* A close that fails has closed all the same, as on Linux. */
    if (!d->error || req->op == FILE_CLOSE)
        result = mem_run(m, req, d->max_bytes);
    if (d->error)
        result = d->error;
    list_del(&d->link);
    free(d);
    file_finish(m->f, req, result);
}

void file_mem_collect(struct file_mem *m)
{
    nsec now = file_mem_now(m);

    while (!list_empty(&m->due)) {
        struct due *d = container_of(m->due.next, struct due, link);
        if (d->at > now)
            return;
        finish(m, d);
    }
}

nsec file_mem_flush(struct file_mem *m, nsec now)
{
    nsec next;

    if (list_empty(&m->due))
        return NSEC_NEVER;
    next = container_of(m->due.next, struct due, link)->at;
    if (m->is_virtual)
        return next <= m->now ? 0 : NSEC_NEVER;
    return next <= now ? 0 : next;
}

void file_mem_cancel(struct file_mem *m, struct file_req *req)
{
    struct list *pos, *tmp;

    list_for_each_safe (pos, tmp, &m->due) {
        struct due *d = container_of(pos, struct due, link);

        if (d->req != req)
            continue;
        list_del(&d->link);
        free(d);
        file_finish(m->f, req, -ECANCELED);
        return;
    }
}

struct file_mem *file_mem_new(struct file_io *f)
{
    struct file_mem *m = calloc(1, sizeof(*m));

    if (!m)
        return NULL;
    m->f = f;
    mem_tree_init(&m->tree);
    list_init(&m->due);
    return m;
}

void file_mem_free(struct file_mem *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->handle_count; i++)
        if (m->handles[i].open)
            handle_close(&m->handles[i]);
    free(m->handles);
    mem_tree_fini(&m->tree);
    free(m);
}

/* ------------------------------------------------------------------------ for tests */

static void put(struct file_io *f, const char *path, struct mem_inode *i)
{
    char *full = full_path(f->mem, -1, path);
    struct mem_name *n;

    if (!i->fill)
        mem_inode_sync(i); /* a pattern is its own copy, however large */
    mem_name_set(&f->mem->tree, full, i);
    n = mem_name_find(&f->mem->tree, full);
    mem_inode_unref(n->durable);
    n->durable = mem_inode_ref(i);
    free(full);
}

void file_mem_put(struct file_io *f, const char *path, const void *data, size_t size)
{
    struct mem_inode *i = mem_inode_new(&f->mem->tree, 0644);

    mem_inode_resize(i, size);
    if (size)
        memcpy(i->live.p, data, size);
    put(f, path, i);
}

void file_mem_put_pattern(struct file_io *f, const char *path, uint64_t size,
                          uint8_t (*fill)(uint64_t offset))
{
    struct mem_inode *i = mem_inode_new(&f->mem->tree, 0644);

    i->fill = fill;
    i->live.size = size;
    put(f, path, i);
}

void file_mem_remove(struct file_io *f, const char *path)
{
    char *full = full_path(f->mem, -1, path);

    if (mem_find(&f->mem->tree, full))
        mem_name_set(&f->mem->tree, full, NULL);
    free(full);
}

const uint8_t *file_mem_get(struct file_io *f, const char *path, bool synced, size_t *ret_size)
{
    char *full = full_path(f->mem, -1, path);
    struct mem_name *n = mem_name_find(&f->mem->tree, full);
    struct mem_inode *i = n ? (synced ? n->durable : n->live) : NULL;

    free(full);
    if (!i)
        return NULL;
    if (synced && !i->durable.p && !i->fill) {
        *ret_size = 0; /* the name survived, its bytes did not */
        return (const uint8_t *)"";
    }
    if (synced && i->durable.p) {
        *ret_size = i->durable.size;
        return i->durable.p;
    }
    mem_inode_resize(i, i->live.size);
    *ret_size = i->live.size;
    return i->live.p;
}

void file_mem_script(struct file_io *f, file_mem_script_fn *fn, void *arg)
{
    f->mem->script = fn;
    f->mem->script_arg = arg;
}

void file_mem_advance(struct file_io *f, nsec now)
{
    f->mem->is_virtual = true;
    f->mem->now = MAX(f->mem->now, now);
    file_mem_collect(f->mem);
}

nsec file_mem_next(const struct file_io *f)
{
    const struct file_mem *m = f->mem;

    return list_empty(&m->due) ? NSEC_NEVER : container_of(m->due.next, struct due, link)->at;
}
