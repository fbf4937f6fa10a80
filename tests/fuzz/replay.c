/*
 * Stands in for the fuzzer: runs a target over the files and folders named on the command line,
 * over every truncation of them, and over `RUNS` inputs made from them by a seeded generator.
 */
#include <dirent.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/prng.h"
#include "fuzz.h"

#define INPUT_MAX  4096
#define INPUTS_MAX 512
#define RUNS       20000

static struct {
    size_t n;
    uint8_t bytes[INPUT_MAX];
} inputs[INPUTS_MAX];
static size_t input_count;

/* On the heap and exactly as long, so that a sanitizer sees every step beyond the end. */
static void run(const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);

    if (!copy)
        abort();
    memcpy(copy, p, n);
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

static void read_input(const char *path)
{
    FILE *file = fopen(path, "rb");

    if (!file || input_count == INPUTS_MAX) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    inputs[input_count].n = fread(inputs[input_count].bytes, 1, INPUT_MAX, file);
    input_count++;
    fclose(file);
}

static void read_folder(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *e;
    char name[1024];

    while (dir && (e = readdir(dir)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        read_input(name);
    }
    if (dir)
        closedir(dir);
}

static void mutate(struct prng *p)
{
    uint8_t bytes[INPUT_MAX];
    size_t n = 0, from = input_count ? prng_below(p, input_count) : 0;

    if (input_count && prng_chance(p, 900000)) {
        n = inputs[from].n;
        memcpy(bytes, inputs[from].bytes, n);
    } else {
        n = prng_below(p, 600);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)prng_next(p);
    }
    for (uint64_t changes = prng_below(p, 8); n > 0 && changes > 0; changes--) {
        static const uint8_t likely[] = {0, 1, 2, 3, 4, 5, 6, 0xff, 0x7f, 0x80, '0', '9', '/', '.'};
        size_t at = prng_below(p, n);

        if (prng_chance(p, 500000))
            bytes[at] = likely[prng_below(p, sizeof(likely))];
        else
            bytes[at] ^= (uint8_t)(1u << prng_below(p, 8));
        if (prng_chance(p, 100000))
            n = at;
    }
    run(bytes, n);
}

int main(int argc, char **argv)
{
    struct prng p;
    struct stat st;

    for (int i = 1; i < argc; i++) {
        if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
            read_folder(argv[i]);
        else
            read_input(argv[i]);
    }
    for (size_t i = 0; i < input_count; i++)
        for (size_t n = 0; n <= inputs[i].n; n++)
            run(inputs[i].bytes, n);
    prng_seed(&p, 1);
    for (unsigned i = 0; i < RUNS; i++)
        mutate(&p);
    printf("%zu inputs, %d more\n", input_count, RUNS);
    return 0;
}
