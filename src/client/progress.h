/*
 * What a terminal shows while files are on their way: a line with a bar for each, and one for
 * the total of several. The lines are redrawn in place, and gone when anything else is printed.
 */
#ifndef CLIENT_PROGRESS_H
#define CLIENT_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

struct client;

struct progress {
    bool on;
    unsigned drawn; /* lines on the screen that are ours */
    nsec next;      /* time of the next redraw; NSEC_NEVER when off */
    uint64_t shown_bytes;
    nsec shown_at;
    double rate;
    uint64_t finished_bytes;
};

void progress_init(struct progress *p, bool on);
/* From now on it is drawn, for the first time after one interval: short transfers show no bar. */
void progress_start(struct progress *p, nsec now);
/* Redraws when it is time to. */
void progress_update(struct client *c);
/* Takes our lines off the screen, so that others can be printed; they are seen together with the
 * next redraw. */
void progress_clear(struct progress *p);

/* The part between name and line end; `total` may be TFTP_SIZE_UNKNOWN. Returns buf. */
char *progress_text(char *buf, size_t size, unsigned width, uint64_t bytes, uint64_t total,
                    double rate, uint64_t resent);
/* "12.3 MiB". Returns buf. */
char *progress_bytes(char *buf, size_t size, double bytes);

#endif
