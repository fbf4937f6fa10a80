#include "server/self_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

#include "config.h"
#include "server/privileges.h"
#if HAVE_IO_URING
#include "loop/uring_compat.h"
#endif

#define OUTSIDE "/etc/passwd" /* everybody may read it, but for us */

void self_test_init(struct self_test *t, const struct confinement *c)
{
    *t = (struct self_test){.c = c};
}

void self_test_prepare(struct self_test *t, const struct conf *conf, int root_fd)
{
    struct ring_config config = {
        .queue_depth = 8,
        .sq_thread_cpu = -1,
        .restricted = conf->security_ring_restrictions != CONFINE_OFF,
    };

    t->ring = ring_new(&config);
    t->ring_refused = !t->ring;
    t->outside =
        faccessat(root_fd, "passwd", F_OK, 0) < 0 && faccessat(root_fd, &OUTSIDE[1], F_OK, 0) < 0;
}

void self_test_fini(struct self_test *t)
{
    ring_free(t->ring);
}

/* ---- Tries: 0 when it got through, else the errno it was refused with ---- */

static int opened(long fd)
{
    if (fd < 0)
        return errno;
    close((int)fd);
    return 0;
}

static int try_open(struct self_test *t)
{
    (void)t;
    return opened(open(OUTSIDE, O_RDONLY | O_CLOEXEC));
}

static int try_openat2(struct self_test *t)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC};

    (void)t;
    return opened(syscall(SYS_openat2, AT_FDCWD, OUTSIDE, &how, sizeof(how)));
}

#if HAVE_IO_URING
struct ring_try {
    struct ring_op op;
    int res;
    bool done;
};

static void tried(struct ring_op *op, int res, uint32_t flags)
{
    struct ring_try *try = container_of(op, struct ring_try, op);

    (void)flags;
    try->res = res;
    try->done = true;
}

static int through_ring(struct ring *ring, void (*prep)(struct io_uring_sqe *sqe))
{
    struct ring_try try = {.op = {tried}};
    struct io_uring_sqe *sqe = ring_sqe(ring, &try.op);

    if (!sqe)
        return EAGAIN;
    prep(sqe);
    while (!try.done && ring_wait(ring, NSEC_NEVER, 0) == 0)
        ring_deliver(ring, 1);
    if (!try.done)
        return -ring_error(ring);
    errno = -try.res;
    return opened(try.res);
}

static void prep_openat(struct io_uring_sqe *sqe)
{
    io_uring_prep_openat(sqe, AT_FDCWD, OUTSIDE, O_RDONLY | O_CLOEXEC, 0);
}

static void prep_openat2(struct io_uring_sqe *sqe)
{
    static struct open_how how = {.flags = O_RDONLY | O_CLOEXEC};

    io_uring_prep_openat2(sqe, AT_FDCWD, OUTSIDE, &how);
}

static int try_ring_openat(struct self_test *t)
{
    return through_ring(t->ring, prep_openat);
}

static int try_ring_openat2(struct self_test *t)
{
    return through_ring(t->ring, prep_openat2);
}

static int try_second_ring(struct self_test *t)
{
    struct io_uring_params p = {0};

    (void)t;
    return opened(syscall(SYS_io_uring_setup, 4, &p));
}
#endif

/* No such program: with a way to it the answer would be ENOENT. */
static int try_exec(struct self_test *t)
{
    char *const none[] = {NULL};

    (void)t;
    (void)execve("/nonexistent", none, none);
    return errno;
}

static int try_ptrace(struct self_test *t)
{
    (void)t;
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 ? errno : 0;
}

static int try_tcp(struct self_test *t)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET,
        .sin_port = htons(1),
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)t;
    if (fd < 0)
        return errno;
    int err = connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 ? errno : 0;
    close(fd);
    return err == ECONNREFUSED ? 0 : err; /* the packet was out */
}

static int try_unix(struct self_test *t)
{
    (void)t;
    return opened(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int try_packet(struct self_test *t)
{
    (void)t;
    return opened(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
}

static int try_root(struct self_test *t)
{
    (void)t;
    return setresuid(0, 0, 0) < 0 ? errno : 0;
}

/* ---- What has to hold ---- */

enum {
    BY_LANDLOCK = 1,
    BY_LANDLOCK_NET = 32, /* ABI 4 */
    BY_SECCOMP = 2,
    BY_RESTRICTIONS = 4,
    BY_PRIVILEGES = 8,
    NEEDS_RING = 16,
    NEEDS_OUTSIDE = 64, /* a root that does not hold the file */
};

static const struct {
    const char *what;
    int (*try)(struct self_test *t);
    unsigned how; /* any of these stops it */
} tries[] = {
    {"open " OUTSIDE, try_open, NEEDS_OUTSIDE | BY_LANDLOCK | BY_SECCOMP},
    {"open it by openat2", try_openat2, NEEDS_OUTSIDE | BY_LANDLOCK},
#if HAVE_IO_URING
    {"open it by the ring, openat", try_ring_openat,
     BY_LANDLOCK | BY_RESTRICTIONS | NEEDS_RING | NEEDS_OUTSIDE},
    {"open it by the ring, openat2", try_ring_openat2, BY_LANDLOCK | NEEDS_RING | NEEDS_OUTSIDE},
    {"make another ring", try_second_ring, BY_SECCOMP},
#endif
    {"execute a program", try_exec, BY_SECCOMP},
    {"trace a process", try_ptrace, BY_SECCOMP},
    {"connect by TCP", try_tcp, BY_LANDLOCK_NET | BY_SECCOMP},
    {"AF_UNIX socket", try_unix, BY_SECCOMP},
    {"AF_PACKET socket", try_packet, BY_SECCOMP | BY_PRIVILEGES},
    {"become root", try_root, BY_SECCOMP | BY_PRIVILEGES},
};

static unsigned in_force(const struct self_test *t)
{
    const struct confinement *c = t->c;

    return (c->landlock > 0 ? BY_LANDLOCK : 0U) | (c->landlock >= 4 ? BY_LANDLOCK_NET : 0U) |
           (c->seccomp > 0 ? BY_SECCOMP : 0U) |
           (t->ring && ring_features(t->ring) & RING_RESTRICTED ? BY_RESTRICTIONS : 0U) |
           (geteuid() != 0 ? BY_PRIVILEGES : 0U);
}

static void say(const char *what, const char *state)
{
    printf("%-30s %s\n", what, state);
}

static bool say_state(const struct self_test *t)
{
    const struct confinement *c = t->c;
    char word[CONFINE_WORD_MAX], text[192];
    bool none_left = privileges_none_left();
    bool no_new = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;

    snprintf(text, sizeof(text), "%s (%u), group %s (%u)", c->who.user, (unsigned)geteuid(),
             c->who.group, (unsigned)getegid());
    say("user", text);
    say("capabilities", none_left ? "none" : "SOME ARE LEFT");
    say("no_new_privs", no_new ? "set" : "NOT SET");
    confine_word(c->landlock, word);
    snprintf(text, sizeof(text), "%s, ABI %d", word, c->landlock);
    say("Landlock", c->landlock > 0 ? text : word);
    say("system call filter", confine_word(c->seccomp, word));
    say("io_uring", t->ring_refused                            ? "not to be had"
                    : ring_features(t->ring) & RING_RESTRICTED ? "restricted"
                                                               : "not restricted");
    return none_left && no_new;
}

static bool run_try(struct self_test *t, size_t i)
{
    unsigned held_by = tries[i].how & in_force(t);
    char state[128];

    if (tries[i].how & NEEDS_RING && !t->ring) {
        say(tries[i].what, "no ring to try it with");
        return true;
    }
    int err = tries[i].try(t);
    bool ok = err != 0 || !held_by;
    if (err != 0)
        snprintf(state, sizeof(state), "refused (%s)", strerrorname_np(err));
    else
        snprintf(state, sizeof(state), "%s",
                 ok ? "possible: nothing in force is against it" : "POSSIBLE");
    say(tries[i].what, state);
    return ok;
}

int self_test_run(struct self_test *t)
{
    bool held = say_state(t);

    for (size_t i = 0; i < ARRAY_LEN(tries); i++)
        if (t->outside || !(tries[i].how & NEEDS_OUTSIDE))
            held = run_try(t, i) && held;
    say("result", held ? "held" : "NOT HELD");
    fflush(stdout);
    return held ? EX_OK : EX_SOFTWARE;
}
