/*
 * One simulated client: transfers one after another, each a protocol session of its own on an
 * endpoint of its own, with the manners of its class. Its worker starts it, hands it what
 * arrives and the time, and is told when a transfer is over.
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/prng.h"
#include "base/wheel.h"
#include "bench/check.h"
#include "bench/io.h"
#include "bench/plan.h"
#include "bench/result.h"
#include "proto/session.h"

struct bench_impair;
struct bench_client;

/* What clients need of their worker. */
struct bench_env {
    const struct bench_plan *plan;
    struct bench_io *io;
    struct bench_result *result;
    union addr_sock server;
    bool no_trains; /* the kernel refused one */
    struct wheel wheel;
    struct prng prng;
    uint64_t file_turn;          /* files in turn: which is next */
    struct bench_impair *impair; /* NULL: packets pass as they are */
    /* The transfer is over and counted, the endpoint given back. */
    void (*idle)(struct bench_client *c, nsec now);
    void *owner;
};

enum bench_phase {
    BENCH_IDLE,
    BENCH_PAUSING, /* thinks before its next transfer, or waits for its turn to begin */
    BENCH_PROBING, /* the first request of two; no session */
    BENCH_RUNNING,
    BENCH_SILENT,    /* misbehaves: says nothing more, hears nothing */
    BENCH_LINGERING, /* done, but some of its packets are still on their way out */
};

struct bench_client {
    struct tftp_session session;
    struct bench_check check;
    struct bench_env *env;
    struct timer timer;
    struct list link; /* the worker's */
    uint32_t id;
    enum bench_phase phase;
    enum bench_misbehaviour misbehaviour;
    const struct bench_class *kind;
    struct bench_file *file;
    struct bench_endpoint at;
    union addr_sock peer; /* where packets go to: the server, then its TID */
    bool answered;        /* `peer` is the TID */
    bool began;           /* the first byte has come, or writing was granted */
    bool wrong;           /* a byte was not what it must be */
    bool unreachable;     /* the network said so */
    bool in_timer;        /* what goes out now goes out because nothing came */
    uint8_t stage;        /* which of the profile's requests is out */
    uint8_t wait;         /* which of the profile's waits runs */
    nsec intended;        /* when the transfer should have begun */
    nsec wake;            /* the client's own date; NSEC_NEVER: none */
    nsec burst_at;        /* of the packets counted in `burst` */
    unsigned burst;
    uint64_t vanish_at; /* after this many bytes */
    uint64_t transfers; /* begun so far */
};

void bench_client_init(struct bench_client *c, struct bench_env *env, uint32_t id);

/* Begins a transfer that should have begun at `intended`. It may be over before this returns. */
void bench_client_start(struct bench_client *c, nsec intended, nsec now);
/* Begins at `when`; env->idle is not called before. */
void bench_client_pause(struct bench_client *c, nsec when);

/* A datagram for the endpoint of this client. */
void bench_client_on_packet(struct bench_client *c, const union addr_sock *from,
                            struct view datagram, nsec now);
/* The same, after the network has had its way with it. */
void bench_client_take_packet(struct bench_client *c, const union addr_sock *from,
                              struct view datagram, nsec now);
void bench_client_on_unreachable(struct bench_client *c, nsec now);
void bench_client_on_timer(struct bench_client *c, nsec now);
/* The run is over: an unfinished transfer is counted as such. */
void bench_client_abandon(struct bench_client *c, nsec now);

#endif
