/*
 * The hosts of a command: names looked up once, before anything is sent, and what is learned
 * about each host while files are transferred.
 */
#ifndef CLIENT_HOST_H
#define CLIENT_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "client/option.h"
#include "client/target.h"

#define CLIENT_HOST_ADDRS 8

struct client_host {
    struct list link;
    char *name, *port; /* port may be NULL */
    struct addr addrs[CLIENT_HOST_ADDRS];
    unsigned payloads[CLIENT_HOST_ADDRS]; /* net_path_payload(), 0: not asked yet or unknown */
    unsigned addr_count;
    unsigned addr_good;  /* index of the address that has answered */
    unsigned window_cap; /* more than this met losses; 0: none seen */
    bool answers_plain;  /* it refused our options once, and then served without any */
};

/*
 * The host of the target in `hosts`, looked up now if it is new. Blocks in getaddrinfo(3).
 * -EHOSTUNREACH with a sentence: no address; -ENOMEM.
 */
MUST_CHECK int client_host_find(struct list *hosts, const struct client_target *t,
                                const struct client_options *o, struct client_host **ret,
                                struct client_error *error);
void client_hosts_free(struct list *hosts);

#endif
