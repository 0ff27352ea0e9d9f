//! Context confusion (RFC 5533, 7.15): the peer uses one tag for two contexts of ours, so it has lost the older one.

use super::{Context, Engine, State};
use crate::addr::ContextTag;
use crate::proto::{ContextId, Cx};
use std::time::Duration;

/// A confused context is negotiated anew if it was used so lately.
const IN_USE: Duration = Duration::from_secs(60);
/// Contexts with one CT(peer) at most. Peers draw their tags out of 2^47, so two are rare and more are made on purpose; and
/// whoever looks for one of them goes through all.
const SAME_TAG: usize = 16;

/// Whether two contexts have a verified locator of the peer in common.
fn overlap(a: &Context, b: &Context) -> bool {
    // Unverified entries do not count, or a peer could end other peers' contexts by listing their addresses.
    a.peer.entries.iter().any(|x| x.verified && b.peer.get(x.locator).is_some_and(|y| y.verified))
}

impl Engine {
    /// Whether as many other contexts as may be have this CT(peer).
    pub(super) fn is_crowded(&self, tag: ContextTag, id: Option<ContextId>) -> bool {
        self.table.find_peer_tag(tag).filter(|other| Some(*other) != id).nth(SAME_TAG - 1).is_some()
    }

    /// After CT(peer) or Ls(peer) of `c` has changed: removes every other context that the peer must have lost, because
    /// it has the same CT(peer) and a common locator. One that is in use is negotiated anew, which gives it new tags.
    // req: S6-7.6-02, S6-7.6-03, S6-7.14-01, S6-7.15-01, S6-7.15-02, S6-7.15-03, S6-7.15-04, S6-7.15-05,
    // req: S6-7.15-06, S6-7.16-07
    pub(super) fn resolve_confusion(&mut self, cx: &mut Cx<'_>, c: &Context) {
        let Some(tag) = c.peer_tag else { return };
        let confused: Vec<ContextId> = self
            .table
            .find_peer_tag(tag)
            .filter(|id| *id != c.id)
            .filter(|id| {
                self.table.get(*id).is_some_and(|o| {
                    o.state().has_peer() && (o.ulids, o.fii) != (c.ulids, c.fii) && overlap(c, o)
                })
            })
            .collect();
        for id in confused {
            self.count(cx, "context_confusion");
            let anew = self.with(cx, id, |_, cx, o| {
                o.end = Some("context confusion");
                let used = cx.now.since(o.last_use()) < IN_USE;
                (used && o.state() != State::Idle).then_some((o.ulids, o.fii))
            });
            if let Some((ulids, fii)) = anew.flatten()
                && self.establish(cx, ulids, fii).is_err()
            {
                self.count(cx, "confusion_not_renewed");
            }
        }
    }
}
