//! What is on the screen, and what keys do to it. Knows neither terminal nor socket.

use crate::control::api::{
    ContextId, ContextInfo, ContextRef, ContextSummary, Event, Keep, Pair, Request, Response,
    StatusInfo,
};
use crate::ctl::monitor;
use crate::ctl::table::rtt;
use crate::proto::Time;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::widgets::TableState;
use std::collections::{HashMap, VecDeque};

/// Events kept; the screen shows as many as fit.
const EVENTS: usize = 200;

/// Octets per second.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Rates {
    pub out: f64,
    pub in_: f64,
}

/// The state of the display.
#[derive(Debug, Default)]
pub struct Model {
    /// The daemon, at the last look.
    pub status: StatusInfo,
    /// Its contexts.
    pub contexts: Vec<ContextSummary>,
    /// Not all of them fit in a look.
    pub more: bool,
    /// How fast each of them carries octets, once it was seen twice.
    pub rates: HashMap<ContextId, Rates>,
    /// The selected one, in detail.
    pub detail: Option<ContextInfo>,
    /// Newest last.
    pub events: VecDeque<String>,
    /// Selected row of the contexts.
    pub rows: TableState,
    /// The list of pairs, while one is to be chosen.
    pub chooser: Option<Chooser>,
    /// What came of the last thing asked for.
    pub message: Option<String>,
    /// Why there is nothing new at the moment.
    pub away: Option<String>,
    looked: Option<Time>,
}

/// Pairs of a context to choose from.
#[derive(Clone, Debug)]
pub struct Chooser {
    pub context: ContextId,
    pub pairs: Vec<Pair>,
    pub rows: TableState,
}

/// What a key leads to.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    Nothing,
    Quit,
    /// Read everything again.
    Look,
    Ask(Request),
}

impl Model {
    /// Takes over a look at the daemon.
    pub fn see(
        &mut self,
        now: Time,
        status: StatusInfo,
        (contexts, more): (Vec<ContextSummary>, bool),
    ) {
        let selected = self.selected();
        let passed = self.looked.replace(now).map(|then| now.since(then).as_secs_f64());
        let before: HashMap<_, _> =
            self.contexts.iter().map(|c| (c.id, (c.octets_out, c.octets_in))).collect();
        self.rates.clear();
        for c in &contexts {
            let Some(passed) = passed.filter(|s| *s > 0.0) else { break };
            if let Some((out, in_)) = before.get(&c.id) {
                let per_second = |now: u64, then: u64| now.saturating_sub(then) as f64 / passed;
                let rates = Rates {
                    out: per_second(c.octets_out, *out),
                    in_: per_second(c.octets_in, *in_),
                };
                self.rates.insert(c.id, rates);
            }
        }
        (self.status, self.contexts, self.more) = (status, contexts, more);
        // The same context stays selected, wherever its line is now.
        let same = selected.and_then(|id| self.contexts.iter().position(|c| c.id == id));
        let last = self.contexts.len().checked_sub(1);
        self.rows.select(same.or(last.map(|last| self.rows.selected().unwrap_or(0).min(last))));
    }

    /// Takes over what is known of the selected context.
    pub fn see_detail(&mut self, detail: Option<ContextInfo>) {
        self.detail = detail;
        let gone = |c: &Chooser| self.contexts.iter().all(|line| line.id != c.context);
        if self.chooser.as_ref().is_some_and(gone) {
            self.chooser = None;
        }
    }

    /// Keeps an event.
    pub fn note(&mut self, event: &Event) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(monitor::line(event));
    }

    /// The selected context.
    pub fn selected(&self) -> Option<ContextId> {
        self.contexts.get(self.rows.selected()?).map(|c| c.id)
    }

    /// What a key does.
    pub fn key(&mut self, key: KeyEvent) -> Outcome {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c')) {
            return Outcome::Quit;
        }
        if self.chooser.is_some() {
            return self.choose(key.code);
        }
        self.message = None;
        let context = self.selected().map(|id| ContextRef::Id { id });
        match (key.code, context) {
            (KeyCode::Char('q') | KeyCode::Esc, _) => Outcome::Quit,
            (KeyCode::Down | KeyCode::Char('j'), _) => self.go(1),
            (KeyCode::Up | KeyCode::Char('k'), _) => self.go(-1),
            (KeyCode::PageDown, _) => self.go(10),
            (KeyCode::PageUp, _) => self.go(-10),
            (KeyCode::Char('e'), Some(context)) => Outcome::Ask(Request::PathExplore { context }),
            (KeyCode::Char('u'), Some(context)) => Outcome::Ask(Request::PathUnpin { context }),
            (KeyCode::Char('s'), Some(_)) => {
                self.open_chooser();
                Outcome::Nothing
            }
            _ => Outcome::Nothing,
        }
    }

    fn go(&mut self, by: isize) -> Outcome {
        let Some(last) = self.contexts.len().checked_sub(1) else { return Outcome::Nothing };
        let at = self.rows.selected().unwrap_or(0).saturating_add_signed(by).min(last);
        self.rows.select(Some(at));
        Outcome::Look
    }

    /// All pairs of locators that packets could go by.
    fn open_chooser(&mut self) {
        let Some(detail) = self.detail.as_ref().filter(|d| Some(d.summary.id) == self.selected())
        else {
            return;
        };
        let peers = || detail.peer_locators.iter().filter(|l| l.verified);
        let pairs: Vec<Pair> = detail
            .local_locators
            .iter()
            .flat_map(|l| peers().map(|p| Pair { local: l.locator, peer: p.locator }))
            .collect();
        let current = pairs.iter().position(|p| *p == detail.summary.current);
        let rows = TableState::default().with_selected(current.or(Some(0)));
        self.chooser = Some(Chooser { context: detail.summary.id, pairs, rows });
    }

    fn choose(&mut self, key: KeyCode) -> Outcome {
        let Some(chooser) = &mut self.chooser else { return Outcome::Nothing };
        let context = ContextRef::Id { id: chooser.context };
        let row = chooser.rows.selected().unwrap_or(0);
        let last = chooser.pairs.len().saturating_sub(1);
        let pair = chooser.pairs.get(row).copied();
        let request = match (key, pair) {
            (KeyCode::Down | KeyCode::Char('j'), _) => {
                chooser.rows.select(Some((row + 1).min(last)));
                return Outcome::Nothing;
            }
            (KeyCode::Up | KeyCode::Char('k'), _) => {
                chooser.rows.select(Some(row.saturating_sub(1)));
                return Outcome::Nothing;
            }
            (KeyCode::Enter, Some(pair)) => Request::PathSwitch { context, pair, keep: Keep::No },
            (KeyCode::Char('p'), Some(pair)) => {
                Request::PathSwitch { context, pair, keep: Keep::Pin }
            }
            (KeyCode::Char('t'), Some(pair)) => {
                return Outcome::Ask(Request::PathTest { context, pair });
            }
            (KeyCode::Esc | KeyCode::Char('q' | 's'), _) => {
                self.chooser = None;
                return Outcome::Nothing;
            }
            _ => return Outcome::Nothing,
        };
        self.chooser = None;
        Outcome::Ask(request)
    }
}

/// An answer in words.
pub fn told(response: &Response) -> String {
    match response {
        Response::Accepted { context } => format!("context {context}: exploration has begun"),
        Response::PathInUse { context, pair } => format!("context {context} uses {pair}"),
        Response::PathTested { pair, reachable: true, rtt_us } => {
            format!("{pair} works, round trip {}", rtt(*rtt_us))
        }
        Response::PathTested { pair, .. } => format!("{pair} does not answer"),
        _ => "done".to_owned(),
    }
}
