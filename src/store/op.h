/*
 * One file operation of the store. The store keeps what the backend refuses (-EAGAIN) in a
 * queue of its own and submits it, in order, after the next completion.
 */
#ifndef STORE_OP_H
#define STORE_OP_H

#include "file/file.h"

struct store;

struct store_op {
    struct file_req req;
    struct store *s;
    /* On the worker's thread, from file_complete(); may submit the same op again or free it. */
    void (*done)(struct store_op *op);
};

/* op->req holds the arguments; done() will be called exactly once. */
void op_submit(struct store *s, struct store_op *op, void (*done)(struct store_op *op));

#endif
