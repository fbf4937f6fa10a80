/*
 * A server's session that sends, under a script of packets from its client and of what its owner
 * does. The first byte chooses the options, the second the size of the file.
 */
#include "script.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct tftp_manners manners = tftp_manners_default;
    struct tftp_request r;

    if (n < 2)
        return 0;
    struct script x = {.now = SCRIPT_T0, .size = script_size(p[1]), .request_len = 20};
    script_request(&r, TFTP_RRQ, p[0]);
    FUZZ_CHECK(
        tftp_session_serve(&x.s, &r, x.request_len, &script_limits, &manners, x.size, x.now) == 0);
    FUZZ_CHECK(!tftp_session_ended(&x.s));
    script_run(&x, p + 2, n - 2);
    return 0;
}
