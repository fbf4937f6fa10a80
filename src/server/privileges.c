#include "server/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

#define CAPS_END 64 /* as many as the system call can name */

static int failed(const char *what, char *error, size_t size)
{
    snprintf(error, size, "privileges cannot be given up: %s: %s", what, strerror(errno));
    return EX_OSERR;
}

int privileges_chroot(int root_fd, char *error, size_t size)
{
    if (fchdir(root_fd) == 0 && chroot(".") == 0 && chdir("/") == 0)
        return EX_OK;
    snprintf(error, size, "security.chroot: the root cannot be changed (%s)%s", strerror(errno),
             geteuid() != 0 ? "; the server has to be started by root for it" : "");
    return errno == EPERM || errno == EACCES ? EX_NOPERM : EX_OSERR;
}

/* What a program with file capabilities, or one of root, could get by being executed. */
static int drop_bounding(void)
{
    for (unsigned long cap = 0; cap < CAPS_END; cap++) {
        int there = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);

        if (there < 0)
            return errno == EINVAL ? 0 : -1; /* the kernel has no more */
        /* Without CAP_SETPCAP it cannot be done; no_new_privs makes it mean nothing. */
        if (there > 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EPERM)
            return -1;
        if (there > 0 && geteuid() == 0 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) != 0) {
            errno = EPERM;
            return -1;
        }
    }
    return 0;
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
        return -1;
    return (int)syscall(SYS_capset, &header, none);
}

bool privileges_none_left(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct have[_LINUX_CAPABILITY_U32S_3] = {0};
    uint32_t any = 0;

    if (syscall(SYS_capget, &header, have) < 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(have); i++)
        any |= have[i].effective | have[i].permitted | have[i].inheritable;
    return any == 0;
}

/* A call that says it succeeded is not believed. */
static int verify(const struct identity *id, bool debuggable, char *error, size_t size)
{
    uid_t uid[3] = {0};
    gid_t gid[3] = {0};
    const char *wrong = NULL;

    if (getresuid(&uid[0], &uid[1], &uid[2]) < 0 || getresgid(&gid[0], &gid[1], &gid[2]) < 0)
        return failed("who we are", error, size);
    for (size_t i = 0; i < ARRAY_LEN(uid); i++)
        if (uid[i] != id->uid || gid[i] != id->gid)
            wrong = "user or group did not change";
    if (id->change && getgroups(0, NULL) > 0)
        wrong = "supplementary groups are left";
    if (!privileges_none_left())
        wrong = "capabilities are left";
    if (id->uid != 0 && (setresuid(0, 0, 0) == 0 || seteuid(0) == 0 || setuid(0) == 0))
        wrong = "root can be had again";
    if (id->uid != 0 && id->gid != 0 && (setresgid(0, 0, 0) == 0 || setgid(0) == 0))
        wrong = "groups can be had again";
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        wrong = "no_new_privs is not set";
    if (!debuggable && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
        wrong = "the process can still be looked into";
    if (!wrong)
        return EX_OK;
    snprintf(error, size, "privileges cannot be given up: %s", wrong);
    return EX_OSERR;
}

int privileges_drop(const struct identity *id, bool debuggable, char *error, size_t size)
{
    if (drop_bounding() < 0)
        return failed("the bounding set", error, size);
    if (geteuid() == 0 && setgroups(0, NULL) < 0 && id->change)
        return failed("setgroups", error, size);
    if (id->change && setresgid(id->gid, id->gid, id->gid) < 0)
        return failed("setresgid", error, size);
    if (id->change && setresuid(id->uid, id->uid, id->uid) < 0)
        return failed("setresuid", error, size);
    if (drop_capabilities() < 0 && !privileges_none_left()) /* or a filter denies it to all */
        return failed("capset", error, size);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return failed("no_new_privs", error, size);
    if (prctl(PR_SET_DUMPABLE, debuggable ? 1 : 0, 0, 0, 0) < 0)
        return failed("PR_SET_DUMPABLE", error, size);
    return verify(id, debuggable, error, size);
}
