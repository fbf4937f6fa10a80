/*
 * What the files of one worker share: worker.c (the loop), worker_setup.c (start and end), drain.c
 * (the way to the end).
 */
#ifndef SERVER_WORKER_IMPL_H
#define SERVER_WORKER_IMPL_H

#include "server/worker.h"

#define WORKER_DRAIN_TIME                                                                          \
    (5 * NSEC_PER_SEC) /* running transfers may finish this long after SIGTERM */
#define WORKER_DRAIN_TICK  (50 * NSEC_PER_MSEC)
#define WORKER_FILE_BUDGET 64 /* completions of one turn */

void worker_on_unreachable(void *arg, struct net_socket *socket, const struct addr *peer, int err);
void worker_on_send_failed(struct xfer_env *env, struct net_socket *socket, const struct addr *peer,
                           int err);

/* Once per turn: true when the worker has been told to stop and is to leave its loop. */
bool drain_finished(struct worker *w);
/* Ends every transfer that is left, without a word to its peer. */
void drain_drop_all(struct worker *w);

#endif
