//! REAP.
use super::{CommandError, Context, ContextId, Engine};
use crate::addr::LocatorPair;
use crate::proto::{Activity, Cx};
impl Engine {
    pub(super) fn explore(
        &mut self,
        _cx: &mut Cx<'_>,
        _id: ContextId,
    ) -> Result<ContextId, CommandError> {
        Err(CommandError::NoSuchContext)
    }
    pub(super) fn test_pair(
        &mut self,
        _cx: &mut Cx<'_>,
        _id: ContextId,
        _pair: LocatorPair,
    ) -> Result<ContextId, CommandError> {
        Err(CommandError::NoSuchContext)
    }
    pub(super) fn on_activity(&mut self, _cx: &mut Cx<'_>, _c: &mut Context, _a: Activity) {}
}
