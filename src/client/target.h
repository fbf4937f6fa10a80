/*
 * How a remote file is written: HOST[:PORT]:FILE, or tftp://HOST[:PORT]/FILE[;mode=MODE]
 * (RFC 3617, with the port of RFC 3986). IPv6 addresses stand in brackets.
 */
#ifndef CLIENT_TARGET_H
#define CLIENT_TARGET_H

#include <stdbool.h>

#include "client/option.h"

#define CLIENT_PORT_DEFAULT 69

struct client_target {
    char *host; /* without brackets */
    char *port; /* digits, or NULL */
    char *file; /* may be empty: put names it, --list adds to it */
    bool mode_given;
    enum tftp_mode mode;
};

/*
 * 0: the target's texts are allocated, client_target_fini() frees them.
 * -EINVAL with a sentence: no such form. -ENOMEM.
 */
MUST_CHECK int client_target_parse(struct client_target *ret, const char *text,
                                   struct client_error *error);
void client_target_fini(struct client_target *t);

/* Whether the text would be taken for a remote file. */
bool client_target_looks_remote(const char *text);

#endif
