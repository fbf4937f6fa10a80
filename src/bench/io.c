#include "bench/io.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bench/io_impl.h"
#include "loop/loop.h"

#define PORTS_DEFAULT 4
#define RCVBUF_SHARED (64 << 20)
#define RCVBUF_OWN    (1 << 20)

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static void set_buffer(int fd, int force, int ask, int bytes)
{
    if (setsockopt(fd, SOL_SOCKET, force, &bytes, sizeof(bytes)) < 0)
        (void)setsockopt(fd, SOL_SOCKET, ask, &bytes, sizeof(bytes));
}

static int set_flag(int fd, int level, int name)
{
    int on = 1;

    return setsockopt(fd, level, name, &on, sizeof(on)) < 0 ? -errno : 0;
}

/* The address a socket is bound to: any of the range, the one source, or what the kernel likes. */
static void bind_address(const struct bench_io *io, union addr_sock *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (!io->shared && io->plan->source_first.family != 0) {
        addr_to_sock(&io->plan->source_first, io->family, ret);
        if (io->family == AF_INET)
            ret->in.sin_port = 0;
        else
            ret->in6.sin6_port = 0;
        return;
    }
    ret->sa.sa_family = (sa_family_t)io->family;
}

static int set_options(const struct bench_io *io, int fd)
{
    bool v4 = io->family == AF_INET;
    int err = 0, whole = IP_PMTUDISC_DO;

    set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, io->shared ? RCVBUF_SHARED : RCVBUF_OWN);
    set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, io->shared ? RCVBUF_SHARED : RCVBUF_OWN);
    if (io->shared)
        err = v4 ? set_flag(fd, IPPROTO_IP, IP_PKTINFO)
                 : set_flag(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO);
    if (io->shared || io->by_batch)
        (void)set_flag(fd, SOL_SOCKET, SO_RXQ_OVFL);
    /* What a download sends is small; never to be fragmented, it needs no packet identity, and
     * drawing those is 3 % of the cost of sending. */
    if (!io->plan->put && v4)
        (void)setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &whole, sizeof(whole));
    if (io->gro)
        (void)set_flag(fd, IPPROTO_UDP, UDP_GRO);
    (void)(v4 ? set_flag(fd, IPPROTO_IP, IP_RECVERR) : set_flag(fd, IPPROTO_IPV6, IPV6_RECVERR));
    return err;
}

int io_port_open(struct bench_io *io, struct bench_port *port)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = port};
    union addr_sock sa;
    int fd = socket(io->family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    bind_address(io, &sa);
    int err = set_options(io, fd);
    if (err == 0 &&
        (bind(fd, &sa.sa, io->sock_len) < 0 || epoll_ctl(io->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0))
        err = -errno;
    if (err < 0) {
        close(fd);
        return err;
    }
    port->fd = fd;
    port->connected = false;
    port->drops = 0;
    return 0;
}

/* Endpoints in the order of their use: all addresses of one socket, then of the next, so that the
 * clients that are active at one time share as few sockets as can be; or, when a socket cannot
 * hold a packet for each of its clients, spread over all sockets. */
static void fill_ring(struct bench_io *io, bool spread)
{
    for (unsigned i = 0; i < io->ring_size; i++) {
        unsigned port = spread ? i % io->port_count : i / io->sources;
        unsigned source = spread ? i / io->port_count : i % io->sources;
        io->ring[i] = (struct bench_endpoint){&io->ports[port], source};
    }
    io->ring_count = io->ring_size;
}

/* How many clients one shared socket can carry without losing packets of a round. */
static unsigned clients_per_socket(const struct bench_io *io)
{
    int fd = socket(io->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int bytes = 0;
    socklen_t len = sizeof(bytes);

    if (fd < 0)
        return 64;
    set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, RCVBUF_SHARED);
    if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &len) < 0)
        bytes = 212992;
    close(fd);
    unsigned datagram = io->datagram_max + io->datagram_max / 2 + 1024; /* with its skb */
    return MAX(1U, (unsigned)bytes / datagram);
}

static int open_ports(struct bench_io *io, unsigned clients)
{
    const struct bench_plan *plan = io->plan;
    bool spread = false;
    unsigned count = clients + 1; /* one more for a client that changes its port */

    if (io->shared) {
        unsigned room = clients_per_socket(io);
        count = plan->ports > 0 ? plan->ports : PORTS_DEFAULT;
        count = MAX(count, (clients + clients / 4) / io->sources + 1);
        spread = room < clients;
        if (spread)
            count = MAX(count, clients / room + 1);
    }
    io->ports = calloc(count, sizeof(*io->ports));
    io->dirty = calloc(count, sizeof(*io->dirty));
    io->ring_size = count * io->sources;
    io->ring = calloc(io->ring_size, sizeof(*io->ring));
    if (!io->ports || !io->dirty || !io->ring)
        return -ENOMEM;
    for (unsigned i = 0; i < count; i++) {
        struct bench_port *port = &io->ports[io->port_count];
        port->fd = -1;
        port->owners = io->shared ? calloc(io->sources, sizeof(void *)) : &port->single;
        io->port_count++;
        if (!port->owners)
            return -ENOMEM;
        int err = io_port_open(io, port);
        if (err == 0 && io->shared)
            err = io_queue_new(io, port);
        if (err < 0)
            return err;
    }
    fill_ring(io, spread);
    return 0;
}

/* Can packets leave from this address? */
static int probe_source(const struct bench_io *io, unsigned source)
{
    struct addr a = io->plan->source_first;
    unsigned at = a.family == AF_INET ? 3 : 15, carry = source;
    union addr_sock sa;

    for (unsigned i = 0; i < 4; i++, carry >>= 8) {
        carry += a.ip[at - i];
        a.ip[at - i] = (uint8_t)carry;
    }
    a.port = 0;
    int fd = socket(io->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int err = bind(fd, &sa.sa, addr_to_sock(&a, io->family, &sa)) < 0 ? -errno : 0;
    close(fd);
    return err;
}

static int open_all(struct bench_io *io, unsigned clients, char *error, size_t size)
{
    int err;

    io->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    io->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    if (io->epoll_fd < 0 || io->wake_fd < 0 ||
        epoll_ctl(io->epoll_fd, EPOLL_CTL_ADD, io->wake_fd, &ev) < 0) {
        err = -errno;
        snprintf(error, size, "no event queue: %s", strerror(-err));
        return err;
    }
    err = io->plan->source_first.family ? probe_source(io, 0) : 0;
    if (err == 0 && io->shared)
        err = probe_source(io, io->sources - 1);
    if (err < 0) {
        snprintf(error, size, "--source: %s, so nothing can be sent from there", strerror(-err));
        return err;
    }
    err = open_ports(io, clients);
    if (err == -EMFILE)
        snprintf(error, size,
                 "%u clients need as many sockets and the limit of open files is too "
                 "low: raise it (ulimit -n) or give --source A-B",
                 clients);
    else if (err < 0)
        snprintf(error, size, "no socket: %s", strerror(-err));
    return err < 0 ? err : io_receive_init(io);
}

int bench_io_new(struct bench_io **ret, const struct bench_plan *plan, unsigned clients,
                 struct bench_result *result, bench_deliver_fn *deliver,
                 bench_unreachable_fn *unreachable, char *error, size_t size)
{
    struct bench_io *io = calloc(1, sizeof(*io));

    if (!io) {
        snprintf(error, size, "out of memory");
        return -ENOMEM;
    }
    io->plan = plan;
    io->result = result;
    io->deliver = deliver;
    io->unreachable = unreachable;
    io->family = plan->server.family;
    io->sock_len = io->family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    io->shared = plan->source_count > 1;
    io->sources = io->shared ? plan->source_count : 1;
    io->by_batch = !plan->put && bench_has_windows(plan);
    io->gro = plan->gro && io->by_batch;
    io->datagram_max = bench_datagram_max(plan);
    io->epoll_fd = io->wake_fd = -1;
    int err = open_all(io, clients, error, size);
    if (err < 0) {
        bench_io_free(io);
        return err;
    }
    *ret = io;
    return 0;
}

void bench_io_free(struct bench_io *io)
{
    if (!io)
        return;
    for (unsigned i = 0; i < io->port_count; i++) {
        if (io->ports[i].fd >= 0)
            close(io->ports[i].fd);
        free(io->ports[i].queue);
        if (io->shared)
            free(io->ports[i].owners);
    }
    if (io->epoll_fd >= 0)
        close(io->epoll_fd);
    if (io->wake_fd >= 0)
        close(io->wake_fd);
    free(io->ports);
    free(io->ring);
    free(io->dirty);
    free(io->buffers);
    free(io);
}

int bench_io_take(struct bench_io *io, void *owner, struct bench_endpoint *ret)
{
    if (io->ring_count == 0)
        return -EAGAIN;
    struct bench_endpoint e = io->ring[io->ring_head];
    io->ring_head = (io->ring_head + 1) % io->ring_size;
    io->ring_count--;
    e.port->owners[e.source] = owner;
    *ret = e;
    return 0;
}

void bench_io_release(struct bench_io *io, struct bench_endpoint *e)
{
    union addr_sock nobody = {.sa.sa_family = AF_UNSPEC};

    if (!e->port)
        return;
    e->port->owners[e->source] = NULL;
    /* What the kernel chose it takes back: the next transfer has a port of its own. */
    if (!io->shared)
        (void)connect(e->port->fd, &nobody.sa, sizeof(nobody.sa));
    e->port->connected = false;
    io->ring[(io->ring_head + io->ring_count) % io->ring_size] = *e;
    io->ring_count++;
    e->port = NULL;
}

void *bench_io_owner(const struct bench_endpoint *e)
{
    return e->port ? e->port->owners[e->source] : NULL;
}

void bench_io_connect(struct bench_io *io, struct bench_endpoint *e, const union addr_sock *peer)
{
    if (!io->shared && connect(e->port->fd, &peer->sa, io->sock_len) == 0)
        e->port->connected = true;
}

static int wait_events(struct bench_io *io, struct epoll_event *events, nsec now, nsec deadline)
{
    struct timespec ts;
    nsec wait = deadline > now ? deadline - now : 0;

    if (io->plan->spin)
        wait = 0;
    wait = MIN(wait, NSEC_PER_SEC);
    ts.tv_sec = (time_t)(wait / NSEC_PER_SEC);
    ts.tv_nsec = (long)(wait % NSEC_PER_SEC);
    int n = epoll_pwait2(io->epoll_fd, events, IO_EVENTS, &ts, NULL);
    if (n < 0 && errno == ENOSYS) /* before Linux 5.11 */
        n = epoll_wait(io->epoll_fd, events, IO_EVENTS,
                       (int)((wait + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC));
    return n;
}

nsec bench_io_wait(struct bench_io *io, nsec now, nsec deadline)
{
    struct epoll_event events[IO_EVENTS];
    int n = wait_events(io, events, now, deadline);

    io->result->wakeups++;
    now = loop_clock();
    for (int i = 0; i < n; i++) {
        struct bench_port *port = events[i].data.ptr;
        uint64_t count;
        if (!port) {
            if (read(io->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
                io->result->send_errors++;
            continue;
        }
        io_receive(io, port, events[i].events, now);
    }
    return now;
}

void bench_io_wake(struct bench_io *io)
{
    uint64_t one = 1;

    if (write(io->wake_fd, &one, sizeof(one)) < 0)
        return; /* it is awake already */
}
