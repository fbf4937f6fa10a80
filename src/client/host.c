#include "client/host.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static void add(struct client_host *h, const struct addrinfo *info)
{
    union addr_sock sa = {0};
    struct addr addr;

    if (h->addr_count == CLIENT_HOST_ADDRS || info->ai_addrlen > sizeof(sa))
        return;
    memcpy(&sa, info->ai_addr, info->ai_addrlen);
    if (addr_from_sock(&addr, &sa) < 0)
        return;
    for (unsigned i = 0; i < h->addr_count; i++)
        if (addr_equal(&h->addrs[i], &addr))
            return;
    h->addrs[h->addr_count++] = addr;
}

static int look_up(struct client_host *h, const struct client_options *o,
                   struct client_error *error)
{
    struct addrinfo hints = {
        .ai_family = o->bind.family ? o->bind.family : o->family,
        .ai_socktype = SOCK_DGRAM,
        .ai_flags = AI_NUMERICSERV,
    };
    struct addrinfo *list = NULL;
    char port[8];

    snprintf(port, sizeof(port), "%d", CLIENT_PORT_DEFAULT);
    int err = getaddrinfo(h->name, h->port ? h->port : port, &hints, &list);
    if (err == 0) {
        for (const struct addrinfo *i = list; i; i = i->ai_next)
            add(h, i);
        freeaddrinfo(list);
    }
    if (h->addr_count > 0)
        return 0;
    if (err == EAI_MEMORY)
        return -ENOMEM;
    const char *family = hints.ai_family == AF_INET    ? " IPv4"
                         : hints.ai_family == AF_INET6 ? " IPv6"
                                                       : "";
    client_error_set(error, "%s: no%s address: %s", h->name, family,
                     err == EAI_SYSTEM ? strerror(errno)
                     : err             ? gai_strerror(err)
                                       : "none that can be used");
    return -EHOSTUNREACH;
}

static void host_free(struct client_host *h)
{
    list_del(&h->link);
    free(h->name);
    free(h->port);
    free(h);
}

int client_host_find(struct list *hosts, const struct client_target *t,
                     const struct client_options *o, struct client_host **ret,
                     struct client_error *error)
{
    struct list *pos;

    list_for_each (pos, hosts) {
        struct client_host *h = container_of(pos, struct client_host, link);
        if (same(h->name, t->host) && same(h->port, t->port)) {
            *ret = h;
            return 0;
        }
    }
    struct client_host *h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    list_push_back(hosts, &h->link);
    h->name = strdup(t->host);
    h->port = t->port ? strdup(t->port) : NULL;
    int err = h->name && (h->port || !t->port) ? look_up(h, o, error) : -ENOMEM;
    if (err < 0) {
        host_free(h);
        return err;
    }
    *ret = h;
    return 0;
}

void client_hosts_free(struct list *hosts)
{
    while (!list_empty(hosts))
        host_free(container_of(hosts->next, struct client_host, link));
}
