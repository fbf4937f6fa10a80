/*
 * ringtftpd: the TFTP server. Command line to configuration; everything else is server/.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/option_error.h"
#include "conf/conf.h"
#include "config.h"
#include "obs/log.h"
#include "server/server.h"

#define ASSIGNMENTS_MAX 256

/* What the command line asked for; kept for reloads. */
struct command {
    const char *file;
    const char *root;
    const char *listen[64];
    unsigned listen_count;
    const char *assignments[ASSIGNMENTS_MAX];
    unsigned assignment_count;
    bool check, dump, self_test;
    bool running;               /* complaints go to the log */
    struct conf_reader *reader; /* has the file, once running */
};

static void usage(FILE *out)
{
    fputs(
        "Usage: ringtftpd [-c FILE] [--root DIR] [--listen ADDR:PORT]... [-o "
        "SECTION.KEY=VALUE]...\n"
        "\n"
        "A TFTP server. Runs in the foreground and logs to standard error.\n"
        "\n"
        "  -c, --config FILE       read the configuration from FILE (TOML)\n"
        "      --root DIR          serve the files below DIR\n"
        "      --listen ADDR:PORT  listen there; may be given several times; port 0: any free "
        "port\n"
        "  -o SECTION.KEY=VALUE    set one configuration key; comes after the file\n"
        "      --check-config      read the configuration, say what is wrong with it, and exit; "
        "looks at\n"
        "                          no folder, user or port\n"
        "      --dump-config       print the whole configuration as TOML and exit\n"
        "      --self-test         shut itself in as configured, try to break out, say what held\n"
        "      --version           print the version and what was built in\n"
        "  -h, --help              print this\n"
        "\n"
        "Signals: TERM and INT end it (twice: at once), HUP reads the configuration again,\n"
        "USR1 writes the numbers to the log.\n",
        out);
}

static int complain(int code, const char *sentence)
{
    fprintf(stderr, "ringtftpd: %s\n", sentence);
    return code;
}

enum { OPT_ROOT = 256, OPT_LISTEN, OPT_CHECK, OPT_DUMP, OPT_SELF_TEST, OPT_VERSION };

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'},
    {"root", required_argument, NULL, OPT_ROOT},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"check-config", no_argument, NULL, OPT_CHECK},
    {"dump-config", no_argument, NULL, OPT_DUMP},
    {"self-test", no_argument, NULL, OPT_SELF_TEST},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* -1: go on; else the exit code. */
static int take_option(struct command *cmd, int opt)
{
    switch (opt) {
    case 'c':
        cmd->file = optarg;
        return -1;
    case 'o':
        if (cmd->assignment_count == ASSIGNMENTS_MAX)
            return complain(EX_USAGE, "too many -o options, expected at most 256");
        cmd->assignments[cmd->assignment_count++] = optarg;
        return -1;
    case OPT_ROOT:
        cmd->root = optarg;
        return -1;
    case OPT_LISTEN:
        if (cmd->listen_count == sizeof(cmd->listen) / sizeof(cmd->listen[0]))
            return complain(EX_USAGE, "too many --listen options, expected at most 64");
        cmd->listen[cmd->listen_count++] = optarg;
        return -1;
    case OPT_CHECK:
        cmd->check = true;
        return -1;
    case OPT_DUMP:
        cmd->dump = true;
        return -1;
    case OPT_SELF_TEST:
        cmd->self_test = true;
        return -1;
    case OPT_VERSION:
        printf("ringtftpd %s (io_uring: %s)\n", RINGTFTP_VERSION,
               HAVE_IO_URING ? "built in" : "left out");
        return EX_OK;
    case 'h':
        usage(stdout);
        return EX_OK;
    }
    return EX_USAGE;
}

static int complain_of_option(int code, const char *word)
{
    char text[256];

    option_error(code, word, options, text, sizeof(text));
    return complain(EX_USAGE, text);
}

static int parse_command(struct command *cmd, int argc, char **argv)
{
    int opt;

    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":c:o:h", options, NULL)) != -1) {
        int code = opt == '?' || opt == ':' ? complain_of_option(opt, argv[optind - 1])
                                            : take_option(cmd, opt);
        if (code >= 0)
            return code;
    }
    if (optind < argc) {
        fprintf(stderr, "ringtftpd: %s: unexpected argument, expected options only (try --help)\n",
                argv[optind]);
        return EX_USAGE;
    }
    return -1;
}

/* Sets `key` to `value` as -o would. */
static int set_key(struct conf *c, const char *key, const char *value, struct conf_error *error)
{
    char *text;

    if (asprintf(&text, "%s=%s", key, value) < 0)
        return -ENOMEM;
    int err = conf_set(c, text, error);
    free(text);
    return err;
}

/* All --listen options as one list. */
static int set_listen(struct conf *c, const struct command *cmd, struct conf_error *error)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return -ENOMEM;
    for (unsigned i = 0; i < cmd->listen_count; i++)
        fprintf(out, "%s%s", i ? "," : "", cmd->listen[i]);
    int err = fclose(out) == 0 && text ? set_key(c, "listen", text, error) : -ENOMEM;
    free(text);
    return err;
}

static int read_file(const struct command *cmd, struct conf *c, struct conf_error *error)
{
    char *text;
    size_t len;

    if (!cmd->running)
        return conf_read_file(c, cmd->file, error);
    int err = conf_reader_read(cmd->reader, &text, &len);
    if (err < 0) {
        if (err == -EACCES)
            snprintf(error->text, sizeof(error->text), "%s: user \"%s\" cannot read it: %s",
                     cmd->file, cmd->reader->user, strerror(-err));
        else
            snprintf(error->text, sizeof(error->text), "%s: %s", cmd->file,
                     err == -EPIPE ? "the process that reads it has ended" : strerror(-err));
        return err;
    }
    err = conf_read_text(c, text, len, cmd->file, error);
    free(text);
    return err;
}

/* File, then --root and --listen, then -o. */
static int build_conf(const struct command *cmd, struct conf *c, struct conf_error *error)
{
    int err = cmd->file ? read_file(cmd, c, error) : 0;

    if (err < 0)
        return err;
    err = cmd->root ? set_key(c, "root", cmd->root, error) : 0;
    if (err == 0 && cmd->listen_count > 0)
        err = set_listen(c, cmd, error);
    if (err < 0)
        return err;
    for (unsigned i = 0; i < cmd->assignment_count; i++) {
        err = conf_set(c, cmd->assignments[i], error);
        if (err < 0)
            return err;
    }
    return conf_check(c, error);
}

static struct conf *read_conf(const struct command *cmd)
{
    struct conf_error error = {"out of memory"};
    struct conf *c = calloc(1, sizeof(*c));

    if (c && conf_init(c) == 0) {
        if (build_conf(cmd, c, &error) == 0)
            return c;
        conf_fini(c);
    }
    free(c);
    if (cmd->running)
        log_line(LOG_ERROR, "%s", error.text);
    else
        fprintf(stderr, "ringtftpd: %s\n", error.text);
    return NULL;
}

static struct conf *reload(void *arg, struct conf_reader *reader)
{
    struct command *cmd = arg;

    cmd->reader = reader;
    return read_conf(cmd);
}

int main(int argc, char **argv)
{
    struct command cmd = {0};
    int code = parse_command(&cmd, argc, argv);

    if (code >= 0)
        return code;
    struct conf *c = read_conf(&cmd);
    if (!c)
        return EX_CONFIG;
    if (cmd.check || cmd.dump) {
        if (cmd.dump)
            conf_dump(c, false, stdout);
        else
            puts("ringtftpd: the configuration is fine");
        conf_fini(c);
        free(c);
        return EX_OK;
    }
    log_init(STDERR_FILENO, (enum log_level)c->log_level, (enum log_format)c->log_format,
             (unsigned)c->log_lines_per_second);
    if (cmd.self_test)
        return server_self_test(c);
    cmd.running = true;
    return server_run(c, cmd.file, reload, &cmd);
}
