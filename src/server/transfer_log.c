#include "server/transfer_log.h"

#include <errno.h>
#include <string.h>

#include "obs/log.h"

static struct view text_view(const char *s)
{
    return view_of(s, strlen(s));
}

static void begin(struct log_event *e, enum log_level level, const struct addr *peer, bool writing,
                  struct view path)
{
    char text[ADDR_TEXT_MAX];

    log_begin(e, level, "transfer");
    if (!log_wants(level))
        return;
    log_str(e, "peer", addr_text(peer, text));
    log_str(e, "dir", writing ? "write" : "read");
    log_bytes(e, "file", path);
}

/* A missing file is the most common answer of a boot server: as quiet as a success. */
static const char *refusal_outcome(int err, enum log_level *level)
{
    switch (err) {
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
        *level = LOG_INFO;
        return "not-found";
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP:
    case EXDEV:
    case EISDIR:
    case ENXIO:
    case EEXIST:
    case EFBIG:
    case EDQUOT:
        *level = LOG_NOTICE;
        return "denied";
    default:
        *level = LOG_WARN;
        return "error";
    }
}

static void count_refusal(struct worker *w, const char *outcome)
{
    if (strcmp(outcome, "not-found") == 0)
        metric_inc(&w->metrics, METRIC_REQUESTS_NOT_FOUND);
    else if (strcmp(outcome, "denied") == 0)
        metric_inc(&w->metrics, METRIC_REQUESTS_DENIED);
    else
        metric_inc(&w->metrics, METRIC_TRANSFERS_ERROR);
}

static void log_refusal(struct worker *w, const struct addr *peer, bool writing, struct view path,
                        nsec duration, int err, enum tftp_error code)
{
    struct log_event e;
    enum log_level level;
    const char *outcome = refusal_outcome(err, &level);

    count_refusal(w, outcome);
    begin(&e, level, peer, writing, path);
    log_u64(&e, "bytes", 0);
    log_ms(&e, "ms", duration);
    log_str(&e, "outcome", outcome);
    log_u64(&e, "code", code);
    log_str(&e, "reason", strerrorname_np(err) ? strerrorname_np(err) : "unknown");
    log_end(&e);
}

void transfer_log_refused(struct transfer *t, int err, enum tftp_error code)
{
    log_refusal(t->worker, &t->x.peer, t->writing, text_view(t->path), t->worker->now - t->started,
                err, code);
}

void transfer_log_unopened(struct transfer *t)
{
    struct log_event e;

    metric_inc(&t->worker->metrics, METRIC_TRANSFERS_CLOSED);
    begin(&e, LOG_INFO, &t->x.peer, t->writing, text_view(t->path));
    log_u64(&e, "bytes", 0);
    log_ms(&e, "ms", t->worker->now - t->started);
    log_str(&e, "outcome", "closed");
    log_end(&e);
}

void transfer_log_denied(struct worker *w, const struct net_rx *rx, bool writing, struct view path,
                         int err, enum tftp_error code)
{
    log_refusal(w, &rx->peer, writing, path, 0, err, code);
}

void transfer_log_replaced(struct transfer *t)
{
    struct tftp_session *s = &t->x.session;

    if (!t->opening && s->outcome == TFTP_OUTCOME_NONE)
        s->outcome = s->state == TFTP_STATE_DALLYING ? TFTP_OUTCOME_OK : TFTP_OUTCOME_CLOSED;
}

static void count_end(struct worker *w, const struct transfer *t)
{
    static const enum metric by_outcome[TFTP_OUTCOMES] = {
        [TFTP_OUTCOME_NONE] = METRIC_TRANSFERS_ERROR,
        [TFTP_OUTCOME_OK] = METRIC_TRANSFERS_OK,
        [TFTP_OUTCOME_PROBE] = METRIC_TRANSFERS_PROBE,
        [TFTP_OUTCOME_CLOSED] = METRIC_TRANSFERS_CLOSED,
        [TFTP_OUTCOME_ABORTED] = METRIC_TRANSFERS_ABORTED,
        [TFTP_OUTCOME_TIMEOUT] = METRIC_TRANSFERS_TIMEOUT,
        [TFTP_OUTCOME_ERROR] = METRIC_TRANSFERS_ERROR,
    };
    const struct tftp_counts *c = &t->x.session.counts;

    metric_inc(&w->metrics, by_outcome[t->x.session.outcome]);
    metric_add(&w->metrics, t->writing ? METRIC_BYTES_RECEIVED : METRIC_BYTES_SENT, c->bytes_acked);
    metric_add(&w->metrics, METRIC_BLOCKS_SENT, c->blocks_sent);
    metric_add(&w->metrics, METRIC_BLOCKS_RESENT, c->blocks_resent);
    metric_add(&w->metrics, METRIC_RESTARTS_TIMEOUT, c->resent_timeout);
    metric_add(&w->metrics, METRIC_RESTARTS_GAP, c->resent_gap);
}

static enum log_level end_level(enum tftp_outcome outcome)
{
    switch (outcome) {
    case TFTP_OUTCOME_OK:
    case TFTP_OUTCOME_PROBE:
    case TFTP_OUTCOME_CLOSED:
        return LOG_INFO;
    case TFTP_OUTCOME_ABORTED:
    case TFTP_OUTCOME_TIMEOUT:
        return LOG_NOTICE;
    default:
        return LOG_WARN;
    }
}

void transfer_log_end(struct transfer *t, nsec now)
{
    const struct tftp_session *s = &t->x.session;
    const struct tftp_counts *c = &s->counts;
    struct log_event e;

    count_end(t->worker, t);
    begin(&e, end_level(s->outcome), &t->x.peer, t->writing, text_view(t->path));
    log_str(&e, "mode", t->mode == TFTP_NETASCII ? "netascii" : "octet");
    log_u64(&e, "blksize", s->params.blksize);
    log_u64(&e, "windowsize", s->params.windowsize);
    if (s->params.timeout_s)
        log_u64(&e, "timeout", s->params.timeout_s);
    log_u64(&e, "bytes", c->bytes_acked);
    log_ms(&e, "ms", now - t->started);
    log_u64(&e, "resent", c->blocks_resent + c->control_resent);
    log_str(&e, "outcome", tftp_outcome_name(s->outcome));
    if (s->outcome == TFTP_OUTCOME_ERROR) {
        log_u64(&e, "code", s->error);
        log_str(&e, "reason", s->error_text);
    } else if (s->outcome == TFTP_OUTCOME_ABORTED) {
        log_u64(&e, "code", s->peer_error);
    }
    log_end(&e);
}
