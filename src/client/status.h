/*
 * How a transfer of the client ends: one table of exit codes, with the word for JSON, the
 * sentence for the manual page, and what to try.
 */
#ifndef CLIENT_STATUS_H
#define CLIENT_STATUS_H

enum client_status {
    CLIENT_OK = 0,
    CLIENT_MIXED = 1,
    CLIENT_USAGE = 2,
    CLIENT_NOT_FOUND = 3,
    CLIENT_DENIED = 4,
    CLIENT_TIMEOUT = 5,
    CLIENT_DISK = 6,
    CLIENT_PROTOCOL = 7,
    CLIENT_SERVER_FULL = 8,
    CLIENT_EXISTS = 9,
    CLIENT_UNCONFIRMED = 10,
    CLIENT_MISMATCH = 11,
    CLIENT_TOO_LARGE = 12,
    CLIENT_UNREACHABLE = 13,
    CLIENT_REFUSED = 14,
    CLIENT_SYSTEM = 15,
    CLIENT_INTERRUPTED = 130,
};

struct client_status_row {
    enum client_status status;
    const char *name; /* of the JSON result */
    const char *doc;  /* a sentence for the manual page */
};

extern const struct client_status_row client_statuses[];
extern const unsigned client_status_count;

const char *client_status_name(enum client_status status);

#endif
