//! Our addresses come and go.
use super::Engine;
use crate::proto::Cx;
use crate::proto::input::AddressEvent;
impl Engine {
    /// Handles a change of one of our addresses. Poll timeout and activity again afterwards.
    pub fn handle_address(&mut self, cx: &mut Cx<'_>, event: AddressEvent) {
        let _ = (cx, event);
    }
    pub(super) fn refresh_local_sets(&mut self, _cx: &mut Cx<'_>) {}
    pub(super) fn announce_send_timeout(&mut self, _cx: &mut Cx<'_>) {}
}
