/*
 * Giving up what the start may have needed: user, groups, capabilities, and every way to get
 * them back.
 */
#ifndef SERVER_PRIVILEGES_H
#define SERVER_PRIVILEGES_H

#include <stdbool.h>

#include "server/identity.h"

/* The directory behind root_fd becomes "/". EX_OK, or another code with a sentence. */
MUST_CHECK int privileges_chroot(int root_fd, char *error, size_t size);

/*
 * Before threads, and before any io_uring: a ring goes on with the rights of its making.
 * Becomes the user, drops supplementary groups and all capabilities, sets no_new_privs, lets
 * nobody look into the process unless `debuggable`, and then tries to go back, which must fail.
 * EX_OK, or EX_OSERR with a sentence; then the process must not serve.
 */
MUST_CHECK int privileges_drop(const struct identity *id, bool debuggable, char *error,
                               size_t size);

/* True when no thread of a process that looks like this one has a capability left. */
bool privileges_none_left(void);

#endif
