/*
 * Time: nanoseconds of a clock that only grows. Everything that decides by time is handed
 * `now` by its caller, who read the clock once per wake-up; only loop/ reads a real clock.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

typedef uint64_t nsec;

#define NSEC_NEVER    UINT64_MAX
#define NSEC_PER_USEC UINT64_C(1000)
#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_SEC  UINT64_C(1000000000)

static inline nsec nsec_min(nsec a, nsec b)
{
    return a < b ? a : b;
}

/* a + b, staying at NSEC_NEVER instead of wrapping. */
static inline nsec nsec_add(nsec a, nsec b)
{
    return a > NSEC_NEVER - b ? NSEC_NEVER : a + b;
}

#endif
