/*
 * Is what a download brings what it must be? Against the local copy byte by byte; without one
 * against the SHA-256 of the list; without either against the first download that was complete.
 */
#ifndef BENCH_CHECK_H
#define BENCH_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/sha256.h"
#include "base/wire.h"
#include "bench/plan.h"

struct bench_check {
    struct bench_file *file;
    bool compare; /* with the local copy */
    bool digest;  /* with the first download */
    uint64_t size;
    uint64_t state, word; /* of the digest; bytes that do not fill a word yet */
    struct sha256 sha256; /* if the file has one to match */
};

/* `active` false: everything is right (netascii changes the bytes on their way). */
void bench_check_init(struct bench_check *c, struct bench_file *file, bool active);
/* The next bytes in order; false when one of them is wrong. */
bool bench_check_add(struct bench_check *c, struct view data);
/* That was all; false when the length or the sum is wrong. */
bool bench_check_final(struct bench_check *c);

#endif
