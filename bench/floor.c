/*
 * The floor: the least a TFTP server can do on this kernel. One thread, one epoll, recvmmsg and
 * sendmmsg, trains by UDP_SEGMENT, files preloaded into memory. No retransmission, no checks, no
 * log, no limits: a yardstick for the benchmarks, never to be used as a server.
 *
 * Usage: floor PORT FILE...   (IPv4 loopback only; a request names the file by its base name)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH    64
#define PEERS    (1 << 16) /* power of two; more clients than this do not fit */
#define FILES    4096
#define SEGMENTS 64
#define GSO_MAX  65507

struct file {
    const char *name;
    const uint8_t *p;
    uint64_t size;
};

struct peer {
    uint64_t key; /* 0: free */
    const struct file *file;
    uint64_t acked; /* blocks */
    uint32_t blksize, window;
};

/* One outgoing message: a train or a single datagram. */
struct out {
    struct sockaddr_in to;
    struct iovec iov[2 * SEGMENTS];
    uint8_t headers[SEGMENTS][4];
    uint8_t oack[128];
    char control[CMSG_SPACE(sizeof(uint16_t))];
};

static struct file files[FILES];
static unsigned file_count;
static struct peer peers[PEERS];
static struct out outs[BATCH * 4];
static struct mmsghdr out_msgs[BATCH * 4];
static unsigned out_count;
static int tid;

static void flush_out(void)
{
    unsigned done = 0;

    while (done < out_count) {
        int n = sendmmsg(tid, out_msgs + done, out_count - done, 0);
        if (n > 0)
            done += (unsigned)n;
        else if (errno != EAGAIN && errno != EINTR)
            done++;
    }
    out_count = 0;
}

static struct out *next_out(const struct sockaddr_in *to)
{
    if (out_count == BATCH * 4)
        flush_out();
    struct out *o = &outs[out_count];
    struct msghdr *m = &out_msgs[out_count++].msg_hdr;
    o->to = *to;
    memset(m, 0, sizeof(*m));
    m->msg_name = &o->to;
    m->msg_namelen = sizeof(o->to);
    m->msg_iov = o->iov;
    return o;
}

static void set_segment(struct out *o, uint16_t segment)
{
    struct msghdr *m = &out_msgs[o - outs].msg_hdr;
    m->msg_control = o->control;
    m->msg_controllen = sizeof(o->control);
    struct cmsghdr *c = CMSG_FIRSTHDR(m);
    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof(segment));
    memcpy(CMSG_DATA(c), &segment, sizeof(segment));
}

static struct peer *find_peer(const struct sockaddr_in *from, bool make)
{
    uint64_t key = ((uint64_t)from->sin_addr.s_addr << 16 | from->sin_port) + 1;
    uint64_t i = key * UINT64_C(0x9e3779b97f4a7c15) >> 48;

    while (peers[i & (PEERS - 1)].key != 0 && peers[i & (PEERS - 1)].key != key)
        i++;
    struct peer *p = &peers[i & (PEERS - 1)];
    if (p->key == 0 && !make)
        return NULL;
    p->key = key;
    return p;
}

/* Sends blocks acked+1 .. acked+window, as few messages as possible. */
static void send_window(const struct peer *p, const struct sockaddr_in *to)
{
    uint64_t last = p->file->size / p->blksize + 1;
    uint64_t block = p->acked + 1;
    uint64_t end = p->acked + p->window < last ? p->acked + p->window : last;

    while (block <= end) {
        uint64_t fit = GSO_MAX / (p->blksize + 4);
        uint64_t n = end - block + 1;
        n = n < fit ? n : fit;
        n = n < 1 ? 1 : n > SEGMENTS ? SEGMENTS : n;
        struct out *o = next_out(to);
        struct msghdr *m = &out_msgs[o - outs].msg_hdr;
        for (uint64_t i = 0; i < n; i++, block++) {
            uint64_t off = (block - 1) * p->blksize;
            uint64_t len = p->file->size - off < p->blksize ? p->file->size - off : p->blksize;
            o->headers[i][0] = 0;
            o->headers[i][1] = 3;
            o->headers[i][2] = (uint8_t)(block >> 8);
            o->headers[i][3] = (uint8_t)block;
            o->iov[2 * i] = (struct iovec){o->headers[i], 4};
            o->iov[2 * i + 1] = (struct iovec){(void *)(uintptr_t)(p->file->p + off), len};
        }
        m->msg_iovlen = 2 * n;
        if (n > 1)
            set_segment(o, (uint16_t)(p->blksize + 4));
    }
}

static void on_request(const uint8_t *d, size_t n, const struct sockaddr_in *from)
{
    const char *name = (const char *)d + 2, *end = (const char *)d + n;
    struct peer *p = find_peer(from, true);
    size_t oack = 2;

    if (n < 4 || d[n - 1] != 0 || d[1] != 1)
        return;
    const char *base = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
    p->file = NULL;
    for (unsigned i = 0; i < file_count && !p->file; i++)
        if (strcmp(files[i].name, base) == 0)
            p->file = &files[i];
    if (!p->file)
        return;
    p->acked = 0;
    p->blksize = 512;
    p->window = 1;
    struct out *o = next_out(from);
    const char *s = name + strlen(name) + 1;
    for (s += s < end ? strlen(s) + 1 : 0; s < end;) {
        const char *value = s + strlen(s) + 1;
        if (value >= end)
            break;
        if (strcmp(s, "blksize") == 0)
            p->blksize = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(s, "windowsize") == 0)
            p->window = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(s, "tsize") != 0)
            goto next;
        oack += (size_t)snprintf((char *)o->oack + oack, sizeof(o->oack) - oack, "%s", s) + 1;
        if (strcmp(s, "tsize") == 0)
            oack += (size_t)snprintf((char *)o->oack + oack, sizeof(o->oack) - oack, "%llu",
                                     (unsigned long long)p->file->size) +
                    1;
        else
            oack +=
                (size_t)snprintf((char *)o->oack + oack, sizeof(o->oack) - oack, "%s", value) + 1;
    next:
        s = value + strlen(value) + 1;
    }
    if (oack == 2) {
        out_count--;
        send_window(p, from);
        return;
    }
    o->oack[0] = 0;
    o->oack[1] = 6;
    o->iov[0] = (struct iovec){o->oack, oack};
    out_msgs[o - outs].msg_hdr.msg_iovlen = 1;
}

static void on_ack(const uint8_t *d, size_t n, const struct sockaddr_in *from)
{
    struct peer *p = find_peer(from, false);

    if (!p || !p->file || n < 4 || d[1] != 4)
        return;
    uint16_t wire = (uint16_t)(d[2] << 8 | d[3]);
    uint64_t last = p->file->size / p->blksize + 1;
    uint64_t acked = p->acked + (uint16_t)(wire - (uint16_t)p->acked);
    if (acked > last || (acked == p->acked && acked != 0))
        return;
    p->acked = acked;
    if (acked < last)
        send_window(p, from);
    else
        p->file = NULL;
}

static void drain(int fd, void (*fn)(const uint8_t *, size_t, const struct sockaddr_in *))
{
    static uint8_t bufs[BATCH][600];
    static struct sockaddr_in from[BATCH];
    static struct iovec iov[BATCH];
    static struct mmsghdr msgs[BATCH];

    for (unsigned i = 0; i < BATCH; i++) {
        iov[i] = (struct iovec){bufs[i], sizeof(bufs[i])};
        msgs[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
                                          .msg_namelen = sizeof(from[i]),
                                          .msg_iov = &iov[i],
                                          .msg_iovlen = 1};
    }
    int n = recvmmsg(fd, msgs, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; i++)
        fn(bufs[i], msgs[i].msg_len, &from[i]);
}

static int udp(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int size = 8 << 20;

    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        perror("floor: bind");
        exit(1);
    }
    return fd;
}

static void preload(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || file_count == FILES) {
        fprintf(stderr, "floor: cannot load %s\n", path);
        exit(1);
    }
    struct file *f = &files[file_count++];
    f->name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    f->size = (uint64_t)st.st_size;
    f->p = st.st_size > 0
               ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0)
               : NULL;
    close(fd);
    if (f->p == MAP_FAILED) {
        perror("floor: mmap");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    struct epoll_event ev[2];

    if (argc < 3) {
        fputs("usage: floor PORT FILE...\n", stderr);
        return 64;
    }
    for (int i = 2; i < argc; i++)
        preload(argv[i]);
    int listener = udp((uint16_t)strtoul(argv[1], NULL, 10));
    tid = udp(0);
    int ep = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(ep, EPOLL_CTL_ADD, listener,
              &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
    epoll_ctl(ep, EPOLL_CTL_ADD, tid, &(struct epoll_event){.events = EPOLLIN, .data.fd = tid});
    for (;;) {
        int n = epoll_wait(ep, ev, 2, -1);
        for (int i = 0; i < n; i++)
            drain(ev[i].data.fd, ev[i].data.fd == listener ? on_request : on_ack);
        flush_out();
    }
}
