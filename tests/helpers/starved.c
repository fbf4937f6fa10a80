/*
 * Linked into ringtftpd it makes a server for which memory runs out when a test wants it to, also
 * in the libraries. The environment says how:
 *
 *   RINGTFTPD_STARVED=start,AT,COUNT    from the program's begin on, the AT-th allocation and as
 *                                       many as COUNT in all
 *   RINGTFTPD_STARVED=open,AT,COUNT     the same, from where the configuration has been read
 *   RINGTFTPD_STARVED=reload,0,COUNT    in the n-th reload the n-th allocation of the thread that
 *                                       reloads, and as many as COUNT in all
 *
 * A look at the users of the system counts as one allocation and fails as one: the C library may
 * end the process when it has no memory for its own tables there.
 *
 * After each reload and at the end it says what was allocated and what is held.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "server/identity.h"

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);
void __libc_free(void *p);

int __real_sigwaitinfo(const sigset_t *set, siginfo_t *info);
int __wrap_sigwaitinfo(const sigset_t *set, siginfo_t *info);
int __real_identity_find(struct identity *id, const struct conf *c, char *error, size_t size);
int __wrap_identity_find(struct identity *id, const struct conf *c, char *error, size_t size);
struct passwd *__real_getpwnam(const char *name);
struct passwd *__wrap_getpwnam(const char *name);
struct passwd *__real_getpwuid(uid_t uid);
struct passwd *__wrap_getpwuid(uid_t uid);
struct group *__real_getgrnam(const char *name);
struct group *__wrap_getgrnam(const char *name);
struct group *__real_getgrgid(gid_t gid);
struct group *__wrap_getgrgid(gid_t gid);

static bool at_start, at_open, at_reload;
static unsigned long at, count, reloads;
static atomic_ulong made;
static atomic_long held;
static _Thread_local bool reloading, looking_up;

static bool fails(void)
{
    if ((!at_start && !reloading) || looking_up)
        return false;
    unsigned long n = atomic_fetch_add(&made, 1) + 1;
    if (at == 0 || n < at || n - at >= count)
        return false;
    errno = ENOMEM;
    return true;
}

static void *counted(void *p)
{
    if (p)
        atomic_fetch_add(&held, 1);
    return p;
}

void *malloc(size_t n)
{
    return fails() ? NULL : counted(__libc_malloc(n));
}

void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : counted(__libc_calloc(n, size));
}

void *realloc(void *p, size_t n)
{
    if (fails())
        return NULL;
    return p ? __libc_realloc(p, n) : counted(__libc_malloc(n));
}

void *aligned_alloc(size_t align, size_t n)
{
    return fails() ? NULL : counted(__libc_memalign(align, n));
}

int posix_memalign(void **ret, size_t align, size_t n)
{
    *ret = aligned_alloc(align, n);
    return *ret ? 0 : ENOMEM;
}

void free(void *p)
{
    if (p)
        atomic_fetch_sub(&held, 1);
    __libc_free(p);
}

static void say(const char *what)
{
    char line[128];
    int n = snprintf(line, sizeof(line), "starved: %s %lu: %lu allocations, %ld held\n", what,
                     reloads, atomic_load(&made), atomic_load(&held));

    (void)!write(STDERR_FILENO, line, (size_t)n);
}

#define LOOK_UP(result, call)                                                                      \
    do {                                                                                           \
        if (fails())                                                                               \
            return NULL;                                                                           \
        looking_up = true;                                                                         \
        result = (call);                                                                           \
        looking_up = false;                                                                        \
        return result;                                                                             \
    } while (0)

struct passwd *__wrap_getpwnam(const char *name)
{
    struct passwd *pw;

    LOOK_UP(pw, __real_getpwnam(name));
}

struct passwd *__wrap_getpwuid(uid_t uid)
{
    struct passwd *pw;

    LOOK_UP(pw, __real_getpwuid(uid));
}

struct group *__wrap_getgrnam(const char *name)
{
    struct group *gr;

    LOOK_UP(gr, __real_getgrnam(name));
}

struct group *__wrap_getgrgid(gid_t gid)
{
    struct group *gr;

    LOOK_UP(gr, __real_getgrgid(gid));
}

int __wrap_identity_find(struct identity *id, const struct conf *c, char *error, size_t size)
{
    at_start |= at_open;
    return __real_identity_find(id, c, error, size);
}

/* Between two waits for a signal there is one reload. */
int __wrap_sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
    if (reloading)
        say("reload");
    reloading = false;
    int sig = __real_sigwaitinfo(set, info);
    if (at_reload && sig == SIGHUP) {
        at = ++reloads;
        atomic_store(&made, 0);
        reloading = true;
    }
    return sig;
}

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("RINGTFTPD_STARVED");
    char when[8];

    if (!text || sscanf(text, "%7[^,],%lu,%lu", when, &at, &count) != 3) {
        fputs("ringtftpd-starved: RINGTFTPD_STARVED is not start|open|reload,AT,COUNT\n", stderr);
        _exit(EX_USAGE);
    }
    at_start = strcmp(when, "start") == 0;
    at_open = strcmp(when, "open") == 0;
    at_reload = strcmp(when, "reload") == 0;
}

__attribute__((destructor)) static void end(void)
{
    at_start = reloading = false;
    say("end");
}
