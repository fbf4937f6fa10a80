/*
 * What the two files of the watch share.
 *
 *   watch.c      what paths led to, events, answers
 *   watch_dir.c  directories under watch, from the root down
 */
#ifndef STORE_WATCH_INTERNAL_H
#define STORE_WATCH_INTERNAL_H

#include "store/watch.h"

#define WATCH_PATH_MAX 512u /* longer ones are not remembered; a request is not longer */
#define WATCH_DIRS_MAX 4096u
#define SEEN_SLOTS     1024u

/* A directory on the way to something remembered, held by its entries and subdirectories. */
struct watch_dir {
    struct map_node by_path;
    struct map_node by_wd; /* while wd >= 0 */
    struct watch_dir *parent;
    unsigned refs;
    int wd;
    uint64_t shape; /* when it was last found at this path */
    size_t len;
    char path[];
};

/* Whether the queue is known to be empty: whoever never tells of turns has it looked at each time.
 */
enum turn { TURN_NONE, TURN_UNCHECKED, TURN_CHECKED };

struct watch {
    struct store *s;
    int fd; /* inotify */
    enum turn turn;
    nsec now;
    bool failed;     /* to be shut down as soon as nobody is in the middle of it */
    uint64_t shape;  /* moves on when a directory of a path may be another one */
    uint64_t names;  /* moves on when a name has appeared somewhere */
    uint64_t events; /* taken from the queue, but for those of our own doing */
    struct map dirs, dirs_by_wd;
    struct map entries, files_by_wd;
    struct list present, missing;
    size_t present_count, missing_count;
    uint32_t seen[SEEN_SLOTS]; /* hashes of paths asked for lately */
};

/* ---- watch_dir.c ---- */

/* O_PATH descriptor or -errno: no symbolic links, no mount points on the way. */
int watch_open(const struct watch *w, const char *path, int flags);
/* Watches what the descriptor stands for, whatever its name is meanwhile. The watch or -errno;
 * when there are no more to be had, w->failed is set and the log says so. */
int watch_add(struct watch *w, int fd, uint32_t mask);
/* As all directories are watched. */
int watch_add_dir(struct watch *w, int fd);
void watch_remove(struct watch *w, int wd);

uint32_t wd_hash(int wd);
/* NULL: the watch is not a directory's. */
struct watch_dir *dir_of_wd(const struct watch *w, int wd);
void dir_set_wd(struct watch *w, struct watch_dir *d, int wd);
/* One reference on the directory that holds `path`, with all above it watched as well; NULL: it
 * cannot be had. */
struct watch_dir *dir_get_all(struct watch *w, const char *path);
/* Gives the reference back; a directory without any is not watched any longer. */
void dir_put(struct watch *w, struct watch_dir *d);

#endif
