/*
 * Why a transfer failed, in a sentence for a person: what the server said, and what to try.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "client/client.h"

struct refusal {
    uint16_t code;
    enum client_status status;
    const char *try_get, *try_put;
};

static const struct refusal refusals[] = {
    {TFTP_ERR_NOT_FOUND, CLIENT_NOT_FOUND,
     "check the name; it is looked up below the server's folder",
     "many servers only take files that exist there already"},
    {TFTP_ERR_ACCESS, CLIENT_DENIED, "servers often give out only files that all may read",
     "the server may not take uploads, or not under this name"},
    {TFTP_ERR_DISK_FULL, CLIENT_SERVER_FULL, "", "make room there, or send less"},
    {TFTP_ERR_ILLEGAL, CLIENT_REFUSED, "try --no-options", "try --no-options"},
    {TFTP_ERR_UNKNOWN_TID, CLIENT_REFUSED,
     "something between may be changing ports; try --local-port",
     "something between may be changing ports; try --local-port"},
    {TFTP_ERR_EXISTS, CLIENT_EXISTS, "", "remove it there, or choose another name"},
    {TFTP_ERR_NO_USER, CLIENT_DENIED, "", ""},
    {TFTP_ERR_OPTION, CLIENT_REFUSED, "try --no-options", "try --no-options"},
};

static void set(struct client_transfer *t, enum client_status status, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

static void set(struct client_transfer *t, enum client_status status, const char *fmt, ...)
{
    struct client_result *r = &t->item->result;
    va_list args;

    r->status = status;
    va_start(args, fmt);
    vsnprintf(r->message.text, sizeof(r->message.text), fmt, args);
    va_end(args);
}

static void refused(struct client_transfer *t)
{
    uint16_t code = t->x.session.peer_error;
    struct refusal r = {code, CLIENT_REFUSED, "", ""};

    for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
        if (refusals[i].code == code)
            r = refusals[i];
    const char *advice = t->x.session.sending ? r.try_put : r.try_get;
    const char *word = code <= TFTP_ERR_OPTION ? tftp_error_text(code) : "";
    bool told = strcasecmp(word, t->peer_text) == 0;

    set(t, r.status, "the server says: %s (error %u%s%s)%s%s",
        t->peer_text[0] ? t->peer_text : "nothing", code, *word && !told ? ", " : "",
        told ? "" : word, *advice ? "; " : "", advice);
}

static void local(struct client_transfer *t)
{
    int err = -t->local_error;
    const char *name = t->client->plan->stream >= 0 ? "the output" : "the local file";

    if (err == EINTR)
        set(t, CLIENT_INTERRUPTED, "interrupted");
    else if (err == EEXIST)
        set(t, CLIENT_EXISTS, "'%s' exists and --no-clobber was given", t->item->local);
    else if (err == ESTALE)
        set(t, CLIENT_DISK, "the local file was changed while it was being sent");
    else if (err == ENOENT && t->client->options->command == CLIENT_PUT)
        set(t, CLIENT_NOT_FOUND, "the local file has gone");
    else if (err == ENOSPC || err == EDQUOT)
        set(t, CLIENT_DISK, "%s: %s; nothing is kept of it", name, strerror(err));
    else
        set(t, CLIENT_DISK, "%s: %s", name, strerror(err));
}

static void timed_out(struct client_transfer *t)
{
    const struct tftp_session *s = &t->x.session;
    double seconds = (double)(t->client->now - t->item->result.started) / (double)NSEC_PER_SEC;
    char text[ADDR_TEXT_MAX];

    if (!t->pinned)
        set(t, CLIENT_TIMEOUT,
            "no answer from %s in %.0f s; does a TFTP server run there, and do firewalls let "
            "its answers through, which come from another port?",
            addr_text(&t->service, text), seconds);
    else if (s->sending && tftp_sender_only_last_missing(&s->sender))
        set(t, CLIENT_UNCONFIRMED, "all was sent, but the server never confirmed the last block");
    else
        set(t, CLIENT_TIMEOUT, "the server fell silent after %llu bytes",
            (unsigned long long)client_transfer_bytes(t));
}

static void unreachable(struct client_transfer *t)
{
    const struct tftp_session *s = &t->x.session;
    char text[ADDR_TEXT_MAX];
    const char *address = addr_text(&t->x.peer, text);

    if (s->sending && t->pinned && tftp_sender_only_last_missing(&s->sender))
        set(t, CLIENT_UNCONFIRMED,
            "all was sent, but the server went away before it confirmed the last block");
    else if (t->pinned)
        set(t, CLIENT_UNREACHABLE, "the server went away after %llu bytes",
            (unsigned long long)client_transfer_bytes(t));
    else if (t->send_error && t->send_error != ECONNREFUSED)
        set(t, CLIENT_UNREACHABLE, "cannot reach %s: %s", address, strerror(t->send_error));
    else
        set(t, CLIENT_UNREACHABLE, "nobody listens on %s; is the server running?", address);
}

static void ours(struct client_transfer *t)
{
    const struct tftp_session *s = &t->x.session;

    if (t->fall_back == CLIENT_TIMEOUT)
        timed_out(t);
    else if (s->error == TFTP_ERR_OPTION)
        set(t, CLIENT_PROTOCOL,
            "the server answered with options that were not asked for; it cannot be trusted");
    else
        set(t, CLIENT_PROTOCOL, "the server breaks the protocol: %s", s->error_text);
}

static void good(struct client_transfer *t)
{
    const struct tftp_session *s = &t->x.session;

    /* Without the ACK of the last block a sender cannot know. */
    if (s->sending && s->sender.base <= s->sender.last)
        set(t, CLIENT_UNCONFIRMED, "all was sent, but the server never confirmed the last block");
    else
        t->item->result.status = CLIENT_OK;
}

void client_verdict(struct client_transfer *t)
{
    const struct tftp_session *s = &t->x.session;

    if (t->local_error) {
        local(t);
        return;
    }
    if (s->state == TFTP_STATE_DALLYING) {
        good(t);
        return;
    }
    switch (s->outcome) {
    case TFTP_OUTCOME_OK:
        good(t);
        break;
    case TFTP_OUTCOME_TIMEOUT:
        timed_out(t);
        break;
    case TFTP_OUTCOME_ERROR:
        ours(t);
        break;
    case TFTP_OUTCOME_PROBE:
    case TFTP_OUTCOME_CLOSED:
    case TFTP_OUTCOME_ABORTED:
    case TFTP_OUTCOME_NONE:
    case TFTP_OUTCOMES:
        if (t->peer_spoke)
            refused(t);
        else
            unreachable(t);
        break;
    }
}
