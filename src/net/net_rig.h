/*
 * For the tests of this folder: one engine on its own loop, and plain sockets as its peers.
 */
#ifndef NET_NET_RIG_H
#define NET_NET_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/loop.h"
#include "loop/ring.h"
#include "net/net.h"

/* Longer than any step takes on a machine that still works. */
#define RIG_PATIENCE (10 * NSEC_PER_SEC)

struct rig {
    const struct net_ops *ops;
    struct net_config config;
    struct ring *ring;
    struct loop *loop;
    struct net *net;

    unsigned done_count, done_datagrams, done_errors;
    int done_last;
    bool done_gso_refused;

    unsigned unreachable_count;
    struct addr unreachable_peer;
    int unreachable_err;
};

/* The engine under test: the first argument of the program, "mmsg" or "io_uring". */
extern const struct net_ops *engine;
void rig_choose(int argc, char **argv);

/* Skips the test where the kernel lacks the engine. */
#define START(r, config)                                                                           \
    do {                                                                                           \
        if (!rig_start(r, engine, config))                                                         \
            skip();                                                                                \
    } while (0)

/* The engine's default set-up in these tests. */
struct net_config rig_config(void);
/* False when this kernel cannot run the engine. */
bool rig_start(struct rig *r, const struct net_ops *ops, const struct net_config *config);
void rig_stop(struct rig *r);

struct addr rig_addr(const char *text);
struct net_socket *rig_open(struct rig *r, const char *text);

/* One pass: flush, wait, receive. Returns what came in `rx` (NET_BATCH of them). */
unsigned rig_pass(struct rig *r, struct net_rx *rx);
/* Passes until `*counter` is at least `target`; fails the test when that takes too long. What
 * comes in is dropped. */
void rig_until(struct rig *r, const unsigned *counter, unsigned target);
/* Passes until `count` datagrams came; the last batch stays in `rx`. */
void rig_receive(struct rig *r, struct net_rx *rx, unsigned count);

/* A plain blocking UDP socket that gives up after RIG_PATIENCE. */
int peer_open(const char *text);
struct addr peer_addr(int fd);
void peer_send(int fd, const struct addr *to, const void *data, size_t bytes);
size_t peer_recv(int fd, void *buf, size_t room, struct addr *from);

/* A tx with one or two iovecs and the rig's done(). */
struct net_tx *rig_tx(struct rig *r, struct net_socket *s, const struct addr *to);
void tx_add(struct net_tx *tx, const void *data, size_t bytes);
/* Bytes that tell themselves apart. */
void fill(uint8_t *p, size_t bytes, unsigned seed);
/* A bind address with a free port for this host. */
const char *any_port(const char *host, char *buf);

void rig_send(struct rig *r, struct net_socket *s, const struct addr *to, const void *data,
              size_t bytes);

#endif
