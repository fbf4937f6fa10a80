/*
 * A process that does one thing: it reads the configuration file again for a server that has shut
 * itself in and cannot open it any more. It has the server's user and no more rights; whoever
 * takes the server over can ask it for that file and for nothing else.
 */
#ifndef SERVER_CONF_READER_H
#define SERVER_CONF_READER_H

#include <stddef.h>
#include <sys/types.h>

#include "base/util.h"
#include "server/confine.h"

struct conf_reader {
    const char *user; /* who reads, once started */
    pid_t pid;        /* 0: none */
    int fd;
    int folder; /* that holds the file; until the start */
    const char *path;
};

/* Keeps the folder of `path` open, which may not be reachable later on. NULL: nothing to read.
 * `path` must stay. 0 or -errno. */
MUST_CHECK int conf_reader_prepare(struct conf_reader *r, const char *path);
/*
 * Starts the process: before threads, after the sockets are bound (it closes all it does not
 * need) and before privileges are dropped; it drops its own, and shuts itself in by Landlock and
 * a system call filter of its own.
 * 0 or -errno.
 */
MUST_CHECK int conf_reader_start(struct conf_reader *r, const struct confinement *c);
/* What the file holds now; to be freed. 0, or -errno of opening or reading it; -EPIPE: the process
 * is gone, or says more than it can have read. */
MUST_CHECK int conf_reader_read(struct conf_reader *r, char **ret_text, size_t *ret_len);
void conf_reader_stop(struct conf_reader *r);

#endif
