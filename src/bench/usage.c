#include "bench/usage.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES_MAX 65536

/* One process as /proc/PID/stat tells it; fields as in proc(5). */
struct process {
    int pid, parent;
    uint64_t own_ticks;   /* fields 14 and 15 */
    uint64_t child_ticks; /* fields 16 and 17: of children that were waited for */
    unsigned threads;     /* field 20 */
    uint64_t pages;       /* field 24 */
    bool counted;
};

static int read_process(int pid, struct process *ret)
{
    char path[64], text[1024];

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *in = fopen(path, "re");
    if (!in)
        return -ESRCH;
    size_t n = fread(text, 1, sizeof(text) - 1, in);
    fclose(in);
    text[n] = '\0';
    char *end = strrchr(text, ')'); /* the name before it may hold anything */
    unsigned long long user, system, child_user, child_system, pages;
    int parent;
    unsigned threads;
    if (!end || sscanf(end + 1,
                       " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu %*d %*d "
                       "%u %*d %*u %*u %llu",
                       &parent, &user, &system, &child_user, &child_system, &threads, &pages) != 7)
        return -ESRCH;
    *ret = (struct process){.pid = pid,
                            .parent = parent,
                            .own_ticks = user + system,
                            .child_ticks = child_user + child_system,
                            .threads = threads,
                            .pages = pages};
    return 0;
}

static uint64_t read_switches(int pid)
{
    char path[64], line[256];
    unsigned long long sum = 0, n;

    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    DIR *dir = opendir(path);
    if (!dir)
        return 0;
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        if (!isdigit((unsigned char)d->d_name[0]))
            continue;
        snprintf(path, sizeof(path), "/proc/%d/task/%.20s/status", pid, d->d_name);
        FILE *in = fopen(path, "re");
        while (in && fgets(line, sizeof(line), in))
            if (sscanf(line, "voluntary_ctxt_switches: %llu", &n) == 1 ||
                sscanf(line, "nonvoluntary_ctxt_switches: %llu", &n) == 1)
                sum += n;
        if (in)
            fclose(in);
    }
    closedir(dir);
    return sum;
}

/* The most that was ever resident, by the kernel's count; 0: it does not say. */
static uint64_t read_high(int pid)
{
    char path[64], line[256];
    unsigned long long kib = 0;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    FILE *in = fopen(path, "re");
    while (in && fgets(line, sizeof(line), in))
        if (sscanf(line, "VmHWM: %llu", &kib) == 1)
            break;
    if (in)
        fclose(in);
    return kib * 1024;
}

/* Between two looks at it memory comes and goes; the mark moves only when there was never more. */
static void note_high(struct bench_watch *w)
{
    uint64_t high = read_high(w->pid);

    if (w->memory_high > 0 && high > w->memory_high)
        w->memory_peak = MAX(w->memory_peak, high);
    w->memory_high = high;
}

/* The process's own clock counts nanoseconds; /proc only ticks. */
static nsec own_cpu(const struct process *p)
{
    clockid_t clock;
    struct timespec ts;

    if (clock_getcpuclockid(p->pid, &clock) == 0 && clock_gettime(clock, &ts) == 0)
        return (nsec)ts.tv_sec * NSEC_PER_SEC + (nsec)ts.tv_nsec;
    return p->own_ticks * (NSEC_PER_SEC / (nsec)sysconf(_SC_CLK_TCK));
}

static void count_process(struct process *p, bool closely, struct bench_usage *u)
{
    p->counted = true;
    u->cpu += own_cpu(p) + p->child_ticks * (NSEC_PER_SEC / (nsec)sysconf(_SC_CLK_TCK));
    u->memory += p->pages * (uint64_t)sysconf(_SC_PAGESIZE);
    if (closely)
        u->switches += read_switches(p->pid);
    u->processes++;
    u->threads += p->threads;
}

static unsigned list_processes(struct process **ret)
{
    DIR *dir = opendir("/proc");
    struct process *all = NULL;
    unsigned count = 0, room = 0;

    for (struct dirent *d; dir && count < PROCESSES_MAX && (d = readdir(dir)) != NULL;) {
        if (!isdigit((unsigned char)d->d_name[0]))
            continue;
        if (count == room) {
            room = room ? 2 * room : 256;
            struct process *more = realloc(all, room * sizeof(*all));
            if (!more)
                break;
            all = more;
        }
        if (read_process((int)strtol(d->d_name, NULL, 10), &all[count]) == 0)
            count++;
    }
    if (dir)
        closedir(dir);
    *ret = all;
    return count;
}

/* The process and all that descend from it. */
static int read_tree(int pid, bool closely, struct bench_usage *u)
{
    struct process *all;
    unsigned count = list_processes(&all);
    int highest = pid;
    bool found = true;

    for (unsigned i = 0; i < count; i++)
        highest = MAX(highest, MAX(all[i].pid, all[i].parent));
    bool *in_tree = calloc((size_t)highest + 1, sizeof(*in_tree));
    while (found && in_tree) {
        found = false;
        for (unsigned i = 0; i < count; i++) {
            if (all[i].counted || (all[i].pid != pid && !in_tree[all[i].parent]))
                continue;
            count_process(&all[i], closely, u);
            in_tree[all[i].pid] = found = true;
        }
    }
    free(in_tree);
    free(all);
    return u->processes > 0 ? 0 : -ESRCH;
}

/* A number after `key` in a file of a control group; without a key the first. */
static int group_number(const char *group, const char *file, const char *key, uint64_t *ret)
{
    char path[4200], line[256];
    unsigned long long n;
    int err = -ENOENT;

    snprintf(path, sizeof(path), "%s%s/%s", group[0] == '/' ? "" : "/sys/fs/cgroup/", group, file);
    FILE *in = fopen(path, "re");
    if (!in)
        return -errno;
    while (err < 0 && fgets(line, sizeof(line), in)) {
        size_t len = strlen(key);
        if (strncmp(line, key, len) == 0 && sscanf(line + len, "%llu", &n) == 1) {
            *ret = n;
            err = 0;
        }
    }
    fclose(in);
    return err;
}

static int read_group(const char *group, struct bench_watch *w, struct bench_usage *u)
{
    uint64_t n, bytes, peak;
    int err = group_number(group, "cpu.stat", "usage_usec ", &n);

    if (err == 0)
        u->cpu = n * NSEC_PER_USEC;
    else if ((err = group_number(group, "cpuacct.usage", "", &n)) == 0) /* the first version */
        u->cpu = n;
    else
        return err;
    if (w->pid > 0)
        return 0;
    if (group_number(group, "memory.current", "", &bytes) == 0)
        u->memory = bytes;
    if (group_number(group, "memory.peak", "", &peak) == 0)
        w->memory_peak = MAX(w->memory_peak, peak);
    return 0;
}

int bench_usage_read(struct bench_watch *w, bool closely, struct bench_usage *ret)
{
    struct bench_usage u = {0};
    int err = w->pid > 0 ? read_tree(w->pid, closely, &u) : 0;

    if (err == 0 && w->cgroup)
        err = read_group(w->cgroup, w, &u);
    if (err < 0)
        return err;
    u.known = true;
    w->memory_peak = MAX(w->memory_peak, u.memory);
    if (w->pid > 0 && closely)
        note_high(w);
    *ret = u;
    return 0;
}
