/*
 * The options of ringtftp: one table that feeds the parser, --help, the manual page and the
 * completions of the shells.
 */
#ifndef CLIENT_OPTION_H
#define CLIENT_OPTION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/util.h"
#include "proto/block.h"
#include "proto/packet.h"

enum client_command {
    CLIENT_GET = 1 << 0,
    CLIENT_PUT = 1 << 1,
    CLIENT_PROBE = 1 << 2,
};

#define CLIENT_TRANSFERS (CLIENT_GET | CLIENT_PUT)
#define CLIENT_ALL       (CLIENT_GET | CLIENT_PUT | CLIENT_PROBE)

#define CLIENT_SIZE_ANY UINT64_MAX

/* What the command line says. Texts point into argv. */
struct client_options {
    enum client_command command;
    const char *output;     /* NULL: named after the remote file; "-": standard output */
    const char *output_dir; /* NULL: the current one */
    const char *list;       /* file with names, "-": standard input */
    unsigned jobs;
    bool no_clobber;
    uint64_t max_size; /* CLIENT_SIZE_ANY: no limit */
    bool check_sha256;
    uint8_t sha256[32];
    unsigned blksize;    /* 0: the largest that crosses the path in one piece */
    unsigned windowsize; /* 0: chosen */
    unsigned timeout_s;  /* 0: measured, and not proposed to the server */
    bool no_tsize;
    bool no_options;
    enum tftp_mode mode;
    unsigned retries;
    enum tftp_rollover rollover;
    uint16_t local_port_first, local_port_last; /* 0: any */
    struct addr bind;                           /* family 0: any address */
    int family;                                 /* AF_UNSPEC, AF_INET, AF_INET6 */
    bool quiet, verbose, json;
    bool help, version;
};

/* A sentence for standard error, without the program's name. */
struct client_error {
    char text[512];
};

void client_error_set(struct client_error *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* What a shell may offer as the option's value. */
enum client_complete { COMPLETE_NOTHING, COMPLETE_FILES, COMPLETE_FOLDERS, COMPLETE_MODES };

struct client_option {
    char letter; /* 0: none */
    const char *name;
    const char *value; /* placeholder; NULL: takes none */
    unsigned commands; /* mask of enum client_command */
    enum client_complete complete;
    /* 0, or -EINVAL with the sentence in *error. */
    int (*take)(struct client_options *o, const struct client_option *option, const char *value,
                struct client_error *error);
    size_t offset; /* of the field, for the common kinds of `take` */
    uint64_t min, max;
    const char *doc; /* whole sentences */
};

extern const struct client_option client_options[];
extern const unsigned client_option_count;

void client_options_init(struct client_options *o);

/*
 * Reads "COMMAND OPTIONS OPERANDS"; options and operands may be mixed, "--" ends the options.
 * argv is reordered: the operands are argv[*ret_first] to argv[argc - 1]. With --help or
 * --version nothing else is looked at.
 * 0, or -EINVAL with a sentence.
 */
MUST_CHECK int client_options_parse(struct client_options *o, int argc, char **argv, int *ret_first,
                                    struct client_error *error);

const char *client_command_name(enum client_command command);

#endif
