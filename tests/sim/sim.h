/*
 * The simulator: one real worker - admission, transfers, protocol, store - on a network, disks
 * and a clock that are made up, with clients that are our own core, models of real clients, and
 * things no client should do. All that happens is drawn from one seed. Single thread.
 *
 * First, faults are allowed and only safety is demanded: content is right or there is a clean
 * ERROR, nothing is sent twice without cause, nobody who has not proved his address gets more than
 * he paid for, no client has two transfers. Then the faults heal and liveness is demanded:
 * whoever still runs comes to an end, new clients are served, the worker becomes empty and all
 * its memory is back.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/prng.h"
#include "file/file.h"
#include "file/mem.h"
#include "net/net.h"
#include "proto/block.h"
#include "proto/netascii.h"
#include "proto/session.h"
#include "server/worker.h"

#define SIM_CLIENTS_MAX  24
#define SIM_FILES        8
#define SIM_VERSIONS_MAX 4
#define SIM_T0           (1000 * NSEC_PER_SEC)
#define SIM_LISTEN_PORT  69

struct sim;

/* ---- What may go wrong; all zero in a kind world. Chances are per million. ---- */

struct sim_faults {
    uint32_t loss, twice, late, cut, flip;
    nsec jitter;
    uint64_t bytes_per_sec; /* bottleneck with a drop-tail queue; 0: none */
    uint64_t queue_bytes;
    nsec partition_from, partition_until;
    unsigned hole; /* datagrams longer than this vanish; 0: none do */
    nsec tx_delay; /* the kernel takes the bytes this late: they must stay as they are */
    uint32_t send_error, gso_refused, bind_error;
    nsec file_delay;
    uint32_t file_error, file_short, file_hang;
    uint32_t file_replaced; /* a served file gets another version under the same name */
};

/* ---- Datagrams under way ---- */

struct sim_datagram {
    nsec at;
    uint64_t order;
    struct addr from, to;
    bool unreachable; /* an ICMP error about a datagram from `to` to `from` */
    size_t len;
    uint8_t bytes[];
};

struct sim_link {
    struct sim_datagram **heap; /* the next one first */
    size_t count, room;
    uint64_t order;
    nsec busy_until[2]; /* of the bottleneck, by direction */
};

/* Sends; faults apply. `to_server` names the direction. */
void link_send(struct sim *s, bool to_server, const struct addr *from, const struct addr *to,
               const void *bytes, size_t len);
/* The answer of a host that has no such port. No faults but loss. */
void link_send_unreachable(struct sim *s, bool to_server, const struct addr *from,
                           const struct addr *to);
nsec link_next(const struct sim_link *l);
/* The next datagram that has arrived by `now`, or NULL. The caller frees it. */
struct sim_datagram *link_take(struct sim_link *l, nsec now);
void link_clear(struct sim_link *l);

/* ---- The packet engine (net_sim.c) ---- */

extern const struct net_ops net_sim_ops;

struct sim_engine {
    struct net *net;
    struct net_socket *sockets[SIM_CLIENTS_MAX + 80];
    unsigned socket_count;
    struct sim_datagram **inbox; /* has arrived at the server and was not received */
    size_t inbox_count, inbox_room;
    struct sim_datagram *batch[NET_BATCH]; /* handed out by the last receive */
    unsigned batch_count;
    struct list in_flight; /* net_tx.link: the kernel has not looked at the bytes yet */
    nsec tx_due;           /* when it will */
};

/* A datagram or ICMP error reaches the server's host. Takes it over. */
void engine_arrive(struct sim *s, struct sim_datagram *d);
struct net *engine_new(struct sim *s);
/* Bytes are taken that are due. */
void engine_advance(struct sim *s);
bool engine_has_work(const struct sim_engine *e);

/* ---- Files ---- */

struct sim_file {
    char name[24];
    bool text;
    unsigned versions;
    uint64_t size[SIM_VERSIONS_MAX];
};

uint8_t sim_byte(unsigned file, bool text, unsigned version, uint64_t offset);

/* ---- Clients (client.c, model.c) ---- */

enum sim_kind {
    SIM_CORE,    /* our own client */
    SIM_VANISH,  /* the same, and goes away in the middle */
    SIM_RESTART, /* the same, and asks for something else from the same port in the middle */
    SIM_GRUB,    /* models of real clients, as far as resending is concerned */
    SIM_EDK2,
    SIM_UBOOT,
    SIM_VICTIM,  /* somebody asks in his name; he never answers */
    SIM_REFUSER, /* the same; his host says that there is no such port */
    SIM_SPRAY,   /* sends garbage to every port he knows or guesses */
    SIM_KINDS
};

/* When a block went out last, and the time before that. */
struct sim_sent {
    uint64_t block;
    nsec at, before;
};

struct sim_client {
    enum sim_kind kind;
    unsigned index;
    struct addr at;
    struct addr server; /* of the transfer; port SIM_LISTEN_PORT until it is known */
    bool started, ended, gone, writing, ascii, must_succeed;
    bool confused;          /* asked twice from one port: old packets may pass for new ones */
    uint16_t old_port;      /* of the server in the transfer before */
    nsec start_at, turn_at; /* turn: when the kind does what it is known for */
    nsec next_at;           /* of a model's timer or a sprayer */
    nsec ended_at;
    unsigned file;
    uint64_t upload_size, wire_size;
    uint8_t *wire; /* the upload as it is sent; freed at the world's end */
    char name[24];

    /* what it has asked for */
    uint8_t request[TFTP_REQUEST_MAX];
    size_t request_len;
    unsigned blksize, windowsize;

    /* the core's */
    struct tftp_session session;
    struct netascii_decoder decoder;
    uint64_t got;        /* payload as it was in the file */
    uint64_t taken;      /* payload of the wire */
    uint32_t candidates; /* bit per version of the file that all bytes so far agree with */

    /* a model's */
    uint64_t have, next_ack, nacked, last_acked;
    unsigned tries;
    bool options_agreed, finished;

    /* what the wire shows */
    uint64_t paid;     /* bytes he may be sent while he has not proved his address */
    uint64_t unproven; /* bytes he was sent so far in that state */
    bool proven;
    uint16_t data_port;
    uint64_t blocks_sent; /* DATA of the present transfer, as all of these */
    unsigned resent;      /* that had been sent before */
    uint64_t newest;      /* block sent */
    uint64_t acked;
    unsigned repairs; /* times the first missing block went out again before a timer could tell */
    struct sim_sent sent[1024];
    bool ok, failed;
    uint16_t error; /* of the server's ERROR */
};

void client_init(struct sim *s, struct sim_client *c, enum sim_kind kind);
void client_start(struct sim *s, struct sim_client *c);
nsec client_deadline(const struct sim_client *c);
void client_timer(struct sim *s, struct sim_client *c);
void client_datagram(struct sim *s, struct sim_client *c, const struct sim_datagram *d);
void client_send(struct sim *s, struct sim_client *c, const struct addr *to, const void *bytes,
                 size_t len);
/* The transfer is over for the client. */
void client_end(struct sim *s, struct sim_client *c, bool ok);
/* Payload of the next bytes in order: compares it. */
void client_take(struct sim *s, struct sim_client *c, const uint8_t *p, size_t n, bool last);

bool client_is_model(const struct sim_client *c);
void model_datagram(struct sim *s, struct sim_client *c, const struct sim_datagram *d);
void model_timer(struct sim *s, struct sim_client *c);

/* ---- The whole ---- */

struct sim {
    uint64_t seed;
    bool verbose;
    struct prng prng;
    nsec now, heal_at;
    bool healed;
    bool kind;       /* nothing goes wrong on the wire, and all clients are well-behaved */
    bool doubled;    /* but packets may come twice */
    nsec disk_delay; /* of an operation at the most, before the healing */
    bool tx_late;    /* bytes leave later than the server thinks */
    bool damaging;   /* datagrams are cut or flipped: TFTP has no checksum, content may be wrong */
    nsec delay;
    struct sim_faults faults;
    struct sim_link link;
    struct sim_engine engine;
    struct addr server;
    struct conf conf;
    struct worker *worker;
    struct file_io *files;
    struct sim_file file[SIM_FILES];
    struct sim_client client[SIM_CLIENTS_MAX];
    unsigned clients, serial;
    nsec pass_at;
    unsigned spins; /* passes without the clock moving */
    uint64_t transfers, succeeded, packets;
    /* Fault loops: the n-th file operation fails, or the n-th allocation. */
    uint64_t fail_file_op, file_ops, fail_alloc;
    bool fail_on; /* and all that follow */
};

struct sim_totals {
    uint64_t worlds, transfers, succeeded, packets;
    nsec simulated;
};

/* Runs one world to its end. A violated check ends the process with the seed and how to see it
 * again. */
void sim_run(uint64_t seed, bool verbose, struct sim_totals *totals);

/*
 * A kind world with that seed in which the n-th file operation (from 1; 0: none), or the n-th
 * allocation of the worker, fails, and with `on` every one after it until the world heals. Returns
 * how many there were; beyond them the loop over n is done.
 */
uint64_t sim_run_failing(uint64_t seed, bool allocations, uint64_t nth, bool on, bool verbose);

_Noreturn void sim_fail(const struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
void sim_say(const struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The wire as it is seen at the server's host (check.c). */
void check_outgoing(struct sim *s, uint16_t from_port, const struct addr *to, const uint8_t *bytes,
                    size_t len);
void check_incoming(struct sim *s, const struct sim_datagram *d);
void check_worker(struct sim *s);
void check_upload(struct sim *s, const struct sim_client *c);
void check_pace(struct sim *s, const struct sim_client *c);
void check_doubling(struct sim *s, const struct sim_client *c);
void check_recovery(struct sim *s, const struct sim_client *c);
void check_end(struct sim *s);

/*
 * Allocations of the whole program (alloc.c): those in use, and which one is to fail: the n-th
 * (from 1; 0: none) of those made while armed. alloc_made() counts these.
 */
uint64_t alloc_in_use(void);
void alloc_fail(uint64_t nth, bool all_after);
bool alloc_arm(bool armed); /* returns what it was */
uint64_t alloc_made(void);

#endif
