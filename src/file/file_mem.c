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

#define FD_FIRST   1000
#define MTIME_STEP NSEC_PER_MSEC
#define SPACE_FREE (UINT64_C(1) << 40)

struct bytes {
    uint8_t *p;
    uint64_t size;
};

struct inode {
    unsigned refs; /* names, durable names and handles */
    uint64_t number;
    uint64_t mtime_ns;
    uint32_t mode;
    struct bytes live, durable;
    uint8_t (*fill)(uint64_t offset); /* in place of `live.p` until somebody writes */
};

struct name {
    struct list link;
    struct inode *live, *durable; /* either may be NULL, not both */
    char path[];
};

struct handle {
    bool open;
    int flags;
    struct inode *inode; /* NULL: a directory */
    char *path;          /* of a directory, "" for the root */
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
    struct list names;
    struct list due; /* by time */
    struct handle *handles;
    size_t handle_count;
    uint64_t inodes, changes;
    file_mem_script_fn *script;
    void *script_arg;
};

static void *must(void *p)
{
    if (!p)
        abort();
    return p;
}

/* ------------------------------------------------------------------------ the tree */

static struct inode *inode_new(struct file_mem *m, uint32_t mode)
{
    struct inode *i = must(calloc(1, sizeof(*i)));

    i->number = ++m->inodes;
    i->mode = mode;
    i->mtime_ns = ++m->changes * MTIME_STEP;
    return i;
}

static void inode_unref(struct inode *i)
{
    if (!i || --i->refs > 0)
        return;
    free(i->live.p);
    free(i->durable.p);
    free(i);
}

static struct inode *inode_ref(struct inode *i)
{
    if (i)
        i->refs++;
    return i;
}

static void inode_resize(struct inode *i, uint64_t size)
{
    if (i->fill) {
        i->live.p = must(malloc(i->live.size + 1));
        for (uint64_t o = 0; o < i->live.size; o++)
            i->live.p[o] = i->fill(o);
        i->fill = NULL;
    }
    if (size == i->live.size && i->live.p)
        return;
    i->live.p = must(realloc(i->live.p, size + 1));
    if (size > i->live.size)
        memset(i->live.p + i->live.size, 0, size - i->live.size);
    i->live.size = size;
}

static void inode_sync(struct inode *i)
{
    free(i->durable.p);
    i->durable.p = must(malloc(i->live.size + 1));
    i->durable.size = i->live.size;
    for (uint64_t o = 0; o < i->live.size; o++)
        i->durable.p[o] = i->fill ? i->fill(o) : i->live.p[o];
}

static struct name *name_find(struct file_mem *m, const char *path)
{
    struct list *pos;

    list_for_each (pos, &m->names) {
        struct name *n = container_of(pos, struct name, link);
        if (strcmp(n->path, path) == 0)
            return n;
    }
    return NULL;
}

static struct inode *inode_find(struct file_mem *m, const char *path)
{
    struct name *n = name_find(m, path);

    return n ? n->live : NULL;
}

/* Makes the name stand for the inode; NULL takes the name away. */
static void name_set(struct file_mem *m, const char *path, struct inode *i)
{
    struct name *n = name_find(m, path);
    struct inode *old;

    if (!n) {
        size_t size = strlen(path) + 1;
        n = must(calloc(1, sizeof(*n) + size));
        memcpy(n->path, path, size);
        list_push_back(&m->names, &n->link);
    }
    old = n->live;
    n->live = inode_ref(i);
    inode_unref(old);
    if (!n->live && !n->durable) {
        list_del(&n->link);
        free(n);
    }
}

static bool name_is_in(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    if (n == 0)
        return !strchr(path, '/');
    return strncmp(path, dir, n) == 0 && path[n] == '/' && !strchr(path + n + 1, '/');
}

static void dir_sync(struct file_mem *m, const char *dir)
{
    struct list *pos, *tmp;

    list_for_each_safe (pos, tmp, &m->names) {
        struct name *n = container_of(pos, struct name, link);

        if (!name_is_in(n->path, dir))
            continue;
        inode_unref(n->durable);
        n->durable = inode_ref(n->live);
        if (!n->live) {
            list_del(&n->link);
            free(n);
        }
    }
}

static bool is_dir(struct file_mem *m, const char *path)
{
    size_t len = strlen(path);
    struct list *pos;

    if (len == 0)
        return true;
    list_for_each (pos, &m->names) {
        struct name *n = container_of(pos, struct name, link);
        if (n->live && strncmp(n->path, path, len) == 0 && n->path[len] == '/')
            return true;
    }
    return false;
}

/* ------------------------------------------------------------------------ handles */

static struct handle *handle_of(struct file_mem *m, int fd)
{
    size_t i = (size_t)(fd - FD_FIRST);

    if (fd < FD_FIRST || i >= m->handle_count || !m->handles[i].open)
        return NULL;
    return &m->handles[i];
}

static int handle_new(struct file_mem *m, struct inode *inode, const char *dir, int flags)
{
    size_t i = 0;

    while (i < m->handle_count && m->handles[i].open)
        i++;
    if (i == m->handle_count)
        m->handles = must(realloc(m->handles, ++m->handle_count * sizeof(*m->handles)));
    m->handles[i] = (struct handle){
        .open = true,
        .flags = flags,
        .inode = inode_ref(inode),
        .path = inode ? NULL : must(strdup(dir)),
    };
    return FD_FIRST + (int)i;
}

static void handle_close(struct handle *h)
{
    inode_unref(h->inode);
    free(h->path);
    *h = (struct handle){0};
}

/* The whole name of path below dirfd, without "." and superfluous slashes; "" is the root. */
static char *full_path(struct file_mem *m, int dirfd, const char *path)
{
    struct handle *h = handle_of(m, dirfd);
    const char *dir = h && h->path ? h->path : "";
    char *full = must(calloc(1, strlen(dir) + strlen(path) + 2));
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

static void mem_stat(const struct inode *i, struct file_stat *st)
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
    struct inode *i = inode_find(m, path);
    int flags = req->flags;
    bool writes = (flags & O_ACCMODE) != O_RDONLY;
    int fd;

    if ((flags & O_TMPFILE) == O_TMPFILE) {
        i = inode_new(m, req->mode);
    } else if (flags & O_DIRECTORY) {
        if (i)
            return -ENOTDIR;
    } else if (i && flags & O_CREAT && flags & O_EXCL) {
        return -EEXIST;
    } else if (!i && is_dir(m, path)) {
        if (writes || flags & O_CREAT)
            return -EISDIR;
    } else if (!i) {
        if (!(flags & O_CREAT))
            return -ENOENT;
        i = inode_new(m, req->mode);
        name_set(m, path, i);
    }
    if (i && flags & O_TRUNC && writes) {
        inode_resize(i, 0);
        i->mtime_ns = ++m->changes * MTIME_STEP;
    }
    fd = handle_new(m, i, path, flags);
    mem_stat(i, &req->st);
    return fd;
}

static int64_t mem_read(struct handle *h, struct file_req *req, size_t max_bytes)
{
    struct inode *i = h->inode;
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
    struct inode *i = h->inode;
    size_t n = MIN(req->len, max_bytes);
    uint64_t end = req->offset + n;

    if (!i || h->flags & O_PATH || (h->flags & O_ACCMODE) == O_RDONLY)
        return -EBADF;
    inode_resize(i, MAX(end, i->live.size));
    if (n)
        memcpy(i->live.p + req->offset, req->buf, n);
    i->mtime_ns = ++m->changes * MTIME_STEP;
    return (int64_t)n;
}

static int64_t mem_sync(struct file_mem *m, struct handle *h)
{
    if (h && h->inode)
        inode_sync(h->inode);
    else
        dir_sync(m, h ? h->path : "");
    return 0;
}

static int64_t mem_link(struct file_mem *m, struct handle *h, const char *path)
{
    if (!h || !h->inode)
        return -EBADF;
    if (inode_find(m, path) || is_dir(m, path))
        return -EEXIST;
    name_set(m, path, h->inode);
    return 0;
}

static int64_t mem_rename(struct file_mem *m, struct file_req *req, const char *from,
                          const char *to)
{
    struct inode *i = inode_find(m, from);

    if (!i)
        return -ENOENT;
    if (req->flags & RENAME_NOREPLACE && inode_find(m, to))
        return -EEXIST;
    if (is_dir(m, to))
        return -EISDIR;
    if (strcmp(from, to) == 0)
        return 0;
    name_set(m, to, i);
    name_set(m, from, NULL);
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
        result = inode_find(m, path) ? 0 : -ENOENT;
        if (!result)
            name_set(m, path, NULL);
    }
    free(path2);
    free(path);
    return result;
}

static int64_t mem_truncate(struct file_mem *m, struct handle *h, uint64_t size)
{
    if (!h->inode || (h->flags & O_ACCMODE) == O_RDONLY)
        return -EINVAL;
    inode_resize(h->inode, size);
    h->inode->mtime_ns = ++m->changes * MTIME_STEP;
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
    struct due *d = must(calloc(1, sizeof(*d)));
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
    list_init(&m->names);
    list_init(&m->due);
    return m;
}

void file_mem_free(struct file_mem *m)
{
    struct list *node;

    if (!m)
        return;
    for (size_t i = 0; i < m->handle_count; i++)
        if (m->handles[i].open)
            handle_close(&m->handles[i]);
    free(m->handles);
    while ((node = list_pop_front(&m->names))) {
        struct name *n = container_of(node, struct name, link);
        inode_unref(n->live);
        inode_unref(n->durable);
        free(n);
    }
    free(m);
}

/* ------------------------------------------------------------------------ for tests */

static void put(struct file_io *f, const char *path, struct inode *i)
{
    char *full = full_path(f->mem, -1, path);
    struct name *n;

    if (!i->fill)
        inode_sync(i); /* a pattern is its own copy, however large */
    name_set(f->mem, full, i);
    n = name_find(f->mem, full);
    inode_unref(n->durable);
    n->durable = inode_ref(i);
    free(full);
}

void file_mem_put(struct file_io *f, const char *path, const void *data, size_t size)
{
    struct inode *i = inode_new(f->mem, 0644);

    inode_resize(i, size);
    if (size)
        memcpy(i->live.p, data, size);
    put(f, path, i);
}

void file_mem_put_pattern(struct file_io *f, const char *path, uint64_t size,
                          uint8_t (*fill)(uint64_t offset))
{
    struct inode *i = inode_new(f->mem, 0644);

    i->fill = fill;
    i->live.size = size;
    put(f, path, i);
}

void file_mem_remove(struct file_io *f, const char *path)
{
    char *full = full_path(f->mem, -1, path);

    if (inode_find(f->mem, full))
        name_set(f->mem, full, NULL);
    free(full);
}

const uint8_t *file_mem_get(struct file_io *f, const char *path, bool synced, size_t *ret_size)
{
    char *full = full_path(f->mem, -1, path);
    struct name *n = name_find(f->mem, full);
    struct inode *i = n ? (synced ? n->durable : n->live) : NULL;

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
    inode_resize(i, i->live.size);
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
