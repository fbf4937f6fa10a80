/*
 * Whom the server serves as: user and group by configuration. Started as root, it becomes a user
 * that owns nothing; started as somebody else, it stays who it is.
 */
#ifndef SERVER_IDENTITY_H
#define SERVER_IDENTITY_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/util.h"
#include "conf/conf.h"

struct identity {
    uid_t uid;
    gid_t gid;
    bool change; /* from who we are now */
    char user[64], group[64];
};

/*
 * Reads [security] user, group and allow_root and looks the names up. A number needs no entry; only
 * the group of a user without one has to be given. Without a user of the configuration: tftp, or
 * nobody. Before chroot(2) and Landlock.
 * EX_OK, or another code of sysexits.h with a sentence in error[size].
 */
MUST_CHECK int identity_find(struct identity *id, const struct conf *c, char *error, size_t size);

#endif
