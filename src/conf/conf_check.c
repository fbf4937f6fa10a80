/*
 * What one row of the table cannot say: formats of strings, and keys that must agree.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/addr.h"
#include "base/escape.h"
#include "conf/conf.h"
#include "conf/key.h"

#define TFTP_PORT  69
#define CHUNKS_MIN 8
#define SHOWN_MAX  80

static int fail(struct conf_error *ret, const char *format, ...) PRINTF_LIKE(2, 3);

static int fail(struct conf_error *ret, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(ret->text, sizeof(ret->text), format, args);
    va_end(args);
    return -EINVAL;
}

/* "KEY: "TEXT" EXPECTED" */
static int fail_text(struct conf_error *ret, const char *key, const char *text,
                     const char *expected)
{
    char shown[SHOWN_MAX];
    escape_bytes((struct view){(const uint8_t *)text, strlen(text)}, shown, sizeof(shown));
    return fail(ret, "%s: \"%s\" is not %s", key, shown, expected);
}

static int check_addresses(const struct conf *c, struct conf_error *ret)
{
    struct addr addr;
    struct addr_net net;

    if (c->listen.count == 0)
        return fail(ret, "listen: expected at least one address");
    for (size_t i = 0; i < c->listen.count; i++) {
        if (addr_parse(&addr, c->listen.items[i], TFTP_PORT) < 0)
            return fail_text(ret, "listen", c->listen.items[i],
                             "an address, expected ADDRESS:PORT");
    }
    for (size_t i = 0; i < c->network_trusted.count; i++) {
        if (addr_net_parse(&net, c->network_trusted.items[i]) < 0)
            return fail_text(ret, "network.trusted", c->network_trusted.items[i],
                             "a network, expected ADDRESS/BITS with no bit set beyond BITS");
    }
    return 0;
}

/* One decimal port of 1 to 65535, moving *pos behind it. */
static bool parse_port(const char **pos, unsigned *ret)
{
    unsigned port = 0, digits = 0;
    for (; **pos >= '0' && **pos <= '9' && digits < 6; (*pos)++, digits++)
        port = port * 10 + (unsigned)(**pos - '0');
    *ret = port;
    return digits > 0 && port >= 1 && port <= UINT16_MAX;
}

static int check_ports(const struct conf *c, struct conf_error *ret)
{
    const char *at = c->network_port_range;
    unsigned first, last;

    if (*at == '\0') {
        if (strcmp(conf_word("network.transfer_ports", c->network_transfer_ports), "range") == 0)
            return fail(ret, "network.port_range: expected FIRST-LAST, because "
                             "network.transfer_ports is \"range\"");
        return 0;
    }
    bool ok = parse_port(&at, &first) && *at++ == '-' && parse_port(&at, &last) && *at == '\0';
    if (!ok || first > last)
        return fail_text(ret, "network.port_range", c->network_port_range,
                         "a range, expected FIRST-LAST from 1 to 65535");
    return 0;
}

static int check_files(const struct conf *c, struct conf_error *ret)
{
    if (c->root[0] == '\0')
        return fail(ret, "root: expected a directory, found an empty string");

    for (size_t i = 0; i < c->write_allowed_patterns.count; i++) {
        if (c->write_allowed_patterns.items[i][0] == '\0')
            return fail(ret,
                        "write.allowed_patterns: item %zu: expected a glob, found an "
                        "empty string",
                        i + 1);
    }

    /* Up to 0777: what is uploaded gets no set-user-id, set-group-id or sticky bit. */
    const char *mode = c->write_file_mode;
    size_t digits = strspn(mode, "01234567");
    bool octal = digits >= 1 && digits <= 4 && mode[digits] == '\0';
    if (!octal || (digits == 4 && mode[0] != '0'))
        return fail_text(ret, "write.file_mode", mode,
                         "a file mode, expected octal digits from \"0000\" to \"0777\"");
    return 0;
}

static int check_numbers(const struct conf *c, struct conf_error *ret)
{
    int64_t chunk = c->performance_chunk_size;

    if ((chunk & (chunk - 1)) != 0)
        return fail(ret, "performance.chunk_size: %" PRId64 " is not a power of two", chunk);
    if (c->performance_cache_size < CHUNKS_MIN * chunk)
        return fail(ret,
                    "performance.cache_size: %" PRId64 " is too small, expected at least %d "
                    "times performance.chunk_size, which is %" PRId64,
                    c->performance_cache_size, CHUNKS_MIN, chunk);
    if (c->protocol_retransmit_min > c->protocol_retransmit_max)
        return fail(ret,
                    "protocol.retransmit_min: %" PRId64 " is above protocol.retransmit_max, "
                    "which is %" PRId64,
                    c->protocol_retransmit_min, c->protocol_retransmit_max);
    return 0;
}

int conf_check(const struct conf *c, struct conf_error *ret)
{
    int rc = check_files(c, ret);
    if (rc == 0)
        rc = check_addresses(c, ret);
    if (rc == 0)
        rc = check_ports(c, ret);
    if (rc == 0)
        rc = check_numbers(c, ret);
    return rc;
}
