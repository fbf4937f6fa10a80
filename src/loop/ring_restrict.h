/*
 * What a ring may be used for, laid down before it is used (IORING_REGISTER_RESTRICTIONS, Linux
 * 5.10): only the operations and registrations that this program asks for, everything else fails
 * with EACCES. A system call filter does not see what a ring does; this does. Private to loop/.
 */
#ifndef LOOP_RING_RESTRICT_H
#define LOOP_RING_RESTRICT_H

#include <stdbool.h>

#include "base/util.h"
#include "loop/ring.h"
#include "loop/uring_compat.h"

/* Lays them down on a ring that was set up with IORING_SETUP_R_DISABLED. 0 or -errno: then the
 * ring is as it was. */
MUST_CHECK int ring_restrict(struct ring *r);
/* Lets it begin, on the thread that will use it. 0 or -errno. */
MUST_CHECK int ring_enable(struct ring *r);

#endif
