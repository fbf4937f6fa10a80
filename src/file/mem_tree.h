/*
 * The files of the mem backend: buffers with reference counts under flat names, each as it is and
 * as it would be found after a crash. Directories are only parts of names.
 *
 * Names are whole and clean: no "." and no doubled slash; "" is the root. Single thread; out of
 * memory ends the process.
 */
#ifndef FILE_MEM_TREE_H
#define FILE_MEM_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/util.h"

struct mem_bytes {
    uint8_t *p;
    uint64_t size;
};

struct mem_inode {
    unsigned refs; /* names, durable names and handles */
    uint64_t number;
    uint64_t mtime_ns;
    uint32_t mode;
    struct mem_bytes live, durable;
    uint8_t (*fill)(uint64_t offset); /* in place of `live.p` until somebody writes */
};

struct mem_name {
    struct list link;
    struct mem_inode *live, *durable; /* either may be NULL, not both */
    char path[];
};

struct mem_tree {
    struct list names;
    uint64_t inodes, changes;
};

void mem_tree_init(struct mem_tree *t);
/* Handles must have been closed: the last reference frees an inode. */
void mem_tree_fini(struct mem_tree *t);
/* A time for a change, later than that of all changes before. */
uint64_t mem_tree_time(struct mem_tree *t);

/* `p`, or the end of the process if it is NULL. */
void *mem_must(void *p);

/* Without any reference yet. */
struct mem_inode *mem_inode_new(struct mem_tree *t, uint32_t mode);
struct mem_inode *mem_inode_ref(struct mem_inode *i);
void mem_inode_unref(struct mem_inode *i);
/* Also turns a pattern into bytes. */
void mem_inode_resize(struct mem_inode *i, uint64_t size);
void mem_inode_sync(struct mem_inode *i);

struct mem_name *mem_name_find(struct mem_tree *t, const char *path);
/* What the name stands for now, or NULL. */
struct mem_inode *mem_find(struct mem_tree *t, const char *path);
/* Makes the name stand for the inode; NULL takes the name away. */
void mem_name_set(struct mem_tree *t, const char *path, struct mem_inode *i);
/* The names directly in `dir` survive a crash as they are now. */
void mem_dir_sync(struct mem_tree *t, const char *dir);
/* Something stands below it. */
bool mem_is_dir(struct mem_tree *t, const char *path);

#endif
