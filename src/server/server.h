/*
 * The life of the server process: bind, start workers, wait for signals, reload, drain.
 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "conf/conf.h"

/*
 * Runs until SIGTERM or SIGINT. SIGHUP calls `reload`, which gives the new configuration (the
 * server takes it over) or NULL to keep the old one; SIGUSR1 writes the numbers to the log.
 * Takes ownership of *conf. Returns an exit code of sysexits.h; a failure has been said in the
 * log.
 */
int server_run(struct conf *conf, struct conf *(*reload)(void *arg), void *arg);

#endif
