//! `shim6ctl doctor`: looks at this host and says what is in the way, and what to do about it.
//!
//! What can be seen without the daemon is looked at here, [`host`] and [`ruleset`] judge what `ip` and `nft` print;
//! the daemon adds what only it knows.

pub mod host;
pub mod ruleset;

use super::args::{Cli, DoctorOptions};
use super::{Exit, Failure, Output, Session, rules};
use crate::cga::Identity;
use crate::control::api::{Check, CheckResult, Request, Response};
use crate::daemon::config::Config;
use crate::daemon::identity;
use crate::nft;
use crate::nft::TaggedHook;
use serde_json::{Value, json};
use std::fs;
use std::net::Ipv6Addr;
use std::process::Command;

/// An address far away: routing towards it is routing towards the Internet.
const FAR: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1);

pub(super) fn run(
    cli: &Cli,
    output: &mut Output<'_>,
    options: &DoctorOptions,
) -> Result<(), Failure> {
    let mut checks = Vec::new();
    let config = match Config::load_or_default(options.config.as_deref()) {
        Ok(config) => {
            checks.push(match config.warnings() {
                [] => Check::new("configuration", CheckResult::Ok, "no error, no warning"),
                warnings => Check::new("configuration", CheckResult::Warning, warnings.join("; ")),
            });
            config
        }
        Err(e) => {
            checks.push(Check::new("configuration", CheckResult::Failed, e.to_string()));
            Config::default()
        }
    };
    checks.push(kernel(&config));
    let own = stored(options, &mut checks);
    checks.extend(addresses(own.as_ref()));
    checks.extend(filters(config.rules.tagged_hook));
    checks.extend(daemon(cli));
    output.result(&json!({ "checks": checks }), |_| text(&checks))?;
    let failed = |check: &&Check| check.result == CheckResult::Failed;
    match checks.iter().find(failed) {
        None => Ok(()),
        Some(_) if checks.iter().filter(failed).any(|c| c.name == "kernel") => {
            Err(Failure::silent(Exit::Lacking))
        }
        Some(_) => Err(Failure::silent(Exit::Failed)),
    }
}

fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = match check.result {
            CheckResult::Ok => "ok",
            CheckResult::Skipped => "skipped",
            CheckResult::Warning => "warning",
            CheckResult::Failed => "FAILED",
        };
        text += &format!("{mark:<8} {:<22} {}\n", check.name, check.detail);
        if let Some(remedy) = &check.remedy {
            text += &format!("{:<31} -> {remedy}\n", "");
        }
    }
    let count = |result| checks.iter().filter(|check| check.result == result).count();
    let (failed, warnings) = (count(CheckResult::Failed), count(CheckResult::Warning));
    let skipped = count(CheckResult::Skipped);
    text + &format!("{failed} failed, {warnings} warnings, {skipped} not checked\n")
}

/// Whether this kernel can do what the rules need.
fn kernel(config: &Config) -> Check {
    match rules::planned(config) {
        Ok((spec, kind)) => {
            let how = match kind {
                nft::QueueKind::Native => "nftables queues by itself",
                nft::QueueKind::XtCompat => "nftables queues through the xt target NFQUEUE",
            };
            if !spec.fib && config.rules.tagged_hook == TaggedHook::Prerouting {
                let text = format!("{how}, but cannot look up addresses (no fib)");
                Check::new("kernel", CheckResult::Warning, text)
                    .remedy("modprobe nft_fib_ipv6; until then tagged packets are taken at input")
            } else {
                Check::new("kernel", CheckResult::Ok, how)
            }
        }
        Err(failure) if failure.message == nft::NftError::Permission.to_string() => {
            Check::new("kernel", CheckResult::Skipped, "only root can try")
                .remedy("run this as root")
        }
        Err(failure) => {
            let check = Check::new("kernel", CheckResult::Failed, failure.message);
            Check { remedy: failure.remedy, ..check }
        }
    }
}

/// The identity on disk, and whether the host lets it sign.
fn stored(options: &DoctorOptions, checks: &mut Vec<Check>) -> Option<Identity> {
    match identity::load(&options.state_dir) {
        Ok(Some(own)) => {
            let about = identity::describe(&own);
            let text = format!("{} with {} addresses", about.method, about.addresses.len());
            checks.push(Check::new("identity_stored", CheckResult::Ok, text));
            checks.push(match about.cannot_sign_because {
                None => Check::new("signatures", CheckResult::Ok, "SHA-1 signatures can be made"),
                Some(why) => Check::new("signatures", CheckResult::Warning, why)
                    .remedy("locators outside the set cannot be offered; all else works"),
            });
            Some(own)
        }
        Ok(None) => {
            let text = format!("none in {} yet", options.state_dir.display());
            checks.push(
                Check::new("identity_stored", CheckResult::Skipped, text)
                    .remedy("shim6d makes one at its first start"),
            );
            None
        }
        Err(identity::IdentityError::Read(_, e))
            if e.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            let check =
                Check::new("identity_stored", CheckResult::Skipped, "only root can read it");
            checks.push(check.remedy("run this as root"));
            None
        }
        Err(e) => {
            checks.push(Check::new("identity_stored", CheckResult::Failed, e.to_string()));
            None
        }
    }
}

/// Addresses, source selection and source-prefix routing.
fn addresses(own: Option<&Identity>) -> Vec<Check> {
    let all = match json_of("ip", &["-6", "-j", "addr", "show"]) {
        Ok(value) => host::addresses(&value),
        Err(why) => return vec![Check::new("addresses", CheckResult::Skipped, why)],
    };
    let members = own.map(|own| own.members().to_vec()).unwrap_or_default();
    let mut checks = vec![host::prefixes(&all)];
    if !members.is_empty() {
        checks.push(host::members(&members, &all));
        checks.push(host::selection(
            &members,
            &json_of("ip", &["-6", "-j", "route", "get", &FAR.to_string()]),
        ));
    }
    let routes: Vec<_> = all
        .iter()
        .filter(|address| {
            !address.temporary && (members.is_empty() || members.contains(&address.address))
        })
        .map(|address| {
            let from = address.address.to_string();
            let far = FAR.to_string();
            let args = ["-6", "-j", "route", "get", &far, "from", &from];
            (address, host::route(json_of("ip", &args)))
        })
        .collect();
    checks.push(host::routing(&routes));
    checks
}

/// Other people's packet filters.
fn filters(hook: TaggedHook) -> Vec<Check> {
    let mut checks = match json_of("nft", &["-j", "list", "ruleset"]) {
        Ok(value) => ruleset::checks(&value, hook),
        Err(why) => vec![
            Check::new("filters", CheckResult::Skipped, why)
                .remedy("run this as root, with nft installed"),
        ],
    };
    if fs::read_to_string("/proc/net/ip6_tables_names").is_ok_and(|names| !names.trim().is_empty())
    {
        checks.push(
            Check::new(
                "legacy_filters",
                CheckResult::Warning,
                "legacy ip6tables is in use, not checked",
            )
            .remedy("look at `ip6tables-legacy -S`: protocol 140 has to pass in both directions"),
        );
    }
    checks
}

/// Whether the daemon answers, and what it says of itself.
fn daemon(cli: &Cli) -> Vec<Check> {
    let answer = Session::open(cli).and_then(|mut session| session.call(Request::Doctor {}));
    match answer {
        Ok(Response::Doctor { checks }) => {
            let mut all = vec![Check::new("daemon", CheckResult::Ok, "answers")];
            all.extend(checks);
            all
        }
        Ok(_) => vec![Check::new("daemon", CheckResult::Failed, "gives a strange answer")],
        Err(failure) => {
            let check = Check::new("daemon", CheckResult::Failed, failure.message);
            vec![Check { remedy: failure.remedy, ..check }]
        }
    }
}

/// What a program prints, as JSON; else why there is none.
fn json_of(program: &str, args: &[&str]) -> Result<Value, String> {
    let out = Command::new(program).args(args).env("LC_ALL", "C").output();
    let out = out.map_err(|e| format!("{program} cannot be run: {e}"))?;
    if !out.status.success() {
        let error = String::from_utf8_lossy(&out.stderr);
        return Err(format!("{program}: {}", error.lines().next().unwrap_or("failed")));
    }
    match out.stdout.trim_ascii() {
        b"" => Ok(Value::Array(Vec::new())),
        text => serde_json::from_slice(text).map_err(|e| format!("{program}: {e}")),
    }
}
