/*
 * Addresses: to and from the kernel's form, text, classes and networks.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>

#include "base/addr.h"
#include "base/prng.h"

/* RFC 4291 section 2.5.5.2: ::ffff:0:0/96 */
static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
#define MAPPED_BITS 96

/* fe80::/10 and multicast of link-local scope: the two kinds to which a scope belongs. */
static bool needs_scope(const uint8_t *ip6)
{
    return (ip6[0] == 0xFE && (ip6[1] & 0xC0) == 0x80) || (ip6[0] == 0xFF && (ip6[1] & 0x0F) == 2);
}

/* Sets family and bytes from an IPv6 address, which may be a mapped one. */
static void set_ip6(struct addr *a, const uint8_t *ip6)
{
    if (memcmp(ip6, mapped_prefix, sizeof(mapped_prefix)) == 0) {
        a->family = AF_INET;
        memcpy(a->ip, ip6 + sizeof(mapped_prefix), 4);
        return;
    }
    a->family = AF_INET6;
    memcpy(a->ip, ip6, 16);
}

int addr_from_sock(struct addr *ret, const union addr_sock *sa)
{
    struct addr a = {0};
    if (sa->sa.sa_family == AF_INET) {
        a.family = AF_INET;
        a.port = ntohs(sa->in.sin_port);
        memcpy(a.ip, &sa->in.sin_addr, 4);
    } else if (sa->sa.sa_family == AF_INET6) {
        a.port = ntohs(sa->in6.sin6_port);
        set_ip6(&a, sa->in6.sin6_addr.s6_addr);
        if (needs_scope(sa->in6.sin6_addr.s6_addr))
            a.scope = sa->in6.sin6_scope_id;
    } else {
        return -EAFNOSUPPORT;
    }
    *ret = a;
    return 0;
}

socklen_t addr_to_sock(const struct addr *a, int socket_family, union addr_sock *sa)
{
    memset(sa, 0, sizeof(*sa));
    if (socket_family == AF_INET) {
        assert(a->family != AF_INET6);
        sa->in.sin_family = AF_INET;
        sa->in.sin_port = htons(a->port);
        memcpy(&sa->in.sin_addr, a->ip, 4);
        return sizeof(sa->in);
    }
    assert(socket_family == AF_INET6);
    sa->in6.sin6_family = AF_INET6;
    sa->in6.sin6_port = htons(a->port);
    if (a->family == AF_INET) {
        memcpy(sa->in6.sin6_addr.s6_addr, mapped_prefix, sizeof(mapped_prefix));
        memcpy(sa->in6.sin6_addr.s6_addr + sizeof(mapped_prefix), a->ip, 4);
    } else {
        memcpy(sa->in6.sin6_addr.s6_addr, a->ip, 16);
        sa->in6.sin6_scope_id = a->scope;
    }
    return sizeof(sa->in6);
}

/* A decimal number of digits only, at most `max`. */
static int parse_number(const char *text, uint32_t max, uint32_t *ret)
{
    uint64_t v = 0;
    if (!*text)
        return -EINVAL;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        v = v * 10 + (uint64_t)(*text - '0');
        if (v > max)
            return -EINVAL;
    }
    *ret = (uint32_t)v;
    return 0;
}

/* The interface of "%eth0" or "%2". */
static int parse_scope(const char *text, uint32_t *ret)
{
    unsigned index = if_nametoindex(text);
    if (index) {
        *ret = index;
        return 0;
    }
    return parse_number(text, UINT32_MAX, ret);
}

/* An address without brackets and port; the port of `a` is left alone. */
static int parse_host(struct addr *a, const char *text, size_t len)
{
    char host[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE];
    if (len >= sizeof(host))
        return -EINVAL;
    memcpy(host, text, len);
    host[len] = '\0';

    if (inet_pton(AF_INET, host, a->ip) == 1) {
        a->family = AF_INET;
        return 0;
    }
    char *scope = strchr(host, '%');
    if (scope)
        *scope++ = '\0';
    uint8_t ip6[16];
    if (inet_pton(AF_INET6, host, ip6) != 1)
        return -EINVAL;
    if (scope && (!needs_scope(ip6) || parse_scope(scope, &a->scope) < 0))
        return -EINVAL;
    set_ip6(a, ip6);
    return 0;
}

int addr_parse(struct addr *ret, const char *text, uint16_t default_port)
{
    struct addr a = {0};
    const char *port = NULL; /* what follows the colon */
    const char *colon = strchr(text, ':');

    if (text[0] == '[') {
        const char *close = strchr(text, ']');
        if (!close || (close[1] && close[1] != ':') ||
            parse_host(&a, text + 1, (size_t)(close - text - 1)) < 0)
            return -EINVAL;
        /* Brackets are for IPv6; a mapped address is written as one, though it becomes IPv4. */
        if (!memchr(text, ':', (size_t)(close - text)))
            return -EINVAL;
        port = close[1] ? close + 2 : NULL;
    } else if (colon && strchr(colon + 1, ':')) {
        if (parse_host(&a, text, strlen(text)) < 0)
            return -EINVAL;
    } else if (colon) {
        bool every = colon == text || (colon == text + 1 && text[0] == '*');
        if (!every && parse_host(&a, text, (size_t)(colon - text)) < 0)
            return -EINVAL;
        port = colon + 1;
    } else if (parse_host(&a, text, strlen(text)) < 0) {
        return -EINVAL;
    }

    uint32_t number = default_port;
    if (port && parse_number(port, UINT16_MAX, &number) < 0)
        return -EINVAL;
    a.port = (uint16_t)number;
    *ret = a;
    return 0;
}

const char *addr_host_text(const struct addr *a, char *buf)
{
    if (a->family != AF_INET && a->family != AF_INET6) {
        memcpy(buf, "*", 2);
        return buf;
    }
    /* Cannot fail: the family is known and the room is enough for either. */
    inet_ntop(a->family, a->ip, buf, INET6_ADDRSTRLEN);
    if (a->scope) {
        size_t len = strlen(buf);
        snprintf(buf + len, ADDR_TEXT_MAX - len, "%%%u", a->scope);
    }
    return buf;
}

const char *addr_text(const struct addr *a, char *buf)
{
    char host[ADDR_TEXT_MAX];
    addr_host_text(a, host);
    const char *format = a->family == AF_INET6 ? "[%.64s]:%u" : "%.64s:%u";
    snprintf(buf, ADDR_TEXT_MAX, format, host, a->port);
    return buf;
}

uint32_t addr_hash(const struct addr *a, uint64_t key)
{
    uint64_t w[3];
    static_assert(sizeof(*a) == sizeof(w), "the hash covers the whole address");
    memcpy(w, a, sizeof(w));
    uint64_t h = prng_mix(key ^ w[0]);
    h = prng_mix(h + w[1]);
    h = prng_mix(h ^ w[2] ^ key);
    return (uint32_t)(h >> 32);
}

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i])
            return false;
    }
    return true;
}

bool addr_is_unspecified(const struct addr *a)
{
    return all_zero(a->ip, sizeof(a->ip));
}

bool addr_is_multicast(const struct addr *a)
{
    /* RFC 5771: 224.0.0.0/4; RFC 4291 section 2.7: ff00::/8 */
    if (a->family == AF_INET)
        return (a->ip[0] & 0xF0) == 0xE0;
    return a->family == AF_INET6 && a->ip[0] == 0xFF;
}

bool addr_is_broadcast(const struct addr *a)
{
    static const uint8_t ones[4] = {0xFF, 0xFF, 0xFF, 0xFF};
    return a->family == AF_INET && memcmp(a->ip, ones, sizeof(ones)) == 0;
}

bool addr_is_loopback(const struct addr *a)
{
    if (a->family == AF_INET)
        return a->ip[0] == 127;
    return a->family == AF_INET6 && all_zero(a->ip, 15) && a->ip[15] == 1;
}

/* Whether the first `bits` bits are equal. */
static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned bytes = bits / 8;
    if (memcmp(a, b, bytes) != 0)
        return false;
    unsigned rest = bits % 8;
    return rest == 0 || ((a[bytes] ^ b[bytes]) >> (8 - rest)) == 0;
}

/* Whether bits beyond the prefix are set. */
static bool has_host_bits(const uint8_t *ip, unsigned bits, unsigned bits_all)
{
    for (unsigned i = bits; i < bits_all; i++) {
        if (ip[i / 8] & (0x80 >> (i % 8)))
            return true;
    }
    return false;
}

int addr_net_parse(struct addr_net *ret, const char *text)
{
    struct addr_net net = {0};
    const char *slash = strchr(text, '/');
    size_t host_len = slash ? (size_t)(slash - text) : strlen(text);
    if (parse_host(&net.base, text, host_len) < 0)
        return -EINVAL;

    /* ::ffff:10.0.0.0/104 is 10.0.0.0/8: its bits are counted in the form it was written in. */
    bool four = net.base.family == AF_INET;
    bool mapped = four && memchr(text, ':', host_len);
    unsigned bits_all = four ? 32 : 128;
    uint32_t bits = bits_all;
    if (slash && parse_number(slash + 1, mapped ? 128 : bits_all, &bits) < 0)
        return -EINVAL;
    if (slash && mapped) {
        if (bits < MAPPED_BITS)
            return -EINVAL;
        bits -= MAPPED_BITS;
    }
    if (has_host_bits(net.base.ip, bits, bits_all))
        return -EINVAL;
    net.bits = (uint8_t)bits;
    *ret = net;
    return 0;
}

bool addr_net_contains(const struct addr_net *net, const struct addr *a)
{
    if (net->base.family != a->family || (net->base.scope && net->base.scope != a->scope))
        return false;
    return same_bits(net->base.ip, a->ip, net->bits);
}
