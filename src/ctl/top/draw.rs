//! The screen: daemon, contexts, the selected one's pairs, events, keys.

use super::model::{Chooser, Model};
use crate::addr::Fii;
use crate::control::api::{ContextInfo, ContextState, ContextSummary, Pair, ReapState};
use crate::ctl::table::{octets, rtt, span};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Table};

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);
const KEYS: &str = "↑↓ select  e explore  s switch or test  u unpin  q quit";
const CHOOSER_KEYS: &str = "↑↓ select  Enter switch  p pin  t test  Esc back";

/// Draws everything.
pub fn screen(frame: &mut Frame<'_>, model: &mut Model) {
    let pairs = model.detail.as_ref().map_or(0, |d| d.pairs.len()).min(6) as u16;
    let [head, contexts, detail, events, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Min(6),
        Constraint::Length(if model.detail.is_some() { pairs + 4 } else { 0 }),
        Constraint::Percentage(30),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(header(model), head);
    draw_contexts(frame, contexts, model);
    if let Some(info) = &model.detail {
        draw_detail(frame, detail, info);
    }
    draw_events(frame, events, model);
    let keys = if model.chooser.is_some() { CHOOSER_KEYS } else { KEYS };
    frame.render_widget(Paragraph::new(keys).style(Style::new().fg(Color::DarkGray)), foot);
    if let Some(chooser) = &mut model.chooser {
        draw_chooser(frame, chooser);
    }
}

fn header(model: &Model) -> Paragraph<'static> {
    let s = &model.status;
    let counted = |map: &std::collections::BTreeMap<String, u64>| {
        let all: Vec<_> = map.iter().map(|(name, n)| format!("{n} {name}")).collect();
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    };
    let rules = if s.rules.present { Span::raw("rules present") } else { alarm("rules MISSING") };
    let standby = if s.failures.hot_standby { "hot standby" } else { "no hot standby" };
    let first = Line::from(vec![
        Span::styled(format!("shim6d {}", s.version), BOLD),
        Span::raw(format!("  pid {}  up {}  ", s.pid, span(s.uptime_ms))),
        rules,
        Span::raw(format!("  detection {}, {standby}", s.failures.detection)),
    ]);
    let (out, in_) = model.rates.values().fold((0.0, 0.0), |(o, i), r| (o + r.out, i + r.in_));
    let second = Line::from(format!(
        "contexts {}  REAP {}  out {}  in {}",
        counted(&s.contexts),
        counted(&s.reap),
        per_second(out),
        per_second(in_)
    ));
    let third = match (&model.away, &model.message) {
        (Some(why), _) => Line::from(alarm(why.clone())),
        (None, Some(message)) => Line::from(Span::styled(message.clone(), BOLD)),
        (None, None) => Line::default(),
    };
    Paragraph::new(vec![first, second, third])
}

fn alarm(text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), Style::new().fg(Color::Red).add_modifier(Modifier::BOLD))
}

fn per_second(rate: f64) -> String {
    format!("{}/s", octets(rate as u64))
}

fn titled(title: String) -> Block<'static> {
    Block::default().borders(Borders::TOP).title(title)
}

fn draw_contexts(frame: &mut Frame<'_>, area: Rect, model: &mut Model) {
    let rows: Vec<Row<'_>> = model
        .contexts
        .iter()
        .map(|c| {
            let rates = model.rates.get(&c.id);
            let rate = |pick: fn(&super::model::Rates) -> f64| {
                rates.map_or_else(|| "-".to_owned(), |r| per_second(pick(r)))
            };
            let forked = if c.fii == Fii::DEFAULT { "" } else { "forked" };
            let (state, colour) = state(c);
            let state = vec![Line::styled(state, Style::new().fg(colour)), Line::from(forked)];
            Row::new(vec![
                Cell::from(c.id.to_string()),
                Cell::from(format!("{} → {}\n{}", c.ulid_local, c.ulid_peer, path(c))),
                Cell::from(Text::from(state)),
                Cell::from(format!("{}\n{}", rate(|r| r.out), rate(|r| r.in_))),
                Cell::from(format!("{}\n{}", rtt(c.rtt_us), span(c.age_ms))),
            ])
            .height(2)
        })
        .collect();
    let some = if model.more { "first contexts" } else { "contexts" };
    let title = format!("{some}: {}", rows.len());
    let widths = [
        Constraint::Length(4),
        Constraint::Fill(1),
        Constraint::Length(11),
        Constraint::Length(11),
        Constraint::Length(9),
    ];
    let header = ["ID", "ULIDS, PATH", "STATE", "OUT, IN", "RTT, AGE"];
    let table = Table::new(rows, widths)
        .header(Row::new(header).style(BOLD))
        .row_highlight_style(CHOSEN)
        .block(titled(title));
    frame.render_stateful_widget(table, area, &mut model.rows);
}

/// The state of REAP where there is one, else that of the context.
fn state(c: &ContextSummary) -> (&'static str, Color) {
    match (c.state, c.reap_state) {
        (ContextState::Established, Some(ReapState::Operational)) => ("Operational", Color::Green),
        (ContextState::Established, Some(reap)) => (reap.name(), Color::Red),
        (ContextState::Established, None) => ("ESTABLISHED", Color::Green),
        (other, _) => (other.name(), Color::Yellow),
    }
}

fn path(c: &ContextSummary) -> String {
    let own = c.current.local == c.ulid_local.locator() && c.current.peer == c.ulid_peer.locator();
    if own { "on the ULIDs".to_owned() } else { arrow(&c.current) }
}

fn arrow(pair: &Pair) -> String {
    format!("{} → {}", pair.local, pair.peer)
}

fn draw_detail(frame: &mut Frame<'_>, area: Rect, info: &ContextInfo) {
    let n = &info.counters;
    let sides = |locators: &[crate::control::api::LocatorInfo]| {
        let works = locators.iter().filter(|l| !l.broken).count();
        format!("{works} of {}", locators.len())
    };
    let about_it = format!(
        "locators usable: ours {}, peer's {}  probes {} out, {} in  switches {}",
        sides(&info.local_locators),
        sides(&info.peer_locators),
        n.probes_out,
        n.probes_in,
        n.switches
    );
    let kept = match (&info.pinned, &info.standby) {
        (Some(pin), _) => format!("pinned to {}", arrow(pin)),
        (None, Some(standby)) => format!("standby {}", arrow(standby)),
        (None, None) => "no standby".to_owned(),
    };
    let [about, tried] = Layout::vertical([Constraint::Length(3), Constraint::Fill(1)]).areas(area);
    let fii = match info.summary.fii {
        Fii::DEFAULT => String::new(),
        Fii(fii) => format!(", forked instance {fii}"),
    };
    let title = format!("context {}{fii}", info.summary.id);
    let lines = vec![Line::from(about_it), Line::from(kept)];
    frame.render_widget(Paragraph::new(lines).block(titled(title)), about);
    let rows = info.pairs.iter().map(|p| {
        let current = p.pair == info.summary.current;
        // Not every Probe is answered; while all is well the pair in use shows itself by its packets.
        let well = current && info.summary.reap_state == Some(ReapState::Operational);
        let works = match p.works {
            Some(false) if well => Cell::from("works").style(Style::new().fg(Color::Green)),
            Some(true) => Cell::from("works").style(Style::new().fg(Color::Green)),
            Some(false) => Cell::from("silent").style(Style::new().fg(Color::Red)),
            None => Cell::from("waiting"),
        };
        let probed = p.probed_ms.map_or_else(|| "-".to_owned(), |ms| format!("{} ago", span(ms)));
        let current = if current { "in use" } else { "" };
        Row::new(vec![
            Cell::from(arrow(&p.pair)),
            works,
            Cell::from(rtt(p.rtt_us)),
            Cell::from(probed),
            Cell::from(current),
        ])
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(7),
        Constraint::Length(9),
        Constraint::Length(11),
        Constraint::Length(6),
    ];
    let header = ["PAIR", "LAST", "RTT", "PROBED", ""];
    frame.render_widget(Table::new(rows, widths).header(Row::new(header).style(BOLD)), tried);
}

/// The newest at the bottom.
fn draw_events(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let room = usize::from(area.height.saturating_sub(1));
    let from = model.events.len().saturating_sub(room);
    let lines: Vec<Line<'_>> =
        model.events.iter().skip(from).map(|e| Line::from(e.as_str())).collect();
    frame.render_widget(Paragraph::new(lines).block(titled("events".to_owned())), area);
}

fn draw_chooser(frame: &mut Frame<'_>, chooser: &mut Chooser) {
    let all = frame.area();
    let height = (chooser.pairs.len() as u16).saturating_add(2).min(all.height);
    let width = all.width.min(90);
    let area = Rect {
        x: all.x + (all.width - width) / 2,
        y: all.y + (all.height - height) / 2,
        width,
        height,
    };
    let rows = chooser.pairs.iter().map(|pair| Row::new([arrow(pair)]));
    let title = format!("packets of context {} go by", chooser.context);
    let table = Table::new(rows, [Constraint::Fill(1)])
        .row_highlight_style(CHOSEN)
        .block(Block::default().borders(Borders::ALL).title(title));
    frame.render_widget(Clear, area);
    frame.render_stateful_widget(table, area, &mut chooser.rows);
}
