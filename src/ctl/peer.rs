//! `shim6ctl peer …`.

use super::args::PeerCommand;
use super::{Exit, Failure, Output, Session};
use crate::control::api::{Request, Response, Support};
use crate::control::client::unexpected;
use serde_json::json;
use std::time::Duration;

pub(super) fn run(
    session: &mut Session,
    output: &mut Output<'_>,
    command: &PeerCommand,
) -> Result<(), Failure> {
    let PeerCommand::Check { address, wait } = command;
    let request =
        Request::PeerCheck { peer: Some(*address), wait_ms: Some((wait * 1000.0) as u32) };
    // The daemon answers in time itself.
    let timeout = session.client.timeout() + Duration::from_secs_f64(*wait);
    let (support, context) = match session.client.call_with(request, None, timeout)? {
        Response::PeerSupport { support, context } => (support, context),
        other => return Err(unexpected(&other).into()),
    };
    output.result(&json!({ "support": support, "context": context }), |_| match support {
        Support::Yes => format!(
            "yes: {address} knows Shim6{}\n",
            context.map_or_else(String::new, |id| format!(", context {id}"))
        ),
        Support::No => format!("no: the kernel of {address} refuses Shim6\n"),
        Support::Unknown => format!("unknown: {address} gave no answer to Shim6\n"),
    })?;
    match support {
        Support::Yes => Ok(()),
        Support::No | Support::Unknown => Err(Failure::silent(Exit::Failed)),
    }
}
