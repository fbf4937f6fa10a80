#include "client/attempt.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "client/client.h"

#define WINDOW_MOST    64
#define RTO_FIRST      NSEC_PER_SEC
#define RTO_MAX        (10 * NSEC_PER_SEC)
#define PACKET_BYTES   1024 /* kernel memory of a waiting packet beyond its data */
#define PORT_TRIES     1024
#define PLAIN_TRIES    2 /* requests without options at the end of the patience */
#define SILENT_TRIES   4 /* timeouts after the OACK before smaller blocks are tried */
#define STALLS_MAX     3
#define LINGER         (1 * NSEC_PER_SEC)
#define PATIENCE_LEAST (3 * NSEC_PER_SEC)

/* ---- What is asked for ---- */

static nsec doubled(nsec interval, nsec max)
{
    return nsec_min(2 * interval, max);
}

/* How long `tries` requests and the waiting after the last one take. */
static nsec patience(nsec first, nsec max, unsigned tries)
{
    nsec sum = 0, interval = first;

    for (unsigned i = 0; i < tries; i++) {
        sum = nsec_add(sum, interval);
        interval = doubled(interval, max);
    }
    return sum;
}

static void set_manners(const struct client_transfer *t, struct tftp_manners *m)
{
    const struct client_options *o = t->client->options;

    *m = tftp_manners_default;
    m->rto_first = t->wish.rto_first;
    m->rto_max = MAX(RTO_MAX, m->rto_first);
    m->timeout_exact = o->timeout_s != 0;
    m->patience = MAX(PATIENCE_LEAST, patience(m->rto_first, m->rto_max, o->retries + 1));
    m->dally = LINGER;
}

static unsigned path_payload(struct client_transfer *t)
{
    unsigned *known = &t->item->host->payloads[t->address];

    if (*known == 0)
        *known = net_path_payload(&t->service, &t->client->options->bind);
    return *known;
}

static unsigned choose_blksize(struct client_transfer *t)
{
    unsigned payload = path_payload(t);

    if (t->wish.blksize)
        return t->wish.blksize;
    if (payload < TFTP_HEADER_LEN + TFTP_BLKSIZE_DEFAULT)
        return TFTP_BLKSIZE_DEFAULT;
    return MIN(payload - TFTP_HEADER_LEN, TFTP_BLKSIZE_MAX);
}

/* As many blocks as the kernel holds for us while we are busy. */
static unsigned choose_window(struct client_transfer *t, unsigned blksize)
{
    struct client *c = t->client;
    const struct client_host *host = t->item->host;
    socklen_t len = sizeof(int);
    int bytes = 0;
    unsigned cost = 2048;

    if (t->wish.windowsize)
        return t->wish.windowsize;
    if (c->rcvbuf_bytes == 0 &&
        getsockopt(t->socket->fd, SOL_SOCKET, SO_RCVBUF, &bytes, &len) == 0 && bytes > 0)
        c->rcvbuf_bytes = (unsigned)bytes;
    while (cost < blksize + PACKET_BYTES / 2)
        cost *= 2;
    unsigned fit = c->rcvbuf_bytes / (cost + PACKET_BYTES);
    unsigned n = MIN(fit, WINDOW_MOST);
    n = MIN(n, (unsigned)(c->window_bytes / blksize));
    if (host->window_cap)
        n = MIN(n, host->window_cap);
    return MAX(n, 1U);
}

/* ---- The request ---- */

struct asked {
    struct tftp_request request;
    char numbers[4][24];
};

static void ask(struct asked *a, const char *name, uint64_t value)
{
    char *text = a->numbers[a->request.option_count];

    snprintf(text, sizeof(a->numbers[0]), "%llu", (unsigned long long)value);
    a->request.options[a->request.option_count++] =
        (struct tftp_option){view_of(name, strlen(name)), view_of(text, strlen(text))};
}

static void build_request(struct client_transfer *t, struct asked *a)
{
    const struct client_options *o = t->client->options;
    bool put = o->command == CLIENT_PUT;

    a->request.op = put ? TFTP_WRQ : TFTP_RRQ;
    a->request.mode = t->item->mode;
    a->request.filename = view_of(t->item->file, strlen(t->item->file));
    a->request.option_count = 0;
    if (!t->wish.options)
        return;
    unsigned blksize = choose_blksize(t);
    unsigned window = choose_window(t, blksize);
    if (blksize != TFTP_BLKSIZE_DEFAULT || o->blksize)
        ask(a, "blksize", blksize);
    if (!o->no_tsize && !(put && t->item->mode == TFTP_NETASCII))
        ask(a, "tsize", put ? t->size : 0);
    if (o->timeout_s)
        ask(a, "timeout", o->timeout_s);
    if (window != 1 || o->windowsize)
        ask(a, "windowsize", window);
}

/* ---- The socket ---- */

static int open_socket(struct client_transfer *t)
{
    struct client *c = t->client;
    const struct client_options *o = c->options;
    struct addr bind = o->bind.family ? o->bind : (struct addr){.family = t->service.family};
    unsigned ports = (unsigned)(o->local_port_last - o->local_port_first) + 1;
    int err = -EADDRINUSE;

    if (o->local_port_first == 0)
        return net_open(c->net, &bind, false, t, &t->socket);
    unsigned at = (unsigned)prng_below(&c->prng, ports);
    for (unsigned i = 0; i < MIN(ports, PORT_TRIES) && err == -EADDRINUSE; i++) {
        bind.port = (uint16_t)(o->local_port_first + (at + i) % ports);
        err = net_open(c->net, &bind, false, t, &t->socket);
    }
    return err;
}

static void close_socket(struct client_transfer *t)
{
    if (t->socket)
        net_close_socket(t->client->net, t->socket);
    t->socket = NULL;
}

static bool open_or_fail(struct client_transfer *t)
{
    char text[ADDR_TEXT_MAX];
    const struct client_options *o = t->client->options;

    int err = open_socket(t);
    if (err == 0)
        return true;
    if (err == -EADDRINUSE && o->local_port_first)
        client_transfer_fail(t, CLIENT_SYSTEM, 0, NULL, "no free port from %u to %u",
                             o->local_port_first, o->local_port_last);
    else if (o->bind.family)
        client_transfer_fail(t, CLIENT_SYSTEM, 0, NULL, "cannot send from %s: %s",
                             addr_host_text(&o->bind, text), strerror(-err));
    else
        client_transfer_fail(t, CLIENT_SYSTEM, 0, NULL, "cannot open a socket: %s", strerror(-err));
    return false;
}

/* ---- An attempt ---- */

static void start(struct client_transfer *t)
{
    const struct addr none = {0};
    struct client_host *host = t->item->host;

    t->service = host->addrs[t->address];
    t->pinned = false;
    t->stalls = 0;
    t->peer_spoke = false;
    t->send_error = 0;
    t->local_error = 0;
    t->flush_due = false;
    t->stream_used = 0;
    xfer_init(&t->x, &t->client->env, &t->service, &none);
    transfer_open_local(t);
}

void attempt_first(struct client_transfer *t)
{
    const struct client_options *o = t->client->options;

    t->wish = (struct client_wish){
        .options = !o->no_options && !t->item->host->answers_plain,
        .blksize = o->blksize,
        .windowsize = o->windowsize,
        .rto_first = o->timeout_s ? o->timeout_s * NSEC_PER_SEC : RTO_FIRST,
        .tries = o->retries + 1,
    };
    start(t);
}

void attempt_request(struct client_transfer *t)
{
    struct client *c = t->client;
    struct tftp_limits limits = {.rollover = c->options->rollover};
    uint64_t size = t->item->mode == TFTP_OCTET ? t->size : TFTP_SIZE_UNKNOWN;
    struct tftp_manners manners;
    struct asked a;

    if (!open_or_fail(t))
        return;
    xfer_set_socket(&t->x, t->socket);
    if (c->options->command == CLIENT_GET && c->plan->stream >= 0)
        t->x.data = &client_receive;
    set_manners(t, &manners);
    build_request(t, &a);
    int err = tftp_session_request(&t->x.session, &a.request, &limits, &manners, size, c->now);
    if (err < 0 && t->wish.options) { /* the name alone may fit */
        t->wish.options = false;
        build_request(t, &a);
        err = tftp_session_request(&t->x.session, &a.request, &limits, &manners, size, c->now);
    }
    if (err < 0) {
        close_socket(t);
        client_transfer_fail(t, CLIENT_USAGE, 0, NULL,
                             "the name is too long: a TFTP request has at most %d bytes",
                             TFTP_REQUEST_MAX);
        return;
    }
    if (client_payload_init(t) < 0) {
        close_socket(t);
        client_transfer_fail(t, CLIENT_SYSTEM, 0, NULL, "out of memory");
        return;
    }
    unsigned payload = path_payload(t);
    t->x.gso = payload > TFTP_HEADER_LEN && choose_blksize(t) <= payload - TFTP_HEADER_LEN;
    t->item->result.attempts++;
    t->phase = CLIENT_RUNNING;
    xfer_kick(&t->x, c->now);
}

/* ---- The next one ---- */

/* Ends the attempt for a humbler one; attempt_again() goes on. */
static void give_up(struct client_transfer *t, const char *why)
{
    client_note(t->client, t, "%s; asking again for less", why);
    t->fall_back = CLIENT_PROTOCOL;
    tftp_session_fail(&t->x.session, TFTP_ERR_UNDEFINED, "Trying again", t->client->now);
}

static void request_overdue(struct client_transfer *t)
{
    const struct tftp_session *s = &t->x.session;

    if (s->repeats >= t->wish.tries) {
        /* The session would be patient for longer; nothing is sent, as nobody has answered. */
        t->fall_back = CLIENT_TIMEOUT;
        tftp_session_fail(&t->x.session, TFTP_ERR_UNDEFINED, "Timeout", t->client->now);
        return;
    }
    if (!t->wish.options || t->wish.tries < 2 * PLAIN_TRIES ||
        s->repeats < t->wish.tries - PLAIN_TRIES)
        return;
    t->wish.tries = PLAIN_TRIES;
    t->wish.rto_first = doubled(s->rto.interval, RTO_MAX);
    t->wish.options = false;
    give_up(t, "no answer to a request with options");
}

static void data_overdue(struct client_transfer *t)
{
    const struct tftp_session *s = &t->x.session;
    const struct tftp_receiver *r = &s->receiver;

    /* What a stream has got cannot be taken back. */
    if (!s->oack_used || t->client->options->command != CLIENT_GET ||
        (t->client->plan->stream >= 0 && r->expected > 1))
        return;
    if (r->expected == 1) {
        if (r->tries < SILENT_TRIES || s->params.blksize <= TFTP_BLKSIZE_DEFAULT)
            return;
        t->wish.blksize = TFTP_BLKSIZE_DEFAULT;
        t->wish.windowsize = 1;
        give_up(t, "options were agreed on, but no block arrives");
        return;
    }
    /* Blocks come one at a time, each only after our timer: the server granted windows that it
     * does not send. */
    if (r->due || r->expected - 1 == r->acked || s->counts.duplicates > 0 ||
        r->expected - 1 > t->stalls + 1)
        return;
    if (++t->stalls < STALLS_MAX || s->params.windowsize == 1)
        return;
    t->wish.windowsize = 1;
    give_up(t, "the server does not fill the windows it granted");
}

void attempt_overdue(struct client_transfer *t)
{
    if (t->x.session.state == TFTP_STATE_REQUESTING)
        request_overdue(t);
    else if (t->x.session.state == TFTP_STATE_RECEIVING)
        data_overdue(t);
}

/* The server's answer to the request itself was a refusal that options may be the reason of. */
static bool blames_options(const struct client_transfer *t)
{
    const struct tftp_session *s = &t->x.session;

    if (!t->wish.options)
        return false;
    if (s->outcome == TFTP_OUTCOME_ERROR && s->error == TFTP_ERR_OPTION && !t->local_error)
        return true; /* its OACK was not acceptable */
    if (!t->peer_spoke)
        return false;
    return s->peer_error == TFTP_ERR_OPTION ||
           (!s->proven &&
            (s->peer_error == TFTP_ERR_UNDEFINED || s->peer_error == TFTP_ERR_ILLEGAL));
}

static bool next_address(struct client_transfer *t)
{
    const struct client_host *host = t->item->host;

    if (t->pinned || t->peer_spoke || t->address + 1 >= host->addr_count)
        return false;
    client_note(t->client, t, "no answer from there, trying the next address of %s", host->name);
    t->address++;
    return true;
}

bool attempt_again(struct client_transfer *t)
{
    const struct tftp_session *s = &t->x.session;
    const struct client_options *o = t->client->options;
    bool silent = t->fall_back == CLIENT_TIMEOUT;
    bool again = t->fall_back == CLIENT_PROTOCOL;

    t->fall_back = CLIENT_OK;
    if (s->outcome == TFTP_OUTCOME_OK || s->state == TFTP_STATE_DALLYING || t->local_error)
        return false;
    if (!again && blames_options(t)) {
        client_note(t->client, t, "the server cannot do with our options, asking without");
        t->wish.options = false;
        again = true;
    } else if (!again && next_address(t)) {
        t->wish.options = !o->no_options;
        t->wish.tries = o->retries + 1;
        t->wish.rto_first = o->timeout_s ? o->timeout_s * NSEC_PER_SEC : RTO_FIRST;
        again = true;
    }
    if (!again || (t->client->plan->stream >= 0 && t->x.accepted > 0)) {
        if (silent)
            t->fall_back = CLIENT_TIMEOUT;
        return false;
    }
    xfer_fini(&t->x);
    close_socket(t);
    list_del(&t->link);
    list_push_back(&t->client->running, &t->link);
    start(t);
    return true;
}
