/*
 * Configuration files: read or refused with a sentence; what was read can be written and reads
 * back.
 */
#include <string.h>

#include "conf/conf.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct conf_error error = {""};
    struct conf c;

    FUZZ_CHECK(conf_init(&c) == 0);
    int err = conf_read_text(&c, (const char *)p, n, "fuzz", &error);
    FUZZ_CHECK(err == 0 || error.text[0]);
    if (err == 0 && conf_check(&c, &error) == 0) {
        char *text = NULL;
        size_t len = 0;
        struct conf again;
        FILE *out = open_memstream(&text, &len);

        FUZZ_CHECK(out && conf_init(&again) == 0);
        conf_dump(&c, false, out);
        fclose(out);
        FUZZ_CHECK(conf_read_text(&again, text, len, "dump", &error) == 0);
        conf_fini(&again);
        free(text);
    }
    conf_fini(&c);
    return 0;
}
