/*
 * What a service manager gives and wants to hear: bound sockets (sd_listen_fds(3)), and that we
 * are ready (sd_notify(3)). Without one, nothing of this happens.
 */
#ifndef SERVER_SYSTEMD_H
#define SERVER_SYSTEMD_H

/* How many sockets were handed over, at descriptors from *ret_first on. Takes the environment
 * variables away. */
unsigned systemd_sockets(int *ret_first);

/* A descriptor for systemd_notify(), -1 when nobody listens. Before the process shuts itself in. */
int systemd_notify_open(void);
/* Sends `state` ("READY=1"); nothing for -1. */
void systemd_notify(int fd, const char *state);

#endif
