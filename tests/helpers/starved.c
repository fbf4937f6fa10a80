/*
 * Linked into ringtftpd it makes a server for which memory runs out when a test wants it to, also
 * in the libraries. The environment says how:
 *
 *   RINGTFTPD_STARVED=start,AT,COUNT    from the program's begin on, the AT-th allocation and so
 * many in all RINGTFTPD_STARVED=reload,0,COUNT    in the n-th reload the n-th allocation of the
 * thread that reads the configuration, and so many in all
 *
 * At each reload and at the end it says what was allocated and what is held.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "server/conf_reader.h"

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);
void __libc_free(void *p);

int __real_conf_reader_read(struct conf_reader *r, char **ret_text, size_t *ret_len);
int __wrap_conf_reader_read(struct conf_reader *r, char **ret_text, size_t *ret_len);

static bool at_start, at_reload;
static unsigned long at, count, reloads;
static atomic_ulong made;
static atomic_long held;
static _Thread_local bool reloading;

static bool fails(void)
{
    if (!at_start && !reloading)
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

/* The first one is still of the start: the server looks whether it will be able to. */
int __wrap_conf_reader_read(struct conf_reader *r, char **ret_text, size_t *ret_len)
{
    if (at_reload) {
        say("reload");
        at = reloads++;
        atomic_store(&made, 0);
        reloading = at > 0;
    }
    return __real_conf_reader_read(r, ret_text, ret_len);
}

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("RINGTFTPD_STARVED");
    char when[8];

    if (!text || sscanf(text, "%7[^,],%lu,%lu", when, &at, &count) != 3) {
        fputs("ringtftpd-starved: RINGTFTPD_STARVED is not start|reload,AT,COUNT\n", stderr);
        _exit(EX_USAGE);
    }
    at_start = strcmp(when, "start") == 0;
    at_reload = !at_start;
}

__attribute__((destructor)) static void end(void)
{
    at_start = reloading = false;
    say("end");
}
