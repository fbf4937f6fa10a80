#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/util.h"
#include "proto/block.h"

/* The wire number after `wire`, said the slow way. */
static uint16_t following(uint16_t wire, enum tftp_rollover rollover)
{
    if (wire == 65535)
        return rollover == TFTP_ROLLOVER_0 ? 0 : 1;
    return (uint16_t)(wire + 1);
}

/* RFC 1350 section 5: numbers begin with one and increase by one for each new block. */
static void wire_numbers_increase_by_one_through_three_rollovers(void **state)
{
    (void)state;
    for (int rollover = TFTP_ROLLOVER_0; rollover <= TFTP_ROLLOVER_1; rollover++) {
        uint16_t expected = 0;

        for (uint64_t block = 0; block < 3 * 65536 + 10; block++) {
            assert_int_equal(tftp_block_wire(block, (enum tftp_rollover)rollover), expected);
            expected = following(expected, (enum tftp_rollover)rollover);
        }
    }
}

static const uint64_t range_starts[] = {
    0,      1,      2,          65000,    65534,
    65535,  65536,  65537,      131069,   131070,
    131071, 131072, 1000000007, 1u << 31, UINT64_C(1) << 40,
};

/* Every wire number against every range: the answer is the one found by looking at each index
 * of the range. */
static void check_all_numbers(uint64_t from, uint64_t to, enum tftp_rollover rollover)
{
    static uint64_t found[65536];

    for (size_t i = 0; i < ARRAY_LEN(found); i++)
        found[i] = TFTP_BLOCK_NONE;
    for (uint64_t block = from; block <= to; block++) {
        uint16_t wire = tftp_block_wire(block, rollover);

        assert_true(found[wire] == TFTP_BLOCK_NONE);
        found[wire] = block;
    }
    for (uint32_t wire = 0; wire <= 65535; wire++) {
        uint64_t got = tftp_block_resolve((uint16_t)wire, from, to, rollover);

        if (got != found[wire])
            fail_msg("wire %u in [%llu, %llu] rollover %d: %llu, not %llu", wire,
                     (unsigned long long)from, (unsigned long long)to, (int)rollover,
                     (unsigned long long)got, (unsigned long long)found[wire]);
    }
}

static void every_wire_number_resolves_within_every_range(void **state)
{
    static const uint64_t lengths[] = {0, 1, 3, 64, 32768, 65533, 65534};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(range_starts); i++) {
        for (size_t j = 0; j < ARRAY_LEN(lengths); j++) {
            check_all_numbers(range_starts[i], range_starts[i] + lengths[j], TFTP_ROLLOVER_0);
            check_all_numbers(range_starts[i], range_starts[i] + lengths[j], TFTP_ROLLOVER_1);
        }
    }
}

static void a_range_may_end_at_the_last_index(void **state)
{
    (void)state;
    check_all_numbers(UINT64_MAX - 65534, UINT64_MAX - 1, TFTP_ROLLOVER_0);
    check_all_numbers(UINT64_MAX - 65534, UINT64_MAX - 1, TFTP_ROLLOVER_1);
}

static void zero_exists_only_before_the_first_block_when_1_follows_65535(void **state)
{
    (void)state;
    assert_int_equal(tftp_block_resolve(0, 0, 100, TFTP_ROLLOVER_1), 0);
    assert_true(tftp_block_resolve(0, 1, 60000, TFTP_ROLLOVER_1) == TFTP_BLOCK_NONE);
    assert_true(tftp_block_resolve(0, 65500, 65600, TFTP_ROLLOVER_1) == TFTP_BLOCK_NONE);
    assert_int_equal(tftp_block_resolve(0, 65500, 65600, TFTP_ROLLOVER_0), 65536);
    assert_int_equal(tftp_block_resolve(1, 65500, 65600, TFTP_ROLLOVER_1), 65536);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wire_numbers_increase_by_one_through_three_rollovers),
        cmocka_unit_test(every_wire_number_resolves_within_every_range),
        cmocka_unit_test(a_range_may_end_at_the_last_index),
        cmocka_unit_test(zero_exists_only_before_the_first_block_when_1_follows_65535),
    };

    return cmocka_run_group_tests_name("proto/block", tests, NULL, NULL);
}
