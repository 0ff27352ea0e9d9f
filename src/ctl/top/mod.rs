//! `shim6ctl top`: contexts, paths and events, kept up to date on the screen.
//!
//! ```text
//! control socket ── listings once per interval, events as they come ──► Model ── draw ──► screen
//! keys ──► Model ── requests ──► worker thread with a connection of its own ── what came of it ──► Model
//! ```
//!
//! A test of a pair takes seconds, so what the keys ask for runs beside the display. A daemon that goes away is waited for.

mod draw;
mod model;
#[cfg(test)]
mod tests;

use super::args::TopOptions;
use super::{Failure, Output, Session};
use crate::control::api::{ContextRef, ContextSummary, Request, Response};
use crate::control::client::{Client, ClientError, unexpected};
use crate::daemon::clock;
use crate::proto::Time;
use model::{Model, Outcome};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// Pages of contexts that are read at each look.
const PAGES: usize = 16;
/// How long a key press or an event may wait to be seen.
const STEP: Duration = Duration::from_millis(50);
/// Events that are taken in one step; a flood of them must not keep the keys from being read.
const BURST: usize = 256;

pub(super) fn run(
    session: &mut Session,
    output: &mut Output<'_>,
    options: &TopOptions,
) -> Result<(), Failure> {
    if output.json {
        return Err(Failure::usage("top is for the screen")
            .remedy("`shim6ctl context list --json` and `monitor --json` are for programs"));
    }
    let mut app = App {
        path: session.client.path().to_owned(),
        timeout: session.client.timeout(),
        client: None,
        model: Model::default(),
    };
    app.connect()?;
    let interval = Duration::from_secs_f64(options.interval);
    if options.once {
        return once(&mut app, output, interval, (options.width, options.height));
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::usage("top needs a terminal").remedy("`top --once` prints one screen"));
    }
    let mut terminal = ratatui::try_init()?;
    let ended = app.live(&mut terminal, interval);
    ratatui::restore();
    ended
}

/// Two looks, so that there are rates, and the screen as text.
fn once(
    app: &mut App,
    output: &mut Output<'_>,
    interval: Duration,
    (width, height): (u16, u16),
) -> Result<(), Failure> {
    app.look()?;
    app.wait_for_events(clock::now() + interval)?;
    app.look()?;
    let mut terminal = Terminal::new(TestBackend::new(width, height)).map_err(Failure::failed)?;
    terminal.draw(|frame| draw::screen(frame, &mut app.model)).map_err(Failure::failed)?;
    output.text(&text_of(terminal.backend()))
}

/// The cells of a screen as lines.
fn text_of(screen: &TestBackend) -> String {
    let buffer = screen.buffer();
    let width = usize::from(buffer.area.width).max(1);
    let mut text = String::new();
    for row in buffer.content().chunks(width) {
        let line: String = row.iter().map(|cell| cell.symbol()).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

struct App {
    path: PathBuf,
    timeout: Duration,
    /// Absent while the daemon is away.
    client: Option<Client>,
    model: Model,
}

impl App {
    fn connect(&mut self) -> Result<(), ClientError> {
        let mut client = Client::connect(&self.path, self.timeout)?;
        client.call(Request::Subscribe { events: Vec::new(), context: None })?;
        self.client = Some(client);
        Ok(())
    }

    fn live(
        &mut self,
        terminal: &mut ratatui::DefaultTerminal,
        interval: Duration,
    ) -> Result<(), Failure> {
        let (asked, answers) = worker(self.path.clone(), self.timeout);
        let mut next = clock::now();
        loop {
            let now = clock::now();
            if next <= now {
                self.look_or_wait()?;
                next = now + interval;
            }
            self.take_events();
            for answer in answers.try_iter() {
                self.model.message = Some(answer);
            }
            terminal.draw(|frame| draw::screen(frame, &mut self.model))?;
            let left = next.since(clock::now()).min(STEP);
            if !event::poll(left)? {
                continue;
            }
            // A new size of the window needs nothing but the next drawing.
            let Event::Key(key) = event::read()? else { continue };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            match self.model.key(key) {
                Outcome::Nothing => {}
                Outcome::Quit => return Ok(()),
                Outcome::Look => next = clock::now(),
                Outcome::Ask(request) => {
                    self.model.message = Some("asked, waiting for the answer".to_owned());
                    if asked.send(request).is_err() {
                        self.model.message = Some("nobody carries this out any more".to_owned());
                    }
                }
            }
        }
    }

    /// A look; without a daemon, one more attempt to find it.
    fn look_or_wait(&mut self) -> Result<(), Failure> {
        let seen = match self.client {
            Some(_) => self.look(),
            None => self.connect().and_then(|()| self.look()),
        };
        match seen {
            Ok(()) => self.model.away = None,
            // No answer will ever be different.
            Err(ClientError::Api(e)) => return Err(e.into()),
            Err(e) => {
                self.client = None;
                self.model.away = Some(e.to_string());
            }
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), ClientError> {
        let Some(client) = &mut self.client else { return Err(ClientError::Closed) };
        let status = match client.call(Request::Status {})? {
            Response::Status { status } => *status,
            other => return Err(unexpected(&other)),
        };
        let contexts = listing(client)?;
        self.model.see(clock::now(), status, contexts);
        let detail = match self.model.selected() {
            Some(id) => {
                match client.call(Request::ContextShow { context: ContextRef::Id { id } }) {
                    Ok(Response::Context { context }) => Some(*context),
                    Ok(other) => return Err(unexpected(&other)),
                    // It has ended since.
                    Err(ClientError::Api(_)) => None,
                    Err(e) => return Err(e),
                }
            }
            None => None,
        };
        self.model.see_detail(detail);
        Ok(())
    }

    /// What has come in so far.
    fn take_events(&mut self) {
        let Some(client) = &mut self.client else { return };
        for _ in 0..BURST {
            match client.next_event(Some(Duration::ZERO)) {
                Ok(Some(event)) => self.model.note(&event),
                Ok(None) => return,
                // The next look tells what is wrong.
                Err(_) => return,
            }
        }
    }

    fn wait_for_events(&mut self, end: Time) -> Result<(), ClientError> {
        let Some(client) = &mut self.client else { return Err(ClientError::Closed) };
        while let Some(event) = client.next_event(Some(end.since(clock::now())))? {
            self.model.note(&event);
        }
        Ok(())
    }
}

/// The first contexts, in order of ids, and whether there are more.
fn listing(client: &mut Client) -> Result<(Vec<ContextSummary>, bool), ClientError> {
    let mut all = Vec::new();
    let mut after = None;
    for _ in 0..PAGES {
        match client.call(Request::ContextList { after, limit: None })? {
            Response::Contexts { contexts, next } => {
                all.extend(contexts);
                after = next;
            }
            other => return Err(unexpected(&other)),
        }
        if after.is_none() {
            return Ok((all, false));
        }
    }
    Ok((all, true))
}

/// Carries out requests one after the other, on a connection for each.
fn worker(path: PathBuf, timeout: Duration) -> (Sender<Request>, Receiver<String>) {
    let (ask, asked) = channel::<Request>();
    let (tell, answers) = channel();
    // It ends with the process: what was asked for last may still be under way then.
    std::thread::spawn(move || {
        for request in asked {
            let answer =
                Client::connect(&path, timeout).and_then(|mut client| client.call(request));
            let text = match answer {
                Ok(response) => model::told(&response),
                Err(e) => e.to_string(),
            };
            if tell.send(text).is_err() {
                return;
            }
        }
    });
    (ask, answers)
}
