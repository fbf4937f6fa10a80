/*
 * The sender against models of real receivers over a scripted link: what losses, repeated,
 * swapped and early packets cost with each of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "proto/session_fixture.h"

enum model_kind {
    MODEL_RFC7440,    /* one ACK per gap; the first old block of a repetition is answered */
    MODEL_EDK2,       /* every unexpected block, old or new, is answered */
    MODEL_UBOOT,      /* one ACK per gap, window counted anew; old blocks: the same rule */
    MODEL_UBOOT_DEAF, /* like it, but old blocks are never answered */
    MODEL_GRUB,       /* lock-step; an old block is answered with its own number */
};

#define EVENTS_MAX 4096

struct wire_event {
    nsec at;
    uint64_t order;
    uint64_t block;
    bool to_client;
};

enum fate { FATE_PASS, FATE_DROP, FATE_TWICE, FATE_LATE };

struct model {
    struct tftp_session s;
    enum model_kind kind;
    uint32_t window;
    uint64_t blocks;
    uint64_t have, next_ack, nacked;
    uint64_t beyond, old; /* the last block beyond a gap; the last old block; going back means: a
                             new repetition */
    /* the link */
    nsec now, delay, slot; /* slot: what the client needs for one packet */
    unsigned buffers;      /* 0: enough */
    nsec busy_until;
    uint32_t data_loss, ack_loss; /* per million */
    struct prng prng;
    enum fate (*fate)(uint64_t block, unsigned nth);
    uint8_t times[4096]; /* each of the first blocks was sent */
    struct wire_event events[EVENTS_MAX];
    unsigned count;
    uint64_t order, acks;
    unsigned copies; /* of each packet either way */
};

static void post(struct model *m, nsec at, bool to_client, uint64_t block)
{
    unsigned i;

    assert_true(m->count < EVENTS_MAX);
    i = m->count++;
    while (i > 0 && m->events[i - 1].at <= at) { /* the next event is the last entry */
        m->events[i] = m->events[i - 1];
        i--;
    }
    /* equal times keep their order: the earlier posted is nearer to the end */
    m->events[i] = (struct wire_event){at, m->order++, block, to_client};
}

static void client_ack(struct model *m, uint64_t block)
{
    m->acks++;
    for (unsigned i = 0; i < m->copies; i++)
        if (!prng_chance(&m->prng, m->ack_loss))
            post(m, m->now + m->delay, false, block);
}

static void client_unexpected(struct model *m, uint64_t block)
{
    bool old = block <= m->have, quiet;

    switch (m->kind) {
    case MODEL_EDK2:
        client_ack(m, m->have);
        m->next_ack = m->have + m->window;
        return;
    case MODEL_GRUB:
        if (old)
            client_ack(m, block);
        return;
    case MODEL_UBOOT_DEAF:
        if (old)
            return;
        __attribute__((fallthrough));
    case MODEL_UBOOT:
        if (m->nacked == m->have + 1)
            return;
        break;
    case MODEL_RFC7440:
        quiet = old ? block > m->old : m->nacked == m->have + 1 && block > m->beyond;
        *(old ? &m->old : &m->beyond) = block;
        if (quiet)
            return;
        break;
    }
    if (!old || m->kind != MODEL_RFC7440)
        m->nacked = m->have + 1;
    m->next_ack = m->have + m->window;
    client_ack(m, m->have);
}

static void client_data(struct model *m, uint64_t block)
{
    if (block != m->have + 1) {
        client_unexpected(m, block);
        return;
    }
    m->old = UINT64_MAX;
    m->have++;
    if (m->have == m->next_ack || m->have == m->blocks) {
        m->next_ack = m->have + m->window;
        client_ack(m, m->have);
    }
}

/* A client with few receive buffers loses what comes while they are full. */
static bool client_has_room(struct model *m)
{
    nsec start = MAX(m->busy_until, m->now);

    if (m->buffers != 0 && start - m->now >= m->buffers * m->slot)
        return false;
    m->busy_until = start + m->slot;
    return true;
}

static void send_block(struct model *m, uint64_t block)
{
    enum fate fate = FATE_PASS;

    if (block < ARRAY_LEN(m->times)) {
        m->times[block]++;
        if (m->fate != NULL)
            fate = m->fate(block, m->times[block]);
    }
    if (fate == FATE_DROP || prng_chance(&m->prng, m->data_loss))
        return;
    for (unsigned i = 0; i < m->copies + (fate == FATE_TWICE); i++)
        post(m, m->now + m->delay + (fate == FATE_LATE ? 50 * NSEC_PER_USEC : 0), true, block);
}

static void take_output(struct model *m)
{
    struct tftp_out out;

    while (tftp_session_next(&m->s, m->now, &out)) {
        if (out.kind == TFTP_OUT_CONTROL) {
            if (out.control.p[1] == TFTP_OACK)
                post(m, m->now + m->delay, false, 0);
            tftp_session_sent(&m->s, 0, m->now);
            continue;
        }
        for (uint32_t i = 0; i < out.count; i++)
            send_block(m, out.block + i);
        tftp_session_sent(&m->s, out.count, m->now);
    }
}

static void model_init(struct model *m, enum model_kind kind, uint32_t window, uint64_t blocks)
{
    struct fixture_options o = {.blksize = 512, .windowsize = window};

    memset(m, 0, sizeof(*m));
    m->kind = kind;
    m->window = window;
    m->next_ack = window;
    m->blocks = blocks;
    m->now = 1000 * MS;
    m->delay = 250 * NSEC_PER_USEC;
    m->copies = 1;
    prng_seed(&m->prng, 7);
    fixture_serve(&m->s, TFTP_RRQ, &o, (blocks - 1) * 512 + 100, NULL, m->now);
}

/* Runs to the end; the time it took. */
static nsec model_run(struct model *m)
{
    nsec started = m->now;

    take_output(m);
    while (!tftp_session_ended(&m->s)) {
        nsec deadline = tftp_session_deadline(&m->s);
        struct wire_event e = {.at = NSEC_NEVER};

        if (m->count > 0)
            e = m->events[m->count - 1];
        assert_true(e.at != NSEC_NEVER || deadline != NSEC_NEVER);
        if (e.at <= deadline) {
            m->count--;
            m->now = e.at;
            if (!e.to_client)
                fixture_ack(&m->s, e.block, m->now);
            else if (client_has_room(m))
                client_data(m, e.block);
        } else {
            m->now = MAX(deadline, m->now);
            tftp_session_on_timer(&m->s, m->now);
        }
        take_output(m);
    }
    assert_int_equal(m->s.outcome, TFTP_OUTCOME_OK);
    assert_int_equal(m->have, m->blocks);
    return m->now - started;
}

static uint64_t extra(const struct model *m)
{
    return m->s.counts.blocks_sent - m->blocks;
}

static void no_loss_costs_nothing(void **state)
{
    static const uint32_t windows[] = {1, 2, 4, 16, 64};
    static struct model m;

    (void)state;
    for (int kind = MODEL_RFC7440; kind <= MODEL_UBOOT_DEAF; kind++)
        for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
            model_init(&m, (enum model_kind)kind, windows[i], 1000);
            model_run(&m);
            assert_int_equal(extra(&m), 0);
            assert_true(m.now < 2000 * MS);
        }
}

/* RFC 7440 section 6: rate control. The receiver keeps nothing that comes out of order, so each
 * loss costs the block itself and what follows it before the sender knows. */
static uint64_t lossy_transfers(uint32_t window, uint32_t data_loss, uint32_t ack_loss)
{
    static struct model m;
    uint64_t total = 0;

    for (unsigned seed = 0; seed < 5; seed++) {
        model_init(&m, MODEL_RFC7440, window, 20000);
        prng_seed(&m.prng, seed);
        m.data_loss = data_loss;
        m.ack_loss = ack_loss;
        assert_in_range(model_run(&m), 1, 200000 * MS);
        total += extra(&m);
    }
    return total / 5;
}

static void a_lost_block_costs_three_at_most(void **state)
{
    static const uint32_t windows[] = {16, 64};
    static const uint32_t losses[] = {10000, 50000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(windows); i++)
        for (size_t j = 0; j < ARRAY_LEN(losses); j++) {
            uint64_t allowed = 20000 * (uint64_t)losses[j] / 1000000 * 3 + windows[i];

            assert_in_range(lossy_transfers(windows[i], losses[j], 0), 1, allowed);
            /* When reports of gaps are lost as well, some windows go out in vain. */
            assert_in_range(lossy_transfers(windows[i], losses[j], losses[j]), 1, 2 * allowed);
        }
}

static void four_buffers_are_learned(void **state)
{
    static const uint32_t windows[] = {16, 32, 64};
    static struct model m;

    (void)state;
    for (int kind = MODEL_RFC7440; kind <= MODEL_UBOOT_DEAF; kind++)
        for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
            nsec took, gap;

            model_init(&m, (enum model_kind)kind, windows[i], 4000);
            m.buffers = 4;
            m.slot = 50 * NSEC_PER_USEC;
            took = model_run(&m);
            gap = 2 * (m.delay + m.slot * 4);
            assert_in_range(m.s.sender.burst.size, 2, 4);
            assert_in_range(extra(&m), 1, 4 * windows[i]);
            assert_in_range(m.s.counts.resent_timeout, 0, 2);
            assert_in_range(took, 1, 1000 * gap + 500 * MS);
        }
}

static enum fate two_lost(uint64_t block, unsigned nth)
{
    return (block == 400 || block == 803) && nth == 1 ? FATE_DROP : FATE_PASS;
}

static enum fate two_repeated(uint64_t block, unsigned nth)
{
    return (block == 400 || block == 803) && nth == 1 ? FATE_TWICE : FATE_PASS;
}

static enum fate two_swapped(uint64_t block, unsigned nth)
{
    return (block == 400 || block == 803) && nth == 1 ? FATE_LATE : FATE_PASS;
}

/* A client that acknowledges every unexpected block is told nothing twice; naive senders send
 * hundreds of thousands of blocks here. */
static void few_faults_cost_few_blocks(void **state)
{
    enum fate (*const faults[])(uint64_t, unsigned) = {two_lost, two_repeated, two_swapped};
    static const uint32_t windows[] = {4, 16, 64};
    static struct model m;

    (void)state;
    for (int kind = MODEL_RFC7440; kind <= MODEL_UBOOT_DEAF; kind++)
        for (size_t i = 0; i < ARRAY_LEN(windows); i++)
            for (size_t j = 0; j < ARRAY_LEN(faults); j++) {
                model_init(&m, (enum model_kind)kind, windows[i], 1809);
                m.fate = faults[j];
                model_run(&m);
                assert_in_range(extra(&m), 0, 2 * windows[i] + 8);
                if (faults[j] == two_repeated)
                    assert_in_range(extra(&m), 0, windows[i] / 2);
            }
}

/* RFC 1123 section 4.2.3.1: GRUB never repeats an ACK and answers old blocks; the timer alone
 * repairs, and a repeated ACK starts nothing. */
static void lockstep_repairs_by_timer(void **state)
{
    static struct model m;

    (void)state;
    model_init(&m, MODEL_GRUB, 1, 2000);
    m.fate = two_lost;
    model_run(&m);
    assert_int_equal(extra(&m), 2);
    assert_int_equal(m.s.counts.resent_timeout, 2);

    model_init(&m, MODEL_GRUB, 1, 2000);
    m.data_loss = m.ack_loss = 10000;
    model_run(&m);
    assert_int_equal(extra(&m), m.s.counts.resent_timeout);
    assert_in_range(extra(&m), 20, 80);
}

/* RFC 1123 section 4.2.3.1: every packet twenty times, both ways. */
static void twentyfold_packets_do_not_multiply(void **state)
{
    static struct model m;

    (void)state;
    model_init(&m, MODEL_GRUB, 1, 300);
    m.copies = 20;
    model_run(&m);
    assert_int_equal(m.s.counts.blocks_sent, 300);
    for (uint64_t block = 1; block <= 300; block++)
        assert_int_equal(m.times[block], 1);
    for (int kind = MODEL_RFC7440; kind <= MODEL_UBOOT_DEAF; kind++) {
        model_init(&m, (enum model_kind)kind, 8, 300);
        m.copies = 20;
        model_run(&m);
        assert_in_range(extra(&m), 0, 8);
    }
}

/*
 * A client that acknowledges each doubled block says in one breath that it has block 1, 2, 3 ...;
 * the first of these looks like the report of a gap. On a long way, where nothing else holds a
 * restart back, the sender must hear the client out.
 */
static void doubled_packets_are_no_gaps(void **state)
{
    static const nsec delays[] = {MS / 4, 5 * MS, 12 * MS, 15 * MS, 100 * MS};
    static const uint32_t windows[] = {2, 4, 16, 64};
    static struct model m;

    (void)state;
    for (int kind = MODEL_RFC7440; kind <= MODEL_UBOOT_DEAF; kind++)
        for (size_t i = 0; i < ARRAY_LEN(windows); i++)
            for (size_t j = 0; j < ARRAY_LEN(delays); j++) {
                model_init(&m, (enum model_kind)kind, windows[i], 1000);
                m.copies = 2;
                m.delay = delays[j];
                model_run(&m);
                assert_int_equal(extra(&m), 0);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doubled_packets_are_no_gaps),
        cmocka_unit_test(no_loss_costs_nothing),
        cmocka_unit_test(a_lost_block_costs_three_at_most),
        cmocka_unit_test(four_buffers_are_learned),
        cmocka_unit_test(few_faults_cost_few_blocks),
        cmocka_unit_test(lockstep_repairs_by_timer),
        cmocka_unit_test(twentyfold_packets_do_not_multiply),
    };

    return cmocka_run_group_tests_name("session_model", tests, NULL, NULL);
}
