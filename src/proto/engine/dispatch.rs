//! A control message finds its context.
use super::Engine;
use crate::proto::Cx;
use crate::proto::input::{ControlPacket, Notice};
impl Engine {
    /// Handles a Shim6 control message. Poll timeout and activity again afterwards.
    pub fn handle_message(&mut self, cx: &mut Cx<'_>, packet: &ControlPacket) {
        let _ = (cx, packet);
    }
    /// Handles a report of the data plane. Poll timeout and activity again afterwards.
    pub fn handle_notice(&mut self, cx: &mut Cx<'_>, notice: Notice) {
        let _ = (cx, notice);
    }
}
