#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "obs/log.h"

#define SECOND UINT64_C(1000000000)
#define START  (UINT64_C(1767323045) * SECOND + 678 * SECOND / 1000)
#define STAMP  "2026-01-02T03:04:05.678Z"

static uint64_t wall;
static int fds[2]; /* the log writes to fds[1] */
static char text[1 << 20];

static uint64_t wall_now(void)
{
    return __atomic_load_n(&wall, __ATOMIC_RELAXED);
}

static void start(enum log_level level, enum log_format format, unsigned lines_per_second)
{
    wall = START;
    log_set_clock(wall_now);
    log_init(fds[1], level, format, lines_per_second);
}

static int open_pipe(void **state)
{
    (void)state;
    return pipe2(fds, O_CLOEXEC);
}

static int open_sockets(void **state)
{
    (void)state;
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
}

static int close_both(void **state)
{
    (void)state;
    log_set_clock(NULL);
    log_init(STDERR_FILENO, LOG_NOTICE, LOG_TEXT, 0);
    close(fds[0]);
    close(fds[1]);
    return 0;
}

/* All that the log has written so far. */
static const char *written(void)
{
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    size_t len = 0;
    ssize_t n;
    while ((n = read(fds[0], text + len, sizeof(text) - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    return text;
}

static size_t lines_of(const char *s)
{
    size_t lines = 0;
    for (; *s; s++)
        lines += *s == '\n';
    return lines;
}

static void sample_event(void)
{
    static const uint8_t name[] = {'a', '"', 0x1B, 0xFF, '\\'};
    struct log_event e;
    log_begin(&e, LOG_NOTICE, "transfer");
    log_str(&e, "peer", "10.0.0.1:2000");
    log_bytes(&e, "file", view_of(name, sizeof(name)));
    log_str(&e, "result", "timed out");
    log_str(&e, "mode", "");
    log_u64(&e, "bytes", UINT64_MAX);
    log_ms(&e, "ms", 12345678);
    log_end(&e);
}

static void text_format(void **state)
{
    (void)state;
    start(LOG_INFO, LOG_TEXT, 0);
    sample_event();
    log_line(LOG_INFO, "listening on %s", "[::]:69");
    assert_string_equal(written(), STAMP " notice transfer peer=10.0.0.1:2000 "
                                         "file=\"a\\\"\\x1b\\xff\\\\\" result=\"timed out\" "
                                         "mode=\"\" bytes=18446744073709551615 ms=12.345\n" STAMP
                                         " info listening on [::]:69\n");
}

static void json_format(void **state)
{
    (void)state;
    start(LOG_INFO, LOG_JSON, 0);
    sample_event();
    log_line(LOG_ERROR, "cannot open \"%s\"\n", "a\\b\xC3\xA9");
    assert_string_equal(written(),
                        "{\"ts\":\"" STAMP "\",\"level\":\"notice\",\"event\":\"transfer\","
                        "\"peer\":\"10.0.0.1:2000\",\"file\":\"a\\\\\\\"\\\\x1b\\\\xff\\\\\\\\\","
                        "\"result\":\"timed out\",\"mode\":\"\",\"bytes\":18446744073709551615,"
                        "\"ms\":12.345}\n"
                        "{\"ts\":\"" STAMP "\",\"level\":\"error\",\"event\":\"message\","
                        "\"msg\":\"cannot open \\\"a\\\\b\\\\xc3\\\\xa9\\\"\\\\x0a\"}\n");
}

static void dates(void **state)
{
    (void)state;
    static const struct {
        uint64_t seconds;
        const char *date;
    } rows[] = {
        {0, "1970-01-01T00:00:00"},          {951782399, "2000-02-28T23:59:59"},
        {951782400, "2000-02-29T00:00:00"},  {951868800, "2000-03-01T00:00:00"},
        {1709164800, "2024-02-29T00:00:00"}, {1735689599, "2024-12-31T23:59:59"},
        {1735689600, "2025-01-01T00:00:00"}, {4107542400, "2100-03-01T00:00:00"},
        {4107542399, "2100-02-28T23:59:59"}, {2147483648, "2038-01-19T03:14:08"},
    };
    start(LOG_INFO, LOG_TEXT, 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char expected[64];
        wall = rows[i].seconds * SECOND + 999999;
        log_line(LOG_INFO, "x");
        snprintf(expected, sizeof(expected), "%s.000Z info x\n", rows[i].date);
        assert_string_equal(written(), expected);
    }
}

static void levels(void **state)
{
    (void)state;
    static const char *const names[] = {"error", "warning", "notice", "info", "debug"};
    for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
        start((enum log_level)level, LOG_TEXT, 0);
        for (int l = LOG_ERROR; l <= LOG_DEBUG; l++) {
            assert_int_equal(log_wants((enum log_level)l), l <= level);
            log_line((enum log_level)l, "x");
            struct log_event e;
            log_begin(&e, (enum log_level)l, "kind");
            log_u64(&e, "n", 1); /* harmless when the level is off */
            log_end(&e);
        }
        assert_int_equal(lines_of(written()), 2 * (level + 1));
        assert_non_null(strstr(text, names[level]));
    }
    start(LOG_DEBUG, LOG_TEXT, 0);
    log_configure(LOG_ERROR, LOG_JSON, 0);
    log_line(LOG_WARN, "x");
    log_line(LOG_ERROR, "x");
    assert_int_equal(lines_of(written()), 1);
    assert_int_equal(text[0], '{');
    assert_int_equal(log_dropped(), 0);
}

/* Fields are whole or absent; the line says that it was cut, and stays well formed. */
static void cut_lines(void **state)
{
    (void)state;
    char value[1000];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (int format = LOG_TEXT; format <= LOG_JSON; format++) {
        bool json = format == LOG_JSON;
        size_t b_absent = 0, c_absent = 0;
        for (size_t len = 900; len < sizeof(value); len++) {
            start(LOG_INFO, (enum log_format)format, 0);
            struct log_event e;
            log_begin(&e, LOG_INFO, "kind");
            log_str(&e, "a", value + sizeof(value) - 1 - len);
            log_str(&e, "b", value);
            log_str(&e, "c", "after");
            log_end(&e);
            written();
            assert_int_equal(lines_of(text), 1);
            assert_true(strlen(text) <= sizeof(e.buf));
            bool cut = strstr(text, json ? ",\"cut\":true}\n" : " cut\n") != NULL;
            assert_int_equal(cut, strstr(text, "after") == NULL);
            const char *b = strstr(text, json ? "\"b\":\"" : " b=");
            if (b)
                assert_memory_equal(b + (json ? 5 : 3), value, sizeof(value) - 1);
            b_absent += !b;
            c_absent += cut;
        }
        assert_true(b_absent > 0 && c_absent > b_absent && c_absent < 100);
    }
}

static void long_values(void **state)
{
    (void)state;
    static uint8_t bytes[500];
    memset(bytes, 'n', sizeof(bytes));
    start(LOG_INFO, LOG_TEXT, 0);
    struct log_event e;
    log_begin(&e, LOG_INFO, "kind");
    log_bytes(&e, "file", view_of(bytes, sizeof(bytes)));
    log_end(&e);
    const char *file = strchr(written(), '"');
    assert_non_null(file);
    assert_int_equal(strcspn(file + 1, "\""), 200);
    assert_string_equal(file + 1 + 197, "...\"\n");

    /* The longest message, of bytes that quadruple: cut, and one line. */
    char message[3000];
    memset(message, '\n', sizeof(message) - 1);
    message[sizeof(message) - 1] = '\0';
    for (int format = LOG_TEXT; format <= LOG_JSON; format++) {
        log_configure(LOG_INFO, (enum log_format)format, 0);
        log_line(LOG_INFO, "%s", message);
        written();
        assert_int_equal(lines_of(text), 1);
        assert_non_null(strstr(text, format == LOG_JSON ? "\\\\x0a\",\"cut\":true}" : "\\x0a cut"));
    }
}

static void rate_limit(void **state)
{
    (void)state;
    start(LOG_INFO, LOG_TEXT, 10);
    for (int i = 0; i < 35; i++)
        log_line(LOG_INFO, "line");
    assert_int_equal(lines_of(written()), 10);
    assert_int_equal(log_dropped(), 25);

    wall += SECOND; /* the summary comes first and is not counted against the limit */
    for (int i = 0; i < 10; i++)
        log_line(LOG_INFO, "line");
    assert_int_equal(lines_of(written()), 11);
    static const char summary[] = "2026-01-02T03:04:06.678Z warning 25 lines dropped\n";
    assert_memory_equal(text, summary, sizeof(summary) - 1);

    wall += SECOND; /* only once */
    log_line(LOG_INFO, "line");
    assert_int_equal(lines_of(written()), 1);
    assert_int_equal(log_dropped(), 25);

    log_configure(LOG_INFO, LOG_JSON, 1);
    for (int i = 0; i < 2; i++)
        log_line(LOG_INFO, "line");
    wall += SECOND;
    written();
    log_line(LOG_INFO, "line");
    assert_non_null(strstr(written(), "\"event\":\"message\",\"msg\":\"2 lines dropped\"}\n"));
}

/* Levels that are off cost no place in the second. */
static void limit_counts_lines_only(void **state)
{
    (void)state;
    start(LOG_INFO, LOG_TEXT, 2);
    for (int i = 0; i < 10; i++)
        log_line(LOG_DEBUG, "off");
    log_line(LOG_INFO, "one");
    sample_event();
    assert_int_equal(lines_of(written()), 2);
    assert_int_equal(log_dropped(), 0);
}

/* Nobody reads: lines are dropped, nothing waits (or this test would never end). What was taken
 * is whole lines, and the log goes on when there is room again. */
static void blocked_descriptor(void **state)
{
    (void)state;
    enum { LINES = 20000 };
    start(LOG_INFO, LOG_TEXT, 0);
    for (int i = 0; i < LINES; i++)
        log_line(LOG_INFO, "a line of some length that fills the pipe in good time %08d", i);
    uint64_t dropped = log_dropped();
    assert_true(dropped > 0);
    size_t taken = lines_of(written());
    assert_int_equal(taken + dropped, LINES);
    size_t at = 0;
    for (size_t i = 0; i < taken; i++) {
        const char *line = text + at;
        assert_memory_equal(line, STAMP, sizeof(STAMP) - 1);
        at += strcspn(line, "\n") + 1;
    }

    wall += SECOND;
    log_line(LOG_INFO, "again");
    char expected[200];
    snprintf(expected, sizeof(expected),
             "2026-01-02T03:04:06.678Z warning %llu lines dropped\n"
             "2026-01-02T03:04:06.678Z info again\n",
             (unsigned long long)dropped);
    assert_string_equal(written(), expected);
}

static void reader_gone(void **state)
{
    (void)state;
    start(LOG_INFO, LOG_TEXT, 0);
    close(fds[0]);
    fds[0] = -1;
    log_line(LOG_INFO, "to nobody");
    assert_int_equal(log_dropped(), 1);
}

static int open_terminal(void **state)
{
    (void)state;
    fds[0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fds[0] < 0 || grantpt(fds[0]) < 0 || unlockpt(fds[0]) < 0)
        return -1;
    fds[1] = open(ptsname(fds[0]), O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios t;
    if (fds[1] < 0 || tcgetattr(fds[1], &t) < 0)
        return -1;
    cfmakeraw(&t);
    return tcsetattr(fds[1], TCSANOW, &t);
}

/* A terminal nobody reads from. It may take part of a line, so lines are not counted here. The
 * descriptor we were given keeps its flags: a shell may share it. */
static void blocked_terminal(void **state)
{
    (void)state;
    int flags = fcntl(fds[1], F_GETFL);
    start(LOG_INFO, LOG_TEXT, 0);
    log_line(LOG_INFO, "first");
    assert_string_equal(written(), STAMP " info first\n");
    for (int i = 0; i < 20000; i++)
        log_line(LOG_INFO, "line");
    assert_true(log_dropped() > 0);
    assert_int_equal(fcntl(fds[1], F_GETFL), flags);
}

/* A device that is no terminal: asked by poll(2) first. */
static void device(void **state)
{
    (void)state;
    int saved = fds[1];
    fds[1] = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_true(fds[1] >= 0);
    start(LOG_INFO, LOG_TEXT, 0);
    log_line(LOG_INFO, "line");
    assert_int_equal(log_dropped(), 0);
    close(fds[1]);
    fds[1] = saved;
}

/* A file takes everything. */
static void regular_file(void **state)
{
    (void)state;
    char path[] = "/tmp/ringtftp-log-XXXXXX";
    int saved = fds[1];
    fds[1] = mkstemp(path);
    assert_true(fds[1] >= 0);
    unlink(path);
    start(LOG_INFO, LOG_TEXT, 0);
    for (int i = 0; i < 1000; i++)
        log_line(LOG_INFO, "line");
    ssize_t n = pread(fds[1], text, sizeof(text) - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
    assert_int_equal(lines_of(text), 1000);
    assert_int_equal(log_dropped(), 0);
    close(fds[1]);
    fds[1] = saved;
}

enum { THREADS = 4, EACH = 5000 };

static void *chatter(void *arg)
{
    for (int i = 0; i < EACH; i++) {
        struct log_event e;
        log_begin(&e, LOG_INFO, "chatter");
        log_u64(&e, "thread", (uintptr_t)arg);
        log_u64(&e, "n", (uint64_t)i);
        log_end(&e);
        if (i % 100 == 0)
            __atomic_fetch_add(&wall, SECOND / 10, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* Lines of several threads do not mix, and each is either written or counted. */
static void threads(void **state)
{
    (void)state;
    start(LOG_INFO, LOG_TEXT, 100);
    pthread_t t[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, chatter, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    written();
    size_t events = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        unsigned long thread, n, missing;
        char end;
        if (sscanf(line + sizeof(STAMP), "info chatter thread=%lu n=%lu%c", &thread, &n, &end) == 2)
            events++;
        else
            assert_int_equal(sscanf(line + sizeof(STAMP), "warning %lu line%c", &missing, &end), 2);
    }
    assert_true(events > 0);
    assert_int_equal(events + log_dropped(), THREADS * EACH);
}

#define PIPE_TEST(f) cmocka_unit_test_setup_teardown(f, open_pipe, close_both)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PIPE_TEST(text_format),
        PIPE_TEST(json_format),
        PIPE_TEST(dates),
        PIPE_TEST(levels),
        PIPE_TEST(cut_lines),
        PIPE_TEST(long_values),
        PIPE_TEST(rate_limit),
        PIPE_TEST(limit_counts_lines_only),
        PIPE_TEST(blocked_descriptor),
        PIPE_TEST(regular_file),
        PIPE_TEST(device),
        PIPE_TEST(threads),
        cmocka_unit_test_setup_teardown(blocked_terminal, open_terminal, close_both),
        cmocka_unit_test_setup_teardown(blocked_descriptor, open_sockets, close_both),
        cmocka_unit_test_setup_teardown(reader_gone, open_sockets, close_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
