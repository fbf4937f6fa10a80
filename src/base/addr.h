/*
 * An Internet address with port, IPv4 or IPv6, comparable by memcmp: every byte is defined.
 * IPv4-mapped IPv6 addresses become plain IPv4 on the way in, so logs, access rules and the
 * transfer table see one form.
 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "base/util.h"

struct addr {
    uint8_t ip[16];  /* network order; IPv4 in the first four bytes, the rest zero */
    uint32_t scope;  /* interface index of a link-local IPv6 address, else 0 */
    uint16_t port;   /* host order */
    uint16_t family; /* AF_INET, AF_INET6, or 0: no address */
};

union addr_sock {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

#define ADDR_TEXT_MAX 80 /* "[v6%scope]:port" and its NUL */

/* -EAFNOSUPPORT for any family but the two. */
MUST_CHECK int addr_from_sock(struct addr *ret, const union addr_sock *sa);
/*
 * Fills `sa` for use with a socket of family `socket_family`: an IPv4 address is written in
 * mapped form for an AF_INET6 socket. Returns the length.
 */
socklen_t addr_to_sock(const struct addr *a, int socket_family, union addr_sock *sa);

/*
 * Parses "1.2.3.4", "1.2.3.4:69", "::1", "[::1]", "[::1]:69", "[fe80::1%eth0]:69", ":69" and
 * "*:69" (family 0: every address of both families). `default_port` is used when none is
 * given. -EINVAL when the text is none of these.
 */
MUST_CHECK int addr_parse(struct addr *ret, const char *text, uint16_t default_port);

/* Writes "1.2.3.4:69" or "[::1]:69" into buf of ADDR_TEXT_MAX bytes; returns buf. */
const char *addr_text(const struct addr *a, char *buf);
/* The same without the port: "1.2.3.4", "fe80::1%2". */
const char *addr_host_text(const struct addr *a, char *buf);

static inline bool addr_equal(const struct addr *a, const struct addr *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/* The same host, whatever the port. */
static inline bool addr_same_host(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && a->scope == b->scope && memcmp(a->ip, b->ip, 16) == 0;
}

/* Keyed hash: `key` is random per process, so that peers cannot choose colliding ports. */
uint32_t addr_hash(const struct addr *a, uint64_t key);

/* 0.0.0.0 or ::, multicast, 255.255.255.255. */
bool addr_is_unspecified(const struct addr *a);
bool addr_is_multicast(const struct addr *a);
bool addr_is_broadcast(const struct addr *a);
bool addr_is_loopback(const struct addr *a);

/* A network in CIDR notation. */
struct addr_net {
    struct addr base;
    uint8_t bits; /* prefix length: 0-32 or 0-128 */
};

/* "10.0.0.0/8", "fc00::/7", or a bare address (the whole length). -EINVAL otherwise, and
 * when bits beyond the prefix are set. */
MUST_CHECK int addr_net_parse(struct addr_net *ret, const char *text);
bool addr_net_contains(const struct addr_net *net, const struct addr *a);

#endif
