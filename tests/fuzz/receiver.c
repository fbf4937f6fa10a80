/*
 * A server's session that receives, under a script of packets from its client and of what its
 * owner does. The first byte chooses the options.
 */
#include "script.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct script x = {.now = SCRIPT_T0, .request_len = 20};
    struct tftp_request r;

    if (n < 1)
        return 0;
    script_request(&r, TFTP_WRQ, p[0]);
    FUZZ_CHECK(tftp_session_serve(&x.s, &r, x.request_len, &script_limits, &tftp_manners_default, 0,
                                  x.now) == 0);
    FUZZ_CHECK(!tftp_session_ended(&x.s));
    script_run(&x, p + 1, n - 1);
    return 0;
}
