/*
 * A server's session, reading or writing, under a script of packets from its client. The first
 * byte chooses the kind, the request is the first step.
 */
#include "script.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const struct tftp_limits limits = {
        .blksize_max = TFTP_BLKSIZE_MAX,
        .windowsize_max = 64,
        .window_bytes_max = 1u << 22,
        .timeout_max_s = 255,
        .options_enabled = true,
    };
    struct script x = {.now = SCRIPT_T0, .size = 70000};
    struct tftp_request r;

    if (n < 1 || p[0] > n - 1 || tftp_request_parse(&r, view_of(p + 1, p[0])) != 0)
        return 0;
    if (tftp_session_serve(&x.s, &r, p[0], &limits, &tftp_manners_default, x.size, x.now) == 0)
        FUZZ_CHECK(!tftp_session_ended(&x.s));
    script_run(&x, p + 1 + p[0], n - 1 - p[0]);
    return 0;
}
