#include "client/status.h"

#include "base/util.h"

const struct client_status_row client_statuses[] = {
    {CLIENT_OK, "ok", "Everything was transferred."},
    {CLIENT_MIXED, "mixed", "Several files failed, for different reasons."},
    {CLIENT_USAGE, "usage", "The command line is wrong; nothing was sent."},
    {CLIENT_NOT_FOUND, "not-found",
     "The server has no such file (ERROR 1), or a local file to be sent does not exist."},
    {CLIENT_DENIED, "denied", "The server refuses access (ERROR 2 or 7)."},
    {CLIENT_TIMEOUT, "timeout", "No answer, or the server fell silent in the middle."},
    {CLIENT_DISK, "disk", "The local file cannot be read or written, or the disk is full."},
    {CLIENT_PROTOCOL, "protocol",
     "The server breaks the protocol: options that were not asked for, blocks longer than "
     "agreed, answers to another kind of request."},
    {CLIENT_SERVER_FULL, "server-full",
     "The server's disk is full, or the file is too large for it (ERROR 3)."},
    {CLIENT_EXISTS, "exists",
     "The file exists already: at the server (ERROR 6), or here with --no-clobber."},
    {CLIENT_UNCONFIRMED, "unconfirmed",
     "All bytes were sent, but the server never confirmed the last of them; the file may be "
     "complete there or missing."},
    {CLIENT_MISMATCH, "mismatch",
     "The file is not as long as the server announced, or does not have the sum of --sha256."},
    {CLIENT_TOO_LARGE, "too-large", "The file is larger than --max-size."},
    {CLIENT_UNREACHABLE, "unreachable",
     "The host has no such name, cannot be reached, or nobody listens on the port."},
    {CLIENT_REFUSED, "refused", "The server ended the transfer with another ERROR."},
    {CLIENT_SYSTEM, "system", "No memory, no socket, no free local port."},
    {CLIENT_INTERRUPTED, "interrupted", "Ended by Ctrl-C or a signal."},
};
const unsigned client_status_count = ARRAY_LEN(client_statuses);

const char *client_status_name(enum client_status status)
{
    for (unsigned i = 0; i < client_status_count; i++)
        if (client_statuses[i].status == status)
            return client_statuses[i].name;
    return "?";
}
