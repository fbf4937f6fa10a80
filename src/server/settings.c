#include "server/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/rule.h"
#include "policy/path.h"

#define NET_TX_SLOTS 1024 /* datagrams and trains queued or in flight, of one worker */
#define BURST        10   /* seconds' worth of a rate that may come at once */
#define DAY          (86400 * NSEC_PER_SEC)

static void fill_protocol(struct settings *s, const struct conf *c)
{
    s->limits = (struct tftp_limits){
        .blksize_max = (uint16_t)c->protocol_blksize_max,
        .windowsize_max = (uint16_t)c->protocol_windowsize_max,
        .window_bytes_max = (uint32_t)c->protocol_window_bytes_max,
        .timeout_max_s = 255,
        .options_enabled = c->protocol_options,
        .rollover = c->protocol_rollover == 1 ? TFTP_ROLLOVER_1 : TFTP_ROLLOVER_0,
    };
    s->manners = tftp_manners_default;
    s->manners.rto_first = (nsec)c->protocol_retransmit_first * NSEC_PER_MSEC;
    s->manners.rto_min = (nsec)c->protocol_retransmit_min * NSEC_PER_MSEC;
    s->manners.rto_max = (nsec)c->protocol_retransmit_max * NSEC_PER_MSEC;
    s->manners.patience = (nsec)c->protocol_patience * NSEC_PER_SEC;
    s->manners.timeout_exact = c->protocol_timeout_option == 1;
    s->manners.unproven_retries = (uint8_t)c->protocol_unproven_retries;
    s->clamp_to_mtu = c->protocol_clamp_to_mtu;
}

static bool copy_patterns(struct settings *s, const struct conf_list *from)
{
    s->write_patterns.items = calloc(from->count + 1, sizeof(char *));
    if (!s->write_patterns.items)
        return false;
    for (; s->write_patterns.count < from->count; s->write_patterns.count++) {
        char *copy = strdup(from->items[s->write_patterns.count]);
        if (!copy)
            return false;
        s->write_patterns.items[s->write_patterns.count] = copy;
    }
    return true;
}

static bool parse_trusted(struct settings *s, const struct conf_list *from)
{
    s->trusted = calloc(from->count + 1, sizeof(*s->trusted));
    if (!s->trusted)
        return false;
    for (size_t i = 0; i < from->count; i++)
        if (addr_net_parse(&s->trusted[s->trusted_count], from->items[i]) == 0)
            s->trusted_count++;
    return true;
}

static bool copy_rules(struct settings *s, const struct conf_list *from)
{
    static const enum access_verdict verdicts[] = {[CONF_RULE_ALLOW] = ACCESS_ALLOW,
                                                   [CONF_RULE_DENY] = ACCESS_DENY,
                                                   [CONF_RULE_IGNORE] = ACCESS_IGNORE};
    char error[CONF_RULE_ERROR_MAX];
    struct conf_rule r;

    s->access.rules = calloc(from->count + 1, sizeof(*s->access.rules));
    if (!s->access.rules)
        return false;
    for (size_t i = 0; i < from->count; i++) {
        if (conf_rule_parse(&r, from->items[i], error) < 0)
            return false; /* it was parsed when it was read */
        struct access_rule *rule = &s->access.rules[s->access.count++];
        *rule = (struct access_rule){
            .verdict = verdicts[r.action],
            .read = r.read,
            .write = r.write,
            .every = r.every,
            .net = r.net,
            .pattern = r.pattern ? strdup(r.pattern) : NULL,
        };
        if (r.pattern && !rule->pattern)
            return false;
    }
    return true;
}

static struct bucket_size rate(int64_t per_second, int64_t factor)
{
    return (struct bucket_size){(uint64_t)per_second * (uint64_t)factor * BURST,
                                BURST * NSEC_PER_SEC};
}

static void fill_limits(struct settings *s, const struct conf *c)
{
    for (int trusted = 0; trusted < 2; trusted++) {
        int64_t factor = trusted ? c->limits_trusted_factor : 1;
        s->share[trusted] = (struct settings_share){
            .requests = rate(c->limits_requests_per_address, factor),
            .unproven = rate(c->limits_unproven_bytes_per_address, factor),
            .unproven_all = rate(c->limits_unproven_bytes, factor),
            .transfers = (uint64_t)(c->limits_transfers_per_address * factor),
        };
    }
    s->uploads_max = (uint64_t)c->limits_uploads_max;
    s->upload_bytes = (struct bucket_size){(uint64_t)c->write_bytes_per_day, DAY};
    s->answer_busy = c->limits_when_full == 1;
    s->source_port_min = (uint16_t)c->network_source_port_min;
}

struct settings *settings_new(const struct conf *c, unsigned workers)
{
    struct settings *s = calloc(1, sizeof(*s));
    unsigned first = 0, last = 0;

    if (!s)
        return NULL;
    fill_protocol(s, c);
    s->upload_window_bytes_max = (uint32_t)c->limits_upload_buffer_max;
    s->write_max_size = (uint64_t)c->write_max_size;
    s->write_free_space_min = (uint64_t)c->write_free_space_min;
    s->write_enabled = c->write_enabled;
    s->write_check_tsize = c->write_check_tsize;
    s->write_create = c->write_allow_create;
    s->write_overwrite = c->write_allow_overwrite;
    s->ports = (enum settings_ports)c->network_transfer_ports;
    if (s->ports == PORTS_RANGE && sscanf(c->network_port_range, "%u-%u", &first, &last) == 2) {
        s->port_first = (uint16_t)first;
        s->port_last = (uint16_t)last;
    }
    s->transfers_max = MAX(1, (size_t)c->limits_transfers_max / workers);
    s->use_uring = c->performance_platform_io_uring_enabled;
    s->spin = (nsec)c->performance_spin * NSEC_PER_USEC;
    fill_limits(s, c);
    if (!copy_patterns(s, &c->write_allowed_patterns) || !parse_trusted(s, &c->network_trusted) ||
        !copy_rules(s, &c->access_rules)) {
        settings_free(s);
        return NULL;
    }
    return s;
}

struct net_config settings_net_config(const struct conf *c)
{
    static const int discover[] = {IP_PMTUDISC_DONT, IP_PMTUDISC_DO, IP_PMTUDISC_WANT};

    return (struct net_config){
        .batch = (unsigned)c->performance_platform_network_batch,
        .rcvbuf_bytes = (unsigned)c->performance_platform_network_receive_buffer,
        .sndbuf_bytes = (unsigned)c->performance_platform_network_send_buffer,
        .gso = c->performance_platform_network_gso,
        .mtu_discover = discover[c->network_fragment],
        .rx_bytes_max = TFTP_BLKSIZE_MAX + TFTP_HEADER_LEN,
        .tx_slots = NET_TX_SLOTS,
    };
}

void settings_free(struct settings *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->write_patterns.count; i++)
        free(s->write_patterns.items[i]);
    free(s->write_patterns.items);
    for (size_t i = 0; i < s->access.count; i++)
        free(s->access.rules[i].pattern);
    free(s->access.rules);
    free(s->trusted);
    free(s);
}

bool settings_trusts(const struct settings *s, const struct addr *peer)
{
    for (size_t i = 0; i < s->trusted_count; i++)
        if (addr_net_contains(&s->trusted[i], peer))
            return true;
    return false;
}

bool settings_may_write(const struct settings *s, const char *path)
{
    for (size_t i = 0; i < s->write_patterns.count; i++)
        if (path_glob(s->write_patterns.items[i], path))
            return true;
    return false;
}
