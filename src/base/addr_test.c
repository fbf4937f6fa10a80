#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <net/if.h>
#include <stdio.h>

#include "base/addr.h"
#include "base/prng.h"

#define DEFAULT_PORT 69

static struct addr parsed(const char *text)
{
    struct addr a;
    if (addr_parse(&a, text, DEFAULT_PORT) < 0)
        fail_msg("not parsed: %s", text);
    return a;
}

static void parse_and_print(void **state)
{
    (void)state;
    static const struct {
        const char *text, *full, *host;
        int family;
    } rows[] = {
        {"1.2.3.4", "1.2.3.4:69", "1.2.3.4", AF_INET},
        {"1.2.3.4:0", "1.2.3.4:0", "1.2.3.4", AF_INET},
        {"1.2.3.4:65535", "1.2.3.4:65535", "1.2.3.4", AF_INET},
        {"0.0.0.0:70", "0.0.0.0:70", "0.0.0.0", AF_INET},
        {"::1", "[::1]:69", "::1", AF_INET6},
        {"::", "[::]:69", "::", AF_INET6},
        {"[::1]", "[::1]:69", "::1", AF_INET6},
        {"[::1]:70", "[::1]:70", "::1", AF_INET6},
        {"2001:DB8::0:1", "[2001:db8::1]:69", "2001:db8::1", AF_INET6},
        {"::ffff:1.2.3.4", "1.2.3.4:69", "1.2.3.4", AF_INET},
        {"[::ffff:1.2.3.4]:70", "1.2.3.4:70", "1.2.3.4", AF_INET},
        {"fe80::1%7", "[fe80::1%7]:69", "fe80::1%7", AF_INET6},
        {"[fe80::1%7]:70", "[fe80::1%7]:70", "fe80::1%7", AF_INET6},
        {"[ff02::1%7]:70", "[ff02::1%7]:70", "ff02::1%7", AF_INET6},
        {":70", "*:70", "*", 0},
        {"*:70", "*:70", "*", 0},
        {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:69", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
         AF_INET6},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char buf[ADDR_TEXT_MAX];
        struct addr a = parsed(rows[i].text);
        assert_int_equal(a.family, rows[i].family);
        assert_string_equal(addr_text(&a, buf), rows[i].full);
        assert_string_equal(addr_host_text(&a, buf), rows[i].host);
    }
}

static void parse_refuses(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "*",
        " 1.2.3.4",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "1.2.3.4:",
        "1.2.3.4:65536",
        "1.2.3.4:x",
        "1.2.3.4:-1",
        "1.2.3.4:+1",
        "1.2.3.4: 1",
        "1.2.3.4:69x",
        ":",
        "*:",
        "**:69",
        "host:69",
        "[::1",
        "[::1]69",
        "[::1]:",
        "[]:69",
        "[1.2.3.4]:69",
        "::1]:69",
        ":::",
        "[::1]:65536",
        "fe80::1%",
        "::1%1",
        "[fe80::1%nosuchinterface]:69",
        "1.2.3.4%1",
        "fe80::1%99999999999",
        "1.2.3.4:4294967365",
        "123456789012345678901234567890123456789012345678901234567890123456789",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct addr a = {.port = 4711};
        if (addr_parse(&a, rows[i], DEFAULT_PORT) != -EINVAL)
            fail_msg("taken: %s", rows[i]);
        assert_int_equal(a.port, 4711); /* untouched */
    }
}

static void scope_by_name(void **state)
{
    (void)state;
    unsigned index = if_nametoindex("lo");
    if (!index)
        skip();
    assert_int_equal(parsed("[fe80::1%lo]:69").scope, index);
}

static void sock_round_trip(void **state)
{
    (void)state;
    static const char *const rows[] = {"1.2.3.4:5", "[2001:db8::1]:5", "[fe80::1%3]:5"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct addr a = parsed(rows[i]);
        union addr_sock sa;
        struct addr b;
        memset(&b, 0xAA, sizeof(b));
        assert_int_equal(addr_to_sock(&a, AF_INET6, &sa), sizeof(struct sockaddr_in6));
        assert_int_equal(sa.in6.sin6_family, AF_INET6);
        assert_int_equal(addr_from_sock(&b, &sa), 0);
        assert_true(addr_equal(&a, &b));
    }

    struct addr four = parsed("1.2.3.4:5");
    union addr_sock sa;
    struct addr back;
    memset(&back, 0xAA, sizeof(back));
    assert_int_equal(addr_to_sock(&four, AF_INET, &sa), sizeof(struct sockaddr_in));
    assert_int_equal(ntohs(sa.in.sin_port), 5);
    assert_int_equal(ntohl(sa.in.sin_addr.s_addr), 0x01020304);
    assert_int_equal(addr_from_sock(&back, &sa), 0);
    assert_true(addr_equal(&four, &back));

    /* No address: any, of the socket's family. */
    struct addr every = parsed(":5");
    addr_to_sock(&every, AF_INET, &sa);
    assert_int_equal(sa.in.sin_addr.s_addr, htonl(INADDR_ANY));
    addr_to_sock(&every, AF_INET6, &sa);
    assert_memory_equal(&sa.in6.sin6_addr, &in6addr_any, 16);
    assert_int_equal(ntohs(sa.in6.sin6_port), 5);

    sa = (union addr_sock){.sa.sa_family = AF_UNIX};
    assert_int_equal(addr_from_sock(&back, &sa), -EAFNOSUPPORT);
    assert_true(addr_equal(&four, &back));
}

/* The kernel may fill in a scope where none belongs; equal peers must stay equal. */
static void scope_only_where_it_belongs(void **state)
{
    (void)state;
    struct addr a = parsed("[2001:db8::1]:5"), b;
    union addr_sock sa;
    addr_to_sock(&a, AF_INET6, &sa);
    sa.in6.sin6_scope_id = 9;
    sa.in6.sin6_flowinfo = 1;
    assert_int_equal(addr_from_sock(&b, &sa), 0);
    assert_true(addr_equal(&a, &b));
}

static void classes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool unspecified, multicast, broadcast, loopback;
    } rows[] = {
        {"0.0.0.0", true, false, false, false},
        {"::", true, false, false, false},
        {"[::ffff:0.0.0.0]", true, false, false, false},
        {"223.255.255.255", false, false, false, false},
        {"224.0.0.1", false, true, false, false},
        {"239.255.255.255", false, true, false, false},
        {"240.0.0.1", false, false, false, false},
        {"ff02::1%1", false, true, false, false},
        {"fe80::1%1", false, false, false, false},
        {"255.255.255.255", false, false, true, false},
        {"255.255.255.254", false, false, false, false},
        {"127.0.0.1", false, false, false, true},
        {"127.255.0.9", false, false, false, true},
        {"::1", false, false, false, true},
        {"::2", false, false, false, false},
        {"[::ffff:127.0.0.1]", false, false, false, true},
        {"7f00::1", false, false, false, false},
        {"e000::", false, false, false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct addr a = parsed(rows[i].text);
        if (addr_is_unspecified(&a) != rows[i].unspecified ||
            addr_is_multicast(&a) != rows[i].multicast ||
            addr_is_broadcast(&a) != rows[i].broadcast || addr_is_loopback(&a) != rows[i].loopback)
            fail_msg("wrong class: %s", rows[i].text);
    }
}

static void same_host(void **state)
{
    (void)state;
    struct addr a = parsed("1.2.3.4:5"), b = parsed("1.2.3.4:6"), c = parsed("1.2.3.5:5");
    assert_true(addr_same_host(&a, &b));
    assert_false(addr_equal(&a, &b));
    assert_false(addr_same_host(&a, &c));
    /* The same first four bytes in the other family. */
    struct addr six = parsed("[102:304::]:5");
    assert_false(addr_same_host(&a, &six));
    struct addr l1 = parsed("[fe80::1%1]:5"), l2 = parsed("[fe80::1%2]:5");
    assert_false(addr_same_host(&l1, &l2));
}

static void networks(void **state)
{
    (void)state;
    static const struct {
        const char *net, *addr;
        bool inside;
    } rows[] = {
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "9.255.255.255", false},
        {"172.16.0.0/12", "172.31.255.255", true},
        {"172.16.0.0/12", "172.32.0.0", false},
        {"1.2.3.4", "1.2.3.4", true},
        {"1.2.3.4", "1.2.3.5", false},
        {"1.2.3.4/31", "1.2.3.5", true},
        {"1.2.3.4/31", "1.2.3.6", false},
        {"0.0.0.0/0", "255.1.2.3", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "1.2.3.4", false},
        {"::/0", "2001:db8::1", true},
        {"fc00::/7", "fdff::1", true},
        {"fc00::/7", "fe00::1", false},
        {"2001:db8::/127", "2001:db8::1", true},
        {"2001:db8::/127", "2001:db8::2", false},
        {"::1", "::1", true},
        {"::1", "::", false},
        {"::ffff:10.0.0.0/104", "10.1.2.3", true},
        {"::ffff:10.0.0.0/104", "11.1.2.3", false},
        {"fe80::/10", "fe80::1%5", true},
        {"fe80::1%4", "fe80::1%5", false},
        {"fe80::1%5", "fe80::1%5", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct addr_net net;
        assert_int_equal(addr_net_parse(&net, rows[i].net), 0);
        struct addr a = parsed(rows[i].addr);
        if (addr_net_contains(&net, &a) != rows[i].inside)
            fail_msg("%s in %s", rows[i].addr, rows[i].net);
    }

    static const char *const bad[] = {
        "",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.1/8",
        "10.0.0.0/8x",
        "10.0.0.0:69",
        "*",
        ":69",
        "::/129",
        "::1/127",
        "[::1]/128",
        "10.0.0.0/8/8",
        "::ffff:10.0.0.0/95",
        "::ffff:10.0.0.1/104",
        "10.0.0.0/ 8",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct addr_net net;
        if (addr_net_parse(&net, bad[i]) != -EINVAL)
            fail_msg("taken: %s", bad[i]);
    }
}

/* A bare IPv4 address holds nothing beyond its four bytes, against every prefix length. */
static void network_bits(void **state)
{
    (void)state;
    struct addr base = parsed("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1");
    for (unsigned bits = 1; bits <= 128; bits++) {
        struct addr_net net = {.base = base, .bits = (uint8_t)bits};
        struct addr a = base;
        assert_true(addr_net_contains(&net, &a));
        a.ip[(bits - 1) / 8] ^= (uint8_t)(0x80 >> ((bits - 1) % 8));
        assert_false(addr_net_contains(&net, &a));
        if (bits < 128) {
            a = base;
            a.ip[bits / 8] ^= (uint8_t)(0x80 >> (bits % 8));
            assert_true(addr_net_contains(&net, &a));
        }
    }
}

/* Consecutive ports and hosts, as a rack of machines has them, spread over 1024 buckets; another
 * key gives another spread. */
static void hash_spreads(void **state)
{
    (void)state;
    enum { BUCKETS = 1024, HOSTS = 16, PORTS = 256 };
    static unsigned count[BUCKETS];
    unsigned moved = 0;
    for (unsigned h = 0; h < HOSTS; h++) {
        for (unsigned p = 0; p < PORTS; p++) {
            char text[ADDR_TEXT_MAX];
            snprintf(text, sizeof(text), "10.0.0.%u:%u", h, 2000 + p);
            struct addr a = parsed(text);
            uint32_t hash = addr_hash(&a, 1);
            assert_int_equal(hash, addr_hash(&a, 1));
            count[hash % BUCKETS]++;
            moved += hash != addr_hash(&a, 2);
        }
    }
    unsigned most = 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        most = MAX(most, count[i]);
    assert_true(most <= 4 * HOSTS * PORTS / BUCKETS);
    assert_true(moved > HOSTS * PORTS - 4);

    /* Every byte counts. */
    struct addr a = {0};
    for (size_t i = 0; i < sizeof(a); i++) {
        struct addr b = a;
        ((uint8_t *)&b)[i] = 1;
        assert_int_not_equal(addr_hash(&a, 1), addr_hash(&b, 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_and_print),
        cmocka_unit_test(parse_refuses),
        cmocka_unit_test(scope_by_name),
        cmocka_unit_test(sock_round_trip),
        cmocka_unit_test(scope_only_where_it_belongs),
        cmocka_unit_test(classes),
        cmocka_unit_test(same_host),
        cmocka_unit_test(networks),
        cmocka_unit_test(network_bits),
        cmocka_unit_test(hash_spreads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
