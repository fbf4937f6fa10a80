/*
 * liburing, and the constants of kernels newer than its header. Every one of them is used only
 * after the running kernel said that it knows it.
 *
 * The only way to include liburing in this tree: <linux/io_uring.h> shares its include guard
 * and may be older.
 */
#ifndef LOOP_URING_COMPAT_H
#define LOOP_URING_COMPAT_H

#include <liburing.h>

#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17) /* Linux 6.15 */
#endif
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif

#endif
