#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "obs/log.h"
#include "store/watch_internal.h"

#define TRUST_MAX   NSEC_PER_SEC
#define MISSING_MAX 1024u
#define DRAIN_READS 8 /* a queue that is longer is trusted in a later turn */

/*
 * A name that is taken away changes the number of links of its file (IN_ATTRIB), moved away it
 * is IN_MOVE_SELF; so the file's own events tell of its last name too.
 */
#define FILE_EVENTS (IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

/* What a path led to. */
struct watch_entry {
    struct map_node by_path;
    struct map_node by_wd;   /* with a file; several with the same wd where there are links */
    struct list link;        /* watch.present or .missing, longest unused first */
    struct list in_file;     /* store_file.known_as */
    struct store_file *file; /* NULL: there is none */
    struct watch_dir *dir;
    int wd;
    uint64_t shape, names; /* of the watch, when it was made */
    nsec checked;
    char path[];
};

size_t watch_memory_max(const struct store_config *config)
{
    size_t entries = config->files_max + MISSING_MAX;
    size_t sum = sizeof(struct watch);

    sum += WATCH_DIRS_MAX * (sizeof(struct watch_dir) + WATCH_PATH_MAX);
    sum += entries * (sizeof(struct watch_entry) + WATCH_PATH_MAX);
    sum +=
        (size_t)2 * (2 * WATCH_DIRS_MAX + 2 * entries) * sizeof(struct map_node *); /* the maps */
    return sum;
}

/* ---- Entries ---- */

static bool entry_has_path(const struct map_node *node, const void *key)
{
    return strcmp(container_of(node, struct watch_entry, by_path)->path, key) == 0;
}

static struct watch_entry *entry_find(const struct watch *w, const char *path, uint32_t hash)
{
    struct map_node *node = map_find(&w->entries, hash, entry_has_path, path);
    return node == NULL ? NULL : container_of(node, struct watch_entry, by_path);
}

static bool entry_has_wd(const struct map_node *node, const void *key)
{
    return container_of(node, struct watch_entry, by_wd)->wd == *(const int *)key;
}

static struct watch_entry *entry_of_wd(const struct watch *w, int wd)
{
    struct map_node *node = map_find(&w->files_by_wd, wd_hash(wd), entry_has_wd, &wd);
    return node == NULL ? NULL : container_of(node, struct watch_entry, by_wd);
}

static void entry_drop(struct watch *w, struct watch_entry *e)
{
    map_remove(&w->entries, &e->by_path);
    list_del(&e->link);
    list_del(&e->in_file);
    if (e->file != NULL) {
        w->present_count--;
        map_remove(&w->files_by_wd, &e->by_wd);
        if (entry_of_wd(w, e->wd) == NULL)
            watch_remove(w, e->wd);
    } else {
        w->missing_count--;
    }
    dir_put(w, e->dir);
    free(e);
}

/* No event has spoken against it. */
static bool entry_stands(const struct watch *w, const struct watch_entry *e)
{
    return e->shape == w->shape && (e->file != NULL || e->names == w->names);
}

static void make_room(struct watch *w, bool present)
{
    struct list *list = present ? &w->present : &w->missing;

    if (present ? w->present_count >= w->s->config.files_max : w->missing_count >= MISSING_MAX)
        entry_drop(w, container_of(list->next, struct watch_entry, link));
}

/* Takes over the reference on `dir`, and `wd`. False: no memory, both are still the caller's. */
static bool entry_add(struct watch *w, const char *path, uint32_t hash, struct store_file *f,
                      struct watch_dir *dir, int wd)
{
    size_t size = strlen(path) + 1;
    struct watch_entry *e = calloc(1, sizeof(*e) + size);

    if (e == NULL)
        return false;
    make_room(w, f != NULL);
    e->file = f;
    e->dir = dir;
    e->wd = wd;
    e->shape = w->shape;
    e->names = w->names;
    e->checked = watch_now(w);
    memcpy(e->path, path, size);
    list_init(&e->link);
    list_init(&e->in_file);
    map_insert(&w->entries, &e->by_path, hash);
    if (f != NULL) {
        map_insert(&w->files_by_wd, &e->by_wd, wd_hash(wd));
        list_push_back(&f->known_as, &e->in_file);
        list_push_back(&w->present, &e->link);
        w->present_count++;
    } else {
        list_push_back(&w->missing, &e->link);
        w->missing_count++;
    }
    return true;
}

void watch_forget(struct store_file *f)
{
    struct list *pos, *tmp;

    list_for_each_safe (pos, tmp, &f->known_as)
        entry_drop(f->s->watch, container_of(pos, struct watch_entry, in_file));
}

void watch_trim(struct watch *w)
{
    struct list *pos, *tmp;

    if (w == NULL)
        return;
    list_for_each_safe (pos, tmp, &w->present)
        entry_drop(w, container_of(pos, struct watch_entry, link));
    list_for_each_safe (pos, tmp, &w->missing)
        entry_drop(w, container_of(pos, struct watch_entry, link));
}

/* ---- Events ---- */

static void on_dir_event(struct watch *w, struct watch_dir *d, const struct inotify_event *ev)
{
    bool itself = ev->len == 0;
    bool subdir = !itself && ev->mask & IN_ISDIR;

    if (ev->mask & IN_IGNORED)
        dir_set_wd(w, d, -1);
    /* Of a directory everything but its birth may turn a path elsewhere, or close it. */
    if (itself || (subdir && !(ev->mask & IN_CREATE)))
        w->shape++;
    /* Any name, not only the same: names may be equal regardless of case. */
    if (ev->mask & (IN_CREATE | IN_MOVED_TO))
        w->names++;
}

static void on_file_event(struct watch *w, const struct inotify_event *ev)
{
    struct watch_entry *e;

    while ((e = entry_of_wd(w, ev->wd)) != NULL) {
        struct store_file *f = e->file;
        entry_drop(w, e);
        /* Written twice within a tick of its clock, it would look like the same file. */
        if (ev->mask & IN_MODIFY)
            file_outdated(f);
    }
}

static void on_event(struct watch *w, const struct inotify_event *ev)
{
    struct watch_dir *d = ev->mask & IN_Q_OVERFLOW ? NULL : dir_of_wd(w, ev->wd);

    if (d != NULL || !(ev->mask & IN_IGNORED))
        w->events++;
    if (ev->mask & IN_Q_OVERFLOW)
        w->shape++;
    else if (d != NULL)
        on_dir_event(w, d, ev);
    else
        on_file_event(w, ev);
}

static void shut(struct watch *w)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
    w->failed = true;
    watch_trim(w);
}

/* Takes what is in the queue; true when it was then empty. */
static bool drain(struct watch *w)
{
    alignas(struct inotify_event) char buf[4096];

    for (unsigned reads = 0; reads < DRAIN_READS; reads++) {
        ssize_t n = read(w->fd, buf, sizeof(buf));
        if (n <= 0) {
            if (n < 0 && errno == EAGAIN)
                return true;
            w->failed |= n == 0 || errno != EINTR;
            return false;
        }
        for (size_t at = 0; at < (size_t)n;) {
            const struct inotify_event *ev = (const void *)(buf + at);
            on_event(w, ev);
            at += sizeof(*ev) + ev->len;
        }
    }
    return false;
}

/* After the last request came. */
static bool seen_empty(struct watch *w)
{
    if (w->turn == TURN_CHECKED)
        return true;
    if (!drain(w))
        return false;
    if (w->turn == TURN_UNCHECKED)
        w->turn = TURN_CHECKED;
    return true;
}

/* ---- Learning and answering ---- */

void watch_begin_turn(struct watch *w, nsec now)
{
    if (w == NULL)
        return;
    w->turn = TURN_UNCHECKED;
    w->now = now;
}

nsec watch_now(const struct watch *w)
{
    if (w == NULL)
        return 0;
    return w->turn == TURN_NONE ? loop_clock() : w->now;
}

int watch_find(struct watch *w, const char *path, uint32_t hash, struct store_file **ret)
{
    if (w == NULL || entry_find(w, path, hash) == NULL || !seen_empty(w))
        return -EINPROGRESS;
    struct watch_entry *e = entry_find(w, path, hash);
    if (e == NULL || !entry_stands(w, e) || watch_now(w) - e->checked >= TRUST_MAX)
        return -EINPROGRESS;
    list_del(&e->link);
    list_push_back(e->file != NULL ? &w->present : &w->missing, &e->link);
    *ret = e->file;
    return e->file != NULL ? 0 : -ENOENT;
}

/* The path leads to just this file, as it was when it was opened. The file's watch, or -errno. */
static int look_at_file(struct watch *w, const char *path, const struct store_file *f)
{
    struct stat st;
    int fd = watch_open(w, path, 0);

    if (fd < 0)
        return fd;
    int wd = watch_add(w, fd, FILE_EVENTS);
    bool same = wd >= 0 && fstat(fd, &st) == 0 && file_is(f, &st);
    close(fd);
    if (wd >= 0 && !same && entry_of_wd(w, wd) == NULL)
        watch_remove(w, wd);
    return same ? wd : -ESTALE;
}

static int look_for_nothing(const struct watch *w, const char *path)
{
    int fd = watch_open(w, path, 0);

    if (fd >= 0)
        close(fd);
    return fd == -ENOENT ? 0 : -ESTALE;
}

/* Watches first, looks then, and believes it when nothing has happened from before to after. */
static void establish(struct watch *w, const char *path, uint32_t hash, struct store_file *f)
{
    if (!drain(w))
        return;
    uint64_t before = w->events;
    struct watch_dir *dir = dir_get_all(w, path);
    if (dir == NULL)
        return;
    int wd = f != NULL ? look_at_file(w, path, f) : look_for_nothing(w, path);
    if (wd < 0) {
        dir_put(w, dir);
        return;
    }
    if (drain(w) && w->events == before && !w->failed && (f == NULL || f->shared) &&
        entry_add(w, path, hash, f, dir, wd))
        return;
    if (f != NULL && entry_of_wd(w, wd) == NULL)
        watch_remove(w, wd);
    dir_put(w, dir);
}

static bool was_seen(struct watch *w, uint32_t hash)
{
    uint32_t *slot = &w->seen[hash % SEEN_SLOTS];
    bool seen = *slot == hash;

    /* After a failure too it takes two more opens: that way costs little where it is in vain. */
    *slot = seen ? 0 : hash;
    return seen;
}

void watch_learn(struct watch *w, const char *path, uint32_t hash, struct store_file *f, int error,
                 nsec since)
{
    if (w == NULL || w->fd < 0)
        return;
    struct watch_entry *e = entry_find(w, path, hash);
    if (e != NULL && e->file == f && (f != NULL || error == -ENOENT) && entry_stands(w, e)) {
        e->checked = since;
        return;
    }
    if (e != NULL)
        entry_drop(w, e);
    if ((f != NULL || error == -ENOENT) && strlen(path) < WATCH_PATH_MAX && was_seen(w, hash))
        establish(w, path, hash, f);
    if (w->failed)
        shut(w);
}

/* ---- Start and end ---- */

/*
 * File systems that nobody changes but this kernel, by calls that inotify tells of. Network and
 * FUSE file systems change elsewhere; overlayfs may be changed below.
 */
static bool is_local(int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) < 0)
        return false;
    switch ((uint32_t)fs.f_type) {
    case EXT4_SUPER_MAGIC: /* and ext2, ext3 */
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
    case TMPFS_MAGIC:
    case RAMFS_MAGIC:
        return true;
    default:
        return false;
    }
}

static int init_maps(struct watch *w)
{
    size_t entries = w->s->config.files_max + MISSING_MAX;

    if (map_init(&w->entries, entries) < 0 || map_init(&w->files_by_wd, entries) < 0 ||
        map_init(&w->dirs, WATCH_DIRS_MAX) < 0 || map_init(&w->dirs_by_wd, WATCH_DIRS_MAX) < 0)
        return -ENOMEM;
    return 0;
}

/* What it takes is there: inotify, /proc, openat2, the right to read the root. */
static int probe(struct watch *w)
{
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->fd < 0)
        return -errno;
    int fd = watch_open(w, ".", O_DIRECTORY);
    if (fd < 0)
        return fd;
    int wd = watch_add_dir(w, fd);
    close(fd);
    if (wd < 0)
        return wd;
    watch_remove(w, wd);
    return 0;
}

struct watch *watch_new(struct store *s)
{
    if (!s->config.watch || strcmp(file_io_name(s->io), "mem") == 0)
        return NULL;
    if (!is_local(s->config.root_fd)) {
        log_line(LOG_INFO, "the root is on a file system that may change unnoticed: files are "
                           "opened for each request");
        return NULL;
    }
    struct watch *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return NULL;
    w->s = s;
    list_init(&w->present);
    list_init(&w->missing);
    w->fd = -1;
    int r = init_maps(w);
    if (r == 0)
        r = probe(w);
    if (r == 0)
        return w;
    if (!w->failed)
        log_line(LOG_NOTICE, "files cannot be watched (%s): they are opened for each request",
                 strerrorname_np(-r));
    watch_free(w);
    return NULL;
}

void watch_free(struct watch *w)
{
    if (w == NULL)
        return;
    shut(w);
    map_fini(&w->entries);
    map_fini(&w->files_by_wd);
    map_fini(&w->dirs);
    map_fini(&w->dirs_by_wd);
    free(w);
}
