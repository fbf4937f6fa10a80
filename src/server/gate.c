#include "server/gate.h"

#include "obs/log.h"

/* ERROR 5 to one address: told once, a client has what it needs; not more than ten in any second.
 */
static const struct bucket_size strangers = {5, NSEC_PER_SEC};

static const struct settings_share *share_of(const struct worker *w, const struct addr *peer)
{
    return &w->settings->share[settings_trusts(w->settings, peer)];
}

/* Of a flood one line a second is written; the counters have it all. */
static void refused(struct worker *w, const struct addr *peer, const char *limit,
                    enum metric metric)
{
    char text[ADDR_TEXT_MAX];
    struct log_event e;

    metric_inc(&w->metrics, metric);
    if (w->now - w->limit_logged < NSEC_PER_SEC)
        return;
    w->limit_logged = w->now;
    log_begin(&e, LOG_NOTICE, "limited");
    log_str(&e, "peer", addr_text(peer, text));
    log_str(&e, "limit", limit);
    log_end(&e);
}

bool gate_request(struct worker *w, const struct addr *peer)
{
    if (limiter_take(w->limiter, limiter_host(w->limiter, peer), LIMIT_REQUESTS,
                     &share_of(w, peer)->requests, 1, w->now))
        return true;
    refused(w, peer, "requests_per_address", METRIC_LIMITED_REQUESTS);
    return false;
}

static struct bucket *bucket_of_all(struct worker *w, const struct addr *peer)
{
    return &w->limiter->all[settings_trusts(w->settings, peer)];
}

bool gate_unproven(struct worker *w, const struct addr *peer, size_t bytes)
{
    const struct settings_share *share = share_of(w, peer);
    uint32_t host = limiter_host(w->limiter, peer);

    if (bytes == 0)
        return true;
    if (!limiter_take(w->limiter, host, LIMIT_UNPROVEN, &share->unproven, bytes, w->now)) {
        refused(w, peer, "unproven_bytes_per_address", METRIC_LIMITED_UNPROVEN);
        return false;
    }
    if (bucket_take(bucket_of_all(w, peer), &share->unproven_all, bytes, w->now))
        return true;
    limiter_return(w->limiter, host, LIMIT_UNPROVEN, &share->unproven, bytes);
    refused(w, peer, "unproven_bytes", METRIC_LIMITED_UNPROVEN_ALL);
    return false;
}

void gate_unproven_return(struct worker *w, const struct addr *peer, size_t bytes)
{
    const struct settings_share *share = share_of(w, peer);

    if (bytes == 0)
        return;
    limiter_return(w->limiter, limiter_host(w->limiter, peer), LIMIT_UNPROVEN, &share->unproven,
                   bytes);
    bucket_return(bucket_of_all(w, peer), &share->unproven_all, bytes);
}

bool gate_stranger(struct worker *w, const struct addr *peer)
{
    return limiter_take(w->limiter, limiter_host(w->limiter, peer), LIMIT_STRANGERS, &strangers, 1,
                        w->now);
}

bool gate_enter(struct worker *w, const struct addr *peer, bool writing)
{
    uint32_t host = limiter_host(w->limiter, peer);

    if (!limiter_enter(w->limiter, host, share_of(w, peer)->transfers)) {
        refused(w, peer, "transfers_per_address", METRIC_BUSY_ADDRESS);
        return false;
    }
    if (!writing || limiter_upload_enter(w->limiter, w->settings->uploads_max))
        return true;
    limiter_leave(w->limiter, host);
    refused(w, peer, "uploads_max", METRIC_BUSY_UPLOADS);
    return false;
}

void gate_leave(struct worker *w, const struct addr *peer, bool writing)
{
    limiter_leave(w->limiter, limiter_host(w->limiter, peer));
    if (writing)
        limiter_upload_leave(w->limiter);
}

bool gate_upload_fits(struct worker *w, uint64_t bytes)
{
    if (bucket_holds(&w->limiter->upload_bytes, &w->settings->upload_bytes, bytes, w->now))
        return true;
    metric_inc(&w->metrics, METRIC_LIMITED_UPLOAD_BYTES);
    return false;
}

bool gate_upload_take(void *arg, uint64_t bytes)
{
    struct worker *w = arg;

    if (bucket_take(&w->limiter->upload_bytes, &w->settings->upload_bytes, bytes, w->now))
        return true;
    metric_inc(&w->metrics, METRIC_LIMITED_UPLOAD_BYTES);
    return false;
}

void gate_upload_return(void *arg, uint64_t bytes)
{
    struct worker *w = arg;

    bucket_return(&w->limiter->upload_bytes, &w->settings->upload_bytes, bytes);
}
