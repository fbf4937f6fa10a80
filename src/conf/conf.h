/*
 * Configuration: one table of keys (conf/keys.def) feeds the TOML reader, -o, --dump-config, the
 * sample file and the manual page. The result is plain data; nothing here does what it says.
 */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/util.h"

struct conf_list {
    char **items;
    size_t count;
};

/* The whole configuration; a field per key, named section_key. Generated from conf/keys.def. */
struct conf {
#define CONF_BOOL(section, key, field, def, reload, doc)                bool field;
#define CONF_INT(section, key, field, def, min, max, unit, reload, doc) int64_t field;
#define CONF_STRING(section, key, field, def, reload, doc)              char *field;
#define CONF_ENUM(section, key, field, def, choices, reload, doc)       int field;
#define CONF_LIST(section, key, field, def, reload, doc)                struct conf_list field;
#include "conf/keys.def"
};

/* One sentence: what is wrong, where, what was expected. */
#define CONF_ERROR_MAX 512
struct conf_error {
    char text[CONF_ERROR_MAX];
};

/* All defaults. -ENOMEM. */
MUST_CHECK int conf_init(struct conf *c);
void conf_fini(struct conf *c);

/* Reads a TOML file over what `c` has. -EINVAL (ret has the sentence with file, line, column),
 * -ENOENT and other errno for the file itself (with a sentence too). */
MUST_CHECK int conf_read_file(struct conf *c, const char *path, struct conf_error *ret);
/* The same from memory; `name` stands for the file in messages. */
MUST_CHECK int conf_read_text(struct conf *c, const char *text, size_t len, const char *name,
                              struct conf_error *ret);
/* "section.key=value" as -o takes it: value is TOML, and bare words are taken as strings where
 * a string is expected. */
MUST_CHECK int conf_set(struct conf *c, const char *assignment, struct conf_error *ret);
/* Checks that span several keys. */
MUST_CHECK int conf_check(const struct conf *c, struct conf_error *ret);

/* The whole configuration as TOML that reads back to the same, with the doc lines when `comments`.
 */
void conf_dump(const struct conf *c, bool comments, FILE *out);
/* man/ringtftpd.toml.5, in mdoc. */
void conf_manual(FILE *out);
/* docs/configuration.md. */
void conf_markdown(FILE *out);

/*
 * Names the keys that differ and cannot be changed by reload, one per line, into buf;
 * returns how many.
 */
unsigned conf_reload_conflicts(const struct conf *running, const struct conf *wanted, char *buf,
                               size_t size);

/* The word for an enum value of `key`, e.g. conf_word("log.level", c->log_level); "?" for a key or
 * value that is none. Any thread. */
const char *conf_word(const char *key, int value);

#endif
