/*
 * The folders that uploads may go to, as far as the patterns of the configuration say: what stands
 * before the first sign of a pattern ("backup" of "backup/sw?.cfg"), or the whole root.
 */
#ifndef SERVER_UPLOAD_PLACES_H
#define SERVER_UPLOAD_PLACES_H

#include <stdbool.h>

#include "base/util.h"
#include "conf/conf.h"

/* O_PATH of the folder that holds all names of the pattern; of the nearest one above, if it is
 * not there yet. The descriptor or -errno. */
MUST_CHECK int upload_place_open(int root_fd, const char *pattern);

/* Whether what `wanted` lets be uploaded lies in the folders of `started`. */
bool upload_places_within(const struct conf *wanted, const struct conf *started);

#endif
