//! `shim6ctl rules …`: through the daemon if it runs, else directly.

use super::args::{Cli, RulesCommand, RulesOptions};
use super::table::{Table, octets};
use super::{Failure, Output, Session};
use crate::control::api::{Request, Response, RulesInfo, RulesState};
use crate::control::client::unexpected;
use crate::daemon::config::Config;
use crate::nft::{self, Presence, QueueKind, RuleSpec};
use serde_json::json;
use std::path::Path;

pub(super) fn run(
    cli: &Cli,
    output: &mut Output<'_>,
    options: &RulesOptions,
) -> Result<(), Failure> {
    let info = match Session::open(cli) {
        Ok(mut session) => ask(&mut session, options.command)?,
        Err(failure) if failure.code == "no_daemon" => {
            direct(options.command, options.config.as_deref())?
        }
        Err(failure) => return Err(failure),
    };
    let counters = match options.command {
        // Only root may read them; without them the answer is still worth having.
        RulesCommand::Show => nft::counters().unwrap_or_default(),
        _ => Vec::new(),
    };
    if output.json {
        let mut value = serde_json::to_value(&info).map_err(std::io::Error::from)?;
        value["counters"] = counters
            .iter()
            .map(|c| json!({ "chain": c.chain, "rule": c.comment, "packets": c.packets, "octets": c.bytes }))
            .collect();
        return output.json(&value);
    }
    let mut text = state_text(&info);
    if options.command == RulesCommand::Show {
        if !counters.is_empty() {
            let mut table = Table::new(&["CHAIN", "RULE", "PACKETS", "OCTETS"], &[2, 3]);
            for c in counters {
                let numbers = [c.packets.to_string(), octets(c.bytes)];
                table.row([c.chain, c.comment].into_iter().chain(numbers).collect());
            }
            text += &format!("\n{}", table.text());
        }
        text += &format!("\n{}", info.text);
    }
    output.text(&text)
}

fn state_text(info: &RulesInfo) -> String {
    let RulesState { managed, present, table, reinstalled } = &info.state;
    let mut text = format!(
        "table {table}: {}{}\n",
        if *present { "in place" } else { "not in place" },
        if *managed { "" } else { ", managed by hand" }
    );
    if *reinstalled > 0 {
        text += &format!("installed again {reinstalled} times, after somebody had removed it\n");
    }
    for difference in &info.differences {
        text += &format!("differs: {difference}\n");
    }
    text
}

fn ask(session: &mut Session, command: RulesCommand) -> Result<RulesInfo, Failure> {
    let request = match command {
        RulesCommand::Show => Request::RulesShow {},
        RulesCommand::Install => Request::RulesInstall {},
        RulesCommand::Remove => Request::RulesRemove {},
    };
    match session.call(request)? {
        Response::Rules { rules } => Ok(rules),
        other => Err(unexpected(&other).into()),
    }
}

/// Without the daemon. Rules that are installed while it does not run let everything pass but tagged packets.
fn direct(command: RulesCommand, config: Option<&Path>) -> Result<RulesInfo, Failure> {
    let config = load(config)?;
    let (spec, kind) = planned(&config)?;
    match command {
        RulesCommand::Show => {}
        RulesCommand::Install => nft::install(&spec, kind)?,
        RulesCommand::Remove => drop(nft::remove()?),
    }
    let differences = match nft::verify(&spec, kind)? {
        Presence::Intact => Vec::new(),
        Presence::Missing => vec!["the table is not there".to_owned()],
        Presence::Altered(lines) => lines,
    };
    Ok(RulesInfo {
        state: RulesState {
            managed: config.rules.manage,
            present: differences.is_empty(),
            table: format!("ip6 {}", nft::TABLE),
            reinstalled: 0,
        },
        differences,
        text: nft::render(&spec, kind),
        truncated: false,
    })
}

/// The configuration, its errors as a failure with the right exit code.
pub(super) fn load(path: Option<&Path>) -> Result<Config, Failure> {
    Config::load_or_default(path).map_err(|e| Failure::new(super::Exit::Usage, "configuration", e))
}

/// What the daemon would install on this kernel.
pub(super) fn planned(config: &Config) -> Result<(RuleSpec, QueueKind), Failure> {
    let can = nft::probe()?;
    let kind = match config.rules.queue_backend {
        Some(kind) => kind,
        None => can.queue_kind()?,
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Ok((config.rules.spec(processors, can), kind))
}
