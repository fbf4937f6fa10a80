/*
 * One worker: a thread with its own loop, ring, sockets, transfers, timers, files and buffers.
 * Nothing here is touched by another thread but `mail`, `stopping` and the relaxed counters.
 */
#ifndef SERVER_WORKER_H
#define SERVER_WORKER_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/hist.h"
#include "base/map.h"
#include "base/wheel.h"
#include "conf/conf.h"
#include "file/file.h"
#include "loop/loop.h"
#include "loop/ring.h"
#include "net/net.h"
#include "obs/metric.h"
#include "policy/limiter.h"
#include "server/path_cache.h"
#include "server/ports.h"
#include "server/settings.h"
#include "store/store.h"
#include "xfer/xfer.h"

#define WORKER_LISTEN_MAX 64
#define WORKER_GRAVES     1024 /* sets, each one cache line; power of two */
#define GRAVE_WAYS        4

/* A peer whose transfer ended a short while ago: its late packets are no strangers. */
struct grave {
    uint32_t hash;    /* of the peer */
    uint32_t ended;   /* milliseconds of the worker's clock, cut to 32 bits */
    uint32_t request; /* hash of its request, when more copies of that may come; 0: they may not */
    uint16_t port;    /* of ours; 0: an empty place */
};

/* What a worker would make itself, or take from the kernel, given by whoever simulates it: tests
 * in virtual time. All zero in the server. */
struct worker_parts {
    struct net *net; /* the worker's own from then on, as the next */
    struct file_io *files;
    const struct addr *listen; /* listen_count of them, opened in place of adopting descriptors */
    nsec (*clock)(void);
    unsigned (*path_payload)(const struct addr *peer, const struct addr *local);
    uint64_t seed; /* of ports and hash keys; 0: the kernel's */
};

enum worker_stop { WORKER_RUN, WORKER_DRAIN, WORKER_STOP_NOW };

struct worker {
    unsigned index;
    unsigned count; /* of workers, among which memory is divided */
    pthread_t thread;
    const struct conf *conf; /* start-up values; immutable */
    int root_fd;
    int *listen_fds; /* bound by the server; -1 when the worker's engine has taken them over */
    unsigned listen_count;
    struct port_fds bound; /* by the server, as the listening ones */

    _Atomic(struct settings *) mail; /* new settings from the server, or NULL */
    atomic_int stopping;             /* enum worker_stop */
    atomic_bool want_stats;
    atomic_bool ended;
    int start_error; /* -errno of the start, with what failed */
    char start_what[160];
    bool abandoned; /* ended with operations hanging in the kernel: exit without joining anything */
    sem_t *started, *go; /* the first is posted to the server, the second awaited before serving */
    pthread_mutex_t wake_lock;
    bool wakeable; /* the loop exists; under wake_lock */

    struct worker_parts parts;
    struct limiter *limiter; /* of all workers; the server's */
    struct settings *settings;
    struct loop *loop;
    struct ring *ring;
    struct net *net;
    struct file_io *files;
    struct store *store;
    struct xfer_env env;
    struct wheel wheel;
    struct map peers; /* transfers by peer address and port: never two for one */
    uint64_t hash_key;
    struct ports ports;
    struct port listen_port;
    struct net_socket *listeners[WORKER_LISTEN_MAX];
    struct net_own own;
    nsec now;             /* of this loop pass */
    nsec requests_read;   /* all requests that had been found by then have been read */
    unsigned round;       /* datagrams of one receive round at most */
    unsigned timers_left; /* of this turn's budget */
    struct timer trim;    /* closes idle files, gives memory back */
    size_t peak;          /* most transfers since memory was given back last */
    struct list unproven; /* transfers whose peer has not answered yet, oldest first */
    struct list stored;   /* uploads that only dally, oldest first */
    nsec drain_until;
    struct metrics metrics;
    struct hist turns; /* duration of loop passes without the waiting */
    struct grave graves[WORKER_GRAVES][GRAVE_WAYS];
    struct path_cache paths;
    nsec stranger_window; /* rate limit of ERROR 5 */
    unsigned stranger_count;
    nsec limit_logged; /* when a line about a limit was written last */
};

/* Thread function; arg is the worker. Posts `started` once, with start_error set; serves nobody
 * before `go` has been posted. */
void *worker_main(void *arg);

/*
 * The pieces of which worker_main() is made, for whoever brings his own parts and waits himself.
 * Set-up: 0 or -errno, with start_what; to be torn down in any case. A pass does all there is to
 * do at `now`; false when the worker is to end. It has work again at its deadline, when a packet
 * comes, or when a file operation completes.
 */
MUST_CHECK int worker_set_up(struct worker *w);
nsec worker_deadline(const struct worker *w);
bool worker_pass(struct worker *w, nsec now);
void worker_tear_down(struct worker *w);

/* Any thread, any time between initialising wake_lock and the end of the struct. */
void worker_wake(struct worker *w);

/* What is left of the last transfer of this peer, if it ended in the last seconds; or NULL. */
const struct grave *worker_grave(const struct worker *w, const struct addr *peer);
/* `request`: see struct grave. */
void worker_bury(struct worker *w, const struct addr *peer, uint16_t port, uint32_t request);

/* One line of numbers to the log. */
void worker_log_stats(struct worker *w);

#endif
