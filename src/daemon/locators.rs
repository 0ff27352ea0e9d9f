//! What an administrator decides about the host's own locators: which are offered to peers, which count as broken, in
//! which order they are preferred. Kept in the journal, so that a daemon that is started again tells its peers the same.

use super::clock;
use super::driver::Driver;
use super::requests::address_state;
use super::view;
use crate::addr::Locator;
use crate::control::api::{self, ApiError, ErrorCode, LocatorChanges, Response};
use crate::proto::Command;
use crate::proto::input::{LocatorRule, Offer};
use std::net::Ipv6Addr;

/// Addresses about which something may be decided.
const MOST: usize = 256;
/// First octet of the record in the journal; none that a saved context or a fork begins with.
const RECORD: u8 = 0xf1;
/// Octets of one rule in the record.
const RULE_LEN: usize = 16 + 5;
/// Key of the record in the journal. Socket cookies, which the other keys with the highest bit hold, are counted from 1.
const JOURNAL_KEY: u64 = u64::MAX;

impl Driver {
    /// All addresses of the host that may serve as locators.
    pub(super) fn host_locators(&mut self) -> Vec<api::HostLocator> {
        let snapshot = self.keeper.snapshot().unwrap_or_default();
        let identity = self.keeper.identity().cloned();
        let held: Vec<_> = self.keeper.held().collect();
        self.host
            .all()
            .map(|(addr, index, operational)| {
                let found =
                    snapshot.addresses.iter().find(|a| a.addr == addr && a.ifindex == index);
                let proof = identity.as_ref().and_then(|i| i.proof_for(Locator(addr)));
                let parked = held.contains(&addr);
                let link = snapshot.links.iter().find(|l| l.ifindex == index);
                let status = self.engine.locals().status(addr);
                let rule = status.map(|s| s.rule).unwrap_or_default();
                let temporary = status.is_some_and(|s| s.temporary);
                let offered = match rule.offer {
                    Offer::Never => false,
                    Offer::Always => proof.is_some(),
                    Offer::AsUsual => proof.is_some() && !temporary,
                };
                let reason = if !operational {
                    Some("link down or no working router")
                } else if proof.is_none() {
                    Some("the identity does not prove it")
                } else if rule.offer == Offer::Never {
                    Some("withdrawn by hand")
                } else if !offered {
                    Some("temporary address")
                } else if rule.broken {
                    Some("marked broken by hand")
                } else {
                    None
                };
                api::HostLocator {
                    locator: Locator(addr),
                    interface: link.map(|l| l.name.clone()),
                    state: address_state(found, parked),
                    method: view::verification(proof),
                    offered,
                    operational,
                    reason: reason.map(str::to_owned),
                    offer: match rule.offer {
                        Offer::AsUsual => api::Offer::AsUsual,
                        Offer::Always => api::Offer::Always,
                        Offer::Never => api::Offer::Never,
                    },
                    broken: rule.broken,
                    preference: rule
                        .preference
                        .map(|(priority, weight)| api::LocatorPreference { priority, weight }),
                }
            })
            .collect()
    }

    /// Decides about one locator.
    ///
    /// # Errors
    /// `not_found` for an address that is not ours, `invalid_locator` for one that no peer could verify, `not_possible`
    /// if nothing would be left to offer, `busy`.
    pub(super) fn set_locator(
        &mut self,
        locator: Locator,
        changes: &LocatorChanges,
    ) -> Result<Response, ApiError> {
        let addr = locator.0;
        let Some(status) = self.engine.locals().status(addr) else {
            let text = format!("{addr} is no locator of this host");
            return Err(ApiError::new(ErrorCode::NotFound, text).remedy(
                "give it to an interface first: ip -6 address add ADDRESS/64 dev INTERFACE",
            ));
        };
        let mut rule = status.rule;
        if let Some(offer) = changes.offer {
            rule.offer = match offer {
                api::Offer::AsUsual => Offer::AsUsual,
                // Others are offered anyway.
                api::Offer::Always if !status.temporary => Offer::AsUsual,
                api::Offer::Always => Offer::Always,
                api::Offer::Never => Offer::Never,
            };
        }
        rule.broken = changes.broken.unwrap_or(rule.broken);
        if changes.no_preference {
            rule.preference = None;
        }
        if let Some(p) = changes.preference {
            rule.preference = Some((p.priority, p.weight));
        }
        if changes.offer == Some(api::Offer::Always) {
            self.check_proof(addr)?;
        }
        let out = |rule: LocatorRule| rule.offer == Offer::Never || rule.broken;
        if out(rule) && !out(status.rule) {
            let others = self.host_locators();
            let left = others.iter().any(|l| l.locator != locator && l.offered && !l.broken);
            if !left {
                let text = "no other locator would be left to offer";
                return Err(ApiError::new(ErrorCode::NotPossible, text));
            }
        }
        let locals = self.engine.locals();
        if locals.rules().count() >= MOST && !locals.rules().any(|(a, _)| a == addr) {
            let text = format!("something was decided about {MOST} addresses already");
            return Err(ApiError::new(ErrorCode::Busy, text));
        }
        self.command(Command::Locator(addr, rule))?;
        self.save_locator_rules();
        Ok(Response::HostLocators { locators: self.host_locators() })
    }

    /// Whether a peer could verify an address.
    fn check_proof(&self, addr: Ipv6Addr) -> Result<(), ApiError> {
        let identity = self.keeper.identity();
        if identity.is_some_and(|i| i.proof_for(Locator(addr)).is_some()) {
            return Ok(());
        }
        let text = format!("no peer could verify {addr}: it is not of the identity's HBA set");
        Err(ApiError::new(ErrorCode::InvalidLocator, text)
            .remedy("an identity with a key (hba-cga or cga) can sign further addresses"))
    }

    fn save_locator_rules(&mut self) {
        let now = clock::now();
        let bytes = to_bytes(self.engine.locals().rules());
        self.journal_do(|j| match bytes.len() {
            1 => j.remove(JOURNAL_KEY, now),
            _ => j.put(JOURNAL_KEY, now, bytes),
        });
    }

    /// Takes over what was decided before the restart.
    pub(super) fn restore_locator_rules(&mut self, saved: &[Vec<u8>]) {
        for (addr, rule) in saved.iter().filter(|b| is_record(b)).flat_map(|b| from_bytes(b)) {
            if let Err(e) = self.command(Command::Locator(addr, rule)) {
                log::warn!("{addr}: {e}");
            }
        }
        self.save_locator_rules();
    }
}

/// Whether this is the record of what was decided, not a saved context.
pub fn is_record(bytes: &[u8]) -> bool {
    bytes.first() == Some(&RECORD)
}

fn to_bytes(rules: impl Iterator<Item = (Ipv6Addr, LocatorRule)>) -> Vec<u8> {
    let mut o = vec![RECORD];
    for (addr, rule) in rules {
        o.extend(addr.octets());
        let offer = match rule.offer {
            Offer::AsUsual => 0,
            Offer::Always => 1,
            Offer::Never => 2,
        };
        let (priority, weight) = rule.preference.unwrap_or_default();
        let told = u8::from(rule.preference.is_some());
        o.extend([offer, u8::from(rule.broken), told, priority, weight]);
    }
    o
}

/// The rules of a record, as far as they can be read.
fn from_bytes(bytes: &[u8]) -> Vec<(Ipv6Addr, LocatorRule)> {
    let (rules, _) = bytes.get(1..).unwrap_or_default().as_chunks::<RULE_LEN>();
    let read = |rule: &[u8; RULE_LEN]| {
        let (addr, rest) = rule.split_first_chunk::<16>()?;
        let [offer, broken, told, priority, weight] = *rest else { return None };
        let offer = match offer {
            0 => Offer::AsUsual,
            1 => Offer::Always,
            2 => Offer::Never,
            _ => return None,
        };
        let preference = (told == 1).then_some((priority, weight));
        Some((Ipv6Addr::from(*addr), LocatorRule { offer, broken: broken == 1, preference }))
    };
    rules.iter().take(MOST).filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decided_is_read_as_it_was_written() {
        let at = |n: u16| Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1);
        let rules = vec![
            (at(1), LocatorRule { offer: Offer::Never, ..LocatorRule::default() }),
            (at(2), LocatorRule { broken: true, ..LocatorRule::default() }),
            (at(3), LocatorRule { offer: Offer::Always, broken: false, preference: Some((0, 10)) }),
        ];
        let bytes = to_bytes(rules.iter().copied());
        assert!(is_record(&bytes) && !super::super::forks::is_record(&bytes));
        assert!(crate::proto::SavedContext::from_bytes(&bytes).is_err());
        assert_eq!(from_bytes(&bytes), rules);
        assert_eq!(from_bytes(&bytes[..bytes.len() - 1]), rules[..2]);
        for cut in 0..RULE_LEN {
            assert_eq!(from_bytes(&bytes[..cut]), []);
        }
        let mut bad = bytes.clone();
        bad[17] = 9;
        assert_eq!(from_bytes(&bad), rules[1..], "an unknown word");
    }
}
