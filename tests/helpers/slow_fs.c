/*
 * A file system that shows a folder, slowly:
 *
 *   slow-fs FOLDER MOUNTPOINT DELAY_MS
 *
 * Every read takes DELAY_MS longer. Reads of files whose name begins with "hang" do not end until
 * MOUNTPOINT is unmounted by force or SIGUSR1 comes; then all of them go on. In the foreground
 * until it is unmounted. Nothing of it is kept in the kernel's page cache between opens.
 */
#define FUSE_USE_VERSION 312

#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int folder_fd;
static struct timespec delay;
static atomic_bool released;
static sigset_t release_signal;

static const char *below(const char *path)
{
    return path[1] ? path + 1 : ".";
}

static void *fs_init(struct fuse_conn_info *conn, struct fuse_config *config)
{
    conn->max_background = 256;
    conn->congestion_threshold = 256;
    config->kernel_cache = 0;
    config->auto_cache = 0;
    return NULL;
}

static int fs_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    (void)fi;
    return fstatat(folder_fd, below(path), st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int fs_open(const char *path, struct fuse_file_info *fi)
{
    int fd = openat(folder_fd, below(path), O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    fi->fh = (uint64_t)fd;
    return 0;
}

static int fs_read(const char *path, char *buf, size_t size, off_t offset,
                   struct fuse_file_info *fi)
{
    const struct timespec tick = {0, 5000000};

    while (strncmp(path, "/hang", 5) == 0 && !atomic_load(&released))
        nanosleep(&tick, NULL);
    nanosleep(&delay, NULL);
    ssize_t n = pread((int)fi->fh, buf, size, offset);
    return n < 0 ? -errno : (int)n;
}

static int fs_release(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    close((int)fi->fh);
    return 0;
}

static const struct fuse_operations operations = {
    .init = fs_init,
    .getattr = fs_getattr,
    .open = fs_open,
    .read = fs_read,
    .release = fs_release,
};

static void *wait_for_release(void *arg)
{
    int sig;

    while (sigwait(&release_signal, &sig) == 0)
        atomic_store(&released, true);
    return arg;
}

int main(int argc, char **argv)
{
    /* For the server's user too, which only root can allow. */
    char options[] = "max_threads=256,max_idle_threads=256,allow_other";
    char *mount[] = {argv[0], "-f", "-o", options, argv[2], NULL};
    pthread_t thread;

    if (argc != 4) {
        fputs("usage: slow-fs FOLDER MOUNTPOINT DELAY_MS\n", stderr);
        return 64;
    }
    if (geteuid() != 0)
        *strrchr(options, ',') = '\0';
    long ms = strtol(argv[3], NULL, 10);
    delay = (struct timespec){ms / 1000, ms % 1000 * 1000000};
    folder_fd = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder_fd < 0) {
        perror(argv[1]);
        return 1;
    }
    sigemptyset(&release_signal);
    sigaddset(&release_signal, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &release_signal, NULL);
    if (pthread_create(&thread, NULL, wait_for_release, NULL) != 0)
        return 1;
    return fuse_main(5, mount, &operations, NULL);
}
