#include "server/landlock.h"

#include <errno.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the oldest header this is built with. */
#define ACCESS_FS_TRUNCATE     (UINT64_C(1) << 14) /* ABI 3 */
#define ACCESS_FS_IOCTL_DEV    (UINT64_C(1) << 15) /* ABI 5 */
#define ACCESS_NET_BIND_TCP    (UINT64_C(1) << 0)  /* ABI 4 */
#define ACCESS_NET_CONNECT_TCP (UINT64_C(1) << 1)
#define SCOPE_ABSTRACT_UNIX    (UINT64_C(1) << 0) /* ABI 6 */
#define SCOPE_SIGNAL           (UINT64_C(1) << 1)

struct ruleset_attr {
    uint64_t handled_access_fs;
    uint64_t handled_access_net; /* ABI 4 */
    uint64_t scoped;             /* ABI 6 */
};

/* Access rights that came with each ABI: all of them are denied where no rule allows them. */
static const struct {
    int abi;
    size_t size; /* of the attributes it takes */
    uint64_t fs, net, scoped;
} generations[] = {
    {1, 8, (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1, 0, 0},
    {2, 8, LANDLOCK_ACCESS_FS_REFER, 0, 0},
    {3, 8, ACCESS_FS_TRUNCATE, 0, 0},
    {4, 16, 0, ACCESS_NET_BIND_TCP | ACCESS_NET_CONNECT_TCP, 0},
    {5, 16, ACCESS_FS_IOCTL_DEV, 0, 0},
    {6, 24, 0, 0, SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL},
};

static const uint64_t uses[] = {
    [LANDLOCK_USE_READ] = LANDLOCK_ACCESS_FS_READ_FILE,
    /* A folder is opened to be synced. Names are given within one folder: no REFER. */
    [LANDLOCK_USE_UPLOAD] = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
                            LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
                            LANDLOCK_ACCESS_FS_REMOVE_FILE | ACCESS_FS_TRUNCATE,
};

int landlock_open(struct landlock *l)
{
    struct ruleset_attr attr = {0};
    size_t size = 0;
    long abi =
        syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);

    *l = (struct landlock){.fd = -1};
    if (abi < 0)
        return -errno;
    for (size_t i = 0; i < ARRAY_LEN(generations) && generations[i].abi <= abi; i++) {
        attr.handled_access_fs |= generations[i].fs;
        attr.handled_access_net |= generations[i].net;
        attr.scoped |= generations[i].scoped;
        size = generations[i].size;
    }
    l->fd = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0U);
    if (l->fd < 0)
        return -errno;
    l->abi = (int)abi;
    l->handled = attr.handled_access_fs;
    return 0;
}

int landlock_allow(struct landlock *l, int dir, enum landlock_use use)
{
    struct landlock_path_beneath_attr attr = {
        .allowed_access = uses[use] & l->handled,
        .parent_fd = dir,
    };

    return syscall(SYS_landlock_add_rule, l->fd, LANDLOCK_RULE_PATH_BENEATH, &attr, 0U) < 0 ? -errno
                                                                                            : 0;
}

int landlock_enforce(struct landlock *l)
{
    int err = syscall(SYS_landlock_restrict_self, l->fd, 0U) < 0 ? -errno : 0;

    landlock_close(l);
    return err;
}

void landlock_close(struct landlock *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}
