#include "server/self_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "config.h"
#include "server/privileges.h"
#include "server/way_out.h"

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

/* ---- Tries ---- */

static int try_open(struct self_test *t)
{
    (void)t;
    return way_out_open(OUTSIDE);
}

static int try_openat2(struct self_test *t)
{
    (void)t;
    return way_out_openat2(AT_FDCWD, OUTSIDE, O_RDONLY);
}

#if HAVE_IO_URING
static int try_ring_openat(struct self_test *t)
{
    return way_out_ring(t->ring, way_out_prep_openat, OUTSIDE);
}

static int try_ring_openat2(struct self_test *t)
{
    return way_out_ring(t->ring, way_out_prep_openat2, OUTSIDE);
}

static int try_second_ring(struct self_test *t)
{
    (void)t;
    return way_out_second_ring();
}
#endif

static int try_exec(struct self_test *t)
{
    (void)t;
    return way_out_exec();
}

static int try_ptrace(struct self_test *t)
{
    (void)t;
    return way_out_result(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int try_tcp(struct self_test *t)
{
    (void)t;
    return way_out_tcp();
}

static int try_unix(struct self_test *t)
{
    (void)t;
    return way_out_socket(AF_UNIX, SOCK_STREAM, 0);
}

static int try_packet(struct self_test *t)
{
    (void)t;
    return way_out_socket(AF_PACKET, SOCK_RAW, 0);
}

static int try_root(struct self_test *t)
{
    (void)t;
    return way_out_result(setresuid(0, 0, 0));
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

/* The tries go to a ring that is made for them, with the rights of the workers' own. */
static void say_ring(const struct self_test *t)
{
    char text[64];

    snprintf(text, sizeof(text), "%s%s", t->c->rings == 0 ? "not used; a ring for this test: " : "",
             t->ring_refused                            ? "not to be had"
             : ring_features(t->ring) & RING_RESTRICTED ? "restricted"
                                                        : "not restricted");
    say("io_uring", text);
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
    say_ring(t);
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
    if (tries[i].how & NEEDS_RING && ring_error(t->ring)) {
        say(tries[i].what, "the ring broke: not tried");
        return false;
    }
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
