/*
 * How long bursts are, by given losses and blocks that arrived.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/util.h"
#include "proto/burst.h"

static void bursts_follow_losses(void **state)
{
    struct tftp_burst b;

    (void)state;
    tftp_burst_init(&b, 64);
    assert_false(tftp_burst_lossy(&b));
    tftp_burst_on_acked(&b, 64);
    tftp_burst_on_loss(&b, 0);
    assert_int_equal(b.size, 32);
    for (int i = 0; i < 10; i++)
        tftp_burst_on_loss(&b, 0);
    assert_int_equal(b.size, 1); /* loss upon loss */
    for (int i = 0; i < 2000; i++) {
        tftp_burst_on_acked(&b, 64);
        tftp_burst_on_clean(&b);
    }
    assert_int_equal(b.size, 64);
    /* Losses at one depth: the client's buffers; more is tried ever more seldom. */
    tftp_burst_on_loss(&b, 4);
    tftp_burst_on_loss(&b, 4);
    assert_int_equal(b.size, 4);
    for (uint32_t before = 0, n = 0, i = 0; i < 3; i++) {
        for (n = 0; b.size <= 4; n++) {
            tftp_burst_on_acked(&b, 64);
            tftp_burst_on_clean(&b);
        }
        assert_true(n > before);
        before = n;
        tftp_burst_on_loss(&b, 4);
        assert_int_equal(b.size, 4);
    }
    tftp_burst_init(&b, 1);
    tftp_burst_on_loss(&b, 0);
    assert_int_equal(b.size, 1);
}

/* However long a storm was: full windows again soon after it. */
static void bursts_recover_from_a_storm(void **state)
{
    static const uint16_t windows[] = {2, 4, 16, 64};
    struct tftp_burst b;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
        uint32_t clean = 0;

        tftp_burst_init(&b, windows[i]);
        for (uint32_t n = 0; n < 5000; n++) {
            tftp_burst_on_acked(&b, n % 5 ? n % 5 : 300);
            tftp_burst_on_clean(&b);
            tftp_burst_on_loss(&b, b.size > 1);
        }
        while (b.size < windows[i]) {
            assert_true(clean < 500u * windows[i]);
            tftp_burst_on_acked(&b, b.size);
            clean += b.size;
            tftp_burst_on_clean(&b);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bursts_follow_losses),
        cmocka_unit_test(bursts_recover_from_a_storm),
    };

    return cmocka_run_group_tests_name("burst", tests, NULL, NULL);
}
