/*
 * The rows of conf/keys.def as data, and what the parts of this folder do with single keys.
 * Private to conf/.
 */
#ifndef CONF_KEY_H
#define CONF_KEY_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/util.h"
#include "conf/conf.h"
#include "conf/toml.h"

enum conf_type {
    CONF_TYPE_BOOL,
    CONF_TYPE_INT,
    CONF_TYPE_STRING,
    CONF_TYPE_ENUM,
    CONF_TYPE_LIST,
};

struct conf_key {
    const char *section; /* "" for the top */
    const char *key;
    const char *dotted; /* section.key; ".key" for the top: use conf_key_name() */
    const char *doc;
    enum conf_type type;
    bool reload;
    size_t offset;     /* of the field in struct conf */
    int64_t def;       /* bool, int, enum */
    int64_t min, max;  /* int; a def outside them means: absent */
    const char *unit;  /* int; may be empty */
    const char *words; /* string: the default; list: its items, enum: the choices, parted by '|' */
};

extern const struct conf_key conf_keys[];
extern const size_t conf_key_count;

/* The name that users write: "root", "log.level". */
static inline const char *conf_key_name(const struct conf_key *k)
{
    return k->dotted[0] == '.' ? k->dotted + 1 : k->dotted;
}

/* The field of `k` in a configuration; its type is the one of k->type. */
static inline void *conf_field(struct conf *c, const struct conf_key *k)
{
    return (char *)c + k->offset;
}

static inline const void *conf_field_const(const struct conf *c, const struct conf_key *k)
{
    return (const char *)c + k->offset;
}

/* NULL when there is no such key. */
const struct conf_key *conf_key_find(const char *name);
/* Whether `name` is a section or the beginning of one's name, as "performance.platform". */
bool conf_section_exists(const char *name);

/* The nearest key, or NULL. Within two edits, else the same word in another section. */
const struct conf_key *conf_key_nearest(const char *name);
/* The nearest section within two edits, or NULL. */
const char *conf_section_nearest(const char *name);

/*
 * Steps through words parted by '|': sets *ret_len and returns the word at *pos, NULL after the
 * last. Start with *pos = the text. An empty text has no words.
 */
const char *conf_word_next(const char **pos, size_t *ret_len);

#define CONF_RANGE_MAX 96
/* "1 to 256 threads", "1 or more bytes"; returns buf of CONF_RANGE_MAX bytes. */
const char *conf_range_text(const struct conf_key *k, char *buf);

/* Replaces the value of a list or string; on -ENOMEM the old one stays. */
MUST_CHECK int conf_string_set(char **field, const char *text);
void conf_list_fini(struct conf_list *list);
/* Appends a copy of text[len]. -ENOMEM. */
MUST_CHECK int conf_list_add(struct conf_list *list, const char *text, size_t len);

/* A deep copy; `ret` needs conf_fini(). -ENOMEM, then it does not. */
MUST_CHECK int conf_copy(struct conf *ret, const struct conf *from);
bool conf_key_equal(const struct conf *a, const struct conf *b, const struct conf_key *k);

/* Where a value comes from: for messages. */
struct conf_origin {
    const char *name; /* file, or "-o" */
    bool places;      /* whether line and column mean anything to the user */
};

/* Writes "NAME:LINE:COLUMN: " and the sentence; returns -EINVAL. */
int conf_fail(struct conf_error *ret, const struct conf_origin *from, struct toml_place at,
              const char *format, ...) PRINTF_LIKE(4, 5);
/* Writes "NAME: " and the reason; returns -err. */
int conf_fail_errno(struct conf_error *ret, const char *name, int err);

/* Sets one key from a TOML value. -EINVAL with a sentence, -ENOMEM; then the old value stays. */
MUST_CHECK int conf_assign(struct conf *c, const struct conf_key *k, const struct toml_node *value,
                           const struct conf_origin *from, struct conf_error *ret);

/* Says that `name` is no key or section (`is_section`: it was written as one). -EINVAL. */
int conf_fail_unknown(struct conf_error *ret, const struct conf_origin *from, struct toml_place at,
                      const char *name, bool is_section);

/* Writes a TOML string with its quotes. */
void conf_write_quoted(FILE *out, const char *text, size_t len);

/* Writes one value as TOML. */
void conf_write_value(FILE *out, const struct conf *c, const struct conf_key *k);
/* Whether the key has a value: false for an int whose default stands for "absent". */
bool conf_key_present(const struct conf *c, const struct conf_key *k);

#endif
