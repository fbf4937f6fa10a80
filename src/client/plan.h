/*
 * What a command line means: the list of files to be transferred, each with its remote and its
 * local name. Names of local files come from the command line only, never from a server.
 */
#ifndef CLIENT_PLAN_H
#define CLIENT_PLAN_H

#include "base/list.h"
#include "client/host.h"
#include "client/option.h"
#include "client/status.h"
#include "client/target.h"
#include "proto/session.h"

/* How one file went. */
struct client_result {
    bool ended;
    enum client_status status;
    struct client_error message; /* when it failed */
    struct addr server;          /* who answered; family 0: nobody */
    uint64_t bytes;              /* of the file, as the wire had them */
    nsec started, seconds_ns;    /* from the first request to the end */
    nsec round_trip;             /* 0: not measured */
    struct tftp_params params;
    struct tftp_counts counts;
    bool oack;         /* the server answered with options */
    unsigned attempts; /* requests made in earnest, not counting repetitions */
};

struct client_item {
    struct list link; /* client_plan.items */
    struct client_host *host;
    enum tftp_mode mode;
    char *file;  /* remote name */
    char *local; /* get: name in the output folder; put: path below / ; NULL: standard output */
    char *label; /* the same as the user wrote it, fit to be printed */
    const char *name; /* its last part: the end of label */
    char *spool;      /* put: a copy made for this run, to be removed */
    struct client_result result;
};

struct client_plan {
    struct list hosts;
    struct list items;
    unsigned count;
    char *folder;    /* get: where the files go */
    int stream;      /* get: descriptor to write to instead; -1: files */
    char *spool_dir; /* put: temporary folder of the copies, or NULL */
};

/*
 * Makes the plan: reads the list, looks up the hosts, checks local names. Nothing is sent, and
 * no local file made but copies of what cannot be read twice (standard input, pipes).
 * CLIENT_OK, or the status to exit with, and a sentence. client_plan_fini() in any case.
 */
MUST_CHECK enum client_status client_plan_make(struct client_plan *plan,
                                               const struct client_options *o, char **operands,
                                               int count, struct client_error *error);
/* Also removes the copies. */
void client_plan_fini(struct client_plan *plan);

#endif
