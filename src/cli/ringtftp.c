/*
 * ringtftp: the TFTP client. Command line to plan; everything else is client/.
 */
#include <stdio.h>
#include <string.h>

#include "client/client.h"
#include "client/doc.h"
#include "config.h"

static int complain(enum client_status status, const struct client_error *error)
{
    fprintf(stderr, "ringtftp: %s\n", error->text);
    return (int)status;
}

int main(int argc, char **argv)
{
    struct client_options options;
    struct client_error error = {"out of memory"};
    struct client_plan plan;
    int first = 0;

    if (client_options_parse(&options, argc, argv, &first, &error) < 0)
        return complain(CLIENT_USAGE, &error);
    if (options.help) {
        client_doc_help(stdout, options.command);
        return CLIENT_OK;
    }
    if (options.version) {
        printf("ringtftp %s\n", RINGTFTP_VERSION);
        return CLIENT_OK;
    }
    client_catch_signals();
    enum client_status status =
        client_plan_make(&plan, &options, argv + first, argc - first, &error);
    if (status == CLIENT_OK) {
        error.text[0] = '\0';
        status = client_run(&options, &plan, &error);
    }
    client_plan_fini(&plan);
    return status != CLIENT_OK && error.text[0] ? complain(status, &error) : (int)status;
}
