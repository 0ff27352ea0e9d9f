//! Exit codes, and why a command failed.

use crate::control::api::{ApiError, ErrorCode};
use crate::control::client::ClientError;
use crate::nft::NftError;
use serde_json::{Value, json};
use std::fmt;
use std::io;
use std::process::ExitCode;

/// How `shim6ctl` and `shim6d` end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// 0: done.
    Done = 0,
    /// 1: failed while running.
    Failed = 1,
    /// 2: wrong usage or configuration.
    Usage = 2,
    /// 3: the kernel or the privilege for it is lacking.
    Lacking = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    /// What the program exits with.
    pub exit: Exit,
    /// Short name for programs.
    pub code: String,
    /// What went wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// Whether to print it; false when the output has said it all.
    pub say: bool,
    broken_pipe: bool,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(exit: Exit, code: &str, message: impl fmt::Display) -> Failure {
        Failure {
            exit,
            code: code.to_owned(),
            message: message.to_string(),
            remedy: None,
            say: true,
            broken_pipe: false,
        }
    }

    /// A failure while running.
    pub fn failed(message: impl fmt::Display) -> Failure {
        Failure::new(Exit::Failed, "failed", message)
    }

    /// A wrong argument.
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure::new(Exit::Usage, "usage", message)
    }

    /// Only the exit code: the output has said the rest.
    pub fn silent(exit: Exit) -> Failure {
        Failure { say: false, ..Failure::new(exit, "failed", "") }
    }

    /// The same, with words on what to do.
    pub fn remedy(self, remedy: impl Into<String>) -> Failure {
        Failure { remedy: Some(remedy.into()), ..self }
    }

    /// Whether the reader of our output has left.
    pub fn is_broken_pipe(&self) -> bool {
        self.broken_pipe
    }

    /// In the form of the control protocol's errors.
    pub fn as_json(&self) -> Value {
        json!({ "code": self.code, "message": self.message, "remedy": self.remedy })
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Failure {
        let broken_pipe = e.kind() == io::ErrorKind::BrokenPipe;
        Failure { broken_pipe, ..Failure::new(Exit::Failed, "io", e) }
    }
}

impl From<ApiError> for Failure {
    fn from(e: ApiError) -> Failure {
        let exit = match e.code {
            ErrorCode::PermissionDenied | ErrorCode::Kernel => Exit::Lacking,
            ErrorCode::BadRequest | ErrorCode::UnknownRequest | ErrorCode::InvalidArgument => {
                Exit::Usage
            }
            _ => Exit::Failed,
        };
        let code = serde_json::to_value(e.code).ok();
        let code = code.as_ref().and_then(Value::as_str).unwrap_or("unknown");
        Failure { remedy: e.remedy, ..Failure::new(exit, code, e.message) }
    }
}

impl From<ClientError> for Failure {
    fn from(e: ClientError) -> Failure {
        match e {
            ClientError::Api(e) => e.into(),
            ClientError::NoDaemon { ref source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Failure::new(Exit::Lacking, "no_daemon", &e)
                    .remedy("the directories above the socket have to be open to you")
            }
            ClientError::NoDaemon { .. } => Failure::new(Exit::Failed, "no_daemon", &e)
                .remedy("start it with `systemctl start shim6d`, or name its socket with --socket"),
            ClientError::Timeout(_) => {
                Failure::new(Exit::Failed, "timeout", &e).remedy("--timeout waits longer")
            }
            ClientError::Closed => Failure::new(Exit::Failed, "closed", &e),
            ClientError::Io(e) => e.into(),
            ClientError::TooLarge | ClientError::Protocol(_) => {
                Failure::new(Exit::Failed, "protocol", &e)
            }
        }
    }
}

impl From<NftError> for Failure {
    fn from(e: NftError) -> Failure {
        let exit = match e {
            NftError::Permission
            | NftError::NoNfTables
            | NftError::NoQueue
            | NftError::NoNfnetlinkQueue => Exit::Lacking,
            NftError::BadSpec(_) => Exit::Usage,
            _ => Exit::Failed,
        };
        // Its text names the remedy.
        Failure::new(exit, "kernel", &e)
    }
}
