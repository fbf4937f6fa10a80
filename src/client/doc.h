/*
 * The documents made from the tables of options and exit codes: --help, parts of the manual
 * page, and the completions of three shells.
 */
#ifndef CLIENT_DOC_H
#define CLIENT_DOC_H

#include <stdio.h>

#include "client/option.h"

/* `command` 0: all. */
void client_doc_help(FILE *out, unsigned command);

/* The sections of the manual page between the lines `.\" begin NAME` and `.\" end NAME`. */
void client_doc_manual_options(FILE *out);
void client_doc_manual_codes(FILE *out);

void client_doc_bash(FILE *out);
void client_doc_zsh(FILE *out);
void client_doc_fish(FILE *out);

#endif
