/*
 * The log's settings, its rate limit, and the one place that writes.
 *
 * All state is process-wide and made of atomics; a lock is taken only for kinds of descriptors
 * on which the kernel cannot be asked for a write that does not wait (pipes of old kernels,
 * devices).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/escape.h"
#include "obs/log.h"

#define BYTES_TEXT_MAX 200 /* characters of a log_bytes() value */
#define TAIL_MAX       16  /* room kept for the end of the line */

enum sink {
    SINK_PLAIN,  /* a file, or a terminal opened once more: a write waits for nobody */
    SINK_PIPE,   /* RWF_NOWAIT */
    SINK_SOCKET, /* MSG_DONTWAIT */
    SINK_POLL,   /* asked first, under the lock */
};

static struct {
    int fd;
    int terminal; /* opened by us, or -1 */
    atomic_int sink, level, format;
    atomic_uint lines_per_second;
    _Atomic uint64_t window;     /* second << 32 | lines admitted in it */
    _Atomic uint64_t dropped;    /* since the start */
    _Atomic uint64_t unreported; /* of these, not yet in a summary line */
    uint64_t (*wall_ns)(void);   /* NULL: the real clock */
    pthread_mutex_t lock;
} state = {.fd = STDERR_FILENO,
           .terminal = -1,
           .sink = SINK_POLL,
           .level = LOG_NOTICE,
           .format = LOG_TEXT,
           .lock = PTHREAD_MUTEX_INITIALIZER};

static const char *const level_names[] = {"error", "warning", "notice", "info", "debug"};

static enum sink sink_of(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return SINK_POLL;
    if (S_ISREG(st.st_mode))
        return SINK_PLAIN;
    if (S_ISFIFO(st.st_mode))
        return SINK_PIPE;
    return S_ISSOCK(st.st_mode) ? SINK_SOCKET : SINK_POLL;
}

/*
 * A terminal that is stopped (^S) blocks even a write that poll(2) has called possible, and
 * O_NONBLOCK on the descriptor we were given would reach every process that shares it. So the
 * terminal is opened anew. Returns the descriptor or -1.
 */
static int open_terminal(int fd)
{
    if (!isatty(fd))
        return -1;
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void log_init(int fd, enum log_level level, enum log_format format, unsigned lines_per_second)
{
    if (state.terminal >= 0)
        close(state.terminal);
    state.terminal = open_terminal(fd);
    state.fd = state.terminal >= 0 ? state.terminal : fd;
    state.sink = state.terminal >= 0 ? SINK_PLAIN : (int)sink_of(fd);
    state.window = 0;
    state.dropped = 0;
    state.unreported = 0;
    log_configure(level, format, lines_per_second);
}

void log_configure(enum log_level level, enum log_format format, unsigned lines_per_second)
{
    atomic_store_explicit(&state.level, (int)level, memory_order_relaxed);
    atomic_store_explicit(&state.format, (int)format, memory_order_relaxed);
    atomic_store_explicit(&state.lines_per_second, lines_per_second, memory_order_relaxed);
}

void log_set_clock(uint64_t (*wall_ns)(void))
{
    state.wall_ns = wall_ns;
}

bool log_wants(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&state.level, memory_order_relaxed);
}

uint64_t log_dropped(void)
{
    return atomic_load_explicit(&state.dropped, memory_order_relaxed);
}

static bool is_json(void)
{
    return atomic_load_explicit(&state.format, memory_order_relaxed) == LOG_JSON;
}

static uint64_t wall_now(void)
{
    if (state.wall_ns)
        return state.wall_ns();
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* ---- writing ---- */

/* Asks, then writes. The lock keeps a second thread from filling the descriptor in between. */
static ssize_t write_polled(const char *line, size_t len)
{
    pthread_mutex_lock(&state.lock);
    struct pollfd p = {.fd = state.fd, .events = POLLOUT};
    ssize_t n = -1;
    if (poll(&p, 1, 0) == 1 && (p.revents & POLLOUT))
        n = write(state.fd, line, len);
    pthread_mutex_unlock(&state.lock);
    return n;
}

/* One attempt to hand the whole line to the kernel without waiting. */
static ssize_t write_once(const char *line, size_t len)
{
    switch ((enum sink)state.sink) {
    case SINK_PLAIN:
        return write(state.fd, line, len);
    case SINK_SOCKET: {
        struct iovec iov = {(void *)(uintptr_t)line, len};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        return sendmsg(state.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    case SINK_PIPE: {
        struct iovec iov = {(void *)(uintptr_t)line, len};
        ssize_t n = pwritev2(state.fd, &iov, 1, -1, RWF_NOWAIT);
        if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EPERM && errno != EINVAL))
            return n;
        state.sink = SINK_POLL;
        return write_polled(line, len);
    }
    case SINK_POLL:
        break;
    }
    return write_polled(line, len);
}

static bool write_line(const char *line, size_t len)
{
    ssize_t n;
    do
        n = write_once(line, len);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)len;
}

static void count_dropped(uint64_t n)
{
    atomic_fetch_add_explicit(&state.dropped, n, memory_order_relaxed);
    atomic_fetch_add_explicit(&state.unreported, n, memory_order_relaxed);
}

/* ---- building ---- */

static void put(struct log_event *e, const char *text, size_t n)
{
    if (e->cut || e->len + n > sizeof(e->buf) - TAIL_MAX) {
        e->cut = true;
        return;
    }
    memcpy(e->buf + e->len, text, n);
    e->len += n;
}

static void put_text(struct log_event *e, const char *text)
{
    put(e, text, strlen(text));
}

/* Printable ASCII as the inside of a JSON string. */
static void put_json(struct log_event *e, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            put(e, "\\", 1);
        put(e, text, 1);
    }
}

static void put_digits(struct log_event *e, uint64_t v, int width)
{
    char digits[24];
    int n = snprintf(digits, sizeof(digits), "%0*llu", width, (unsigned long long)v);
    put(e, digits, (size_t)n);
}

/* RFC 3339 in UTC with milliseconds. The date is computed here because the C library would take
 * its time zone lock, and open files when it is first asked. */
static void put_time(struct log_event *e, uint64_t wall_ns)
{
    uint64_t seconds = wall_ns / NSEC_PER_SEC;
    uint64_t of_day = seconds % 86400;

    /* Days in years that begin with March, so that a leap day is the last of its year. */
    uint64_t days = seconds / 86400 + 719468; /* since 0000-03-01 */
    uint64_t era = days / 146097;             /* of 400 years */
    uint64_t of_era = days % 146097;
    uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    uint64_t month = (5 * of_year + 2) / 153; /* 0 is March */
    uint64_t day = of_year - (153 * month + 2) / 5 + 1;

    put_digits(e, era * 400 + year + (month >= 10 ? 1 : 0), 4);
    put(e, "-", 1);
    put_digits(e, month >= 10 ? month - 9 : month + 3, 2);
    put(e, "-", 1);
    put_digits(e, day, 2);
    put(e, "T", 1);
    put_digits(e, of_day / 3600, 2);
    put(e, ":", 1);
    put_digits(e, of_day / 60 % 60, 2);
    put(e, ":", 1);
    put_digits(e, of_day % 60, 2);
    put(e, ".", 1);
    put_digits(e, wall_ns / NSEC_PER_MSEC % 1000, 3);
    put(e, "Z", 1);
}

/* Begins a line; `event` may be NULL for text without a kind. */
static void start_line(struct log_event *e, enum log_level level, const char *event, uint64_t wall)
{
    e->len = 0;
    e->cut = false;
    e->level = level;
    e->active = true;
    bool json = is_json();
    e->json = json;
    if (json)
        put_text(e, "{\"ts\":\"");
    put_time(e, wall);
    put_text(e, json ? "\",\"level\":\"" : " ");
    put_text(e, level_names[level]);
    put_text(e, json ? "\",\"event\":\"" : " ");
    if (event || json)
        put_text(e, event ? event : "message");
    if (json)
        put(e, "\"", 1);
}

/* Room for this was kept by put(). */
static void finish_line(struct log_event *e)
{
    const char *tail = e->json ? (e->cut ? ",\"cut\":true}\n" : "}\n") : (e->cut ? " cut\n" : "\n");
    size_t n = strlen(tail);
    memcpy(e->buf + e->len, tail, n);
    e->len += n;
    e->active = false;
}

/* ---- the rate limit ---- */

/* Says how many lines are missing, outside the rate limit. */
static void report_dropped(uint64_t wall)
{
    uint64_t n = atomic_exchange_explicit(&state.unreported, 0, memory_order_relaxed);
    if (n == 0)
        return;
    struct log_event e;
    start_line(&e, LOG_WARN, NULL, wall);
    if (e.json)
        put_text(&e, ",\"msg\":\"");
    put_digits(&e, n, 1);
    put_text(&e, n == 1 ? " line dropped" : " lines dropped");
    if (e.json)
        put(&e, "\"", 1);
    finish_line(&e);
    if (!write_line(e.buf, e.len))
        atomic_fetch_add_explicit(&state.unreported, n, memory_order_relaxed);
}

/* Whether one more line may be written in this second. The first of a second reports what the
 * ones before it lost. */
static bool admit(uint64_t wall)
{
    uint64_t second = wall / NSEC_PER_SEC & UINT32_MAX;
    unsigned limit = atomic_load_explicit(&state.lines_per_second, memory_order_relaxed);
    uint64_t window = atomic_load_explicit(&state.window, memory_order_relaxed);
    uint64_t next;
    do {
        bool fresh = window >> 32 != second;
        if (!fresh && limit && (window & UINT32_MAX) >= limit) {
            count_dropped(1);
            return false;
        }
        next = fresh ? second << 32 | 1 : window + 1;
    } while (!atomic_compare_exchange_weak_explicit(&state.window, &window, next,
                                                    memory_order_relaxed, memory_order_relaxed));
    if ((next & UINT32_MAX) == 1)
        report_dropped(wall);
    return true;
}

/* ---- what callers see ---- */

static bool open_line(struct log_event *e, enum log_level level, const char *event)
{
    e->active = false;
    if (!log_wants(level))
        return false;
    uint64_t wall = wall_now();
    if (!admit(wall))
        return false;
    start_line(e, level, event, wall);
    return true;
}

void log_end(struct log_event *e)
{
    if (!e->active)
        return;
    finish_line(e);
    if (!write_line(e->buf, e->len))
        count_dropped(1);
}

void log_begin(struct log_event *e, enum log_level level, const char *event)
{
    (void)open_line(e, level, event);
}

/* Begins a field. Fields are whole or absent: a cut one is taken back to the returned length. */
static size_t open_field(struct log_event *e, const char *name)
{
    size_t mark = e->len;
    put_text(e, e->json ? ",\"" : " ");
    put_text(e, name);
    put_text(e, e->json ? "\":" : "=");
    return mark;
}

static void close_field(struct log_event *e, size_t mark)
{
    if (e->cut)
        e->len = mark;
}

static void put_quoted(struct log_event *e, const char *printable)
{
    put(e, "\"", 1);
    if (e->json)
        put_json(e, printable);
    else
        put_text(e, printable);
    put(e, "\"", 1);
}

/* Whether a value can stand in a text line without quotes. */
static bool is_word(const char *value)
{
    if (!*value)
        return false;
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        if (c <= ' ' || c >= 0x7F || c == '"' || c == '=' || c == '\\')
            return false;
    }
    return true;
}

void log_str(struct log_event *e, const char *name, const char *value)
{
    if (!e->active || e->cut)
        return;
    size_t mark = open_field(e, name);
    char printable[sizeof(e->buf) / 2];
    if (!e->json && is_word(value) && strlen(value) < sizeof(printable)) {
        put_text(e, value);
    } else {
        escape_bytes(view_of(value, strlen(value)), printable, sizeof(printable));
        put_quoted(e, printable);
    }
    close_field(e, mark);
}

void log_bytes(struct log_event *e, const char *name, struct view value)
{
    if (!e->active || e->cut)
        return;
    size_t mark = open_field(e, name);
    char printable[BYTES_TEXT_MAX + 1];
    put_quoted(e, escape_bytes(value, printable, sizeof(printable)));
    close_field(e, mark);
}

void log_u64(struct log_event *e, const char *name, uint64_t value)
{
    if (!e->active || e->cut)
        return;
    size_t mark = open_field(e, name);
    put_digits(e, value, 1);
    close_field(e, mark);
}

void log_ms(struct log_event *e, const char *name, uint64_t nanoseconds)
{
    if (!e->active || e->cut)
        return;
    size_t mark = open_field(e, name);
    put_digits(e, nanoseconds / NSEC_PER_MSEC, 1);
    put(e, ".", 1);
    put_digits(e, nanoseconds / NSEC_PER_USEC % 1000, 3);
    close_field(e, mark);
}

/* The text of log_line(): like escape_bytes(), but quotes and backslashes are our own here. */
static void put_message(struct log_event *e, const char *text)
{
    if (e->json)
        put_text(e, ",\"msg\":\"");
    for (; *text && !e->cut; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c >= 0x7F) {
            char hex[8];
            snprintf(hex, sizeof(hex), e->json ? "\\\\x%02x" : "\\x%02x", c);
            put_text(e, hex);
        } else if (e->json && (c == '"' || c == '\\')) {
            put(e, (const char[]){'\\', (char)c}, 2);
        } else {
            put(e, text, 1);
        }
    }
}

void log_line(enum log_level level, const char *fmt, ...)
{
    struct log_event e;
    if (!open_line(&e, level, NULL))
        return;
    char text[1024];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    put_message(&e, text);
    if (n >= (int)sizeof(text))
        e.cut = true;
    /* Closes the string even of a cut message: the room for the tail is larger than the tail. */
    if (e.json)
        e.buf[e.len++] = '"';
    log_end(&e);
}
