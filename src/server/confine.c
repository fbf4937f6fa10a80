#include "server/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "obs/log.h"
#include "server/landlock.h"
#include "server/privileges.h"
#include "server/syscall_filter.h"
#include "server/upload_places.h"

int confine_privileges(struct confinement *c, int root_fd, char *error, size_t size)
{
    int code = c->conf->security_chroot ? privileges_chroot(root_fd, error, size) : EX_OK;

    return code != EX_OK ? code
                         : privileges_drop(&c->who, c->conf->security_debuggable, error, size);
}

/* What to make of a kernel's refusal. */
static int judge(int mode, int state, const char *key, char *error, size_t size)
{
    if (state >= 0 || mode != CONFINE_REQUIRE)
        return EX_OK;
    snprintf(error, size, "security.%s: required, but not to be had here (%s: %s)", key,
             strerrorname_np(-state), strerror(-state));
    return EX_OSERR;
}

static int allow_uploads(struct landlock *l, int root_fd, const struct conf *conf)
{
    int err = 0;

    for (size_t i = 0; i < conf->write_allowed_patterns.count && err == 0; i++) {
        int fd = upload_place_open(root_fd, conf->write_allowed_patterns.items[i]);
        if (fd < 0)
            continue; /* nothing can be written through it either */
        err = landlock_allow(l, fd, LANDLOCK_USE_UPLOAD);
        close(fd);
    }
    return err;
}

static int enforce_landlock(const struct conf *conf, int root_fd)
{
    struct landlock l;
    int err = landlock_open(&l);

    if (err == 0)
        err = landlock_allow(&l, root_fd, LANDLOCK_USE_READ);
    if (err == 0 && conf->write_enabled)
        err = allow_uploads(&l, root_fd, conf);
    if (err == 0)
        err = landlock_enforce(&l);
    else
        landlock_close(&l);
    return err < 0 ? err : l.abi;
}

int confine_files(struct confinement *c, int root_fd, char *error, size_t size)
{
    int mode = c->conf->security_landlock;

    c->landlock = mode == CONFINE_OFF ? 0 : enforce_landlock(c->conf, root_fd);
    return judge(mode, c->landlock, "landlock", error, size);
}

int confine_calls(struct confinement *c, char *error, size_t size)
{
    int mode = c->conf->security_seccomp;
    int err = mode == CONFINE_OFF ? 0 : syscall_filter_load();

    c->seccomp = err < 0 ? err : mode != CONFINE_OFF;
    return judge(mode, c->seccomp, "seccomp", error, size);
}

const char *confine_word(int state, char *buf)
{
    if (state < 0)
        snprintf(buf, CONFINE_WORD_MAX, "missing (%s)", strerrorname_np(-state));
    else
        snprintf(buf, CONFINE_WORD_MAX, "%s", state > 0 ? "in force" : "off");
    return buf;
}

void confine_log(const struct confinement *c)
{
    bool lacks = c->landlock < 0 || c->seccomp < 0 ||
                 (c->free_rings > 0 && c->conf->security_ring_restrictions != CONFINE_OFF);
    char word[CONFINE_WORD_MAX];
    struct log_event e;

    log_begin(&e, lacks ? LOG_WARN : LOG_NOTICE, "confined");
    log_str(&e, "user", c->who.user);
    log_str(&e, "group", c->who.group);
    log_str(&e, "landlock", confine_word(c->landlock, word));
    log_str(&e, "seccomp", confine_word(c->seccomp, word));
    log_str(&e, "rings",
            c->rings == 0       ? "none"
            : c->free_rings > 0 ? "unrestricted"
                                : "restricted");
    log_end(&e);
}

/* ---- The root ---- */

static void warn_about_uploads(const struct confinement *c, int root_fd)
{
    const struct conf_list *patterns = &c->conf->write_allowed_patterns;

    for (size_t i = 0; i < patterns->count; i++) {
        int fd = upload_place_open(root_fd, patterns->items[i]);
        int err = fd < 0 ? -fd : faccessat(fd, ".", W_OK | X_OK, 0) < 0 ? errno : 0;

        if (fd >= 0)
            close(fd);
        if (err != 0) {
            log_line(LOG_WARN,
                     "write.allowed_patterns: user \"%s\" cannot write where item %zu leads (%s): "
                     "such uploads will be refused",
                     c->who.user, i + 1, strerror(err));
            return;
        }
    }
}

int confine_check_root(const struct confinement *c, int root_fd, char *error, size_t size)
{
    struct stat st;
    int fd = openat(root_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0) {
        snprintf(error, size, "root: user \"%s\" cannot enter %s: %s", c->who.user, c->conf->root,
                 strerror(errno));
        if (fd >= 0)
            close(fd);
        return EX_NOPERM;
    }
    close(fd);
    if (c->conf->write_enabled)
        warn_about_uploads(c, root_fd);
    else if (st.st_mode & S_IWOTH)
        log_line(LOG_WARN,
                 "root: everybody on this machine may write into %s (mode %04o) although uploads "
                 "are off, expected mode 0755",
                 c->conf->root, (unsigned)st.st_mode & 07777);
    return EX_OK;
}
