/* What a process uses, and its children whether they have ended or not. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/usage.h"

static void burn(nsec much)
{
    struct timespec ts;

    do
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    while ((nsec)ts.tv_sec * NSEC_PER_SEC + (nsec)ts.tv_nsec < much);
}

static void test_process(void **state)
{
    struct bench_watch w = {.pid = getpid()};
    struct bench_usage before, after;

    (void)state;
    assert_int_equal(bench_usage_read(&w, true, &before), 0);
    assert_int_equal(before.processes, 1);
    assert_true(before.memory > 100000);
    burn(before.cpu + 50 * NSEC_PER_MSEC);
    assert_int_equal(bench_usage_read(&w, true, &after), 0);
    assert_true(after.cpu >= before.cpu + 50 * NSEC_PER_MSEC);
    assert_true(w.memory_peak >= before.memory);
}

/* What came and went between two looks. */
static void test_peak(void **state)
{
    struct bench_watch w = {.pid = getpid()};
    struct bench_usage before, after;
    size_t much = 64 << 20;

    (void)state;
    assert_int_equal(bench_usage_read(&w, true, &before), 0);
    /* Not malloc(): a sanitizer keeps what is freed. */
    char *p = mmap(NULL, much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    for (size_t i = 0; i < much; i += 4096)
        ((volatile char *)p)[i] = 1;
    munmap(p, much);
    assert_int_equal(bench_usage_read(&w, true, &after), 0);
    assert_true(after.memory < before.memory + much / 2);
    assert_true(w.memory_peak >= before.memory + much / 2);
}

static void test_children(void **state)
{
    struct bench_watch w = {.pid = getpid()};
    struct bench_usage before, during, after;
    int ready[2], status;
    char byte;

    (void)state;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(bench_usage_read(&w, false, &before), 0);
    pid_t child = fork();
    if (child == 0) {
        burn(100 * NSEC_PER_MSEC);
        if (write(ready[1], "x", 1) == 1)
            pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(bench_usage_read(&w, true, &during), 0);
    assert_int_equal(during.processes, 2);
    assert_true(during.cpu >= before.cpu + 100 * NSEC_PER_MSEC);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(bench_usage_read(&w, false, &after), 0);
    assert_int_equal(after.processes, 1);
    assert_true(after.cpu >= before.cpu + 80 * NSEC_PER_MSEC); /* counted in ticks now */
    close(ready[0]);
    close(ready[1]);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[200];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

static void test_group(void **state)
{
    char dir[] = "/tmp/bench-group-XXXXXX", command[100];
    struct bench_watch w = {.cgroup = mkdtemp(dir)};
    struct bench_usage u;

    (void)state;
    assert_int_equal(bench_usage_read(&w, false, &u), -ENOENT);
    write_file(dir, "cpuacct.usage", "1234567890\n");
    assert_int_equal(bench_usage_read(&w, false, &u), 0);
    assert_true(u.cpu == 1234567890);
    write_file(dir, "cpu.stat", "usage_usec 2500\nuser_usec 2000\n");
    write_file(dir, "memory.current", "4096\n");
    write_file(dir, "memory.peak", "8192\n");
    assert_int_equal(bench_usage_read(&w, false, &u), 0);
    assert_true(u.cpu == 2500000 && u.memory == 4096 && w.memory_peak == 8192);
    snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static void test_nobody(void **state)
{
    struct bench_watch w = {.pid = 4194304 + 5};
    struct bench_usage u;

    (void)state;
    assert_int_equal(bench_usage_read(&w, false, &u), -ESRCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_process),  cmocka_unit_test(test_peak),
        cmocka_unit_test(test_children), cmocka_unit_test(test_group),
        cmocka_unit_test(test_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
