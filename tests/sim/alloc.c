/*
 * Counts the allocations of the program, and lets one fail. The linker leads malloc() and its kin
 * here (--wrap). The simulation's own files and the simulator itself never fail.
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
void __wrap_free(void *p);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);

struct file_mem;
void __real_file_mem_submit(struct file_mem *m, struct file_req *req);
void __real_file_mem_collect(struct file_mem *m);
void __wrap_file_mem_submit(struct file_mem *m, struct file_req *req);
void __wrap_file_mem_collect(struct file_mem *m);

static uint64_t in_use, made, failing;
static bool armed, failing_on;

uint64_t alloc_in_use(void)
{
    return in_use;
}

void alloc_fail(uint64_t nth, bool all_after)
{
    failing = nth;
    failing_on = all_after;
    made = 0;
}

bool alloc_arm(bool on)
{
    bool was = armed;

    armed = on;
    return was;
}

uint64_t alloc_made(void)
{
    return made;
}

static bool fails(void)
{
    if (!armed)
        return false;
    made++;
    return failing && (made == failing || (failing_on && made > failing));
}

static void *counted(void *p)
{
    in_use += p != NULL;
    return p;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : counted(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n)
{
    if (fails())
        return NULL;
    return p ? __real_realloc(p, n) : counted(__real_malloc(n));
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
    return size && n > SIZE_MAX / size ? NULL : realloc(p, n * size);
}

void __wrap_free(void *p)
{
    in_use -= p != NULL;
    __real_free(p);
}

char *__wrap_strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    char *p = malloc(n);

    return p ? memcpy(p, text, n) : NULL;
}

char *__wrap_strndup(const char *text, size_t n)
{
    size_t len = strnlen(text, n);
    char *p = calloc(1, len + 1);

    return p ? memcpy(p, text, len) : NULL;
}

/* The files of the simulation may not fail to allocate. */
void __wrap_file_mem_submit(struct file_mem *m, struct file_req *req)
{
    bool was = armed;

    armed = false;
    __real_file_mem_submit(m, req);
    armed = was;
}

void __wrap_file_mem_collect(struct file_mem *m)
{
    bool was = armed;

    armed = false;
    __real_file_mem_collect(m);
    armed = was;
}
