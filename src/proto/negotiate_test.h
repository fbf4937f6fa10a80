/*
 * Options in words, for the tests of both sides of the negotiation. Include after cmocka.h.
 */
#ifndef PROTO_NEGOTIATE_TEST_H
#define PROTO_NEGOTIATE_TEST_H

#include <string.h>

#include "proto/negotiate.h"

#define DIGITS_50  "99999999999999999999999999999999999999999999999999"
#define DIGITS_400 DIGITS_50 DIGITS_50 DIGITS_50 DIGITS_50 DIGITS_50 DIGITS_50 DIGITS_50 DIGITS_50

static inline struct view text_view(const char *text)
{
    return view_of(text, strlen(text));
}

/* "name=value,name=value": the options of a request, or of an OACK. */
static inline unsigned options_from_text(const char *text, struct tftp_option *options)
{
    unsigned count = 0;

    while (*text) {
        size_t pair = strcspn(text, ","), name = strcspn(text, "=");

        assert_true(count < TFTP_OPTIONS_MAX && name < pair);
        options[count].name = view_of(text, name);
        options[count].value = view_of(text + name + 1, pair - name - 1);
        count++;
        text += pair + (text[pair] == ',');
    }
    return count;
}

static inline void request_from_text(struct tftp_request *r, enum tftp_opcode op,
                                     const char *options)
{
    memset(r, 0, sizeof(*r));
    r->op = op;
    r->mode = TFTP_OCTET;
    r->filename = text_view("f");
    r->option_count = options_from_text(options, r->options);
}

#endif
