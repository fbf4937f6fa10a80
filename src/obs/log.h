/*
 * The log: lines on a descriptor (stderr), as text or as JSON, by level, rate limited. Safe from
 * any thread; a line is one write(2). If the descriptor cannot take it at once (a full pipe),
 * the line is dropped and counted, nothing waits.
 */
#ifndef OBS_LOG_H
#define OBS_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/util.h"
#include "base/wire.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_NOTICE, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

void log_init(int fd, enum log_level level, enum log_format format, unsigned lines_per_second);
/* Reload: level and format only. */
void log_configure(enum log_level level, enum log_format format, unsigned lines_per_second);
bool log_wants(enum log_level level);

/* One free-text event: "msg" in JSON. The text must not hold unescaped bytes of a peer. */
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* A line of fields: name=value pairs in text, members in JSON. Built on the stack. */
struct log_event {
    char buf[2048];
    size_t len;
    bool cut;
    enum log_level level;
    bool active;
    bool json; /* the format is settled when a line begins */
};
/* `event` names the kind of line: "transfer", "refused". Cheap when the level is off. */
void log_begin(struct log_event *e, enum log_level level, const char *event);
void log_str(struct log_event *e, const char *name, const char *value);
/* Bytes from the wire: escaped and cut at 200 characters. */
void log_bytes(struct log_event *e, const char *name, struct view value);
void log_u64(struct log_event *e, const char *name, uint64_t value);
/* Milliseconds with three decimals. */
void log_ms(struct log_event *e, const char *name, uint64_t nanoseconds);
void log_end(struct log_event *e);

/* Lines not written because of the rate limit or a blocked descriptor. */
uint64_t log_dropped(void);

/* Replaces the wall clock (nanoseconds since 1970) of time stamps and rate limit; NULL brings the
 * real one back. For tests, while no other thread logs. */
void log_set_clock(uint64_t (*wall_ns)(void));

#endif
