/*
 * One item of access.rules: "ACTION OPERATION NETWORK [NAMES]".
 */
#ifndef CONF_RULE_H
#define CONF_RULE_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/util.h"

enum conf_rule_action { CONF_RULE_ALLOW, CONF_RULE_DENY, CONF_RULE_IGNORE };

struct conf_rule {
    enum conf_rule_action action;
    bool read, write;
    bool every; /* "*": every network, and `net` is empty */
    struct addr_net net;
    const char *pattern; /* in the text; NULL: none is given */
};

#define CONF_RULE_ERROR_MAX 256

/* -EINVAL, and in error[CONF_RULE_ERROR_MAX] what is wrong and what was expected. */
MUST_CHECK int conf_rule_parse(struct conf_rule *ret, const char *text, char *error);

#endif
