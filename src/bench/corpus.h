/*
 * The files of a run: their names on the server, their local copies (mapped, so that every
 * block that arrives is compared with the bytes it must hold) and their weights.
 */
#ifndef BENCH_CORPUS_H
#define BENCH_CORPUS_H

#include <stddef.h>

#include "bench/plan.h"

/*
 * Adds one file: "NAME[:WEIGHT]" or "NAME=LOCAL[:WEIGHT]". -EINVAL: a sentence in error[size].
 * A weight of 0 is not allowed; without one it is 1.
 */
MUST_CHECK int bench_corpus_add(struct bench_corpus *c, const char *spec, char *error, size_t size);

/* Adds a line for each file of a list: "NAME [weight=N] [local=PATH] [sha256=HEX]"; empty lines
 * and those that begin with # do not count. As above; also -ENOENT and the like. */
MUST_CHECK int bench_corpus_add_list(struct bench_corpus *c, const char *path, char *error,
                                     size_t size);

/*
 * Maps the local copies: those named, and below `dir` (NULL: none) the others. `must`: all need one
 * (uploads); what has none and no `dir` is itself a path, and the last part of it the name. -EINVAL
 * or what open() says, with a sentence.
 */
MUST_CHECK int bench_corpus_map(struct bench_corpus *c, const char *dir, bool must, char *error,
                                size_t size);
void bench_corpus_fini(struct bench_corpus *c);

#endif
