/*
 * What getopt_long(3) could make nothing of, in a sentence: for callers that set opterr to 0, begin
 * their letters with a colon, and use no flags in their table.
 */
#ifndef BASE_OPTION_ERROR_H
#define BASE_OPTION_ERROR_H

#include <getopt.h>
#include <stddef.h>

/* `code` is what it returned, '?' or ':'; `word` is argv[optind - 1]. */
void option_error(int code, const char *word, const struct option *longs, char *ret, size_t size);

#endif
