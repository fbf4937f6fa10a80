/*
 * The documents that are made from the table of keys. Private to conf/ and its generator.
 */
#ifndef CONF_DOC_H
#define CONF_DOC_H

#include <stdio.h>

#include "conf/key.h"

/* "Integer, 1 to 256 threads. Default: 4. A change needs a restart." as plain text. */
void conf_doc_facts(FILE *out, const struct conf_key *k);

#endif
