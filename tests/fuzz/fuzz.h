/*
 * A fuzz target is a function over bytes. With clang's libFuzzer it is driven by the fuzzer; else
 * replay.c gives it the files of its corpus, the bytes of a seeded generator, and truncations of
 * both, so that every build runs every target.
 *
 * A target never fails on what a peer sends; it aborts when a promise is broken.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define FUZZ_CHECK(what)                                                                           \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #what);             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
