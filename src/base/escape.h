/*
 * Making hostile bytes fit to print: names and texts from the wire go to logs only through
 * here.
 */
#ifndef BASE_ESCAPE_H
#define BASE_ESCAPE_H

#include <stddef.h>

#include "base/wire.h"

/*
 * Writes `v` into buf[size] (size >= 8) with bytes outside printable ASCII, and backslash and
 * double quote, as \xNN, \\ and \". What does not fit is cut at a whole escape and ends in
 * "...". Always NUL-terminated. Returns buf.
 */
char *escape_bytes(struct view v, char *buf, size_t size);

#endif
