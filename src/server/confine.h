/*
 * How the process shuts itself in, step by step, and what of it is in force. The order matters: a
 * ring keeps the rights of its making, and what Landlock and no_new_privs say counts for threads
 * that are started afterwards. So: sockets and root opened, then confine_privileges(), then
 * confine_files(), then workers with their rings, then, while they all wait, confine_calls().
 */
#ifndef SERVER_CONFINE_H
#define SERVER_CONFINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/util.h"
#include "conf/conf.h"
#include "server/identity.h"

/* Values of the keys security.landlock, seccomp and ring_restrictions. */
enum confine_mode { CONFINE_AUTO, CONFINE_REQUIRE, CONFINE_OFF };

struct confinement {
    const struct conf *conf; /* as at start */
    struct identity who;
    int landlock;        /* its ABI; -errno: not in force, 0: switched off */
    int seccomp;         /* 1; -errno: not in force, 0: switched off */
    unsigned rings;      /* of all workers */
    unsigned free_rings; /* that are not restricted */
};

/* Each: EX_OK, or another code of sysexits.h with a sentence, and then nothing may be served. */
MUST_CHECK int confine_privileges(struct confinement *c, int root_fd, char *error, size_t size);
MUST_CHECK int confine_files(struct confinement *c, int root_fd, char *error, size_t size);
MUST_CHECK int confine_calls(struct confinement *c, char *error, size_t size);

/* One line: what is in force, and what this system lacks. */
void confine_log(const struct confinement *c);

#define CONFINE_WORD_MAX 64
/* "in force", "off", "missing (ENOSYS)"; returns buf of CONFINE_WORD_MAX bytes. */
const char *confine_word(int state, char *buf);

/*
 * Looks at the root with the eyes of the user who serves, and warns of what must be a mistake:
 * uploads nobody can make, a folder that others may write to. EX_OK, or EX_NOPERM with a sentence
 * when the root cannot be entered.
 */
MUST_CHECK int confine_check_root(const struct confinement *c, int root_fd, char *error,
                                  size_t size);

#endif
