#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "obs/metric.h"

/* Runs a rendering into a string, which the caller frees. */
static char *rendered(void (*render)(const struct metrics *m, FILE *out), const struct metrics *m)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    render(m, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(metric_name(METRIC_REQUESTS_READ), "requests_read_total");
    for (unsigned i = 0; i < METRICS; i++) {
        const char *name = metric_name((enum metric)i);
        for (const char *c = name; *c; c++)
            assert_true(islower((unsigned char)*c) || *c == '_');
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(name, metric_name((enum metric)j));
    }
}

static void counts_and_sums(void **state)
{
    (void)state;
    struct metrics a = {0}, b = {0}, sum = {0};
    metric_inc(&a, METRIC_TRANSFERS_OK);
    metric_add(&a, METRIC_BYTES_SENT, 1000);
    metric_add(&b, METRIC_BYTES_SENT, UINT64_C(1) << 40);
    metric_set(&b, METRIC_TRANSFERS_ACTIVE, 7);
    metric_set(&b, METRIC_TRANSFERS_ACTIVE, 5);
    metrics_sum(&sum, &a);
    metrics_sum(&sum, &b);
    for (unsigned i = 0; i < METRICS; i++) {
        uint64_t expected = i == METRIC_TRANSFERS_OK       ? 1
                            : i == METRIC_BYTES_SENT       ? 1000 + (UINT64_C(1) << 40)
                            : i == METRIC_TRANSFERS_ACTIVE ? 5
                                                           : 0;
        assert_true(sum.v[i] == expected);
    }
}

/* Every row has its help, type and value, in that order, once. */
static void prometheus(void **state)
{
    (void)state;
    struct metrics m = {0};
    for (unsigned i = 0; i < METRICS; i++)
        m.v[i] = UINT64_MAX - i;
    char *text = rendered(metrics_prometheus, &m);
    char *line = strtok(text, "\n");
    for (unsigned i = 0; i < METRICS; i++) {
        char expected[200];
        const char *name = metric_name((enum metric)i);
        int n = snprintf(expected, sizeof(expected), "# HELP ringtftp_%s ", name);
        assert_non_null(line);
        assert_int_equal(strncmp(line, expected, (size_t)n), 0);
        assert_true(strlen(line) > (size_t)n);
        line = strtok(NULL, "\n");
        bool counter = strlen(name) > 6 && strcmp(name + strlen(name) - 6, "_total") == 0;
        snprintf(expected, sizeof(expected), "# TYPE ringtftp_%s %s", name,
                 counter ? "counter" : "gauge");
        assert_string_equal(line, expected);
        line = strtok(NULL, "\n");
        snprintf(expected, sizeof(expected), "ringtftp_%s %llu", name,
                 (unsigned long long)(UINT64_MAX - i));
        assert_string_equal(line, expected);
        line = strtok(NULL, "\n");
    }
    assert_null(line);
    free(text);
}

static void json(void **state)
{
    (void)state;
    struct metrics m = {0};
    metric_set(&m, METRIC_REQUESTS_WRITE, 12);
    char *text = rendered(metrics_json, &m);
    static const char begin[] = "{\"requests_read_total\":0,\"requests_write_total\":12,";
    assert_int_equal(strncmp(text, begin, sizeof(begin) - 1), 0);
    size_t commas = 0;
    for (const char *c = text; *c; c++)
        commas += *c == ',';
    assert_int_equal(commas, METRICS - 1);
    assert_string_equal(text + strlen(text) - 4, ":0}\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(counts_and_sums),
        cmocka_unit_test(prometheus),
        cmocka_unit_test(json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
