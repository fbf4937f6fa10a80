#include "client/target.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char scheme[] = "tftp://";

void client_target_fini(struct client_target *t)
{
    free(t->host);
    free(t->port);
    free(t->file);
    *t = (struct client_target){0};
}

static bool is_url(const char *text)
{
    return strncasecmp(text, scheme, sizeof(scheme) - 1) == 0;
}

bool client_target_looks_remote(const char *text)
{
    return is_url(text) || strchr(text, ':') != NULL;
}

/* The end of the host at `p`, with the host itself; NULL: none there. */
static const char *take_host(const char *p, const char *ends, struct view *ret)
{
    const char *end;

    if (*p == '[') {
        end = strchr(++p, ']');
        *ret = view_of(p, end ? (size_t)(end - p) : 0);
        return end && ret->n > 0 ? end + 1 : NULL;
    }
    *ret = view_of(p, strcspn(p, ends));
    return ret->n > 0 ? p + ret->n : NULL;
}

/* The end of the port number at `p`; NULL: none, or not from 1 to 65535. */
static const char *take_port(const char *p, struct view *ret)
{
    size_t n = strspn(p, "0123456789");
    unsigned long value = n > 0 && n <= 5 ? strtoul(p, NULL, 10) : 0;

    *ret = view_of(p, n);
    return value >= 1 && value <= 65535 ? p + n : NULL;
}

static int fill(struct client_target *t, struct view host, struct view port, const char *file,
                size_t file_len)
{
    *t = (struct client_target){
        .host = strndup((const char *)host.p, host.n),
        .port = port.n > 0 ? strndup((const char *)port.p, port.n) : NULL,
        .file = strndup(file, file_len),
        .mode = TFTP_OCTET,
    };
    if (t->host && t->file && (port.n == 0 || t->port))
        return 0;
    client_target_fini(t);
    return -ENOMEM;
}

static int no_form(const char *text, struct client_error *error)
{
    client_error_set(error,
                     "'%s' is not a remote file, expected HOST:FILE, HOST:PORT:FILE or "
                     "tftp://HOST/FILE",
                     text);
    return -EINVAL;
}

/* HOST:FILE or HOST:PORT:FILE. Digits and a colon behind the host are a port. */
static int parse_short(struct client_target *ret, const char *text, struct client_error *error)
{
    struct view host, port = {0};
    const char *p = take_host(text, ":/", &host);

    if (!p || *p != ':')
        return no_form(text, error);
    p++;
    if (text[0] != '[' && *p == ':') {
        client_error_set(error, "'%s': an IPv6 address stands in brackets: [::1]:FILE", text);
        return -EINVAL;
    }
    size_t digits = strspn(p, "0123456789");
    if (digits > 0 && p[digits] == ':') {
        const char *end = take_port(p, &port);
        if (!end) {
            client_error_set(error, "'%s': '%.*s' is not a port from 1 to 65535", text,
                             (int)MIN(digits, 40), p);
            return -EINVAL;
        }
        p = end + 1;
    }
    return fill(ret, host, port, p, strlen(p));
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* %XX in place; -EINVAL: not two hexadecimal digits, or %00. */
static int unescape(char *s)
{
    char *to = s;

    for (; *s; s++) {
        if (*s != '%') {
            *to++ = *s;
            continue;
        }
        int high = hex(s[1]), low = high < 0 ? -1 : hex(s[2]);
        if (low < 0 || (high == 0 && low == 0))
            return -EINVAL;
        *to++ = (char)(high << 4 | low);
        s += 2;
    }
    *to = '\0';
    return 0;
}

/* RFC 3617: the path ends in ";mode=netascii" or ";mode=octet", or has no mode. */
static int take_url_mode(struct client_target *t, const char *text, struct client_error *error)
{
    static const char key[] = ";mode=";
    char *at = strrchr(t->file, ';');

    if (!at || strncasecmp(at, key, sizeof(key) - 1) != 0)
        return 0;
    const char *mode = at + sizeof(key) - 1;
    t->mode_given = true;
    if (strcasecmp(mode, "netascii") == 0) {
        t->mode = TFTP_NETASCII;
    } else if (strcasecmp(mode, "octet") != 0) {
        client_error_set(error, "'%s': the mode of a URL is octet or netascii", text);
        return -EINVAL;
    }
    *at = '\0';
    return 0;
}

static int parse_url(struct client_target *ret, const char *text, struct client_error *error)
{
    struct view host, port = {0};
    const char *p = take_host(text + sizeof(scheme) - 1, ":/", &host);

    if (p && *p == ':')
        p = take_port(p + 1, &port);
    if (!p || *p != '/')
        return no_form(text, error);
    p++;
    int err = fill(ret, host, port, p, strlen(p));
    if (err < 0)
        return err;
    err = take_url_mode(ret, text, error);
    if (err == 0 && (unescape(ret->file) < 0 || unescape(ret->host) < 0)) {
        client_error_set(error, "'%s': %% needs two hexadecimal digits, not 00", text);
        err = -EINVAL;
    }
    if (err < 0)
        client_target_fini(ret);
    return err;
}

/* Else their name would be taken for that of a host. */
static bool is_other_url(const char *text)
{
    static const char *const others[] = {"http://", "https://", "ftp://", "ftps://", "file://"};

    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (strncasecmp(text, others[i], strlen(others[i])) == 0)
            return true;
    return false;
}

int client_target_parse(struct client_target *ret, const char *text, struct client_error *error)
{
    if (is_other_url(text))
        return no_form(text, error);
    int err = is_url(text) ? parse_url(ret, text, error) : parse_short(ret, text, error);

    if (err == -ENOMEM)
        client_error_set(error, "out of memory");
    return err;
}
