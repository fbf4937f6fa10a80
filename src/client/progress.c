#include "client/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client/client.h"

#define INTERVAL      (100 * NSEC_PER_MSEC)
#define LINES_MAX     8
#define NAME_WIDTH    24
#define BAR_LEAST     8
#define BAR_MOST      40
#define SMOOTHING     0.2
#define WIDTH_DEFAULT 80

void progress_init(struct progress *p, bool on)
{
    static char buffer[16 * 1024];

    *p = (struct progress){.on = on, .next = NSEC_NEVER};
    if (on) /* what a redraw changes is seen at once, or not at all */
        setvbuf(stderr, buffer, _IOFBF, sizeof(buffer));
}

void progress_start(struct progress *p, nsec now)
{
    if (p->on)
        p->next = now + INTERVAL;
}

char *progress_bytes(char *buf, size_t size, double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned i = 0;

    while (bytes >= 1024 && i + 1 < ARRAY_LEN(units)) {
        bytes /= 1024;
        i++;
    }
    snprintf(buf, size, i == 0 || bytes >= 100 ? "%.0f %s" : "%.1f %s", bytes, units[i]);
    return buf;
}

static void draw_bar(char *buf, unsigned width, double share)
{
    unsigned full = (unsigned)(share * width);

    buf[0] = '[';
    for (unsigned i = 0; i < width; i++)
        buf[1 + i] = i < full ? '=' : i == full ? '>' : ' ';
    buf[1 + width] = ']';
    buf[2 + width] = '\0';
}

static void format_eta(char *buf, size_t size, double seconds)
{
    unsigned s = seconds > 359999 ? 359999 : (unsigned)(seconds + 0.5);

    if (s >= 3600)
        snprintf(buf, size, "%u:%02u:%02u", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(buf, size, "%u:%02u", s / 60, s % 60);
}

char *progress_text(char *buf, size_t size, unsigned width, uint64_t bytes, uint64_t total,
                    double rate, uint64_t resent)
{
    char amount[24], speed[24], eta[16] = "-:--", lost[40] = "", bar[BAR_MOST + 3];

    progress_bytes(amount, sizeof(amount), (double)bytes);
    progress_bytes(speed, sizeof(speed), rate);
    if (resent > 0)
        snprintf(lost, sizeof(lost), "  %llu resent", (unsigned long long)resent);
    if (total == TFTP_SIZE_UNKNOWN) {
        snprintf(buf, size, "%s  %s/s%s", amount, speed, lost);
        return buf;
    }
    double share = total == 0 ? 1 : MIN(1.0, (double)bytes / (double)total);
    if (rate > 0)
        format_eta(eta, sizeof(eta), (double)(total - MIN(bytes, total)) / rate);
    size_t rest = strlen(amount) + strlen(speed) + strlen(eta) + strlen(lost) + 20;
    unsigned room = width > rest ? (unsigned)(width - rest) : 0;
    bar[0] = '\0';
    if (room >= BAR_LEAST)
        draw_bar(bar, MIN(room, BAR_MOST), share);
    snprintf(buf, size, "%s %3.0f%%  %s  %s/s  ETA %s%s", bar, share * 100, amount, speed, eta,
             lost);
    return buf;
}

static unsigned screen_width(void)
{
    struct winsize w;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : WIDTH_DEFAULT;
}

/* A full last column would wrap and spoil the count of lines. */
static void put_line(struct progress *p, unsigned width, const char *name, const char *text)
{
    char line[512];
    int wide = width >= 60 ? NAME_WIDTH : (int)(width / 3);

    size_t len = strlen(name);
    const char *end = len > (size_t)wide ? name + len - (size_t)wide : name; /* often tells more */
    snprintf(line, sizeof(line), "%-*s %s", wide, end, text);
    fprintf(stderr, "%.*s\033[K\n", (int)(MIN(width, sizeof(line)) - 1), line);
    p->drawn++;
}

static unsigned text_width(unsigned width)
{
    unsigned name = width >= 60 ? NAME_WIDTH : width / 3;

    return width > name + 2 ? width - name - 2 : 0;
}

/* The cursor stands below our lines. */
static void go_up(const struct progress *p)
{
    if (p->drawn > 0)
        fprintf(stderr, "\033[%uA\r", p->drawn);
}

void progress_clear(struct progress *p)
{
    if (p->drawn == 0)
        return;
    go_up(p);
    fputs("\033[J", stderr);
    p->drawn = 0;
}

/* An exponential mean over redraws. */
static double smooth(double old, uint64_t bytes, uint64_t before, nsec now, nsec then)
{
    if (now <= then)
        return old;
    double rate =
        (double)(bytes - MIN(before, bytes)) * (double)NSEC_PER_SEC / (double)(now - then);
    return old > 0 ? old + SMOOTHING * (rate - old) : rate;
}

static void draw_transfer(struct client *c, struct client_transfer *t, unsigned width)
{
    uint64_t bytes = client_transfer_bytes(t);
    const struct tftp_session *s = &t->x.session;
    uint64_t resent = t->phase == CLIENT_OPENING ? 0 : client_counts_resent(&s->counts, s->sending);
    char text[256];

    if (t->shown_at == 0)
        t->shown_at = t->item->result.started;
    t->rate = smooth(t->rate, bytes, t->shown_bytes, c->now, t->shown_at);
    t->shown_bytes = bytes;
    t->shown_at = c->now;
    progress_text(text, sizeof(text), text_width(width), bytes, client_transfer_total(t), t->rate,
                  resent);
    put_line(&c->progress, width, t->item->name, text);
}

static void draw_total(struct client *c, unsigned width)
{
    struct progress *p = &c->progress;
    uint64_t bytes = p->finished_bytes;
    char name[40], amount[24], speed[24], text[128];
    struct list *pos;

    list_for_each (pos, &c->running)
        bytes += client_transfer_bytes(container_of(pos, struct client_transfer, link));
    if (p->shown_at == 0)
        p->shown_at = c->started;
    p->rate = smooth(p->rate, bytes, p->shown_bytes, c->now, p->shown_at);
    p->shown_bytes = bytes;
    p->shown_at = c->now;
    snprintf(name, sizeof(name), "total %u of %u", c->done + c->failed, c->plan->count);
    snprintf(text, sizeof(text), "%s  %s/s", progress_bytes(amount, sizeof(amount), (double)bytes),
             progress_bytes(speed, sizeof(speed), p->rate));
    put_line(p, width, name, text);
}

void progress_update(struct client *c)
{
    struct progress *p = &c->progress;
    unsigned width, before = p->drawn;
    struct list *pos;

    if (!p->on || c->now < p->next)
        return;
    p->next = c->now + INTERVAL;
    width = screen_width();
    go_up(p);
    p->drawn = 0;
    list_for_each (pos, &c->running) {
        if (p->drawn == LINES_MAX)
            break;
        draw_transfer(c, container_of(pos, struct client_transfer, link), width);
    }
    if (c->plan->count > 1)
        draw_total(c, width);
    if (before > p->drawn)
        fputs("\033[J", stderr);
    fflush(stderr);
}
