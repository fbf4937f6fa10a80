/*
 * Answers to opens without asking the file system again: what a path led to is remembered, and
 * believed for as long as inotify has nothing to say against it.
 *
 * An answer is trusted when
 *   - the way to it has no symbolic links and no mount points, on a file system whose changes
 *     are all made through this kernel (watch_new() has the list);
 *   - every directory of the path and the file itself are watched, since before the answer was
 *     checked;
 *   - the queue of events was empty after the request had come. The kernel queues an event
 *     before the system call that caused it returns (fs/notify, inotify(7)), so whoever changes
 *     a file and then asks for it gets the new one;
 *   - it is not older than a second. inotify is silent about a file system mounted over a
 *     directory and about writes through a shared mapping: those are seen a second late.
 *
 * A first open costs nothing here: paths are watched when they are asked for again.
 */
#ifndef STORE_WATCH_H
#define STORE_WATCH_H

#include "store/internal.h"

struct watch;

/* NULL: not possible here, which the log says, or not wanted (store_config.watch). */
struct watch *watch_new(struct store *s);
void watch_free(struct watch *w);
/* All the memory one can come to hold. */
size_t watch_memory_max(const struct store_config *config);

/* The functions below take NULL for a store that watches nothing. */

/* Requests have been received: what was known of the queue does not hold any more. */
void watch_begin_turn(struct watch *w, nsec now);
/* The time for since of watch_learn(). */
nsec watch_now(const struct watch *w);
/* `hash` is the path's, the same for the same path. 0 and the file, -ENOENT: there is no such
 * file, or -EINPROGRESS: not known. */
int watch_find(struct watch *w, const char *path, uint32_t hash, struct store_file **ret);
/* An open begun at `since` gave this file, which has a reader, or that error. */
void watch_learn(struct watch *w, const char *path, uint32_t hash, struct store_file *f, int error,
                 nsec since);
/* The file is not to be found by opens any more. */
void watch_forget(struct store_file *f);
/* Forgets everything. */
void watch_trim(struct watch *w);

#endif
