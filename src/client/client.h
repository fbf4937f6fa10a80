/*
 * The client's engine: one thread with one loop, that keeps up to --jobs transfers of a plan
 * going.
 */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/prng.h"
#include "base/wheel.h"
#include "client/plan.h"
#include "client/progress.h"
#include "client/transfer.h"
#include "file/file.h"
#include "net/net.h"
#include "store/store.h"
#include "xfer/xfer.h"

struct client {
    const struct client_options *options;
    struct client_plan *plan;
    struct loop *loop;
    struct net *net;
    struct file_io *files;
    struct store *store;
    struct wheel wheel;
    struct xfer_env env;
    nsec now;
    int root_fd;
    struct list running, ended, lingering; /* client_transfer.link */
    unsigned running_count, lingering_count;
    struct list *next; /* item that is started next */
    struct prng prng;
    unsigned rcvbuf_bytes; /* what the kernel gives a socket; 0: not known yet */
    size_t window_bytes;   /* a window chosen by us stays at or below this */
    bool stopping;
    struct progress progress;
    nsec started;
    unsigned done, failed;
};

/* Set by the signal handler; the client then tells its servers and ends. */
extern volatile sig_atomic_t client_interrupted;

/*
 * Takes SIGINT, SIGTERM and SIGHUP: the first asks the client to end, a second one ends the
 * process at once.
 */
void client_catch_signals(void);

/*
 * Transfers the plan's items. Results are in the items; each is reported when it ends. Returns
 * the exit code, and the sentence when the engine itself cannot run.
 */
enum client_status client_run(const struct client_options *o, struct client_plan *plan,
                              struct client_error *error);

/*
 * The parts that client_run() is made of, for a caller with a network, files and a clock of its
 * own. In *c are the options, the plan, the network, the files and the root folder; _assemble()
 * makes the rest (0 or -errno), and the caller frees the store. A turn does what is due at `now`;
 * the next one is due at the deadline or when something arrives, until the client is no longer
 * busy.
 */
MUST_CHECK int client_assemble(struct client *c, nsec now);
void client_start(struct client *c);
bool client_busy(const struct client *c);
nsec client_deadline(const struct client *c);
void client_turn(struct client *c, nsec now);

/* A line of --verbose on standard error. */
void client_note(struct client *c, const struct client_transfer *t, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

#endif
