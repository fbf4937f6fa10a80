#include "file/mem_tree.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define MTIME_STEP NSEC_PER_MSEC

void *mem_must(void *p)
{
    if (!p)
        abort();
    return p;
}

struct mem_inode *mem_inode_new(struct mem_tree *t, uint32_t mode)
{
    struct mem_inode *i = mem_must(calloc(1, sizeof(*i)));

    i->number = ++t->inodes;
    i->mode = mode;
    i->mtime_ns = mem_tree_time(t);
    return i;
}

void mem_inode_unref(struct mem_inode *i)
{
    if (!i || --i->refs > 0)
        return;
    free(i->live.p);
    free(i->durable.p);
    free(i);
}

struct mem_inode *mem_inode_ref(struct mem_inode *i)
{
    if (i)
        i->refs++;
    return i;
}

void mem_inode_resize(struct mem_inode *i, uint64_t size)
{
    if (i->fill) {
        if (!i->durable.p)
            mem_inode_sync(i); /* the pattern was there from the start */
        i->live.p = mem_must(malloc(i->live.size + 1));
        for (uint64_t o = 0; o < i->live.size; o++)
            i->live.p[o] = i->fill(o);
        i->fill = NULL;
    }
    if (size == i->live.size && i->live.p)
        return;
    i->live.p = mem_must(realloc(i->live.p, size + 1));
    if (size > i->live.size)
        memset(i->live.p + i->live.size, 0, size - i->live.size);
    i->live.size = size;
}

void mem_inode_sync(struct mem_inode *i)
{
    free(i->durable.p);
    i->durable.p = mem_must(malloc(i->live.size + 1));
    i->durable.size = i->live.size;
    for (uint64_t o = 0; o < i->live.size; o++)
        i->durable.p[o] = i->fill ? i->fill(o) : i->live.p[o];
}

struct mem_name *mem_name_find(struct mem_tree *t, const char *path)
{
    struct list *pos;

    list_for_each (pos, &t->names) {
        struct mem_name *n = container_of(pos, struct mem_name, link);
        if (strcmp(n->path, path) == 0)
            return n;
    }
    return NULL;
}

struct mem_inode *mem_find(struct mem_tree *t, const char *path)
{
    struct mem_name *n = mem_name_find(t, path);

    return n ? n->live : NULL;
}

/* Makes the name stand for the inode; NULL takes the name away. */
void mem_name_set(struct mem_tree *t, const char *path, struct mem_inode *i)
{
    struct mem_name *n = mem_name_find(t, path);
    struct mem_inode *old;

    if (!n) {
        size_t size = strlen(path) + 1;
        n = mem_must(calloc(1, sizeof(*n) + size));
        memcpy(n->path, path, size);
        list_push_back(&t->names, &n->link);
    }
    old = n->live;
    n->live = mem_inode_ref(i);
    mem_inode_unref(old);
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

void mem_dir_sync(struct mem_tree *t, const char *dir)
{
    struct list *pos, *tmp;

    list_for_each_safe (pos, tmp, &t->names) {
        struct mem_name *n = container_of(pos, struct mem_name, link);

        if (!name_is_in(n->path, dir))
            continue;
        mem_inode_unref(n->durable);
        n->durable = mem_inode_ref(n->live);
        if (!n->live) {
            list_del(&n->link);
            free(n);
        }
    }
}

bool mem_is_dir(struct mem_tree *t, const char *path)
{
    size_t len = strlen(path);
    struct list *pos;

    if (len == 0)
        return true;
    list_for_each (pos, &t->names) {
        struct mem_name *n = container_of(pos, struct mem_name, link);
        if (n->live && strncmp(n->path, path, len) == 0 && n->path[len] == '/')
            return true;
    }
    return false;
}

uint64_t mem_tree_time(struct mem_tree *t)
{
    return ++t->changes * MTIME_STEP;
}

void mem_tree_init(struct mem_tree *t)
{
    *t = (struct mem_tree){0};
    list_init(&t->names);
}

void mem_tree_fini(struct mem_tree *t)
{
    struct list *node;

    while ((node = list_pop_front(&t->names))) {
        struct mem_name *n = container_of(node, struct mem_name, link);
        mem_inode_unref(n->live);
        mem_inode_unref(n->durable);
        free(n);
    }
}
