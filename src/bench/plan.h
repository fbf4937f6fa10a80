/*
 * What one run of the load generator is to do: plain data, filled from the command line
 * (bench/options.c), never changed while the run lasts and so shared by all threads.
 */
#ifndef BENCH_PLAN_H
#define BENCH_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/prng.h"
#include "proto/packet.h"

#define BENCH_CLASSES_MAX 16
#define BENCH_OPTIONS_MAX 8
#define BENCH_THREADS_MAX 64
#define BENCH_CLIENTS_MAX 1000000

struct bench_profile;

/* A file to ask for, or to send, and what it must contain. Memory of the corpus. */
struct bench_file {
    char *name;           /* as the server knows it */
    char *local;          /* path of the local copy, NULL: none */
    const uint8_t *bytes; /* the local copy, mapped; NULL: none, or empty */
    uint64_t size;
    bool known;  /* bytes and size are those of a local copy */
    bool hashed; /* sha256 is what the content must hash to */
    uint8_t sha256[32];
    uint64_t weight; /* sum of the weights up to and with this file */
    uint64_t digest; /* without a copy: what the first download was; see client.c */
    uint32_t digest_state;
};

struct bench_corpus {
    struct bench_file *files;
    unsigned count, room;
    uint64_t weight; /* of all */
};

/* One way clients behave and what they ask for. */
struct bench_class {
    const struct bench_profile *profile;
    uint32_t weight; /* sum up to and with this class */
    int32_t blksize; /* -1: as the profile says */
    int32_t windowsize;
    int32_t timeout_s;
    int32_t tsize; /* 0: not asked for, 1: asked for */
    enum tftp_mode mode;
    struct {
        struct tftp_option options[BENCH_OPTIONS_MAX]; /* values point into text */
        unsigned count;
        int size_at; /* which of them is tsize; -1: none */
    } request[2];    /* the second one for a profile that probes first */
    char text[2][160];
};

enum bench_misbehaviour {
    BENCH_BEHAVES,
    BENCH_NEVER_ACK,      /* asks and then says nothing more */
    BENCH_LATE_ACK,       /* every ACK waits for late_ack */
    BENCH_VANISH,         /* stops in the middle without a word */
    BENCH_REPEAT_REQUEST, /* sends the request several times, also in the middle */
    BENCH_MISBEHAVIOURS
};

/* Chances per million and delays for one direction. */
struct bench_impairment {
    uint32_t loss, duplicate, reorder;
    nsec delay, jitter; /* delay +- jitter */
};

struct bench_plan {
    struct addr server;
    struct bench_corpus corpus;
    struct bench_class classes[BENCH_CLASSES_MAX];
    unsigned class_count;
    bool put;
    bool in_turn;         /* the files one after the other, whatever their weights */
    const char *put_name; /* template: %f file, %c client, %n transfer */
    bool verify;

    unsigned clients; /* closed loop: at all times; open loop: at most */
    double rate;      /* open loop: arrivals a second; 0: closed loop */
    bool poisson;     /* arrivals at random, else evenly */
    uint64_t count;   /* transfers to start; 0: no limit */
    nsec duration;    /* start none after this; 0: no limit */
    nsec grace;       /* then running ones have this long */
    nsec ramp;        /* the load grows to its full size in this time */
    nsec think;       /* a client's pause between transfers, on average */
    nsec retry;       /* clients without a pattern of their own repeat after this at first */
    nsec patience;    /* ... and give up after this */

    struct addr source_first; /* family 0: the kernel chooses */
    unsigned source_count;
    unsigned threads;
    unsigned ports; /* sockets of a thread that clients on a source range share; 0: default */
    bool gro;
    bool spin; /* look for packets without sleeping */
    uint64_t seed;

    struct bench_impairment in, out;
    unsigned rcvbuf_packets; /* datagrams a client can hold; 0: no limit */
    enum bench_misbehaviour misbehave;
    uint32_t misbehave_share; /* of the clients, per million */
    nsec late_ack;            /* also how long a silent client is remembered */

    const char *json_path;
    int server_pid;
    const char *server_cgroup;
    bool quiet;
};

/* Some file, by weight. */
struct bench_file *bench_draw_file(const struct bench_plan *plan, struct prng *prng);
const struct bench_class *bench_draw_class(const struct bench_plan *plan, struct prng *prng);

/* True when some client can be sent several blocks at once. */
bool bench_has_windows(const struct bench_plan *plan);
/* The largest datagram that can come. */
unsigned bench_datagram_max(const struct bench_plan *plan);

/*
 * Builds the requests of a class from its profile and its own values. -EINVAL when the profile
 * knows none of what was set (there is always room for what the profiles ask).
 */
MUST_CHECK int bench_class_build(struct bench_class *c);

#endif
