/*
 * What a worker needs of the configuration on the data path, as plain data made once from
 * struct conf. Each worker owns its copy and gets a new one on reload; transfers take what they
 * need at their start, so a reload never changes a running transfer.
 */
#ifndef SERVER_SETTINGS_H
#define SERVER_SETTINGS_H

#include <stdbool.h>

#include "base/addr.h"
#include "conf/conf.h"
#include "net/net.h"
#include "policy/access.h"
#include "policy/limiter.h"
#include "proto/session.h"

enum settings_ports { PORTS_AUTO, PORTS_PRIVATE, PORTS_SHARED, PORTS_SINGLE, PORTS_RANGE };

/* What one address may do; the same of every address, but in trusted networks. */
struct settings_share {
    struct bucket_size requests, unproven, unproven_all;
    uint64_t transfers;
};

struct settings {
    struct tftp_limits limits;
    struct tftp_manners manners;
    bool clamp_to_mtu;
    uint32_t upload_window_bytes_max;
    uint64_t write_max_size, write_free_space_min;
    bool write_enabled, write_create, write_overwrite, write_check_tsize;
    struct conf_list write_patterns; /* own copies */
    struct addr_net *trusted;
    size_t trusted_count;
    enum settings_ports ports;
    uint16_t port_first, port_last; /* PORTS_RANGE */
    size_t transfers_max;           /* of one worker */
    struct access_rules access;
    struct settings_share share[2]; /* by settings_trusts() */
    uint64_t uploads_max;
    struct bucket_size upload_bytes;
    bool answer_busy;
    uint16_t source_port_min;
    bool use_uring;
    nsec spin;
};

/* The configuration has passed conf_check(). `workers`: among how many the limits are divided.
 * NULL when out of memory. */
struct settings *settings_new(const struct conf *c, unsigned workers);
void settings_free(struct settings *s);

/* How sockets are made, by the [performance.platform.network] and [network] keys. */
struct net_config settings_net_config(const struct conf *c);

/* Shares pre-bound transfer ports and has wider limits, by network.trusted. */
bool settings_trusts(const struct settings *s, const struct addr *peer);
/* The name is covered by write.allowed_patterns. */
bool settings_may_write(const struct settings *s, const char *path);

#endif
