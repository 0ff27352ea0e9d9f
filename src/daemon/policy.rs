//! When contexts are negotiated, shown and changed while the daemon runs. The configuration file is left alone: reading it
//! again brings its policy back.

use super::config;
use super::driver::Driver;
use super::record::Step;
use crate::control::api::{
    ApiError, ErrorCode, MAX_POLICY, PolicyAction, PolicyChanges, PolicyInfo, PolicyRule, Response,
};
use crate::proto::config::{self as engine, HeuristicConfig};
use std::time::Duration;

/// A year: no traffic is older.
const MAX_AGE: Duration = Duration::from_secs(31_536_000);

impl Driver {
    /// What is in force.
    pub(super) fn policy(&self) -> PolicyInfo {
        let h = &self.config.heuristic;
        PolicyInfo {
            octets: h.octets,
            age_ms: h.age.as_millis() as u64,
            rules: h.policy.iter().map(told).collect(),
            changed: *h != self.configured_heuristic,
        }
    }

    /// Changes what is in force.
    ///
    /// # Errors
    /// `invalid_argument`; nothing has changed then.
    pub(super) fn change_policy(&mut self, changes: &PolicyChanges) -> Result<Response, ApiError> {
        let heuristic = changed(&self.config.heuristic, changes)
            .map_err(|e| ApiError::new(ErrorCode::InvalidArgument, e))?;
        self.config.heuristic = heuristic.clone();
        let new = self.config.clone();
        self.say(|| Step::Config(config::Config::of_engine(new.clone()).to_string()));
        self.dataplane.configure_heuristic(heuristic);
        self.with_engine(|engine, cx| engine.set_config(cx, new));
        log::info!("policy changed: {}", config::policy_words(&self.config.heuristic));
        Ok(Response::Policy { policy: self.policy() })
    }
}

fn told(rule: &engine::PolicyRule) -> PolicyRule {
    PolicyRule {
        prefix: rule.peers.to_string(),
        action: match rule.action {
            engine::PolicyAction::Shim => PolicyAction::Shim,
            engine::PolicyAction::Immediate => PolicyAction::Immediate,
            engine::PolicyAction::Never => PolicyAction::Never,
        },
    }
}

/// All changes, or what is wrong with one of them.
fn changed(now: &HeuristicConfig, changes: &PolicyChanges) -> Result<HeuristicConfig, String> {
    let mut new = now.clone();
    if let Some(octets) = changes.octets {
        new.octets = octets.min(u64::MAX >> 1);
    }
    if let Some(age) = changes.age_ms {
        new.age = Duration::from_millis(age);
        if new.age > MAX_AGE {
            return Err("age_ms is at most a year".to_owned());
        }
    }
    if let Some(rules) = &changes.rules {
        if rules.len() > MAX_POLICY {
            return Err(format!("{} rules, at most {MAX_POLICY} are possible", rules.len()));
        }
        new.policy = rules
            .iter()
            .map(|rule| config::policy_rule(&rule.prefix, rule.action.name()))
            .collect::<Result<_, _>>()?;
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(prefix: &str, action: PolicyAction) -> PolicyRule {
        PolicyRule { prefix: prefix.to_owned(), action }
    }

    #[test]
    fn changes_are_made_as_a_whole_or_not_at_all() {
        let now = HeuristicConfig::default();
        let all = PolicyChanges {
            octets: Some(10),
            age_ms: Some(1500),
            rules: Some(vec![
                rule("2001:db8:1::/48", PolicyAction::Never),
                rule("2001:db8::5", PolicyAction::Immediate),
            ]),
        };
        let new = changed(&now, &all).unwrap();
        assert_eq!((new.octets, new.age), (10, Duration::from_millis(1500)));
        let back: Vec<_> = new.policy.iter().map(told).collect();
        assert_eq!(back[1], rule("2001:db8::5/128", PolicyAction::Immediate));
        assert_eq!(changed(&new, &PolicyChanges::default()).unwrap(), new);
        let wrong = |changes: PolicyChanges| changed(&now, &changes).unwrap_err();
        let bits = vec![rule("2001:db8::1/32", PolicyAction::Shim)];
        let said = wrong(PolicyChanges { rules: Some(bits), ..all.clone() });
        assert!(said.contains("bits behind the first 32"), "{said}");
        let many = vec![rule("::/0", PolicyAction::Shim); MAX_POLICY + 1];
        assert!(wrong(PolicyChanges { rules: Some(many), ..all.clone() }).contains("at most"));
        assert!(wrong(PolicyChanges { age_ms: Some(u64::MAX), ..all }).contains("a year"));
    }
}
