/*
 * What a requested name means: pure, no file system. The kernel's openat2(RESOLVE_BENEATH) is
 * the guard; this is the rule that a person can predict.
 *
 * Leading slashes are dropped and runs of slashes folded, so `name`, `/name` and `//name` are
 * one file. Components "." and "..", and control bytes (below 0x20, 0x7F), are refused. All
 * other bytes are ordinary: backslash, colon, percent, anything above 0x7F.
 */
#ifndef POLICY_PATH_H
#define POLICY_PATH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/util.h"
#include "base/wire.h"

/* Names of staged uploads begin with this; such names are never served or taken. */
#define PATH_STAGED_PREFIX ".ringtftp-"

/*
 * Writes the path relative to the root, NUL-terminated, into buf[size].
 *   0        fine
 *   -EACCES  refused by the rule above, or nothing is left of it ("///")
 *   -ENOENT  a name that cannot exist here: a component longer than 255 bytes, longer than
 *            `size`, ends in a slash (a file is asked for), or has the prefix of staged uploads
 */
MUST_CHECK int path_normalise(struct view name, char *buf, size_t size);

/* Glob over a whole path: ? and * match within one component, ** any number of components,
 * [abc] and [!a-z] one byte; \ quotes. */
bool path_glob(const char *pattern, const char *path);

#endif
