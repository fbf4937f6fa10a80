/*
 * Landlock: the process shuts itself in, whoever it is and whatever it may become. Files can be
 * opened only where a rule says so, TCP is denied, and so are signals and abstract sockets of
 * processes outside. What the kernel lacks is left out, newest first; landlock(7).
 */
#ifndef SERVER_LANDLOCK_H
#define SERVER_LANDLOCK_H

#include <stdint.h>

#include "base/util.h"

enum landlock_use {
    LANDLOCK_USE_READ,   /* open for reading */
    LANDLOCK_USE_UPLOAD, /* besides: make, write, rename and remove regular files */
};

struct landlock {
    int fd;
    int abi; /* 1 or more */
    uint64_t handled;
};

/* 0 or -errno: ENOSYS, EOPNOTSUPP where the kernel or its configuration lacks it. */
MUST_CHECK int landlock_open(struct landlock *l);
/* For everything below the directory; the descriptor may be O_PATH. 0 or -errno. */
MUST_CHECK int landlock_allow(struct landlock *l, int dir, enum landlock_use use);
/* From now on, for this thread and all it starts; needs no_new_privs. Closes. 0 or -errno. */
MUST_CHECK int landlock_enforce(struct landlock *l);
void landlock_close(struct landlock *l);

#endif
