#include "server/identity.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define ID_MAX   (UINT32_MAX - 1) /* the last one means "leave as it is" to the kernel */
#define NO_GROUP ((gid_t)-1)      /* of a user without an entry */

static const char *const default_users[] = {"tftp", "nobody"};

static bool parse_id(const char *text, unsigned *ret)
{
    char *end;

    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    *ret = (unsigned)n;
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && n < ID_MAX;
}

/* getpwnam(3): any other number, or none, says that there is no such entry. */
static bool lookup_failed(void)
{
    switch (errno) {
    case EINTR:
    case EIO:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ERANGE:
        return true;
    default:
        return false;
    }
}

static int cannot_look_up(const char *key, const char *name, char *error, size_t size)
{
    snprintf(error, size, "security.%s: cannot look up \"%s\": %s", key, name, strerror(errno));
    return EX_OSERR;
}

static void take_user(struct identity *id, const struct passwd *pw)
{
    id->uid = pw->pw_uid;
    id->gid = pw->pw_gid;
    snprintf(id->user, sizeof(id->user), "%s", pw->pw_name);
}

static int find_user(struct identity *id, const struct conf *c, char *error, size_t size)
{
    const char *name = c->security_user;
    const struct passwd *pw = NULL;
    unsigned n;

    if (name[0] != '\0') {
        bool number = parse_id(name, &n);
        errno = 0;
        pw = number ? getpwuid(n) : getpwnam(name);
        if (!pw && lookup_failed() && !(number && c->security_group[0] != '\0'))
            return cannot_look_up("user", name, error, size);
        if (!pw && number) {
            id->uid = n;
            id->gid = NO_GROUP;
            snprintf(id->user, sizeof(id->user), "%s", name);
            return EX_OK;
        }
        if (!pw) {
            snprintf(error, size, "security.user: there is no user \"%s\"", name);
            return EX_CONFIG;
        }
    }
    for (size_t i = 0; !pw && i < ARRAY_LEN(default_users); i++) {
        errno = 0;
        pw = getpwnam(default_users[i]);
        if (!pw && lookup_failed())
            return cannot_look_up("user", default_users[i], error, size);
    }
    if (!pw) {
        snprintf(error, size,
                 "security.user: there is neither a user tftp nor a user nobody, expected the name "
                 "of the user to serve as");
        return EX_CONFIG;
    }
    take_user(id, pw);
    return EX_OK;
}

static int find_group(struct identity *id, const struct conf *c, char *error, size_t size)
{
    const char *name = c->security_group;
    const struct group *gr;
    unsigned n;

    if (name[0] == '\0' && id->gid == NO_GROUP) {
        snprintf(error, size,
                 "security.group: user %s has no entry that names a group, expected one here",
                 id->user);
        return EX_CONFIG;
    }
    if (name[0] == '\0') {
        gr = getgrgid(id->gid);
    } else {
        bool number = parse_id(name, &n);
        errno = 0;
        gr = number ? getgrgid(n) : getgrnam(name);
        if (!gr && lookup_failed() && !number)
            return cannot_look_up("group", name, error, size);
        if (!gr && !number) {
            snprintf(error, size, "security.group: there is no group \"%s\"", name);
            return EX_CONFIG;
        }
        id->gid = gr ? gr->gr_gid : n;
    }
    if (gr)
        snprintf(id->group, sizeof(id->group), "%s", gr->gr_name);
    else
        snprintf(id->group, sizeof(id->group), "%u", (unsigned)id->gid);
    return EX_OK;
}

/* Who is not root has no choice. */
static int stay(struct identity *id, const struct conf *c, char *error, size_t size)
{
    const struct passwd *pw = getpwuid(geteuid());
    struct identity wanted = {.uid = geteuid(), .gid = getegid()};
    int code = c->security_user[0] != '\0' ? find_user(&wanted, c, error, size) : EX_OK;

    wanted.gid = getegid();
    if (code == EX_OK)
        code = find_group(&wanted, c, error, size);
    if (code != EX_OK)
        return code;
    if (wanted.uid != geteuid() || wanted.gid != getegid()) {
        snprintf(error, size,
                 "security.%s: only a server that root has started can become \"%s\", and this one "
                 "runs as user %u, group %u",
                 wanted.uid != geteuid() ? "user" : "group",
                 wanted.uid != geteuid() ? c->security_user : c->security_group,
                 (unsigned)geteuid(), (unsigned)getegid());
        return EX_NOPERM;
    }
    *id = wanted;
    if (pw)
        snprintf(id->user, sizeof(id->user), "%s", pw->pw_name);
    else
        snprintf(id->user, sizeof(id->user), "%u", (unsigned)geteuid());
    return EX_OK;
}

int identity_find(struct identity *id, const struct conf *c, char *error, size_t size)
{
    *id = (struct identity){0};
    if (geteuid() != 0)
        return stay(id, c, error, size);
    int code = find_user(id, c, error, size);
    if (code == EX_OK)
        code = find_group(id, c, error, size);
    if (code != EX_OK)
        return code;
    if ((id->uid == 0 || id->gid == 0) && !c->security_allow_root) {
        snprintf(error, size,
                 "security.%s: the server does not serve as root, expected another %s, or "
                 "security.allow_root = true",
                 id->uid == 0 ? "user" : "group", id->uid == 0 ? "user" : "group");
        return EX_CONFIG;
    }
    /* Who stays root gives up capabilities; a container may allow no more than that. */
    id->change = id->uid != 0 || id->gid != getegid();
    return EX_OK;
}
