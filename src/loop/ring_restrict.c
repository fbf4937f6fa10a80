#include "loop/ring_restrict.h"

#include <errno.h>

/* Whoever queues another operation lists it here; without, it fails in the server and nowhere
 * else. */
static const uint8_t operations[] = {
    IORING_OP_NOP,
    /* loop */
    IORING_OP_POLL_ADD,
    IORING_OP_ASYNC_CANCEL,
    /* net */
    IORING_OP_RECVMSG,
    IORING_OP_SENDMSG,
    /* file */
    IORING_OP_OPENAT2,
    IORING_OP_STATX,
    IORING_OP_READ,
    IORING_OP_READ_FIXED,
    IORING_OP_WRITE,
    IORING_OP_FALLOCATE,
    IORING_OP_FSYNC,
    IORING_OP_LINKAT,
    IORING_OP_RENAMEAT,
    IORING_OP_UNLINKAT,
    IORING_OP_CLOSE,
};

/* Those called on a ring at work, oldest first. */
static const uint8_t registrations[] = {
    IORING_REGISTER_BUFFERS,     IORING_UNREGISTER_BUFFERS,   IORING_REGISTER_EVENTFD,
    IORING_UNREGISTER_EVENTFD,   IORING_UNREGISTER_RING_FDS,  IORING_REGISTER_PBUF_RING,
    IORING_UNREGISTER_PBUF_RING, IORING_REGISTER_SYNC_CANCEL,
};

#define SQE_FLAGS (IOSQE_ASYNC | IOSQE_BUFFER_SELECT)

int ring_restrict(struct ring *r)
{
    struct io_uring_restriction list[ARRAY_LEN(operations) + 1 + ARRAY_LEN(registrations)] = {0};
    unsigned n = 0, least;
    int err;

    /* A kernel refuses the whole list for an operation that it does not have. */
    for (size_t i = 0; i < ARRAY_LEN(operations); i++)
        if (ring_supports(r, operations[i])) {
            list[n].opcode = IORING_RESTRICTION_SQE_OP;
            list[n++].sqe_op = operations[i];
        }
    list[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    list[n++].sqe_flags = SQE_FLAGS;
    least = n;
    for (size_t i = 0; i < ARRAY_LEN(registrations); i++) {
        list[n].opcode = IORING_RESTRICTION_REGISTER_OP;
        list[n++].register_op = registrations[i];
    }
    do
        err = io_uring_register((unsigned)ring_fd(r), IORING_REGISTER_RESTRICTIONS, list, n);
    while (err == -EINVAL && --n >= least);
    return err;
}

int ring_enable(struct ring *r)
{
    return io_uring_register((unsigned)ring_fd(r), IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}
