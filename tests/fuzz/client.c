/*
 * A client's session against a hostile server. The first byte chooses what it asks for, the second
 * the size of what it sends.
 */
#include "script.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct tftp_request r;

    if (n < 2)
        return 0;
    struct script x = {.now = SCRIPT_T0, .size = script_size(p[1])};
    script_request(&r, p[0] & 128 ? TFTP_WRQ : TFTP_RRQ, p[0] & 127);
    FUZZ_CHECK(
        tftp_session_request(&x.s, &r, &script_limits, &tftp_manners_default, x.size, x.now) == 0);
    script_run(&x, p + 2, n - 2);
    return 0;
}
