//! Values as TOML, and those that take more than a number: prefixes, policies, a group.

use super::Config;
use crate::addr::{AddressRangeError, Prefix};
use crate::control::forms::parse_prefix;
use crate::proto::config::{HeuristicConfig, PolicyAction, PolicyRule};
use std::time::Duration;

/// Seconds as TOML: whole ones without a point.
pub(super) fn seconds(d: Duration) -> String {
    decimal(d.as_secs_f64())
}

/// A number as TOML, rounded to what anybody would write.
pub(super) fn decimal(number: f64) -> String {
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

pub(super) fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

pub(super) fn set_prefixes(config: &mut Config, texts: &[&str]) -> Result<(), String> {
    let mut prefixes: Vec<Prefix> = Vec::new();
    for text in texts {
        let prefix = parse_prefix(text)?;
        if prefixes.contains(&prefix) {
            return Err(format!("{prefix} stands there twice"));
        }
        prefixes.push(prefix);
    }
    if prefixes.len() > crate::cga::MAX_PREFIXES {
        return Err(format!("at most {} prefixes fit in a message", crate::cga::MAX_PREFIXES));
    }
    config.identity.prefixes = prefixes;
    Ok(())
}

pub(super) fn set_policy(config: &mut Config, rows: &[Vec<&str>]) -> Result<(), String> {
    let rules: Result<Vec<PolicyRule>, String> = rows
        .iter()
        .map(|row| match row.as_slice() {
            [prefix, action] => policy_rule(prefix, action),
            _ => Err("prefix and action are wanted".to_owned()),
        })
        .collect();
    config.engine.heuristic.policy = rules?;
    Ok(())
}

/// One rule of a policy from its words: a prefix of any length, and an action.
///
/// # Errors
/// What is wrong with which of them.
pub fn policy_rule(prefix: &str, action: &str) -> Result<PolicyRule, String> {
    let peers = prefix.parse().map_err(|e: AddressRangeError| e.to_string())?;
    let action = match action {
        "shim" => PolicyAction::Shim,
        "immediate" => PolicyAction::Immediate,
        "never" => PolicyAction::Never,
        other => {
            let words = ["shim", "immediate", "never"];
            let meant = crate::control::nearest::nearest(other, words);
            return Err(match meant {
                Some(meant) => format!("action `{other}`: did you mean \"{meant}\"?"),
                None => format!("action `{other}`: one of \"shim\", \"immediate\", \"never\""),
            });
        }
    };
    Ok(PolicyRule { peers, action })
}

pub(super) fn policy_text(config: &Config) -> String {
    policy_words(&config.engine.heuristic)
}

/// The rules of a policy as TOML.
pub fn policy_words(heuristic: &HeuristicConfig) -> String {
    list(heuristic.policy.iter().map(|rule| {
        let action = match rule.action {
            PolicyAction::Shim => "shim",
            PolicyAction::Immediate => "immediate",
            PolicyAction::Never => "never",
        };
        format!("{{ prefix = \"{}\", action = \"{action}\" }}", rule.peers)
    }))
}

pub(super) fn set_listen(config: &mut Config, text: &str) -> Result<(), String> {
    config.metrics.listen = match text {
        "" => None,
        text => Some(text.parse()?),
    };
    Ok(())
}

pub(super) fn listen_text(config: &Config) -> String {
    quoted(&config.metrics.listen.as_ref().map_or_else(String::new, ToString::to_string))
}

pub(super) fn set_group(config: &mut Config, name: &str) -> Result<(), String> {
    if name.len() > 32 || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':') {
        return Err(format!("`{name}` is no name of a group"));
    }
    config.control.group = name.to_owned();
    Ok(())
}
