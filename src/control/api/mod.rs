//! The schema of the control protocol, version 1: [`Request`], [`Response`], [`Event`] and their envelopes.
//!
//! Every packet is one JSON object. A request carries a number that its answer repeats; answers may overtake each
//! other, and events of a subscription come in between:
//!
//! ```text
//! → {"v":1,"id":1,"request":{"type":"context_show","context":{"id":7}}}
//! ← {"v":1,"id":1,"response":{"type":"context","context":{...}}}
//! ← {"v":1,"id":2,"error":{"code":"not_found","message":"...","remedy":"..."}}
//! ← {"v":1,"event":{"type":"recovered","seq":41,"at_ms":812345,"context":7,...}}
//! ```
//!
//! The JSON only ever grows: readers skip keys and events that they do not know; the daemon refuses a request key
//! that it does not know, as it could not honour it.

mod context;
mod event;
mod host;
mod socket;

pub use context::*;
pub use event::*;
pub use host::*;
pub use socket::*;

use crate::addr::Ulid;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Version of the protocol that this module describes.
pub const VERSION: u32 = 1;

/// Largest packet in either direction, in octets. Longer listings come in pages.
pub const MAX_PACKET: usize = 64 * 1024;

/// Default and largest number of contexts in one page of [`Request::ContextList`].
pub const MAX_PAGE: u32 = 64;

/// Longest wait of [`Request::PeerCheck`], in milliseconds.
pub const MAX_WAIT_MS: u32 = 60_000;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/shim6/control.sock";

/// What a program sends: the envelope of a [`Request`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Protocol version, [`VERSION`].
    pub v: u32,
    /// Chosen by the caller, repeated in the answer.
    pub id: u64,
    /// The request itself.
    pub request: Request,
}

/// What the daemon sends: an answer or an event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Packet {
    /// The request with this number succeeded.
    Response {
        /// Protocol version.
        v: u32,
        /// Number of the request.
        id: u64,
        /// The answer.
        response: Response,
    },
    /// A request failed.
    Error {
        /// Protocol version.
        v: u32,
        /// Number of the request; `null` if the daemon could not read so far.
        id: Option<u64>,
        /// Why, and what to do about it.
        error: ApiError,
    },
    /// Something happened that this connection has subscribed to.
    Event {
        /// Protocol version.
        v: u32,
        /// What happened.
        event: Event,
    },
}

/// What can be asked of the daemon. Whether root or membership in the control group is needed says
/// [`Request::needs_privilege`]; a request with a socket's descriptor (`socket_…`) is for everybody who holds it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Which daemon is this, and what may I do? → [`Response::Hello`]
    Hello {},
    /// The daemon at a glance. → [`Response::Status`]
    Status {},
    /// One page of contexts in order of their ids. → [`Response::Contexts`]
    ContextList {
        /// Start behind this context: `next` of the page before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<ContextId>,
        /// At most this many, 1 to [`MAX_PAGE`]; [`MAX_PAGE`] if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    },
    /// Everything about one context. → [`Response::Context`]
    ContextShow {
        /// Which one.
        context: ContextRef,
    },
    /// Negotiates a context now, not when the heuristic says so. → [`Response::Accepted`], then events.
    Establish {
        /// ULID(local); the daemon selects one if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        local: Option<Ulid>,
        /// ULID(peer).
        peer: Ulid,
    },
    /// Forgets a context. The peer is not told, the protocol has no message for it. → [`Response::Done`]
    ContextDiscard {
        /// Which one.
        context: ContextRef,
    },
    /// The host's own locators, or both lists of one context. → [`Response::HostLocators`],
    /// [`Response::ContextLocators`]
    LocatorList {
        /// A context, or absent for the host's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        context: Option<ContextRef>,
    },
    /// Decides about one of the host's own locators; peers are told by Update Requests. All or nothing, until the daemon is
    /// told otherwise; a restart after a failure keeps it. → [`Response::HostLocators`]
    LocatorSet {
        /// An address of this host.
        locator: crate::addr::Locator,
        /// What to change.
        changes: LocatorChanges,
    },
    /// When contexts are negotiated, as in force. → [`Response::Policy`]
    PolicyShow {},
    /// Changes when contexts are negotiated, until the configuration is read again; all or nothing.
    /// → [`Response::Policy`]
    PolicyChange {
        /// What to change.
        changes: PolicyChanges,
    },
    /// Starts locator pair exploration (RFC 5534, 4.3) on a context. → [`Response::Accepted`], then events.
    PathExplore {
        /// Which one.
        context: ContextRef,
    },
    /// All counters. → [`Response::Stats`]
    Stats {},
    /// The daemon's packet filter rules as they are now. → [`Response::Rules`]
    RulesShow {},
    /// Installs the rules, also after an administrator has flushed or removed them. → [`Response::Rules`]
    RulesInstall {},
    /// Removes the rules; contexts stay, but no packet is looked at. → [`Response::Rules`]
    RulesRemove {},
    /// Checks that only the daemon can make. → [`Response::Doctor`]
    Doctor {},
    /// Events from now on, on this connection; replaces an earlier subscription. → [`Response::Done`]
    Subscribe {
        /// Names of events ([`EventKind::name`]); empty means all that are not verbose.
        #[serde(default)]
        events: Vec<String>,
        /// Only those of this context.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        context: Option<ContextId>,
    },
    /// No more events. → [`Response::Done`]
    Unsubscribe {},
    /// Reads the configuration again, as SIGHUP does. → [`Response::Reloaded`]
    Reload {},
    /// Sends probes on one pair of a context, changing nothing. → [`Response::PathTested`]
    PathTest {
        /// Which one.
        context: ContextRef,
        /// A pair of its locators.
        pair: Pair,
    },
    /// Sends by another pair of a context from now on, after a test unless it was seen to work lately.
    /// → [`Response::PathInUse`]
    PathSwitch {
        /// Which one.
        context: ContextRef,
        /// A pair of its locators.
        pair: Pair,
        /// For how long.
        #[serde(default)]
        keep: Keep,
    },
    /// Leaves the choice of the pair to failure detection again; the present one stays until then. → [`Response::Done`]
    PathUnpin {
        /// Which one.
        context: ContextRef,
    },
    /// Changes settings of a context; all or nothing. `dont_shim` is none of them. → [`Response::Done`]
    ContextConfigure {
        /// Which one.
        context: ContextRef,
        /// What to change.
        changes: SocketChanges,
    },
    /// Whether a host knows Shim6: asks it by negotiating a context. Comes with the descriptor of a socket that is
    /// connected to the host, or, from privileged callers, with its address. → [`Response::PeerSupport`]
    PeerCheck {
        /// The host, if there is no descriptor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<Ulid>,
        /// How long to wait for its answer in milliseconds, at most [`MAX_WAIT_MS`]; 5000 if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait_ms: Option<u32>,
    },
    /// The passed socket and its context. → [`Response::Socket`]
    SocketStatus {},
    /// Negotiates a context for the passed socket now. → [`Response::Accepted`], then events.
    SocketSet {},
    /// Gives the passed socket a context of its own beside the default one. → [`Response::Accepted`]
    SocketFork {},
    /// Both locator lists of the passed socket's context. → [`Response::ContextLocators`]
    SocketLocators {},
    /// Changes what the shim does for the passed socket; all or nothing. → [`Response::Done`]
    SocketConfigure {
        /// What to change.
        changes: SocketChanges,
    },
    /// Sends probes on one pair of the passed socket's context, changing nothing. → [`Response::PathTested`]
    SocketTest {
        /// A pair of its locators.
        pair: Pair,
    },
    /// [`Request::PathSwitch`] for the passed socket's context. → [`Response::PathInUse`]
    SocketSwitch {
        /// A pair of its locators.
        pair: Pair,
        /// For how long.
        #[serde(default)]
        keep: Keep,
    },
    /// [`Request::PathUnpin`] for the passed socket's context. → [`Response::Done`]
    SocketUnpin {},
    /// Starts exploration on the passed socket's context. → [`Response::Accepted`], then events.
    SocketExplore {},
    /// Tells how content the program is; discontent makes the daemon test the current pair. → [`Response::Done`]
    SocketFeedback {
        /// In which direction.
        direction: Direction,
        /// How content.
        satisfaction: Satisfaction,
    },
    /// Events of the passed socket's context alone, from now on; replaces an earlier subscription. Without a context,
    /// those of the next one between the same ULIDs. → [`Response::Socket`]
    SocketSubscribe {
        /// Names of events ([`EventKind::name`]); empty means all that are not verbose.
        #[serde(default)]
        events: Vec<String>,
    },
}

impl Request {
    /// All values of `type`, for messages about a wrong one.
    pub const NAMES: [&'static str; 35] = [
        "hello",
        "status",
        "context_list",
        "context_show",
        "establish",
        "context_discard",
        "locator_list",
        "locator_set",
        "policy_show",
        "policy_change",
        "path_explore",
        "stats",
        "rules_show",
        "rules_install",
        "rules_remove",
        "doctor",
        "subscribe",
        "unsubscribe",
        "reload",
        "path_test",
        "path_switch",
        "path_unpin",
        "context_configure",
        "peer_check",
        "socket_status",
        "socket_set",
        "socket_fork",
        "socket_locators",
        "socket_configure",
        "socket_test",
        "socket_switch",
        "socket_unpin",
        "socket_explore",
        "socket_feedback",
        "socket_subscribe",
    ];

    /// The value of `type` in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Request::Hello {} => "hello",
            Request::Status {} => "status",
            Request::ContextList { .. } => "context_list",
            Request::ContextShow { .. } => "context_show",
            Request::Establish { .. } => "establish",
            Request::ContextDiscard { .. } => "context_discard",
            Request::LocatorList { .. } => "locator_list",
            Request::LocatorSet { .. } => "locator_set",
            Request::PolicyShow {} => "policy_show",
            Request::PolicyChange { .. } => "policy_change",
            Request::PathExplore { .. } => "path_explore",
            Request::Stats {} => "stats",
            Request::RulesShow {} => "rules_show",
            Request::RulesInstall {} => "rules_install",
            Request::RulesRemove {} => "rules_remove",
            Request::Doctor {} => "doctor",
            Request::Subscribe { .. } => "subscribe",
            Request::Unsubscribe {} => "unsubscribe",
            Request::Reload {} => "reload",
            Request::PathTest { .. } => "path_test",
            Request::PathSwitch { .. } => "path_switch",
            Request::PathUnpin { .. } => "path_unpin",
            Request::ContextConfigure { .. } => "context_configure",
            Request::PeerCheck { .. } => "peer_check",
            Request::SocketStatus {} => "socket_status",
            Request::SocketSet {} => "socket_set",
            Request::SocketFork {} => "socket_fork",
            Request::SocketLocators {} => "socket_locators",
            Request::SocketConfigure { .. } => "socket_configure",
            Request::SocketTest { .. } => "socket_test",
            Request::SocketSwitch { .. } => "socket_switch",
            Request::SocketUnpin {} => "socket_unpin",
            Request::SocketExplore {} => "socket_explore",
            Request::SocketFeedback { .. } => "socket_feedback",
            Request::SocketSubscribe { .. } => "socket_subscribe",
        }
    }

    /// Whether only root and members of the control group may ask this.
    pub fn needs_privilege(&self) -> bool {
        !matches!(self, Request::Hello {}) && !self.needs_descriptor()
    }

    /// Whether the request is about a socket, whose descriptor has to come along. All others take none.
    pub fn needs_descriptor(&self) -> bool {
        match self {
            Request::PeerCheck { peer, .. } => peer.is_none(),
            Request::SocketStatus {}
            | Request::SocketSet {}
            | Request::SocketFork {}
            | Request::SocketLocators {}
            | Request::SocketConfigure { .. }
            | Request::SocketTest { .. }
            | Request::SocketSwitch { .. }
            | Request::SocketUnpin {}
            | Request::SocketExplore {}
            | Request::SocketFeedback { .. }
            | Request::SocketSubscribe { .. } => true,
            Request::Hello {}
            | Request::Status {}
            | Request::ContextList { .. }
            | Request::ContextShow { .. }
            | Request::Establish { .. }
            | Request::ContextDiscard { .. }
            | Request::LocatorList { .. }
            | Request::LocatorSet { .. }
            | Request::PolicyShow {}
            | Request::PolicyChange { .. }
            | Request::PathExplore { .. }
            | Request::Stats {}
            | Request::RulesShow {}
            | Request::RulesInstall {}
            | Request::RulesRemove {}
            | Request::Doctor {}
            | Request::Subscribe { .. }
            | Request::Unsubscribe {}
            | Request::Reload {}
            | Request::PathTest { .. }
            | Request::PathSwitch { .. }
            | Request::PathUnpin { .. }
            | Request::ContextConfigure { .. } => false,
        }
    }
}

/// What the daemon answers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Hello`].
    Hello {
        /// Version of the daemon, as `shim6d --version` says it.
        version: String,
        /// Newest protocol version that the daemon speaks.
        protocol: u32,
        /// Whether this caller may send privileged requests.
        privileged: bool,
    },
    /// To [`Request::Status`].
    Status {
        /// The daemon at a glance.
        status: Box<StatusInfo>,
    },
    /// To [`Request::ContextList`].
    Contexts {
        /// One page, in order of ids.
        contexts: Vec<ContextSummary>,
        /// More contexts follow behind this one.
        #[serde(default)]
        next: Option<ContextId>,
    },
    /// To [`Request::ContextShow`].
    Context {
        /// The context.
        context: Box<ContextInfo>,
    },
    /// To [`Request::LocatorList`] without a context, and to [`Request::LocatorSet`].
    HostLocators {
        /// The host's own locators.
        locators: Vec<HostLocator>,
    },
    /// To [`Request::LocatorList`] with a context.
    ContextLocators {
        /// The context.
        context: ContextId,
        /// Ls(local).
        local: Vec<LocatorInfo>,
        /// Ls(peer).
        peer: Vec<LocatorInfo>,
    },
    /// To [`Request::PolicyShow`] and [`Request::PolicyChange`].
    Policy {
        /// What is in force.
        policy: PolicyInfo,
    },
    /// The work has begun; events tell how it goes.
    Accepted {
        /// The context that it concerns.
        context: ContextId,
    },
    /// Done, and there is nothing more to say.
    Done {},
    /// To [`Request::Stats`].
    Stats {
        /// All counters.
        stats: StatsInfo,
    },
    /// To the three requests about rules.
    Rules {
        /// The rules as they are now.
        rules: RulesInfo,
    },
    /// To [`Request::Doctor`].
    Doctor {
        /// One entry per check.
        checks: Vec<Check>,
    },
    /// To [`Request::Reload`].
    Reloaded {
        /// Warnings of the configuration, and keys whose change needs a restart.
        warnings: Vec<String>,
    },
    /// To [`Request::SocketStatus`] and [`Request::SocketSubscribe`].
    Socket {
        /// The socket and its context.
        socket: Box<SocketInfo>,
    },
    /// To [`Request::PathTest`] and [`Request::SocketTest`], when the test is over.
    PathTested {
        /// The pair.
        pair: Pair,
        /// Whether the peer reported a probe of ours as received.
        reachable: bool,
        /// Time from the probe to that report, in microseconds.
        rtt_us: Option<u64>,
    },
    /// To [`Request::PathSwitch`] and [`Request::SocketSwitch`], when packets go by the pair.
    PathInUse {
        /// The context.
        context: ContextId,
        /// The pair.
        pair: Pair,
    },
    /// To [`Request::PeerCheck`].
    PeerSupport {
        /// Whether the host knows Shim6.
        support: Support,
        /// The context, if there is one.
        context: Option<ContextId>,
    },
}

impl Response {
    /// Shortens what may be shortened until the answer fits in `max` octets of JSON: contexts move to the next
    /// page, the text of the rules is cut. Returns `None` if it cannot be made to fit.
    pub fn fit(mut self, max: usize) -> Option<Response> {
        loop {
            let size = serde_json::to_vec(&self).ok()?.len();
            if size <= max {
                return Some(self);
            }
            match &mut self {
                Response::Contexts { contexts, next } if contexts.len() > 1 => {
                    contexts.truncate((contexts.len() * max / size).clamp(1, contexts.len() - 1));
                    *next = contexts.last().map(|last| last.id);
                }
                Response::Rules { rules } if !rules.text.is_empty() => {
                    let keep = (rules.text.len() * max / size).saturating_sub(64);
                    let keep = (0..=keep).rev().find(|&at| rules.text.is_char_boundary(at))?;
                    rules.text.truncate(keep);
                    rules.truncated = true;
                }
                _ => return None,
            }
        }
    }
}

/// Why a request failed, for programs ([`ErrorCode`]) and for people (the rest).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApiError {
    /// The kind of failure.
    pub code: ErrorCode,
    /// What went wrong, in a sentence without a full stop.
    pub message: String,
    /// What the caller can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl ApiError {
    /// An error without a remedy.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        ApiError { code, message: message.into(), remedy: None }
    }

    /// The same error, with words on what to do.
    pub fn remedy(self, remedy: impl Into<String>) -> ApiError {
        ApiError { remedy: Some(remedy.into()), ..self }
    }

    /// There is no such context.
    pub fn no_context(context: &ContextRef) -> ApiError {
        ApiError::new(ErrorCode::NotFound, format!("there is no context {context}"))
            .remedy("`shim6ctl context list` shows all contexts")
    }

    /// The daemon ends before it could answer.
    pub fn stopping() -> ApiError {
        ApiError::new(ErrorCode::Unavailable, "the daemon is stopping")
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, " ({remedy})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ApiError {}

/// Kinds of failure.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not JSON, not of this schema, or with a key that the daemon does not know.
    BadRequest,
    /// Another protocol version than the daemon speaks.
    UnsupportedVersion,
    /// A request that this daemon does not know.
    UnknownRequest,
    /// Longer than [`MAX_PACKET`].
    TooLarge,
    /// Needs root or the control group.
    PermissionDenied,
    /// The daemon has too much to do at the moment, or too many connections.
    Busy,
    /// There is no such context, address or socket.
    NotFound,
    /// A value that makes no sense here.
    InvalidArgument,
    /// Not in the present state: for example, exploration with a single pair of locators.
    NotPossible,
    /// This daemon cannot do that yet, for nobody.
    NotSupported,
    /// The socket is not connected to a peer.
    NotConnected,
    /// There is no context for the socket.
    NoContext,
    /// Not a locator of the context.
    InvalidLocator,
    /// A locator of the peer whose reachability was not shown yet.
    UnverifiedLocator,
    /// A locator of the peer that does not answer.
    UnreachableLocator,
    /// More than [`MAX_LOCATORS`].
    TooManyLocators,
    /// The daemon is stopping.
    Unavailable,
    /// The kernel refused.
    Kernel,
    /// The daemon failed; its log says more.
    Internal,
    /// A code of a newer daemon.
    #[serde(other)]
    Unknown,
}
