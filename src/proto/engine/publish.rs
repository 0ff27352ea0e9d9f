//! What the data plane has to know about a context: its forwarding entry, never told twice.

use super::context::Published;
use super::{Context, Engine, State};
use crate::proto::config::Detection;
use crate::proto::{Cx, Forward, ForwardChange, Inbound, Outbound, Output, WakeOn};

impl Engine {
    /// Brings the data plane's entry into step with the context.
    pub(super) fn publish(&mut self, cx: &mut Cx<'_>, c: &mut Context) {
        let wake = match (&c.reap, c.state()) {
            (Some(reap), State::Established) => reap.wake(),
            _ => WakeOn::Nothing,
        };
        let watch = self.config.reap.detection == Detection::Fast;
        let Some(entry) = entry_of(c, wake, watch) else { return };
        // Whether the wake-up is armed is kept apart, since the data plane disarms it by itself. A context never
        // changes its ULIDs and its tag.
        if !c.forwarded.as_ref().is_some_and(|p| p.is(&entry)) {
            c.armed = wake;
            c.forwarded = Some(Published::of(&entry));
            cx.push(Output::Forward(ForwardChange::Set(entry)));
        } else if c.armed != wake {
            c.armed = wake;
            cx.push(Output::Forward(ForwardChange::Wake(c.id, wake)));
        }
        if std::mem::take(&mut c.resend) {
            cx.push(Output::Forward(ForwardChange::ResendHeld(c.id)));
        }
    }
}

/// The entry that a context needs; none before its first message.
// req: S6-4.2-02, AL-5.2-01
// req: S6-11-01, S6-11-02, S6-1.6-02, S6-4-02, S6-4-03, S6-5.2-02, S6-11.1-01, S6-11.1-05, S6-12.2-03, S6-12.4-04
fn entry_of(c: &Context, wake: WakeOn, watch: bool) -> Option<Forward> {
    let inbound = match c.state() {
        State::I1Sent => Inbound::Drop,
        State::I2Sent | State::I2bisSent => Inbound::UnmapAndNotify,
        State::Established => Inbound::Unmap,
        State::Idle | State::EFailed | State::NoSupport => return None,
    };
    let outbound = match c.peer_tag {
        Some(tag) if c.is_tagged() => Outbound::Tagged(c.pair, tag),
        _ => Outbound::Plain,
    };
    let hold = c.state().has_peer() && c.reap.as_ref().is_some_and(|r| r.hold());
    Some(Forward {
        id: c.id,
        ulids: c.ulids,
        fii: c.fii,
        local_tag: c.local_tag,
        outbound,
        inbound,
        hold,
        watch,
        wake,
    })
}
