#include "bench/profile.h"

#include <string.h>

#include "base/util.h"

static const uint16_t edk2_waits[] = {4000, 4000, 4000, 4000, 4000, 4000, 0};
static const uint16_t grub_request_waits[] = {
    400, 420, 440,  460,  480,  500,  520,  540,  560,  580,  600,  620,  640, 660,
    680, 700, 720,  740,  760,  780,  800,  820,  840,  860,  880,  900,  920, 940,
    960, 980, 1000, 1020, 1040, 1060, 1080, 1100, 1120, 1140, 1160, 1180, 0};
static const uint16_t grub_ack_waits[] = {32000, 0};
static const uint16_t ipxe_waits[] = {250, 550, 1050, 2030, 4060, 8000, 0};
static const uint16_t pxelinux_waits[] = {
    80,   110,  160,  170,  220,  280,  330,  380,   500,   600,   800,   900,   1200,  1500,
    1900, 2400, 3000, 4000, 5000, 6500, 8000, 10000, 12000, 14000, 14000, 14000, 14000, 0};
static const uint16_t uboot_waits[] = {5000, 5000, 5000, 5000, 5000, 5000,
                                       5000, 5000, 5000, 5000, 5000, 0};
static const uint16_t curl_waits[] = {6000, 6000, 6000, 6000, 6000, 6000,
                                      6000, 6000, 6000, 6000, 0};
static const uint16_t busybox_waits[] = {100,  150,  225,  337,  506,  759, 1139,
                                         1708, 2000, 2000, 2000, 2000, 0};

/* Values of blksize, windowsize, timeout and tsize can be changed on the command line. */
static const struct bench_profile profiles[] = {
    {.name = "plain", .options = ""},
    {
        .name = "edk2",
        .options = "tsize=0 blksize=1468 windowsize=4",
        .second = "blksize=1468 windowsize=4",
        .needs_oack = true,
        .on_old = BENCH_REPEATS,
        .on_gap = BENCH_REPEATS,
        .request_waits_ms = edk2_waits,
        .ack_waits_ms = edk2_waits,
        .repeats_acks = true,
    },
    {
        .name = "ipxe",
        .options = "blksize=1432 tsize=0",
        .on_old = BENCH_REPEATS,
        .on_gap = BENCH_REPEATS,
        .request_waits_ms = ipxe_waits,
        .ack_waits_ms = ipxe_waits,
        .repeats_acks = true,
    },
    {
        .name = "grub",
        .options = "blksize=1024 tsize=0",
        .slash = true,
        .needs_oack = true,
        .on_old = BENCH_ECHOES,
        .on_gap = BENCH_IGNORES,
        .request_waits_ms = grub_request_waits,
        .ack_waits_ms = grub_ack_waits,
    },
    {
        .name = "uboot",
        .options = "timeout=5 tsize=0 blksize=1468",
        .on_old = BENCH_IGNORES,
        .on_gap = BENCH_BY_RULE,
        .request_waits_ms = uboot_waits,
        .ack_waits_ms = uboot_waits,
        .repeats_acks = true,
    },
    {
        .name = "curl",
        .options = "tsize=0 blksize=512 timeout=6",
        .on_old = BENCH_REPEATS,
        .on_gap = BENCH_IGNORES,
        .request_waits_ms = curl_waits,
        .ack_waits_ms = curl_waits,
        .repeats_acks = true,
    },
    {
        .name = "pxelinux",
        .options = "tsize=0 blksize=1408",
        .on_old = BENCH_REPEATS,
        .on_gap = BENCH_REPEATS,
        .request_waits_ms = pxelinux_waits,
        .ack_waits_ms = pxelinux_waits,
        .repeats_acks = true,
    },
    {
        .name = "busybox",
        .options = "tsize=0",
        .on_old = BENCH_IGNORES,
        .on_gap = BENCH_IGNORES,
        .request_waits_ms = busybox_waits,
        .ack_waits_ms = busybox_waits,
        .repeats_acks = true,
    },
};

const struct bench_profile *bench_profile_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(profiles); i++)
        if (strcmp(profiles[i].name, name) == 0)
            return &profiles[i];
    return NULL;
}

const struct bench_profile *bench_profile_at(unsigned i)
{
    return i < ARRAY_LEN(profiles) ? &profiles[i] : NULL;
}
