/*
 * What the tests of this folder share. Include after cmocka.h.
 */
#ifndef CONF_CONF_TEST_H
#define CONF_CONF_TEST_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"

/* The whole configuration as text; to be freed. */
static inline char *test_dump(const struct conf *c, bool comments)
{
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    conf_dump(c, comments, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static inline int test_read(struct conf *c, const char *text, struct conf_error *ret)
{
    return conf_read_text(c, text, strlen(text), "f.toml", ret);
}

/* Sets one key that must be fine. */
static inline void test_set(struct conf *c, const char *assignment)
{
    struct conf_error error = {""};
    if (conf_set(c, assignment, &error) < 0)
        fail_msg("%s", error.text);
}

#endif
