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

const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
/// Flags, type and length of the key, size, timeout: what makes a set what it is.
const SET_NATURE: [u16; 5] = [3, 4, 5, 9, 11];

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

/// One set as netlink shows it, without its elements.
#[derive(Clone, PartialEq, Eq, Debug)]
struct SeenSet {
    name: String,
    nature: Vec<Option<Vec<u8>>>,
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

impl SeenSet {
    fn parse(body: &[u8]) -> Option<SeenSet> {
        Some(SeenSet {
            name: text(attr(body, SET_NAME)?),
            nature: SET_NATURE.iter().map(|k| attr(body, *k).map(<[u8]>::to_vec)).collect(),
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

/// What a table consists of.
#[derive(Default)]
struct Objects {
    sets: Vec<SeenSet>,
    chains: Vec<SeenChain>,
    rules: Vec<SeenRule>,
}

/// What the given specification would put into the kernel, in the form in which it is read back.
fn sent(spec: &RuleSpec, kind: QueueKind) -> Result<Objects, NftError> {
    let (batch, _) = super::build(spec, kind)?.finish();
    let mut all = Objects::default();
    for page in &batch {
        for message in messages(page).filter(|m| m.kind >> 8 == SUBSYS_NFTABLES) {
            let body = message.payload.get(4..).unwrap_or_default();
            match i32::from(message.kind & 0xff) {
                libc::NFT_MSG_NEWCHAIN => all.chains.extend(SeenChain::parse(body)),
                libc::NFT_MSG_NEWRULE => all.rules.extend(SeenRule::parse(body)),
                libc::NFT_MSG_NEWSET => all.sets.extend(SeenSet::parse(body)),
                _ => {}
            }
        }
    }
    Ok(all)
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

fn read_sets(table: &CStr) -> Result<Vec<SeenSet>, NftError> {
    let mut sets = Vec::new();
    transaction::list(libc::NFT_MSG_GETSET, table, "sets", |body| {
        if attr(body, SET_TABLE) == Some(table.to_bytes_with_nul()) {
            sets.extend(SeenSet::parse(body));
        }
    })?;
    Ok(sets)
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

/// Says which objects of one kind are missing, changed, or not ours.
fn compare<T: PartialEq>(
    what: &str,
    want: &[T],
    have: &[T],
    name: impl Fn(&T) -> &str,
    differs: &mut Vec<String>,
) {
    for wanted in want {
        match have.iter().find(|h| name(h) == name(wanted)) {
            None => differs.push(format!("{what} {} is missing", name(wanted))),
            Some(found) if found != wanted => {
                differs.push(format!("{what} {} is changed", name(wanted)));
            }
            Some(_) => {}
        }
    }
    for found in have {
        if !want.iter().any(|w| name(w) == name(found)) {
            differs.push(format!("{what} {} is foreign", name(found)));
        }
    }
}

/// Reads everything and compares.
pub(super) fn verify(spec: &RuleSpec, kind: QueueKind) -> Result<Presence, NftError> {
    let Some(flags) = table_flags(TABLE_C)? else { return Ok(Presence::Missing) };
    let want = sent(spec, kind)?;
    let have = Objects {
        sets: read_sets(TABLE_C)?,
        chains: read_chains(TABLE_C)?,
        rules: read_rules(TABLE_C)?,
    };
    let mut differs = Vec::new();
    if flags != 0 {
        // Flag 1 is dormant: all chains are unhooked.
        differs.push(format!("table has flags {}", u32::from_be(flags)));
    }
    compare("set", &want.sets, &have.sets, |s| &s.name, &mut differs);
    compare("chain", &want.chains, &have.chains, |c| &c.name, &mut differs);
    for chain in &want.chains {
        let want: Vec<_> = want.rules.iter().filter(|r| r.chain == chain.name).collect();
        let have: Vec<_> = have.rules.iter().filter(|r| r.chain == chain.name).collect();
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
            let spec = RuleSpec { heartbeat: true, passing: true, ..RuleSpec::default() };
            let Objects { sets, chains, rules } = sent(&spec, kind).expect("builds");
            assert_eq!((sets.len(), chains.len()), (2, 4));
            let nature = |s: &SeenSet| s.nature.iter().filter(|n| n.is_some()).count();
            assert_eq!(sets.iter().map(nature).collect::<Vec<_>>(), [5, 4], "no time limit");
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
