/*
 * The life of one transfer: packets and time go into the session, its output goes out.
 */
#include "xfer/xfer.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "xfer/out.h"

void xfer_env_init(struct xfer_env *env)
{
    memset(env, 0, sizeof(*env));
    list_init(&env->starved);
}

void xfer_env_resume(struct xfer_env *env, nsec now)
{
    struct list waiting;

    if (list_empty(&env->starved))
        return;
    list_init(&waiting);
    list_splice_back(&waiting, &env->starved);
    while (!list_empty(&waiting)) {
        struct xfer *x = container_of(list_pop_front(&waiting), struct xfer, link);
        xfer_kick(x, now);
    }
}

void xfer_init(struct xfer *x, struct xfer_env *env, const struct addr *peer,
               const struct addr *local)
{
    memset(x, 0, sizeof(*x));
    x->env = env;
    x->peer = *peer;
    x->local = *local;
    timer_init(&x->timer);
    list_init(&x->link);
}

void xfer_set_socket(struct xfer *x, struct net_socket *socket)
{
    x->socket = socket;
    x->peer_sock_len = addr_to_sock(&x->peer, socket->local.family, &x->peer_sock);
}

void xfer_fini(struct xfer *x)
{
    wheel_del(x->env->wheel, &x->timer);
    list_del(&x->link);
    if (x->data)
        x->data->close(x);
    x->data = NULL;
    if (x->ascii)
        xfer_ascii_release(x->ascii);
    x->ascii = NULL;
}

/*
 * When the session itself waits for nothing, the disk has to answer; a file server that is gone may
 * never do so.
 */
static nsec stall_deadline(struct xfer *x, nsec now)
{
    if (x->stalled_since == 0)
        x->stalled_since = now;
    return nsec_add(x->stalled_since, x->session.manners.patience);
}

/*
 * The timer is moved only to earlier times; when it fires too early it is set anew. An ACK that
 * pushes the deadline back therefore costs nothing here.
 */
static void arm(struct xfer *x, nsec now)
{
    nsec deadline = tftp_session_deadline(&x->session);

    if (deadline == NSEC_NEVER)
        deadline = stall_deadline(x, now);
    else
        x->stalled_since = 0;
    if (deadline < x->timer.deadline)
        wheel_set(x->env->wheel, &x->timer, deadline);
}

static void fail_session(struct xfer *x, int err, nsec now)
{
    tftp_session_fail(&x->session, tftp_error_from_errno(-err, !x->session.sending),
                      tftp_error_text_from_errno(-err), now);
}

/* Sends all that can be sent now. */
static void pump(struct xfer *x, nsec now)
{
    struct tftp_out out;

    while (tftp_session_next(&x->session, now, &out)) {
        if (out.kind == TFTP_OUT_CONTROL) {
            if (!out_control(x, out.control)) {
                if (list_empty(&x->link))
                    list_push_back(&x->env->starved, &x->link);
                return;
            }
            if (x->env->sent)
                x->env->sent(x, &out, 0);
            tftp_session_sent(&x->session, 0, now);
            continue;
        }
        int n = out_data(x, &out, now);
        if (n == 0)
            return;
        if (n > 0 && x->env->sent)
            x->env->sent(x, &out, (uint32_t)n);
        if (n < 0 && n != -EAGAIN)
            fail_session(x, n, now);
    }
}

void xfer_kick(struct xfer *x, nsec now)
{
    list_del(&x->link);
    pump(x, now);
    if (tftp_session_ended(&x->session) && list_empty(&x->link)) {
        x->env->ended(x, now);
        return;
    }
    arm(x, now);
}

static void take_data(struct xfer *x, const struct tftp_in *in)
{
    if (in->data.n > 0)
        x->data->accept(x, in->data);
    x->accepted += in->data.n;
    if (in->last)
        x->data->publish(x);
    else if (in->flush)
        x->data->flush(x);
}

void xfer_on_packet(struct xfer *x, struct view datagram, nsec now)
{
    struct tftp_in in;

    /* Without room for the payload the datagram is treated as lost on the way: the peer's
     * timer or ours repairs it when the disk has caught up. */
    if (!x->session.sending && datagram.n > TFTP_HEADER_LEN &&
        !x->data->room(x, datagram.n - TFTP_HEADER_LEN)) {
        x->data->flush(x);
        return;
    }
    tftp_session_on_packet(&x->session, datagram, now, &in);
    if (in.accepted)
        take_data(x, &in);
    else if (in.flush) /* a gap or a repetition wants an ACK */
        x->data->flush(x);
    xfer_kick(x, now);
}

void xfer_on_unreachable(struct xfer *x, nsec now)
{
    tftp_session_on_unreachable(&x->session, now);
    xfer_kick(x, now);
}

void xfer_on_send_error(struct xfer *x, int err, nsec now)
{
    if (err == EMSGSIZE)
        tftp_session_fail(&x->session, TFTP_ERR_UNDEFINED, "Block size exceeds the path MTU", now);
    else
        tftp_session_on_unreachable(&x->session, now);
    xfer_kick(x, now);
}

void xfer_on_timer(struct xfer *x, nsec now)
{
    nsec deadline = tftp_session_deadline(&x->session);

    if (deadline <= now) {
        if (tftp_session_on_timer(&x->session, now))
            x->data->flush(x);
    } else if (deadline == NSEC_NEVER && x->stalled_since != 0 && stall_deadline(x, now) <= now) {
        tftp_session_fail(&x->session, TFTP_ERR_UNDEFINED, "The disk does not answer", now);
    }
    xfer_kick(x, now);
}

void xfer_fail(struct xfer *x, enum tftp_error code, const char *text, nsec now)
{
    tftp_session_fail(&x->session, code, text, now);
    xfer_kick(x, now);
}
