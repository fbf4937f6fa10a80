/*
 * The life of the server process: bind, start workers, wait for signals, reload, drain.
 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "conf/conf.h"
#include "server/conf_reader.h"

/* Gives the new configuration, or NULL to keep the old one and has said why. The file, if there is
 * one, is no longer to be opened, but asked for. */
typedef struct conf *server_reload_fn(void *arg, struct conf_reader *reader);

/*
 * Runs until SIGTERM or SIGINT. SIGHUP calls `reload` and takes over what it gives; SIGUSR1 writes
 * the numbers to the log. `file` is the configuration file that will be read again, or NULL.
 * Takes ownership of *conf. Returns an exit code of sysexits.h; a failure has been said in the
 * log.
 */
int server_run(struct conf *conf, const char *file, server_reload_fn *reload, void *arg);

/*
 * Starts all of it on a free port of the loopback, tries to break out, says to standard output
 * what is in force and what the tries came to, and ends. EX_OK when everything held.
 */
int server_self_test(struct conf *conf);

#endif
