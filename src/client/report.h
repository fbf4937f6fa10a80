/*
 * What is said about a file when it has ended, and about all of them at the end: to a person on
 * standard error, as JSON on standard output, and of probe the answer.
 */
#ifndef CLIENT_REPORT_H
#define CLIENT_REPORT_H

#include "client/client.h"

void report_item(struct client *c, const struct client_item *item);
void report_total(struct client *c);
/* The exit code of all items together. */
enum client_status report_status(const struct client_plan *plan);

#endif
