/*
 * What the parser, the rule for names and the negotiation say of a datagram, without any socket or
 * file: reads one datagram in hex per line and writes one line for each,
 *
 *   silence
 *   error CODE
 *   read|write PATH OACK     both in hex; OACK is "-" when there is none
 *
 * as the server would answer when the file is there and has SIZE bytes.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "policy/path.h"
#include "proto/negotiate.h"

#define SIZE 5000

static const struct tftp_limits limits = {
    .blksize_max = TFTP_BLKSIZE_MAX,
    .windowsize_max = 64,
    .window_bytes_max = 1u << 20,
    .timeout_max_s = 255,
    .options_enabled = true,
};

static void print_hex(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf("%02x", ((const uint8_t *)p)[i]);
}

static void judge(struct view datagram)
{
    char path[1024];
    uint8_t oack[TFTP_REQUEST_MAX + 24];
    struct tftp_params params;
    struct tftp_request r;
    size_t len = 0;

    int err = tftp_request_parse(&r, datagram);
    if (err == -ENOMSG) {
        puts("silence");
        return;
    }
    if (err) {
        printf("error %d\n", TFTP_ERR_ILLEGAL);
        return;
    }
    bool writing = r.op == TFTP_WRQ;
    err = path_normalise(r.filename, path, sizeof(path));
    if (err) {
        printf("error %d\n", tftp_error_from_errno(err, writing));
        return;
    }
    err = tftp_negotiate(&params, &r, &limits, r.mode == TFTP_OCTET ? SIZE : TFTP_SIZE_UNKNOWN,
                         oack, sizeof(oack), &len);
    if (err) {
        printf("error %d\n", err == -EFBIG ? TFTP_ERR_DISK_FULL : TFTP_ERR_OPTION);
        return;
    }
    fputs(writing ? "write " : "read ", stdout);
    print_hex(path, strlen(path));
    putchar(' ');
    if (len > 0)
        print_hex(oack, len);
    else
        putchar('-');
    putchar('\n');
}

static int digit(int c)
{
    return isdigit(c) ? c - '0' : c - 'a' + 10;
}

int main(void)
{
    static uint8_t bytes[65536];
    size_t n = 0;
    int high = -1;

    for (int c; (c = getchar()) != EOF;) {
        if (c == '\n') {
            judge(view_of(bytes, n));
            n = 0;
        } else if (high < 0) {
            high = digit(c);
        } else if (n < sizeof(bytes)) {
            bytes[n++] = (uint8_t)(high << 4 | digit(c));
            high = -1;
        }
    }
    return 0;
}
