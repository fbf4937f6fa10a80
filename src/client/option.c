#include "client/option.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/option_error.h"
#include "base/sha256.h"
#include "proto/negotiate.h"

void client_error_set(struct client_error *e, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(e->text, sizeof(e->text), fmt, args);
    va_end(args);
}

/* ---- Kinds of values ---- */

static void *field(struct client_options *o, const struct client_option *option)
{
    return (char *)o + option->offset;
}

static int take_flag(struct client_options *o, const struct client_option *option,
                     const char *value, struct client_error *error)
{
    (void)value;
    (void)error;
    *(bool *)field(o, option) = true;
    return 0;
}

static int take_text(struct client_options *o, const struct client_option *option,
                     const char *value, struct client_error *error)
{
    if (*value == '\0') {
        client_error_set(error, "--%s: empty, expected %s", option->name, option->value);
        return -EINVAL;
    }
    *(const char **)field(o, option) = value;
    return 0;
}

/* Digits only: no sign, no space, no fraction, no other base. */
static int decimal(const char *text, size_t n, uint64_t *ret)
{
    return tftp_parse_decimal(view_of(text, n), ret);
}

static int take_number(struct client_options *o, const struct client_option *option,
                       const char *value, struct client_error *error)
{
    uint64_t n;

    if (decimal(value, strlen(value), &n) < 0 || n < option->min || n > option->max) {
        client_error_set(error, "--%s: '%s' is not a whole number from %llu to %llu", option->name,
                         value, (unsigned long long)option->min, (unsigned long long)option->max);
        return -EINVAL;
    }
    *(unsigned *)field(o, option) = (unsigned)n;
    return 0;
}

static int take_size(struct client_options *o, const struct client_option *option,
                     const char *value, struct client_error *error)
{
    static const char units[] = "KMGT";
    size_t len = strlen(value);
    unsigned shift = 0;
    uint64_t n;

    const char *unit = len > 0 ? strchr(units, value[len - 1]) : NULL;
    if (unit) {
        shift = 10 * ((unsigned)(unit - units) + 1);
        len--;
    }
    if (decimal(value, len, &n) < 0 || n > (UINT64_MAX >> 1 >> shift)) {
        client_error_set(error,
                         "--%s: '%s' is not a size, expected bytes, or a number with K, M, G or T",
                         option->name, value);
        return -EINVAL;
    }
    *(uint64_t *)field(o, option) = n << shift;
    return 0;
}

static int take_sha256(struct client_options *o, const struct client_option *option,
                       const char *value, struct client_error *error)
{
    if (!sha256_parse(o->sha256, value)) {
        client_error_set(error, "--%s: '%s' is not 64 hexadecimal digits", option->name, value);
        return -EINVAL;
    }
    o->check_sha256 = true;
    return 0;
}

static int take_mode(struct client_options *o, const struct client_option *option,
                     const char *value, struct client_error *error)
{
    if (strcmp(value, "octet") == 0 || strcmp(value, "binary") == 0) {
        o->mode = TFTP_OCTET;
    } else if (strcmp(value, "netascii") == 0 || strcmp(value, "ascii") == 0) {
        o->mode = TFTP_NETASCII;
    } else {
        client_error_set(error, "--%s: '%s' is no mode, expected octet or netascii", option->name,
                         value);
        return -EINVAL;
    }
    return 0;
}

static int take_rollover(struct client_options *o, const struct client_option *option,
                         const char *value, struct client_error *error)
{
    if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0) {
        client_error_set(error, "--%s: '%s' is neither 0 nor 1", option->name, value);
        return -EINVAL;
    }
    o->rollover = *value == '0' ? TFTP_ROLLOVER_0 : TFTP_ROLLOVER_1;
    return 0;
}

static int take_ports(struct client_options *o, const struct client_option *option,
                      const char *value, struct client_error *error)
{
    const char *dash = strchr(value, '-');
    size_t len = dash ? (size_t)(dash - value) : strlen(value);
    uint64_t first, last;

    int err = decimal(value, len, &first);
    last = first;
    if (err == 0 && dash)
        err = decimal(dash + 1, strlen(dash + 1), &last);
    if (err < 0 || first < 1 || last > UINT16_MAX || first > last) {
        client_error_set(error,
                         "--%s: '%s' is neither a port from 1 to 65535 nor a range of them "
                         "(6000-6010)",
                         option->name, value);
        return -EINVAL;
    }
    o->local_port_first = (uint16_t)first;
    o->local_port_last = (uint16_t)last;
    return 0;
}

static int take_bind(struct client_options *o, const struct client_option *option,
                     const char *value, struct client_error *error)
{
    if (addr_parse(&o->bind, value, 0) < 0 || o->bind.family == 0 || o->bind.port != 0) {
        client_error_set(error, "--%s: '%s' is not an IPv4 or IPv6 address", option->name, value);
        return -EINVAL;
    }
    return 0;
}

static int take_family(struct client_options *o, const struct client_option *option,
                       const char *value, struct client_error *error)
{
    (void)value;
    (void)error;
    o->family = option->letter == '4' ? AF_INET : AF_INET6;
    return 0;
}

static int take_resume(struct client_options *o, const struct client_option *option,
                       const char *value, struct client_error *error)
{
    (void)o;
    (void)value;
    client_error_set(error,
                     "--%s: resume is not in TFTP: a transfer always begins at the first byte; "
                     "leave the option out to fetch the whole file",
                     option->name);
    return -EINVAL;
}

/* ---- The table ---- */

#define FIELD(name) offsetof(struct client_options, name)

const struct client_option client_options[] = {
    {'o', "output", "FILE", CLIENT_GET, COMPLETE_FILES, take_text, FIELD(output), 0, 0,
     "Write to FILE; - is standard output. Only for a single file, unless it is -."},
    {'O', "output-dir", "DIR", CLIENT_GET, COMPLETE_FOLDERS, take_text, FIELD(output_dir), 0, 0,
     "Write into the folder DIR, each file under the last part of its remote name."},
    {'n', "no-clobber", NULL, CLIENT_GET, COMPLETE_NOTHING, take_flag, FIELD(no_clobber), 0, 0,
     "Never replace a file that exists."},
    {'j', "jobs", "N", CLIENT_TRANSFERS, COMPLETE_NOTHING, take_number, FIELD(jobs), 1, 256,
     "Transfer up to N files at the same time. Default: 8."},
    {'l', "list", "FILE", CLIENT_TRANSFERS, COMPLETE_FILES, take_text, FIELD(list), 0, 0,
     "Read names from FILE, one a line; - is standard input. For get they are remote names, put "
     "behind what follows the colon of the only HOST:[DIR/] operand; for put, local files."},
    {0, "max-size", "SIZE", CLIENT_TRANSFERS, COMPLETE_NOTHING, take_size, FIELD(max_size), 0, 0,
     "Refuse files of more than SIZE bytes, announced or not; K, M, G and T may follow the number "
     "(powers of 1024)."},
    {0, "sha256", "HEX", CLIENT_GET, COMPLETE_NOTHING, take_sha256, 0, 0, 0,
     "The file must have this SHA-256 sum, else it is not kept. TFTP itself has no checksum. Only "
     "for a single file."},
    {'b', "blksize", "N", CLIENT_ALL, COMPLETE_NOTHING, take_number, FIELD(blksize),
     TFTP_BLKSIZE_MIN, TFTP_BLKSIZE_MAX,
     "Ask for blocks of N bytes (RFC 2348). Default: the largest whose packets are not fragmented "
     "on the path to the server."},
    {'w', "windowsize", "N", CLIENT_ALL, COMPLETE_NOTHING, take_number, FIELD(windowsize), 1, 32768,
     "Ask for windows of N blocks (RFC 7440). Default: as many as the receive buffer holds, at "
     "most 64, fewer where earlier files met losses."},
    {'t', "timeout", "SECONDS", CLIENT_ALL, COMPLETE_NOTHING, take_number, FIELD(timeout_s), 1, 255,
     "Ask for this retransmission timeout (RFC 2349) and use it. Default: adapted to the measured "
     "round trip, and not asked for."},
    {0, "no-tsize", NULL, CLIENT_ALL, COMPLETE_NOTHING, take_flag, FIELD(no_tsize), 0, 0,
     "Do not ask for, or tell, the size of the file (RFC 2349)."},
    {0, "no-options", NULL, CLIENT_ALL, COMPLETE_NOTHING, take_flag, FIELD(no_options), 0, 0,
     "Send no option at all, as in RFC 1350: blocks of 512 bytes, one at a time."},
    {'m', "mode", "MODE", CLIENT_ALL, COMPLETE_MODES, take_mode, 0, 0, 0,
     "octet (default) or netascii, which converts line ends. A URL's ;mode= comes first."},
    {'r', "retries", "N", CLIENT_ALL, COMPLETE_NOTHING, take_number, FIELD(retries), 0, 50,
     "Send a packet again up to N times, in growing intervals, before giving up. Default: 5, which "
     "is patient for half a minute."},
    {0, "rollover", "N", CLIENT_TRANSFERS, COMPLETE_NOTHING, take_rollover, 0, 0, 1,
     "The block number after 65535 is N, 0 or 1. Default: 0."},
    {0, "local-port", "PORT[-PORT]", CLIENT_ALL, COMPLETE_NOTHING, take_ports, 0, 0, 0,
     "Send from this port, or from ports of this range. Default: any free one."},
    {0, "bind", "ADDRESS", CLIENT_ALL, COMPLETE_NOTHING, take_bind, 0, 0, 0,
     "Send from this address of ours."},
    {'4', "ipv4", NULL, CLIENT_ALL, COMPLETE_NOTHING, take_family, 0, 0, 0, "Use IPv4 only."},
    {'6', "ipv6", NULL, CLIENT_ALL, COMPLETE_NOTHING, take_family, 0, 0, 0, "Use IPv6 only."},
    {'q', "quiet", NULL, CLIENT_ALL, COMPLETE_NOTHING, take_flag, FIELD(quiet), 0, 0,
     "Show nothing but errors, on a terminal too."},
    {'v', "verbose", NULL, CLIENT_ALL, COMPLETE_NOTHING, take_flag, FIELD(verbose), 0, 0,
     "Show each packet, and each decision, on standard error."},
    {0, "json", NULL, CLIENT_ALL, COMPLETE_NOTHING, take_flag, FIELD(json), 0, 0,
     "Print the result as JSON on standard output: a line for each file, and one for the total of "
     "several."},
    {'C', "resume", NULL, CLIENT_TRANSFERS, COMPLETE_NOTHING, take_resume, 0, 0, 0,
     "Refused: resume is not in TFTP."},
    {'V', "version", NULL, CLIENT_ALL, COMPLETE_NOTHING, take_flag, FIELD(version), 0, 0,
     "Print the version and exit."},
    {'h', "help", NULL, CLIENT_ALL, COMPLETE_NOTHING, take_flag, FIELD(help), 0, 0,
     "Print a summary of the options and exit."},
};
const unsigned client_option_count = ARRAY_LEN(client_options);

/* ---- Parsing ---- */

#define LONG_BASE 256 /* above every letter */

void client_options_init(struct client_options *o)
{
    *o = (struct client_options){
        .jobs = 8,
        .max_size = CLIENT_SIZE_ANY,
        .mode = TFTP_OCTET,
        .retries = 5,
        .family = AF_UNSPEC,
    };
}

static const struct {
    enum client_command command;
    const char *name;
} commands[] = {
    {CLIENT_GET, "get"},
    {CLIENT_PUT, "put"},
    {CLIENT_PROBE, "probe"},
};

const char *client_command_name(enum client_command command)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (commands[i].command == command)
            return commands[i].name;
    return "?";
}

static enum client_command command_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].command;
    return 0;
}

/* Fills what getopt_long() wants from the table. */
static void getopt_tables(struct option *longs, char *letters)
{
    *letters++ = ':';
    for (unsigned i = 0; i < client_option_count; i++) {
        const struct client_option *o = &client_options[i];

        longs[i] = (struct option){o->name, o->value ? required_argument : no_argument, NULL,
                                   (int)(LONG_BASE + i)};
        if (o->letter) {
            *letters++ = o->letter;
            if (o->value)
                *letters++ = ':';
        }
    }
    longs[client_option_count] = (struct option){0};
    *letters = '\0';
}

static const struct client_option *option_of(int code)
{
    if (code >= LONG_BASE && code < LONG_BASE + (int)client_option_count)
        return &client_options[code - LONG_BASE];
    for (unsigned i = 0; i < client_option_count; i++)
        if (client_options[i].letter == code)
            return &client_options[i];
    return NULL;
}

static int take(struct client_options *o, const struct client_option *option,
                struct client_error *error)
{
    if (o->command && !(option->commands & o->command)) {
        client_error_set(error, "--%s is not an option of '%s' (try --help)", option->name,
                         client_command_name(o->command));
        return -EINVAL;
    }
    return option->take(o, option, optarg, error);
}

/* What the options say together. */
static int check(const struct client_options *o, struct client_error *error)
{
    const char *problem = NULL;

    if (o->output && o->output_dir)
        problem = "--output and --output-dir exclude each other";
    else if (o->json && o->output && strcmp(o->output, "-") == 0)
        problem = "--json and the file itself cannot both go to standard output";
    else if (o->quiet && o->verbose)
        problem = "--quiet and --verbose exclude each other";
    else if (o->no_options && (o->blksize || o->windowsize))
        problem = "--no-options leaves no way to ask for --blksize or --windowsize";
    else if (o->family != AF_UNSPEC && o->bind.family != 0 && o->family != o->bind.family)
        problem = "--bind has an address of the other family than -4 or -6";
    if (!problem)
        return 0;
    client_error_set(error, "%s", problem);
    return -EINVAL;
}

int client_options_parse(struct client_options *o, int argc, char **argv, int *ret_first,
                         struct client_error *error)
{
    struct option longs[ARRAY_LEN(client_options) + 1];
    char letters[2 * ARRAY_LEN(client_options) + 2];
    int code;

    client_options_init(o);
    if (argc < 2) {
        client_error_set(error, "expected a command: get, put or probe (try --help)");
        return -EINVAL;
    }
    if (argv[1][0] != '-') {
        o->command = command_of(argv[1]);
        if (!o->command) {
            client_error_set(error, "'%s' is no command, expected get, put or probe (try --help)",
                             argv[1]);
            return -EINVAL;
        }
        argv++;
        argc--;
    }
    getopt_tables(longs, letters);
    optind = 0; /* GNU: forget what was parsed before */
    opterr = 0;
    while ((code = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        const struct client_option *option = code == '?' || code == ':' ? NULL : option_of(code);
        if (!option) {
            option_error(code, argv[optind - 1], longs, error->text, sizeof(error->text));
            return -EINVAL;
        }
        if (take(o, option, error) < 0)
            return -EINVAL;
        if (o->help || o->version)
            return 0;
    }
    if (!o->command) {
        client_error_set(error, "the command comes first: get, put or probe (try --help)");
        return -EINVAL;
    }
    *ret_first = optind + 1;
    return check(o, error);
}
