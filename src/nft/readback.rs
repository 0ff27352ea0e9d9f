//! What the kernel says is installed, compared with what was sent.
//!
//! The comparison is by octets: every attribute of every expression that we send must come back with the same
//! value. What the kernel adds of its own (handles, counters, defaults) does not matter.

use std::ffi::CStr;

use super::error::NftError;
use super::spec::{QueueKind, RuleSpec};
use super::transaction::{self, SUBSYS_NFTABLES};
use super::{Presence, RuleCounter, TABLE_C};
use crate::netlink::attr::{attr, attrs, is_attrs, messages, text, u32_at};

const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;

const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;

const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;

const COUNTER_BYTES: u16 = 1;
const COUNTER_PACKETS: u16 = 2;

/// nft's own note inside the user data of a rule: type 0 is the comment.
const UDATA_COMMENT: u8 = 0;

/// One chain as netlink shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct SeenChain {
    name: String,
    /// Hook number and priority; empty for chains that no hook leads to.
    hook: Vec<u8>,
    policy: Vec<u8>,
    kind: String,
}

/// One rule as netlink shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct SeenRule {
    chain: String,
    comment: String,
    /// Names and attributes, in order.
    exprs: Vec<(String, Vec<u8>)>,
}

impl SeenChain {
    fn parse(body: &[u8]) -> Option<SeenChain> {
        let hook = attr(body, CHAIN_HOOK).unwrap_or_default();
        Some(SeenChain {
            name: text(attr(body, CHAIN_NAME)?),
            hook: [1, 2].iter().filter_map(|k| attr(hook, *k)).flatten().copied().collect(),
            policy: attr(body, CHAIN_POLICY).unwrap_or_default().to_vec(),
            kind: attr(body, CHAIN_TYPE).map(text).unwrap_or_default(),
        })
    }
}

impl SeenRule {
    fn parse(body: &[u8]) -> Option<SeenRule> {
        let exprs = attr(body, RULE_EXPRESSIONS)?;
        let exprs = attrs(exprs).filter_map(|(_, e)| {
            let data = attr(e, EXPR_DATA).unwrap_or_default().to_vec();
            Some((text(attr(e, EXPR_NAME)?), data))
        });
        Some(SeenRule {
            chain: text(attr(body, RULE_CHAIN)?),
            comment: attr(body, RULE_USERDATA).and_then(comment).unwrap_or_default(),
            exprs: exprs.collect(),
        })
    }

    fn counter(&self) -> Option<RuleCounter> {
        let data = &self.exprs.iter().find(|(name, _)| name == "counter")?.1;
        let number = |kind| Some(u64::from_be_bytes(*attr(data, kind)?.first_chunk()?));
        Some(RuleCounter {
            chain: self.chain.clone(),
            comment: self.comment.clone(),
            packets: number(COUNTER_PACKETS)?,
            bytes: number(COUNTER_BYTES)?,
        })
    }

    fn holds(&self, sent: &SeenRule) -> bool {
        self.chain == sent.chain
            && self.comment == sent.comment
            && self.exprs.len() == sent.exprs.len()
            && self.exprs.iter().zip(&sent.exprs).all(|((name, data), (sent_name, sent_data))| {
                name == sent_name && (name == "counter" || covers(data, sent_data))
            })
    }
}

/// The comment in a rule's user data: type, length, text with NUL; repeated.
fn comment(mut udata: &[u8]) -> Option<String> {
    while let [kind, len, rest @ ..] = udata {
        let value = rest.get(..usize::from(*len))?;
        if *kind == UDATA_COMMENT {
            return Some(text(value));
        }
        udata = rest.get(usize::from(*len)..)?;
    }
    None
}

/// Whether every attribute that was sent came back with the same value.
fn covers(seen: &[u8], sent: &[u8]) -> bool {
    attrs(sent).all(|(kind, want)| {
        attr(seen, kind).is_some_and(|have| {
            have == want || (is_attrs(want) && is_attrs(have) && covers(have, want))
        })
    })
}

/// What the given specification would put into the kernel, in the form in which it is read back.
fn sent(spec: &RuleSpec, kind: QueueKind) -> Result<(Vec<SeenChain>, Vec<SeenRule>), NftError> {
    let (batch, _) = super::build(spec, kind)?.finish();
    let (mut chains, mut rules) = (Vec::new(), Vec::new());
    for page in &batch {
        for message in messages(page).filter(|m| m.kind >> 8 == SUBSYS_NFTABLES) {
            let body = message.payload.get(4..).unwrap_or_default();
            match i32::from(message.kind & 0xff) {
                libc::NFT_MSG_NEWCHAIN => chains.extend(SeenChain::parse(body)),
                libc::NFT_MSG_NEWRULE => rules.extend(SeenRule::parse(body)),
                _ => {}
            }
        }
    }
    Ok((chains, rules))
}

fn read_rules(table: &CStr) -> Result<Vec<SeenRule>, NftError> {
    let mut rules = Vec::new();
    transaction::list(libc::NFT_MSG_GETRULE, table, "rules", |body| {
        if attr(body, RULE_TABLE) == Some(table.to_bytes_with_nul()) {
            rules.extend(SeenRule::parse(body));
        }
    })?;
    Ok(rules)
}

fn read_chains(table: &CStr) -> Result<Vec<SeenChain>, NftError> {
    let mut chains = Vec::new();
    transaction::list(libc::NFT_MSG_GETCHAIN, table, "chains", |body| {
        if attr(body, CHAIN_TABLE) == Some(table.to_bytes_with_nul()) {
            chains.extend(SeenChain::parse(body));
        }
    })?;
    Ok(chains)
}

/// Whether a table of that name exists in family ip6, and its flags.
fn table_flags(table: &CStr) -> Result<Option<u32>, NftError> {
    const TABLE_NAME: u16 = 1;
    const TABLE_FLAGS: u16 = 2;
    let mut found = None;
    transaction::list(libc::NFT_MSG_GETTABLE, table, "tables", |body| {
        if attr(body, TABLE_NAME) == Some(table.to_bytes_with_nul()) {
            let flags = attr(body, TABLE_FLAGS).and_then(|f| u32_at(f, 0));
            found = Some(flags.unwrap_or_default());
        }
    })?;
    Ok(found)
}

/// Whether the table exists.
pub(super) fn exists() -> Result<bool, NftError> {
    Ok(table_flags(TABLE_C)?.is_some())
}

/// Reads everything and compares.
pub(super) fn verify(spec: &RuleSpec, kind: QueueKind) -> Result<Presence, NftError> {
    let Some(flags) = table_flags(TABLE_C)? else { return Ok(Presence::Missing) };
    let (want_chains, want_rules) = sent(spec, kind)?;
    let have_chains = read_chains(TABLE_C)?;
    let have_rules = read_rules(TABLE_C)?;
    let mut differs = Vec::new();
    if flags != 0 {
        // Flag 1 is dormant: all chains are unhooked.
        differs.push(format!("table has flags {}", u32::from_be(flags)));
    }
    for want in &want_chains {
        match have_chains.iter().find(|c| c.name == want.name) {
            None => differs.push(format!("chain {} is missing", want.name)),
            Some(have) if have != want => differs.push(format!("chain {} is changed", want.name)),
            Some(_) => {}
        }
    }
    for have in &have_chains {
        if !want_chains.iter().any(|c| c.name == have.name) {
            differs.push(format!("chain {} is foreign", have.name));
        }
    }
    for chain in &want_chains {
        let want: Vec<_> = want_rules.iter().filter(|r| r.chain == chain.name).collect();
        let have: Vec<_> = have_rules.iter().filter(|r| r.chain == chain.name).collect();
        if want.len() != have.len() {
            differs.push(format!(
                "chain {} has {} rules instead of {}",
                chain.name,
                have.len(),
                want.len()
            ));
        }
        for (want, have) in want.iter().zip(&have) {
            if !have.holds(want) {
                differs.push(format!("rule \"{}\" in {} differs", want.comment, chain.name));
            }
        }
    }
    Ok(if differs.is_empty() { Presence::Intact } else { Presence::Altered(differs) })
}

/// The counters of our rules, in the rules' order.
pub(super) fn counters() -> Result<Vec<RuleCounter>, NftError> {
    Ok(read_rules(TABLE_C)?.iter().filter_map(SeenRule::counter).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::attr::Request;

    fn attributes(list: &[(u16, &[u8])]) -> Vec<u8> {
        let mut request = Request::new(0, 0, 0);
        for (kind, value) in list {
            request = request.attr(*kind, value);
        }
        request.finish()[16..].to_vec()
    }

    #[test]
    fn more_than_was_sent_is_fine_less_or_other_is_not() {
        let sent = attributes(&[(1, b"abcd"), (3, &attributes(&[(1, b"wxyz")]))]);
        let nested = attributes(&[(1, b"wxyz"), (9, b"0000")]);
        assert!(covers(&attributes(&[(1, b"abcd"), (2, b"new!"), (3, &nested)]), &sent));
        assert!(!covers(&attributes(&[(1, b"abcd")]), &sent));
        assert!(!covers(&attributes(&[(1, b"abce"), (3, &nested)]), &sent));
        let other = attributes(&[(1, b"wxy_")]);
        assert!(!covers(&attributes(&[(1, b"abcd"), (3, &other)]), &sent));
    }

    #[test]
    fn comments_are_found_behind_other_notes() {
        assert_eq!(comment(b"\x02\x02xx\x00\x03hi\0").as_deref(), Some("hi"));
        assert_eq!(comment(b"\x00\x09hi\0"), None);
        assert_eq!(comment(b""), None);
    }

    #[test]
    fn every_rule_sent_has_a_counter_and_a_comment() {
        for kind in [QueueKind::Native, QueueKind::XtCompat] {
            let (chains, rules) = sent(&RuleSpec::default(), kind).expect("builds");
            assert_eq!(chains.len(), 3);
            assert!(rules.len() > 10);
            for rule in &rules {
                assert!(!rule.comment.is_empty());
                assert!(rule.exprs.iter().any(|(name, _)| name == "counter"), "{rule:?}");
            }
            let name = if kind == QueueKind::Native { "queue" } else { "target" };
            let queues = rules.iter().filter(|r| r.exprs.iter().any(|(n, _)| n == name)).count();
            assert_eq!(queues, 3);
        }
    }
}
