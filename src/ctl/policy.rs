//! `shim6ctl policy …`: when contexts are negotiated.

use super::args::{self, PolicyCommand, PolicyOptions};
use super::table::{Table, pairs, span};
use super::{Failure, Output, Session};
use crate::addr::{AddressRange, Ulid};
use crate::control::api::{PolicyAction, PolicyChanges, PolicyInfo, PolicyRule, Request, Response};
use crate::control::client::unexpected;
use crate::daemon::config::policy_rule;
use serde_json::json;

pub(super) fn run(
    session: &mut Session,
    output: &mut Output<'_>,
    options: &PolicyOptions,
) -> Result<(), Failure> {
    let now = ask(session, Request::PolicyShow {})?;
    let changes = match options.command.as_ref().unwrap_or(&PolicyCommand::Show) {
        PolicyCommand::Show => return output.result(&now, policy_text),
        PolicyCommand::Test { peer } => return test(output, &now, *peer),
        PolicyCommand::Set { prefix, action } => {
            let rule = checked(prefix, *action)?;
            PolicyChanges { rules: Some(with(now.rules, rule)), ..PolicyChanges::default() }
        }
        PolicyCommand::Remove { prefix } => {
            let wanted = checked(prefix, args::PolicyAction::Shim)?.prefix;
            let rest: Vec<_> = now.rules.iter().filter(|r| r.prefix != wanted).cloned().collect();
            if rest.len() == now.rules.len() {
                return Err(Failure::failed(format!("there is no rule for {wanted}"))
                    .remedy("`shim6ctl policy show` lists them"));
            }
            PolicyChanges { rules: Some(rest), ..PolicyChanges::default() }
        }
        PolicyCommand::Threshold { octets: None, age: None } => {
            return Err(Failure::usage("--octets, --age or both are wanted"));
        }
        PolicyCommand::Threshold { octets, age } => {
            PolicyChanges { octets: *octets, age_ms: age.map(|s| (s * 1000.0) as u64), rules: None }
        }
    };
    let policy = ask(session, Request::PolicyChange { changes })?;
    output.result(&policy, policy_text)
}

fn ask(session: &mut Session, request: Request) -> Result<PolicyInfo, Failure> {
    match session.call(request)? {
        Response::Policy { policy } => Ok(policy),
        other => Err(unexpected(&other).into()),
    }
}

/// A rule as the daemon spells it.
fn checked(prefix: &str, action: args::PolicyAction) -> Result<PolicyRule, Failure> {
    let action = match action {
        args::PolicyAction::Shim => PolicyAction::Shim,
        args::PolicyAction::Immediate => PolicyAction::Immediate,
        args::PolicyAction::Never => PolicyAction::Never,
    };
    let rule = policy_rule(prefix, action.name()).map_err(Failure::usage)?;
    Ok(PolicyRule { prefix: rule.peers.to_string(), action })
}

fn length(rule: &PolicyRule) -> u8 {
    rule.prefix.parse().map_or(128, AddressRange::length)
}

/// The rules with one more: in the place of the one for the same prefix, else before those for larger prefixes, which
/// would hide it.
fn with(mut rules: Vec<PolicyRule>, new: PolicyRule) -> Vec<PolicyRule> {
    match rules.iter_mut().find(|r| r.prefix == new.prefix) {
        Some(old) => *old = new,
        None => {
            let before = rules.iter().position(|r| length(r) < length(&new));
            rules.insert(before.unwrap_or(rules.len()), new);
        }
    }
    rules
}

fn test(output: &mut Output<'_>, now: &PolicyInfo, peer: Ulid) -> Result<(), Failure> {
    let action = now
        .action_for(peer)
        .map_err(|rule| Failure::failed(format!("the daemon's rule {rule} is none")))?;
    output.result(&json!({ "peer": peer, "action": action }), |_| {
        format!("{peer}: {}\n", words(action, now))
    })
}

fn words(action: PolicyAction, policy: &PolicyInfo) -> String {
    match action {
        PolicyAction::Shim => {
            format!("shim, after {} octets or {} of traffic", policy.octets, span(policy.age_ms))
        }
        PolicyAction::Immediate => "immediate, at the first packet".to_owned(),
        PolicyAction::Never => "never, not even when the peer asks".to_owned(),
    }
}

fn policy_text(policy: &PolicyInfo) -> String {
    let mut text = pairs(&[
        ("octets", policy.octets.to_string()),
        ("age", span(policy.age_ms)),
        (
            "source",
            if policy.changed {
                "changed since the configuration was read"
            } else {
                "configuration"
            }
            .to_owned(),
        ),
    ]);
    let mut table = Table::new(&["PEERS", "ACTION"], &[]);
    for rule in &policy.rules {
        table.row(vec![rule.prefix.clone(), rule.action.name().to_owned()]);
    }
    table.row(vec!["all others".to_owned(), PolicyAction::Shim.name().to_owned()]);
    text += "\n";
    text + &table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_takes_its_place_before_larger_prefixes() {
        let rule = |prefix: &str, action| checked(prefix, action).unwrap();
        let (never, immediate) = (args::PolicyAction::Never, args::PolicyAction::Immediate);
        let mut rules = Vec::new();
        for prefix in ["::/0", "2001:db8:1::/48", "2001:db8::/32", "2001:db8:1::5"] {
            rules = with(rules, rule(prefix, never));
        }
        let order: Vec<_> = rules.iter().map(|r| r.prefix.as_str()).collect();
        assert_eq!(order, ["2001:db8:1::5/128", "2001:db8:1::/48", "2001:db8::/32", "::/0"]);
        rules = with(rules, rule("2001:db8::/32", immediate));
        assert_eq!((rules.len(), rules[2].action), (4, PolicyAction::Immediate));
        assert!(checked("2001:db8::1/32", never).unwrap_err().message.contains("bits"));
        let text = policy_text(&PolicyInfo { rules, changed: true, ..PolicyInfo::default() });
        assert!(text.contains("changed since") && text.ends_with("all others         shim\n"));
    }
}
