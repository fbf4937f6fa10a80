/*
 * Not a test of anything but the fuzzing: this target has a mistake that has to be found, in the
 * handling of an OACK behind a block size of eight.
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    if (n >= 4 && p[0] == 0 && p[1] == 6 && p[2] == 'b' && p[n - 1] == 8)
        FUZZ_CHECK(p[1] == 5);
    return 0;
}
