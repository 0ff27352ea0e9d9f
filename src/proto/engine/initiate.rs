//! The initiator.
use super::{CommandError, Context, ContextId, Engine};
use crate::addr::{Fii, UlidPair};
use crate::proto::Cx;
impl Engine {
    pub(super) fn establish(
        &mut self,
        cx: &mut Cx<'_>,
        ulids: UlidPair,
        fii: Fii,
        _asked: bool,
    ) -> Result<ContextId, CommandError> {
        self.are_ulids(ulids)?;
        let c = self.new_context(cx, ulids, fii)?;
        Ok(c.id)
    }
    pub(super) fn on_timer(&mut self, _cx: &mut Cx<'_>, _c: &mut Context) {}
}
