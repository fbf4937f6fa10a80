/*
 * ringtftpd --self-test: says what is in force on this machine with this configuration, and tries
 * to get out of it in the ways an intruder would.
 */
#ifndef SERVER_SELF_TEST_H
#define SERVER_SELF_TEST_H

#include "loop/ring.h"
#include "server/confine.h"

struct self_test {
    const struct confinement *c;
    struct ring *ring; /* made as the workers make theirs, and when they do */
    bool ring_refused;
    bool outside; /* the file of the tries is not in the root */
};

void self_test_init(struct self_test *t, const struct confinement *c);
/* Makes the ring when workers could make theirs, on the thread that will run the tries. */
void self_test_prepare(struct self_test *t, const struct conf *conf, int root_fd);
/* Everything is in force. EX_OK, or EX_SOFTWARE when a try got through what is said to be in
 * force. */
MUST_CHECK int self_test_run(struct self_test *t);
void self_test_fini(struct self_test *t);

#endif
