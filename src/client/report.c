#include "client/report.h"

#include <stdio.h>
#include <string.h>

static double seconds(nsec t)
{
    return (double)t / (double)NSEC_PER_SEC;
}

static bool sending(const struct client *c)
{
    return c->options->command == CLIENT_PUT;
}

/* ---- JSON ---- */

/* Labels and messages are printable ASCII with backslashes: escaped before, so \x is not JSON. */
static void json_inside(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '"' || *p == '\\')
            printf("\\%c", *p);
        else if (*p < 0x20 || *p >= 0x7f)
            printf("\\u%04x", *p);
        else
            putchar(*p);
    }
}

static void json_text(const char *name, const char *text)
{
    printf("\"%s\":\"", name);
    json_inside(text);
    putchar('"');
}

/* The path by which the user can open what was fetched. */
static void json_output(const struct client_options *o, const struct client_item *item)
{
    const char *folder = o->output_dir;

    fputs("\"output\":\"", stdout);
    if (folder) {
        json_inside(folder);
        if (folder[strlen(folder) - 1] != '/')
            putchar('/');
    }
    json_inside(o->output ? o->output : item->local);
    putchar('"');
}

static void json_number(const char *name, uint64_t n)
{
    printf(",\"%s\":%llu", name, (unsigned long long)n);
}

static void json_item(const struct client *c, const struct client_item *item)
{
    const struct client_result *r = &item->result;
    char text[ADDR_TEXT_MAX];

    putchar('{');
    json_text("file", item->label);
    printf(",\"command\":\"%s\",", client_command_name(c->options->command));
    json_text("status", client_status_name(r->status));
    json_number("exit", (uint64_t)r->status);
    if (r->server.family) {
        putchar(',');
        json_text("server", addr_text(&r->server, text));
    }
    if (item->local && c->options->command == CLIENT_GET) {
        putchar(',');
        json_output(c->options, item);
    }
    json_number("bytes", r->bytes);
    printf(",\"seconds\":%.6f", seconds(r->seconds_ns));
    json_number("requests", r->attempts);
    if (r->attempts > 0 && r->server.family) {
        printf(",\"options\":%s", r->oack ? "true" : "false");
        json_number("blksize", r->params.blksize);
        json_number("windowsize", r->params.windowsize);
        if (r->params.timeout_s)
            json_number("timeout", r->params.timeout_s);
        if (r->params.tsize_given)
            json_number("tsize", r->params.tsize);
        json_number("resent", client_counts_resent(&r->counts, sending(c)));
        if (r->round_trip)
            printf(",\"round_trip_ms\":%.3f", seconds(r->round_trip) * 1000);
    }
    if (r->status != CLIENT_OK) {
        putchar(',');
        json_text("message", r->message.text);
    }
    puts("}");
    fflush(stdout);
}

/* ---- A person ---- */

static void person_probe(const struct client_item *item)
{
    const struct client_result *r = &item->result;
    char text[ADDR_TEXT_MAX];

    printf("%s\n  answered by  %s\n", item->label, addr_text(&r->server, text));
    if (r->params.tsize_given)
        printf("  size         %llu bytes\n", (unsigned long long)r->params.tsize);
    else
        puts("  size         the server does not say");
    if (!r->oack)
        puts("  options      none: blocks of 512 bytes, one at a time");
    else
        printf("  blksize      %u bytes\n  windowsize   %u block%s\n", r->params.blksize,
               r->params.windowsize, r->params.windowsize == 1 ? "" : "s");
    if (r->params.timeout_s)
        printf("  timeout      %u s\n", r->params.timeout_s);
    if (r->round_trip)
        printf("  round trip   %.3f ms\n", seconds(r->round_trip) * 1000);
    fflush(stdout);
}

static void person_done(const struct client *c, const struct client_item *item)
{
    const struct client_result *r = &item->result;
    char amount[24], speed[24];
    double s = seconds(r->seconds_ns);
    uint64_t resent = client_counts_resent(&r->counts, sending(c));

    fprintf(stderr, "%s  %s in %.2f s, %s/s", item->name,
            progress_bytes(amount, sizeof(amount), (double)r->bytes), s,
            progress_bytes(speed, sizeof(speed), s > 0 ? (double)r->bytes / s : 0));
    if (resent)
        fprintf(stderr, ", %llu resent", (unsigned long long)resent);
    fputc('\n', stderr);
}

void report_item(struct client *c, const struct client_item *item)
{
    const struct client_result *r = &item->result;

    progress_clear(&c->progress);
    c->progress.finished_bytes += r->bytes;
    if (r->status != CLIENT_OK)
        fprintf(stderr, "ringtftp: %s: %s\n", item->label, r->message.text);
    else if (c->options->command == CLIENT_PROBE && !c->options->json)
        person_probe(item);
    else if (c->progress.on || c->options->verbose)
        person_done(c, item);
    if (c->options->json)
        json_item(c, item);
}

void report_total(struct client *c)
{
    uint64_t bytes = c->progress.finished_bytes;
    double s = seconds(c->now - c->started);
    char amount[24], speed[24];

    progress_clear(&c->progress);
    if (c->plan->count < 2)
        return;
    if (c->progress.on)
        fprintf(stderr, "%u of %u files, %s in %.2f s, %s/s\n", c->done, c->plan->count,
                progress_bytes(amount, sizeof(amount), (double)bytes), s,
                progress_bytes(speed, sizeof(speed), s > 0 ? (double)bytes / s : 0));
    if (!c->options->json)
        return;
    fputs("{\"total\":{", stdout);
    printf("\"files\":%u,\"ok\":%u,\"failed\":%u", c->plan->count, c->done,
           c->plan->count - c->done);
    json_number("bytes", bytes);
    printf(",\"seconds\":%.6f}}\n", s);
    fflush(stdout);
}

enum client_status report_status(const struct client_plan *plan)
{
    enum client_status status = CLIENT_OK;
    struct list *pos;

    list_for_each (pos, &plan->items) {
        const struct client_result *r = &container_of(pos, struct client_item, link)->result;
        enum client_status own = r->ended ? r->status : CLIENT_INTERRUPTED;

        if (own == CLIENT_INTERRUPTED)
            return own;
        if (own != CLIENT_OK)
            status = status == CLIENT_OK || status == own ? own : CLIENT_MIXED;
    }
    return status;
}
