/*
 * A client's session against a hostile server. The first byte chooses what it asks for.
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
    struct script x = {.now = SCRIPT_T0, .size = 5000};
    struct tftp_request r = {.mode = TFTP_OCTET, .filename = view_of("f", 1)};

    if (n < 1)
        return 0;
    r.op = p[0] & 1 ? TFTP_WRQ : TFTP_RRQ;
    if (p[0] & 2)
        r.options[r.option_count++] =
            (struct tftp_option){view_of("blksize", 7), view_of("1428", 4)};
    if (p[0] & 4)
        r.options[r.option_count++] =
            (struct tftp_option){view_of("windowsize", 10), view_of("16", 2)};
    if (p[0] & 8)
        r.options[r.option_count++] = (struct tftp_option){view_of("tsize", 5), view_of("5000", 4)};
    int err = tftp_session_request(&x.s, &r, &limits, &tftp_manners_default, x.size, x.now);
    FUZZ_CHECK(err == 0);
    script_run(&x, p + 1, n - 1);
    return 0;
}
