#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "base/util.h"
#include "proto/netascii.h"

#define TEXT_MAX 64
#define WIRE_MAX (2 * TEXT_MAX)

/* A copy that ends where the allocation ends, so that a sanitizer sees a read beyond it. */
static uint8_t *exact_copy(const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);

    assert_non_null(copy);
    if (n > 0)
        memcpy(copy, p, n);
    return copy;
}

/* Conversions said the slow way, one byte at a time. RFC 1350 section 1 (RFC 764). */
static size_t slow_encode(const uint8_t *in, size_t n, uint8_t *out)
{
    size_t made = 0;

    for (size_t i = 0; i < n; i++) {
        if (in[i] == '\n' || in[i] == '\r') {
            out[made++] = '\r';
            out[made++] = in[i] == '\n' ? '\n' : '\0';
        } else {
            out[made++] = in[i];
        }
    }
    return made;
}

static size_t slow_decode(const uint8_t *in, size_t n, uint8_t *out)
{
    size_t made = 0;

    for (size_t i = 0; i < n; i++) {
        if (in[i] == '\r' && i + 1 < n && in[i + 1] == '\n')
            out[made++] = in[++i];
        else if (in[i] == '\r' && i + 1 < n && in[i + 1] == '\0')
            out[made++] = in[i++];
        else
            out[made++] = in[i];
    }
    return made;
}

/* Encodes in calls of at most `in_step` bytes in and `out_step` bytes out. */
static size_t encode_in_steps(const uint8_t *in, size_t n, size_t in_step, size_t out_step,
                              uint8_t *out)
{
    struct netascii_encoder e;
    size_t at = 0, made = 0;

    netascii_encoder_init(&e);
    while (at < n || e.pending >= 0) {
        size_t give = MIN(in_step, n - at), used = 99, wrote = 99;
        uint8_t *piece = exact_copy(in + at, give), *room = malloc(out_step);

        assert_non_null(room);
        netascii_encode(&e, piece, give, &used, room, out_step, &wrote);
        assert_true(used <= give && wrote <= out_step);
        /* Either all input was used, or the room is full. */
        assert_true(used == give || wrote == out_step);
        assert_true(used > 0 || wrote > 0);
        memcpy(out + made, room, wrote);
        made += wrote;
        at += used;
        free(piece);
        free(room);
    }
    return made;
}

/* Decodes in two pieces, cut at `cut`. */
static size_t decode_in_two(const uint8_t *in, size_t n, size_t cut, uint8_t *out)
{
    struct netascii_decoder d;
    uint8_t *first = exact_copy(in, cut), *second = exact_copy(in + cut, n - cut);
    uint8_t *room = malloc(n + 2);
    size_t made;

    assert_non_null(room);
    netascii_decoder_init(&d);
    made = netascii_decode(&d, first, cut, room);
    assert_true(made <= cut + 1);
    memcpy(out, room, made);
    {
        /* Exactly the room that the contract asks for. */
        uint8_t *exact = malloc(n - cut + 1);
        size_t more;

        assert_non_null(exact);
        more = netascii_decode(&d, second, n - cut, exact);
        memcpy(out + made, exact, more);
        made += more;
        free(exact);
    }
    made += netascii_decode_end(&d, out + made);
    assert_int_equal(netascii_decode_end(&d, room), 0);
    free(first);
    free(second);
    free(room);
    return made;
}

/* Calls `check` with every text of up to 5 bytes made of the five bytes that matter, and with
 * long ones of several densities. */
static void for_many_texts(void (*check)(const uint8_t *text, size_t n))
{
    static const uint8_t alphabet[] = {'\r', '\n', '\0', 'a', 0xFF};
    static const unsigned densities[] = {0, 1, 5, 20, 60, 100};
    struct prng rng;
    uint8_t text[TEXT_MAX];

    for (size_t n = 0; n <= 5; n++) {
        size_t count = 1;

        for (size_t i = 0; i < n; i++)
            count *= ARRAY_LEN(alphabet);
        for (size_t which = 0; which < count; which++) {
            size_t rest = which;

            for (size_t i = 0; i < n; i++, rest /= ARRAY_LEN(alphabet))
                text[i] = alphabet[rest % ARRAY_LEN(alphabet)];
            check(text, n);
        }
    }
    prng_seed(&rng, 1);
    for (size_t round = 0; round < 200; round++) {
        for (size_t i = 0; i < TEXT_MAX; i++) {
            unsigned density = densities[round % ARRAY_LEN(densities)];

            text[i] = (uint8_t)prng_next(&rng);
            if (prng_next(&rng) % 100 < density)
                text[i] = alphabet[prng_next(&rng) % 3];
        }
        check(text, TEXT_MAX - round % 7);
    }
}

static void check_encode(const uint8_t *text, size_t n)
{
    uint8_t expected[WIRE_MAX], got[WIRE_MAX];
    size_t len = slow_encode(text, n, expected);

    for (size_t in_step = 1; in_step <= n + 1; in_step++) {
        for (size_t out_step = 1; out_step <= len + 1; out_step += 1 + out_step / 8) {
            assert_int_equal(encode_in_steps(text, n, in_step, out_step, got), len);
            assert_memory_equal(got, expected, len);
        }
    }
}

/* RFC 1350 section 1: a line ends in CR LF, a CR alone is CR NUL; wherever it is cut. */
static void encoding_does_not_depend_on_where_it_is_cut(void **state)
{
    (void)state;
    for_many_texts(check_encode);
}

static void check_decode(const uint8_t *wire, size_t n)
{
    uint8_t expected[TEXT_MAX], got[TEXT_MAX + 2];
    size_t len = slow_decode(wire, n, expected);

    for (size_t cut = 0; cut <= n; cut++) {
        assert_int_equal(decode_in_two(wire, n, cut, got), len);
        assert_memory_equal(got, expected, len);
    }
}

/* RFC 1350 section 1; what is no netascii (CR before anything else) is kept byte for byte. */
static void decoding_does_not_depend_on_where_it_is_cut(void **state)
{
    (void)state;
    for_many_texts(check_decode);
}

static void check_decode_byte_by_byte(const uint8_t *wire, size_t n)
{
    uint8_t expected[TEXT_MAX], got[TEXT_MAX + 2];
    size_t len = slow_decode(wire, n, expected), made = 0;
    struct netascii_decoder d;

    netascii_decoder_init(&d);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(netascii_decode(&d, wire + i, 0, got + made), 0);
        made += netascii_decode(&d, wire + i, 1, got + made);
    }
    made += netascii_decode_end(&d, got + made);
    assert_int_equal(made, len);
    assert_memory_equal(got, expected, len);
}

static void decoding_byte_by_byte_is_the_same(void **state)
{
    (void)state;
    for_many_texts(check_decode_byte_by_byte);
}

static void check_round_trip(const uint8_t *text, size_t n)
{
    uint8_t wire[WIRE_MAX], back[WIRE_MAX + 1];
    size_t len = encode_in_steps(text, n, n + 1, WIRE_MAX, wire);
    struct netascii_decoder d;
    size_t made;

    netascii_decoder_init(&d);
    made = netascii_decode(&d, wire, len, back);
    /* Encoded text never ends in an open CR. */
    assert_int_equal(netascii_decode_end(&d, back + made), 0);
    assert_int_equal(made, n);
    assert_memory_equal(back, text, n);
}

static void what_was_encoded_comes_back(void **state)
{
    (void)state;
    for_many_texts(check_round_trip);
}

static void no_room_and_no_input_change_nothing(void **state)
{
    struct netascii_encoder e;
    uint8_t out[1];
    size_t used = 9, made = 9;

    (void)state;
    netascii_encoder_init(&e);
    netascii_encode(&e, NULL, 0, &used, out, sizeof(out), &made);
    assert_int_equal(used + made, 0);
    netascii_encode(&e, (const uint8_t *)"\n", 1, &used, out, 0, &made);
    assert_int_equal(used + made, 0);
    assert_true(e.pending < 0);
    netascii_encode(&e, (const uint8_t *)"\n", 1, &used, out, 1, &made);
    assert_int_equal(used, 1);
    assert_int_equal(made, 1);
    assert_int_equal(out[0], '\r');
    assert_int_equal(e.pending, '\n');
    netascii_encode(&e, NULL, 0, &used, out, 1, &made);
    assert_int_equal(made, 1);
    assert_int_equal(out[0], '\n');
    assert_true(e.pending < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encoding_does_not_depend_on_where_it_is_cut),
        cmocka_unit_test(decoding_does_not_depend_on_where_it_is_cut),
        cmocka_unit_test(decoding_byte_by_byte_is_the_same),
        cmocka_unit_test(what_was_encoded_comes_back),
        cmocka_unit_test(no_room_and_no_input_change_nothing),
    };

    return cmocka_run_group_tests_name("proto/netascii", tests, NULL, NULL);
}
