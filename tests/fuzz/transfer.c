/*
 * The whole client against a hostile server: its transfers, their attempts and fallbacks, the
 * local files and the results, on a network, files and a clock that are made up. The first bytes
 * choose the command line; each step after them is what the network or the user does next.
 *
 * Promises: it ends; what it sends is well-formed, and goes to the host it was asked to reach; a
 * file that was fetched has the bytes, the size and the bounds that were agreed on; one that was
 * not leaves nothing; and nothing is left in memory.
 */
#include <string.h>

#include "client/client.h"
#include "client/report.h"
#include "file/mem.h"
#include "fuzz.h"
#include "net/net_impl.h"

#define T0          (1000 * NSEC_PER_SEC)
#define SOCKETS_MAX 64
#define INBOX_MAX   64
#define FILES       3
#define LOCAL_BYTES 5000
#define TURNS_MAX   200000
#define SERVICE     69
#define ENGINE_TID  20000

struct datagram {
    uint16_t to;
    struct addr from;
    int unreachable; /* errno: an ICMP error instead */
    size_t n;
    uint8_t bytes[1600];
};

/* One input's world; the packet engine finds it here. */
static struct world {
    struct client c;
    struct client_options options;
    struct client_plan plan;
    struct file_io *files;
    struct net_socket *sockets[SOCKETS_MAX];
    unsigned socket_count;
    uint16_t port;
    struct datagram inbox[INBOX_MAX];
    unsigned inbox_count, inbox_at;
    struct addr server;
    /* of the socket that has sent last, as a server would know it */
    uint16_t last_port;
    bool wrote; /* its last request was a WRQ */
    uint16_t last_block;
    unsigned blksize;
    uint8_t request[TFTP_REQUEST_MAX];
    size_t request_len;
    bool begun; /* the server has answered the last request */
    bool dirty; /* something came that no honest server sends: contents say nothing */
    bool fail_files;
    unsigned reported;
    nsec now;
} * w;

static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)(offset * 7 ^ offset >> 8);
}

/* ---- The packet engine ---- */

static int engine_init(struct net *n)
{
    (void)n;
    return 0;
}

static void engine_fini(struct net *n)
{
    (void)n;
}

static int engine_bind(struct net *n, const struct addr *wanted, struct addr *ret)
{
    (void)n;
    if (w->socket_count == SOCKETS_MAX)
        return -EMFILE;
    *ret = *wanted;
    ret->port = ++w->port;
    return 0;
}

static int engine_add(struct net *n, struct net_socket *socket)
{
    (void)n;
    w->sockets[w->socket_count++] = socket;
    return 0;
}

static void note_request(const uint8_t *p, size_t n)
{
    w->wrote = p[1] == TFTP_WRQ;
    memcpy(w->request, p, n);
    w->request_len = n;
    w->last_block = 0;
    w->blksize = TFTP_BLKSIZE_DEFAULT;
    w->begun = false;
}

/* What leaves the client, as the server sees it. */
static void check_sent(const struct net_tx *tx, const uint8_t *p, size_t n)
{
    struct addr to;

    FUZZ_CHECK(addr_from_sock(&to, &tx->peer) == 0 && n >= TFTP_HEADER_LEN && p[0] == 0);
    if (!addr_same_host(&to, &w->server)) /* strangers are turned away, and told nothing else */
        FUZZ_CHECK(p[1] == TFTP_ERROR && p[3] == TFTP_ERR_UNKNOWN_TID);
    w->last_port = tx->socket->local.port;
    switch (p[1]) {
    case TFTP_RRQ:
    case TFTP_WRQ:
        FUZZ_CHECK(n <= TFTP_REQUEST_MAX && to.port == SERVICE);
        FUZZ_CHECK((p[1] == TFTP_WRQ) == (w->options.command == CLIENT_PUT));
        note_request(p, n);
        break;
    case TFTP_DATA:
        FUZZ_CHECK(w->options.command == CLIENT_PUT && n <= TFTP_HEADER_LEN + TFTP_BLKSIZE_MAX);
        w->last_block = (uint16_t)(p[2] << 8 | p[3]);
        break;
    case TFTP_ACK:
        FUZZ_CHECK(w->options.command != CLIENT_PUT && n == TFTP_HEADER_LEN);
        w->last_block = (uint16_t)(p[2] << 8 | p[3]);
        break;
    case TFTP_ERROR:
        FUZZ_CHECK(n <= 64 && p[n - 1] == 0);
        break;
    default:
        FUZZ_CHECK(false); /* a packet that no client sends */
    }
}

static void transmit(const struct net_tx *tx)
{
    static uint8_t all[NET_GSO_BYTES];
    size_t n = 0, at = 0;

    for (unsigned i = 0; i < tx->iov_count; i++) {
        FUZZ_CHECK(n + tx->iov[i].iov_len <= sizeof(all));
        memcpy(all + n, tx->iov[i].iov_base, tx->iov[i].iov_len);
        n += tx->iov[i].iov_len;
    }
    do {
        size_t piece = tx->segment ? MIN(n - at, (size_t)tx->segment) : n;
        check_sent(tx, all + at, piece);
        at += piece;
    } while (at < n);
}

static void send_queue(struct net *n, struct net_sock *sock)
{
    struct list *first;

    while ((first = list_pop_front(&sock->txq)) != NULL) {
        struct net_tx *tx = container_of(first, struct net_tx, link);
        transmit(tx);
        net_finish(n, tx, tx->datagrams);
    }
}

static void engine_flush(struct net *n)
{
    struct list *first;

    while ((first = list_pop_front(&n->flush)) != NULL)
        send_queue(n, container_of(first, struct net_sock, flush_link));
}

static void engine_remove(struct net *n, struct net_socket *socket)
{
    send_queue(n, net_sock_of(socket));
    for (unsigned i = 0; i < w->socket_count; i++)
        if (w->sockets[i] == socket)
            w->sockets[i] = w->sockets[--w->socket_count];
}

static struct net_socket *socket_at(uint16_t port)
{
    for (unsigned i = 0; i < w->socket_count; i++)
        if (w->sockets[i]->local.port == port)
            return w->sockets[i];
    return NULL;
}

static unsigned engine_recv(struct net *n, struct net_rx *rx, unsigned max)
{
    unsigned got = 0;

    while (w->inbox_at < w->inbox_count && got < max) {
        struct datagram *d = &w->inbox[w->inbox_at++];
        struct net_socket *socket = socket_at(d->to);

        if (!socket)
            continue;
        if (d->unreachable) {
            n->unreachable(n->unreachable_arg, socket, &d->from, d->unreachable);
            continue;
        }
        rx[got++] = (struct net_rx){
            .socket = socket,
            .data = view_of(d->bytes, d->n),
            .peer = d->from,
            .local = socket->local,
        };
    }
    return got;
}

static void engine_recv_done(struct net *n)
{
    (void)n;
}

static const struct net_ops engine = {
    .name = "made up",
    .init = engine_init,
    .fini = engine_fini,
    .add = engine_add,
    .remove = engine_remove,
    .recv = engine_recv,
    .flush = engine_flush,
    .recv_done = engine_recv_done,
    .bind = engine_bind,
};

/* ---- Results: in place of the sentences for a person ---- */

static void check_fetched(const struct client_item *item)
{
    const struct client_result *r = &item->result;
    size_t n = 0;
    const uint8_t *p = file_mem_get(w->files, item->local, false, &n);

    if (r->status != CLIENT_OK) {
        FUZZ_CHECK(p == NULL);
        return;
    }
    FUZZ_CHECK(p != NULL && r->bytes <= w->options.max_size);
    if (item->mode == TFTP_NETASCII)
        return;
    FUZZ_CHECK(n == r->bytes && (!r->params.tsize_given || r->params.tsize == n));
    for (size_t i = 0; !w->dirty && i < n; i++)
        FUZZ_CHECK(p[i] == byte_at(i));
}

void __wrap_report_item(struct client *c, const struct client_item *item);
void __wrap_report_item(struct client *c, const struct client_item *item)
{
    const struct client_result *r = &item->result;

    w->reported++;
    FUZZ_CHECK(r->ended && r->attempts <= 40 && client_status_name(r->status)[0] != '?');
    FUZZ_CHECK(r->status == CLIENT_OK || r->message.text[0] != '\0');
    for (const char *p = r->message.text; r->status != CLIENT_OK && *p; p++)
        FUZZ_CHECK(*p >= ' ' && *p <= '~');
    if (c->options->command == CLIENT_GET)
        check_fetched(item);
}

/* ---- What happens next ---- */

struct script {
    const uint8_t *p;
    size_t n;
};

static unsigned next(struct script *s)
{
    if (s->n == 0)
        return 0;
    s->n--;
    return *s->p++;
}

static void arrive(unsigned who, const void *head, size_t head_len, const uint8_t *p, size_t n)
{
    if (w->inbox_at == w->inbox_count)
        w->inbox_at = w->inbox_count = 0;
    struct datagram *d = &w->inbox[w->inbox_count];

    if (w->inbox_count == INBOX_MAX || head_len + n > sizeof(d->bytes))
        return;
    w->inbox_count++;
    *d = (struct datagram){.to = w->last_port, .from = w->server, .n = head_len + n};
    d->from.port = (uint16_t)(ENGINE_TID + (who & 3));
    if (who & 4)
        d->from.ip[3] ^= 1; /* another host */
    if (who & 8)
        d->to = (uint16_t)(w->port - 1);
    if (head_len > 0)
        memcpy(d->bytes, head, head_len);
    if (n > 0)
        memcpy(d->bytes + head_len, p, n);
}

static void arrive_packet(unsigned who, unsigned opcode, unsigned block, const uint8_t *p, size_t n)
{
    const uint8_t head[4] = {0, (uint8_t)opcode, (uint8_t)(block >> 8), (uint8_t)block};

    arrive(who, head, sizeof(head), p, n);
}

/* The next block as an honest server sends it; `cut`: it is the last one. */
static void honest_data(unsigned who, unsigned ahead, unsigned cut)
{
    uint8_t bytes[1536] = {0};
    size_t n = MIN(cut ? (size_t)cut * w->blksize / 256 : w->blksize, sizeof(bytes));
    unsigned block = w->last_block + 1U + ahead;

    for (size_t i = 0; i < n; i++)
        bytes[i] = byte_at((uint64_t)(block - 1) * w->blksize + i);
    arrive_packet(who, TFTP_DATA, block, bytes, n);
    w->begun = true;
    if (ahead && cut) /* others may now come to stand behind it */
        w->dirty = true;
}

/* All that was asked for is granted, with the given block size and file size. */
static void honest_oack(unsigned who, unsigned blksize, unsigned tsize)
{
    char text[120];
    struct tftp_request r;
    size_t n = 0;

    /* The server's side is one conversation; what belongs to two is not told apart. */
    w->dirty = w->dirty || w->begun || who || w->last_block || w->options.jobs > 1;
    w->begun = true;
    if (tftp_request_parse(&r, view_of(w->request, w->request_len)) < 0)
        return;
    text[n++] = 0;
    text[n++] = TFTP_OACK;
    for (unsigned i = 0; i < r.option_count; i++) {
        const struct view *name = &r.options[i].name, *value = &r.options[i].value;
        bool size = name->n == 5 && memcmp(name->p, "tsize", 5) == 0;
        bool block = name->n == 7 && memcmp(name->p, "blksize", 7) == 0;

        memcpy(text + n, name->p, name->n);
        n += name->n;
        text[n++] = 0;
        if (size && !w->wrote)
            n += (size_t)snprintf(text + n, 20, "%u", tsize);
        else if (block && blksize)
            n += (size_t)snprintf(text + n, 20, "%u", w->blksize = 8 + blksize * 4);
        else {
            memcpy(text + n, value->p, value->n);
            n += value->n;
            if (block)
                w->blksize = 1468;
        }
        text[n++] = 0;
    }
    arrive(who, text, n, NULL, 0);
}

static void turns(void)
{
    for (unsigned i = 0;; i++) {
        FUZZ_CHECK(i < 1000);
        file_mem_advance(w->files, w->now);
        client_turn(&w->c, w->now);
        if (w->inbox_at == w->inbox_count && !net_pending(w->c.net) &&
            file_mem_next(w->files) > w->now)
            break;
    }
}

/* Lets time pass to `until`, but not beyond the end. */
static void pass(nsec until)
{
    for (unsigned i = 0; client_busy(&w->c); i++) {
        nsec at = nsec_min(client_deadline(&w->c), file_mem_next(w->files));

        FUZZ_CHECK(i < TURNS_MAX);
        if (at > until)
            break;
        w->now = MAX(w->now, at);
        turns();
    }
    w->now = MAX(w->now, until);
}

static void step(struct script *s)
{
    static const int errors[] = {ECONNREFUSED, EHOSTUNREACH, EMSGSIZE};
    unsigned what = next(s), who = what >> 4, a = next(s), b = next(s);

    switch (what & 15) {
    case 0:
    case 1:
        honest_data(who & 4 ? who : 0, 0, 0);
        break;
    case 2:
        honest_data(0, a % 8, b);
        break;
    case 3:
        honest_oack(who & 4 ? who : 0, a, b * 16);
        break;
    case 4:
        arrive_packet(who & 4 ? who : 0, TFTP_ACK, w->last_block, NULL, 0);
        break;
    case 5:
        arrive_packet(who, TFTP_ACK, a << 8 | b, NULL, 0);
        break;
    case 6:
        arrive_packet(who, TFTP_ERROR, a % 10, s->p, MIN(s->n, b));
        break;
    case 7: /* whatever */
        w->dirty = true;
        arrive(who, NULL, 0, s->p, MIN(s->n, a));
        s->p += MIN(s->n, a);
        s->n -= MIN(s->n, a);
        break;
    case 8:
        w->dirty = true;
        arrive_packet(who, TFTP_DATA, a << 8 | b, s->p, MIN(s->n, 700U));
        break;
    case 9:
        arrive(who, "", 0, NULL, 0);
        w->inbox[w->inbox_count - (w->inbox_count > 0)].unreachable = errors[a % 3];
        if (w->inbox_count > 0 && b & 1)
            w->inbox[w->inbox_count - 1].from.port = SERVICE;
        break;
    case 10:
        w->fail_files = a & 1;
        break;
    case 11:
        client_interrupted = a == 7;
        break;
    case 12:
        pass(nsec_add(w->now, (nsec)a * a * NSEC_PER_MSEC));
        break;
    case 13:
        pass(nsec_add(w->now, (nsec)a * NSEC_PER_USEC));
        break;
    default:
        return; /* no turn: what comes next arrives together with this */
    }
    if (!(who & 8) || (what & 15) == 12)
        turns();
}

/* ---- The world ---- */

static int file_trouble(void *arg, const struct file_req *req, nsec *delay, size_t *max_bytes)
{
    (void)arg;
    (void)max_bytes;
    if (w->fail_files && req->op != FILE_CLOSE)
        return -ENOSPC;
    *delay = 20 * NSEC_PER_USEC;
    return 0;
}

static void add_item(struct client_host *host, unsigned number, bool ascii)
{
    struct client_item *item = calloc(1, sizeof(*item));
    char name[8];

    if (!item)
        abort();
    snprintf(name, sizeof(name), "f%u", number);
    item->host = host;
    item->mode = ascii ? TFTP_NETASCII : TFTP_OCTET;
    item->file = strdup(name);
    item->local = w->options.command == CLIENT_PROBE ? NULL : strdup(name);
    item->label = strdup(name);
    item->name = item->label;
    list_push_back(&w->plan.items, &item->link);
    w->plan.count++;
    if (w->options.command == CLIENT_PUT)
        file_mem_put_pattern(w->files, name, number * LOCAL_BYTES / 2, byte_at);
}

static void choose(struct script *s)
{
    static const enum client_command commands[] = {CLIENT_GET, CLIENT_GET, CLIENT_PUT,
                                                   CLIENT_PROBE};
    struct client_options *o = &w->options;
    unsigned a = next(s), b = next(s);

    client_options_init(o);
    o->command = commands[a & 3];
    o->no_options = a & 4;
    o->no_tsize = a & 8;
    o->jobs = 1 + (a >> 4 & 1);
    o->max_size = a & 32 && o->command == CLIENT_GET ? 2000 : CLIENT_SIZE_ANY;
    o->no_clobber = a & 64;
    o->blksize = b & 1 ? 8 + b : 0;
    o->windowsize = b & 2 ? 1 + (b >> 5) : 0;
    o->timeout_s = b & 4 ? 2 : 0;
    o->retries = b & 8 ? 2 : 4;
    o->rollover = b & 16 ? TFTP_ROLLOVER_1 : TFTP_ROLLOVER_0;
}

static void begin(struct script *s)
{
    const struct net_config config = {
        .batch = NET_BATCH, .gso = true, .rx_bytes_max = UINT16_MAX, .tx_slots = 64};
    struct client_host *host = calloc(1, sizeof(*host));

    choose(s);
    w->now = T0;
    w->port = 40000;
    FUZZ_CHECK(host && addr_parse(&w->server, "192.0.2.1", SERVICE) == 0);
    host->name = strdup("server");
    host->addrs[0] = w->server;
    host->payloads[0] = 1472;
    host->addr_count = 1;
    w->files = file_io_new_mem(NULL);
    FUZZ_CHECK(w->files);
    file_mem_advance(w->files, w->now);
    file_mem_script(w->files, file_trouble, NULL);
    w->plan.stream = -1;
    list_init(&w->plan.hosts);
    list_init(&w->plan.items);
    list_push_back(&w->plan.hosts, &host->link);
    for (unsigned i = 0; i < FILES; i++)
        add_item(host, i, w->options.timeout_s && w->options.no_clobber);
    w->c = (struct client){.options = &w->options,
                           .plan = &w->plan,
                           .files = w->files,
                           .root_fd = -1,
                           .rcvbuf_bytes = 1 << 20};
    w->c.net = net_new(&engine, NULL, &config);
    FUZZ_CHECK(w->c.net && client_assemble(&w->c, w->now) == 0);
    progress_init(&w->c.progress, false);
    prng_seed(&w->c.prng, 1);
    client_interrupted = 0;
    client_start(&w->c);
    turns();
}

static void end(void)
{
    w->fail_files = false;
    pass(nsec_add(w->now, 1000 * NSEC_PER_SEC));
    FUZZ_CHECK(!client_busy(&w->c));
    FUZZ_CHECK(w->reported == FILES || client_interrupted);
    net_free(w->c.net);
    for (unsigned i = 0; !store_idle(w->c.store); i++) {
        FUZZ_CHECK(i < 1000);
        w->now += NSEC_PER_SEC;
        file_mem_advance(w->files, w->now);
        file_complete(w->files, 1000);
    }
    store_free(w->c.store);
    file_io_free(w->files);
    client_plan_fini(&w->plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static struct world world;
    struct script s = {p, n};

    world = (struct world){0};
    w = &world;
    begin(&s);
    while (s.n > 0 && client_busy(&w->c))
        step(&s);
    end();
    return 0;
}
