/*
 * Linked into ringtftpd it makes a server whose ring fails when a test wants it to. The
 * environment says how:
 *
 *   RINGTFTPD_FAULT=OPERATION,AT,ERRNO,AFTER,COUNT
 *
 * OPERATION is a name of file_op_name(); AT is submit or complete; the first AFTER operations of
 * that kind are left alone, the next COUNT fail with ERRNO, and so do these when they are tried
 * once more on the ring. Everything else is the real server.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "file/file.h"

struct fault {
    char op[16], at[16];
    int err;
    unsigned long after, count;
    unsigned long seen;
    const struct file_req *failing; /* without locks: for servers with one worker */
};

struct file_io *__real_file_io_new(struct loop *loop, struct ring *ring,
                                   const struct file_config *config);
struct file_io *__wrap_file_io_new(struct loop *loop, struct ring *ring,
                                   const struct file_config *config);

static int inject(void *arg, const struct file_req *req, bool completing, int64_t result)
{
    struct fault *f = arg;

    (void)result;
    if (completing != (strcmp(f->at, "complete") == 0) || strcmp(f->op, file_op_name(req->op)) != 0)
        return 0;
    if (req == f->failing) {
        f->failing = req->hot ? req : NULL;
        return -f->err;
    }
    unsigned long n = f->seen++;
    if (n < f->after || n - f->after >= f->count)
        return 0;
    f->failing = req->hot ? req : NULL; /* a hot read is tried again */
    return -f->err;
}

static void read_fault(struct fault *f)
{
    const char *text = getenv("RINGTFTPD_FAULT");

    if (text && sscanf(text, "%15[^,],%15[^,],%d,%lu,%lu", f->op, f->at, &f->err, &f->after,
                       &f->count) == 5)
        return;
    fputs("ringtftpd-faulty: RINGTFTPD_FAULT is not OPERATION,AT,ERRNO,AFTER,COUNT\n", stderr);
    exit(EX_USAGE);
}

struct file_io *__wrap_file_io_new(struct loop *loop, struct ring *ring,
                                   const struct file_config *config)
{
    static struct fault fault;
    struct file_config with = *config;

    if (!fault.err)
        read_fault(&fault);
    with.inject = inject;
    with.inject_arg = &fault;
    return __real_file_io_new(loop, ring, &with);
}
