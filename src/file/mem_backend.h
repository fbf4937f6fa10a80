/*
 * The mem backend as the front sees it; tests use file/mem.h.
 */
#ifndef FILE_MEM_BACKEND_H
#define FILE_MEM_BACKEND_H

#include "file/file.h"

struct file_mem;

struct file_mem *file_mem_new(struct file_io *f); /* NULL: no memory */
void file_mem_free(struct file_mem *m);
void file_mem_submit(struct file_mem *m, struct file_req *req);
void file_mem_cancel(struct file_mem *m, struct file_req *req);
/* Finishes what is due. */
void file_mem_collect(struct file_mem *m);
/* When something will be due in real time; virtual time does not wait. */
nsec file_mem_flush(struct file_mem *m, nsec now);
nsec file_mem_now(const struct file_mem *m);

#endif
