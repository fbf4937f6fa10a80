/*
 * For the tests of the store: a store on the mem backend with a script, and a reader and a
 * sink that note what they are told.
 */
#ifndef STORE_TEST_RIG_H
#define STORE_TEST_RIG_H

#include "file/file.h"
#include "file/mem.h"
#include "loop/loop.h"
#include "store/store.h"

/* An answer of the backend that differs from what would happen: for the operations `op` from
 * the `skip`-th on, `times` of them. */
struct fault {
    enum file_op op;
    unsigned skip, times;
    int error;
    nsec delay;
    size_t max_bytes; /* 0: no limit; FAULT_NO_BYTES: none */
};

#define FAULT_NO_BYTES SIZE_MAX

struct rig {
    struct ring *ring; /* or NULL */
    struct loop *loop;
    struct file_io *io;
    struct store *s;
    nsec now; /* virtual time of mem; 0: not mem */
    struct fault faults[4];
    unsigned ops[FILE_OPS];       /* submitted */
    unsigned reads_per_chunk[64]; /* submitted, by offset */
};

/* On mem. */
void rig_init(struct rig *rig, const struct store_config *config);
void rig_init_threads(struct rig *rig, const struct store_config *config, unsigned threads,
                      unsigned queue);
/* On a ring of the kernel; -errno when there is none to be had. */
int rig_init_ring(struct rig *rig, const struct store_config *config, unsigned queue);
/* On a ring of the caller's, which the rig closes. */
void rig_init_on(struct rig *rig, struct ring *ring, const struct store_config *config,
                 const struct file_config *fc);
/* Closes everything; fails the test when something is still held. */
void rig_fini(struct rig *rig);
struct store_config rig_config(unsigned chunks);
/* One round of completions of what is due now. */
unsigned rig_step(struct rig *rig);
/* Until nothing of the store is in flight; virtual time moves on as needed. */
void rig_settle(struct rig *rig);

uint8_t pattern(uint64_t offset);

struct client {
    struct rig *rig;
    struct store_reader r;
    unsigned ready; /* calls */
    bool done;
    int error;
    uint64_t at;     /* bytes seen */
    uint64_t len;    /* asked for at a time */
    bool automatic;  /* reads whenever ready() is called */
    bool mixed;      /* saw a byte that is not the pattern's */
    unsigned served; /* order in which the first bytes came; 0: none yet */
};

void client_open(struct rig *rig, struct client *c, const char *path);
/* Reads on until something is missing, the end, or an error. */
void client_run(struct client *c);

struct upload {
    struct rig *rig;
    struct store_sink sink;
    unsigned changes;
};

void upload_open(struct rig *rig, struct upload *u, const char *path, bool overwrite,
                 uint64_t size_hint);
/* Feeds `n` bytes of the pattern as room allows; returns bytes taken. */
uint64_t upload_feed(struct upload *u, uint64_t n);

/* An operation of the test itself, behind the store's back; its result. */
int64_t rig_do(struct rig *rig, struct file_req *req);

#endif
