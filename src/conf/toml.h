/*
 * TOML text as a plain tree, with the place of every key and value. The C++ parser stays behind
 * this: no exception and no C++ type comes out.
 */
#ifndef CONF_TOML_H
#define CONF_TOML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum toml_kind {
    TOML_KIND_TABLE,
    TOML_KIND_ARRAY,
    TOML_KIND_STRING,
    TOML_KIND_INTEGER,
    TOML_KIND_FLOAT,
    TOML_KIND_BOOL,
    TOML_KIND_TIME, /* a date, a time or both */
};

struct toml_place {
    unsigned line, column; /* from 1; 0 when not known */
};

/* A value; read only, valid as long as its document. */
struct toml_node {
    enum toml_kind kind;
    bool boolean;       /* TOML_KIND_BOOL */
    int64_t integer;    /* TOML_KIND_INTEGER */
    const char *string; /* TOML_KIND_STRING: valid UTF-8 and a NUL after the last byte, */
    size_t string_len;  /* which may contain others */
    const char *name;   /* its key, likewise, or NULL in an array and for the root */
    size_t name_len;
    struct toml_place place;   /* of the value */
    struct toml_place key;     /* of the key */
    struct toml_node *child;   /* first of a table or an array */
    struct toml_node *sibling; /* the next of the same parent, in no particular order in a table */
};

/* Tables and arrays nested deeper than this have no children in the tree. */
#define TOML_DEPTH_MAX 16

struct toml_error {
    struct toml_place place;
    char text[256];
};

struct toml_doc;

/* -EINVAL (ret_error says what and where; lines end at 8192 bytes) and -ENOMEM. The text is not
 * needed afterwards. */
int toml_parse(struct toml_doc **ret, const char *text, size_t len, struct toml_error *ret_error);
/* NULL is fine. */
void toml_free(struct toml_doc *doc);
/* The top table. */
const struct toml_node *toml_root(const struct toml_doc *doc);

#ifdef __cplusplus
}
#endif
#endif
