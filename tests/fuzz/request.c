/*
 * The first packet of a stranger: parser, path rules, negotiation, and the OACK it draws, which a
 * client that made this request has to accept.
 */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "policy/path.h"
#include "proto/negotiate.h"

static void check_path(struct view name)
{
    char path[1024];

    if (path_normalise(name, path, sizeof(path)) != 0)
        return;
    FUZZ_CHECK(path[0] != '/' && path[0] != '\0');
    for (char *at = path, *end; at; at = end ? end + 1 : NULL) {
        end = strchr(at, '/');
        size_t n = end ? (size_t)(end - at) : strlen(at);
        FUZZ_CHECK(!(n == 2 && at[0] == '.' && at[1] == '.'));
        FUZZ_CHECK(!(n == 1 && at[0] == '.'));
    }
    for (char *c = path; *c; c++)
        FUZZ_CHECK((unsigned char)*c >= 32 && *c != 127);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const struct tftp_limits limits = {
        .blksize_max = 1468,
        .windowsize_max = 64,
        .window_bytes_max = 1u << 16,
        .timeout_max_s = 255,
        .options_enabled = true,
    };
    uint8_t oack[TFTP_REQUEST_MAX + 24];
    struct tftp_params params, again;
    struct tftp_request r;
    size_t len = 0;

    int err = tftp_request_parse(&r, view_of(p, n));
    FUZZ_CHECK(err == 0 || err == -ENOMSG || err == -EBADMSG || err == -ENOTSUP);
    if (err)
        return 0;
    FUZZ_CHECK(r.filename.n > 0 && !memchr(r.filename.p, 0, r.filename.n));
    FUZZ_CHECK(r.option_count <= TFTP_OPTIONS_MAX);
    check_path(r.filename);
    if (tftp_negotiate(&params, &r, &limits, 123456789, oack, sizeof(oack), &len) != 0)
        return 0;
    FUZZ_CHECK(len <= n + 20);
    FUZZ_CHECK(params.blksize >= TFTP_BLKSIZE_MIN && params.blksize <= 1468);
    FUZZ_CHECK(params.windowsize >= 1 && params.windowsize <= 64);
    FUZZ_CHECK(params.windowsize == 1 || params.blksize * params.windowsize <= 1 << 16);
    if (len > 0) {
        FUZZ_CHECK(tftp_accept_oack(&again, &r, TFTP_ROLLOVER_0, view_of(oack, len)) == 0);
        FUZZ_CHECK(again.blksize == params.blksize && again.windowsize == params.windowsize);
    }
    return 0;
}
