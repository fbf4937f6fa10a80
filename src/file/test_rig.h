/*
 * For the tests of file/: a file_io with all that it stands on, in one of several fillings, and a
 * directory of its own that is gone afterwards.
 */
#ifndef FILE_TEST_RIG_H
#define FILE_TEST_RIG_H

#include "file/file.h"

enum rig_kind {
    RIG_THREADS,
    RIG_URING,          /* the loop waits on the ring */
    RIG_URING_ON_EPOLL, /* the loop watches the ring's descriptor */
    RIG_SQPOLL,
    RIG_REGISTERED, /* reads into registered buffers */
    RIG_KINDS
};

#define RIG_BUFFERS (1 << 20)

struct rig {
    enum rig_kind kind;
    struct ring *ring;
    struct loop *loop;
    struct file_io *io;
    char path[64];
    int dir;
    char *buffers; /* RIG_BUFFERS bytes; registered if that is the kind */
    unsigned notices;
    char notice[160]; /* the last one */
};

const char *rig_kind_name(enum rig_kind kind);
/* False, with the reason printed, when this kernel refuses. */
bool rig_is_possible(enum rig_kind kind);

/* A default that suits most tests; change and pass to rig_open(). */
struct file_config rig_config(void);
void rig_open(struct rig *r, enum rig_kind kind, const struct file_config *config);
/* Waits until nothing is under way; fails the test if that takes a minute. */
void rig_drain(struct rig *r);
void rig_close(struct rig *r);
/* One pass of a worker's loop; fails the test if nothing happens for a minute. */
void rig_turn(struct rig *r);

/* Submits, waits, and gives the result. */
int64_t rig_do(struct rig *r, struct file_req *req);
int64_t rig_open_file(struct rig *r, const char *name, int flags);
void rig_close_file(struct rig *r, int fd);
/* By plain system calls: a file whose byte at offset o is rig_byte(o). */
void rig_make_file(struct rig *r, const char *name, size_t size);
uint8_t rig_byte(uint64_t offset);
void rig_check_bytes(const void *buf, size_t n, uint64_t offset);

/*
 * A suite on each kind from `first` on that is possible here; how many tests failed. For each of
 * its tests *r is opened by RIG_TEST, as rig_config() says, or narrow; or by a setup of its own
 * that calls rig_begin(). rig_end() closes it, and fails where a descriptor is left open.
 */
struct CMUnitTest;
int rig_run(struct rig *r, enum rig_kind first, const char *name, const struct CMUnitTest *tests,
            size_t count);
void rig_begin(const struct file_config *config);
int rig_setup(void **state);
int rig_setup_narrow(void **state);
int rig_end(void **state);
#define RIG_TEST(name)        cmocka_unit_test_setup_teardown(name, rig_setup, rig_end)
#define RIG_TEST_NARROW(name) cmocka_unit_test_setup_teardown(name, rig_setup_narrow, rig_end)

/* Descriptors that this process has open. */
unsigned rig_count_fds(void);

#endif
