#include "bench/corpus.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sha256.h"

#define FILES_MAX  100000
#define WEIGHT_MAX 1000000

static int complain(char *error, size_t size, int err, const char *what, const char *text)
{
    snprintf(error, size, "%s: %s", text, what);
    return err;
}

static struct bench_file *new_file(struct bench_corpus *c, const char *name, size_t name_len,
                                   uint64_t weight)
{
    if (c->count == c->room) {
        unsigned room = c->room ? 2 * c->room : 16;
        struct bench_file *files = realloc(c->files, room * sizeof(*files));
        if (!files)
            return NULL;
        c->files = files;
        c->room = room;
    }
    struct bench_file *f = &c->files[c->count];
    *f = (struct bench_file){.name = strndup(name, name_len)};
    if (!f->name)
        return NULL;
    c->weight += weight;
    f->weight = c->weight;
    c->count++;
    return f;
}

/* 0: out of range, or no number. */
static uint64_t read_weight(const char *text)
{
    if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text))
        return 0;
    errno = 0;
    unsigned long long weight = strtoull(text, NULL, 10);
    return errno == 0 && weight <= WEIGHT_MAX ? weight : 0;
}

/* A number after the last colon; 1 when there is none, 0 when it is out of range. */
static uint64_t take_weight(const char *text, size_t *len)
{
    const char *colon = strrchr(text, ':');

    *len = strlen(text);
    if (!colon || colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return 1;
    *len = (size_t)(colon - text);
    return read_weight(colon + 1);
}

int bench_corpus_add(struct bench_corpus *c, const char *spec, char *error, size_t size)
{
    size_t len;
    uint64_t weight = take_weight(spec, &len);
    const char *equals = memchr(spec, '=', len);
    size_t name_len = equals ? (size_t)(equals - spec) : len;

    if (weight == 0)
        return complain(error, size, -EINVAL, "expected a weight of 1 to 1000000", spec);
    if (name_len == 0)
        return complain(error, size, -EINVAL, "expected a file name", spec);
    if (name_len > 400)
        return complain(error, size, -EINVAL, "a name of more than 400 bytes fits no request",
                        spec);
    if (c->count == FILES_MAX)
        return complain(error, size, -EINVAL, "more than 100000 files", spec);
    struct bench_file *f = new_file(c, spec, name_len, weight);
    if (f && equals)
        f->local = strndup(equals + 1, len - name_len - 1);
    return f && (!equals || f->local) ? 0 : complain(error, size, -ENOMEM, "out of memory", spec);
}

/* One line of a list; it is cut into words. `where` is what complaints begin with. */
static int add_line(struct bench_corpus *c, char *line, const char *where, char *error, size_t size)
{
    char *save, *name = strtok_r(line, " \t\r\n", &save);
    char *local = NULL, *sha256 = NULL;
    uint64_t weight = 1;

    if (!name || name[0] == '#')
        return 0;
    for (char *word; (word = strtok_r(NULL, " \t\r\n", &save)) != NULL;) {
        if (strncmp(word, "weight=", 7) == 0)
            weight = read_weight(word + 7);
        else if (strncmp(word, "local=", 6) == 0)
            local = word + 6;
        else if (strncmp(word, "sha256=", 7) == 0)
            sha256 = word + 7;
        else
            return complain(error, size, -EINVAL, "expected weight=, local= or sha256=", where);
    }
    if (weight == 0)
        return complain(error, size, -EINVAL, "expected a weight of 1 to 1000000", where);
    if (strlen(name) > 400 || c->count == FILES_MAX)
        return complain(error, size, -EINVAL, "too long a name, or more than 100000 files", where);
    struct bench_file *f = new_file(c, name, strlen(name), weight);
    if (f && local)
        f->local = strdup(local);
    if (!f || (local && !f->local))
        return complain(error, size, -ENOMEM, "out of memory", where);
    f->hashed = sha256 && sha256_parse(f->sha256, sha256);
    if (sha256 && !f->hashed)
        return complain(error, size, -EINVAL, "sha256: expected 64 hexadecimal digits", where);
    return 0;
}

int bench_corpus_add_list(struct bench_corpus *c, const char *path, char *error, size_t size)
{
    FILE *in = fopen(path, "re");
    char *line = NULL, where[200];
    size_t room = 0;
    unsigned number = 0;
    int err = 0;

    if (!in)
        return complain(error, size, -errno, strerror(errno), path);
    while (err == 0 && getline(&line, &room, in) >= 0) {
        snprintf(where, sizeof(where), "%.150s:%u", path, ++number);
        err = add_line(c, line, where, error, size);
    }
    free(line);
    fclose(in);
    return err;
}

static int map_file(struct bench_file *f, char *error, size_t size)
{
    int fd = open(f->local, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *p = NULL;

    if (fd < 0)
        return complain(error, size, -errno, strerror(errno), f->local);
    int err = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EINVAL;
    if (err == 0 && st.st_size > 0) {
        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        err = p == MAP_FAILED ? -errno : 0;
    }
    close(fd);
    if (err < 0)
        return complain(error, size, err,
                        err == -EINVAL ? "expected a regular file" : strerror(-err), f->local);
    f->bytes = p;
    f->size = (uint64_t)st.st_size;
    f->known = true;
    return 0;
}

/* "dir/name" to send: that is the local copy, and "name" what the server hears. */
static int take_for_local(struct bench_file *f)
{
    const char *slash = strrchr(f->name, '/');
    char *name = strdup(slash ? slash + 1 : f->name);

    if (!name)
        return -ENOMEM;
    f->local = f->name;
    f->name = name;
    return 0;
}

int bench_corpus_map(struct bench_corpus *c, const char *dir, bool must, char *error, size_t size)
{
    for (unsigned i = 0; i < c->count; i++) {
        struct bench_file *f = &c->files[i];
        if (!f->local && dir && asprintf(&f->local, "%s/%s", dir, f->name) < 0) {
            f->local = NULL;
            return complain(error, size, -ENOMEM, "out of memory", f->name);
        }
        if (!f->local && must && take_for_local(f) < 0)
            return complain(error, size, -ENOMEM, "out of memory", f->name);
        int err = f->local ? map_file(f, error, size) : 0;
        if (err < 0)
            return err;
    }
    return 0;
}

void bench_corpus_fini(struct bench_corpus *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        struct bench_file *f = &c->files[i];
        if (f->bytes)
            munmap((void *)(uintptr_t)f->bytes, f->size);
        free(f->name);
        free(f->local);
    }
    free(c->files);
    *c = (struct bench_corpus){0};
}
