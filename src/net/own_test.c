/*
 * Which addresses are this machine's own, in a network namespace of the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"

static struct net_own own;
static unsigned sockets;
static bool no_sockets;
int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol);

int __wrap_socket(int family, int type, int protocol)
{
    sockets++;
    return no_sockets ? -1 : __real_socket(family, type, protocol);
}

static bool has(const char *text)
{
    struct addr a;

    assert_int_equal(addr_parse(&a, text, 69), 0);
    return net_own_has(&own, &a);
}

static void bring_up(void)
{
    struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = __real_socket(AF_INET, SOCK_DGRAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &r), 0);
    close(fd);
}

/* With the longest mask: whatever else its network has would be this machine's on such an
 * interface. */
static void give4(const char *interface, const char *text)
{
    struct ifreq r = {0};
    struct addr a;
    union addr_sock sa;
    int fd = __real_socket(AF_INET, SOCK_DGRAM, 0);

    assert_true(fd >= 0);
    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", interface);
    assert_int_equal(addr_parse(&a, text, 0), 0);
    addr_to_sock(&a, AF_INET, &sa);
    r.ifr_addr = sa.sa;
    assert_int_equal(ioctl(fd, SIOCSIFADDR, &r), 0);
    sa.in.sin_addr.s_addr = INADDR_NONE;
    r.ifr_netmask = sa.sa;
    assert_int_equal(ioctl(fd, SIOCSIFNETMASK, &r), 0);
    close(fd);
}

static bool give6(const char *text)
{
    struct {
        struct in6_addr addr;
        uint32_t bits;
        int interface;
    } r = {.bits = 64, .interface = (int)if_nametoindex("lo")};
    struct addr a;
    int fd = __real_socket(AF_INET6, SOCK_DGRAM, 0);

    if (fd < 0)
        return false;
    assert_int_equal(addr_parse(&a, text, 0), 0);
    memcpy(&r.addr, a.ip, sizeof(r.addr));
    bool given = ioctl(fd, SIOCSIFADDR, &r) == 0;
    close(fd);
    return given;
}

static bool set(const char *path, const char *value)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);

    if (fd >= 0)
        close(fd);
    return done;
}

static int setup(void **state)
{
    (void)state;
    net_own_init(&own);
    no_sockets = false;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    net_own_fini(&own);
    return 0;
}

/* Nobody reads what would come to a port that was left open. */
static void assert_no_ports(void)
{
    char text[4096];
    int fd = open("/proc/thread-self/net/udp6", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    ssize_t n = read(fd, text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    assert_string_equal(strchr(text, '\n'), "\n"); /* the heading alone */
    close(fd);
}

static void check(bool with6)
{
    assert_true(has("127.0.0.1") && has("127.1.2.3"));
    assert_true(has("192.0.2.7") && has("192.0.2.8"));
    assert_false(has("192.0.2.9") || has("198.51.100.1") || has("192.0.2.255"));
    if (!with6)
        return;
    assert_true(has("[::1]") && has("[2001:db8::7]") && has("[2001:db8::8]"));
    assert_false(has("[2001:db8::9]") || has("[2001:db8:1::7]"));
    assert_no_ports();
    assert_true(has("[2001:db8::7]"));
}

/* Those that any interface has, and none else, although all can be bound. */
static void test_own_addresses(void **state)
{
    (void)state;
    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
        print_message("no right to make a network namespace\n");
        skip();
    }
    bring_up();
    assert_false(has("192.0.2.7"));
    give4("lo:1", "192.0.2.7");
    give4("lo:2", "192.0.2.8");
    bool with6 = give6("2001:db8::7") && give6("2001:db8::8");
    nsec patience = loop_clock() + 10 * NSEC_PER_SEC;
    while (with6 && !has("[2001:db8::8]") && loop_clock() < patience)
        ; /* the kernel makes sure that nobody else has it */
    check(with6);
    if (!set("/proc/sys/net/ipv4/ip_nonlocal_bind", "1")) {
        print_message("net.ipv4.ip_nonlocal_bind cannot be set\n");
        skip();
    }
    if (with6)
        assert_true(set("/proc/sys/net/ipv6/ip_nonlocal_bind", "1"));
    check(with6);
}

static void test_sockets_are_kept(void **state)
{
    (void)state;
    sockets = 0;
    for (unsigned i = 0; i < 100; i++)
        assert_true(has("127.0.0.1") && !has("192.0.2.9"));
    assert_int_equal(sockets, 1);
    (void)has("[::1]");
    (void)has("[::1]");
    assert_in_range(sockets, 2, 3); /* one more where there is no IPv6 */
}

static void test_nothing_to_ask_with(void **state)
{
    (void)state;
    no_sockets = true;
    assert_true(has("192.0.2.9") && has("[2001:db8::9]"));
    no_sockets = false;
    assert_false(has("192.0.2.9"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_own_addresses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sockets_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_to_ask_with, setup, teardown),
    };

    return cmocka_run_group_tests_name("own addresses", tests, NULL, NULL);
}
