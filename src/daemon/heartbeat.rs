//! The dead man's switch: gives signs of life to the packet filter as long as the data plane works. When it stops,
//! because the process hangs or a worker does, the kernel lets plain packets pass.

use super::clock;
use super::guard::Guard;
use crate::dataplane::Liveness;
use crate::dataplane::worker::Kind;
use crate::nft::{HEARTBEAT_TIMEOUT, Heartbeat, NftError};
use crate::proto::Time;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Between two signs of life: three may get lost.
const INTERVAL: Duration = HEARTBEAT_TIMEOUT.checked_div(4).expect("not zero");
/// A worker that is at one batch for longer counts as hung. With interval and timeout that makes under a second until
/// packets pass; half a second if the whole process hangs.
const STUCK: Duration = Duration::from_millis(300);

/// What it means to have no guard.
pub const NO_GUARD: &str = "if shim6d hangs, TCP flows with segments in its queues stop";

/// The thread that gives the signs of life. They end when it is dropped.
#[derive(Debug)]
pub struct Pacemaker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Pacemaker {
    /// Starts the thread, which tells the guard, too. Start the workers first: those that have ended count as hung.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn start(
        mut heart: Heartbeat,
        guard: Option<Guard>,
        liveness: Liveness,
    ) -> io::Result<Pacemaker> {
        let (stop, stopped) = mpsc::channel();
        let thread = Builder::new().name("heartbeat".to_owned()).spawn(move || {
            let mut guard = guard;
            pace(&stopped, clock::now, &liveness, || {
                if let Some(Err(e)) = guard.as_ref().map(Guard::sign) {
                    log::error!("shim6d-guard has ended: {NO_GUARD}: {e}");
                    guard = None;
                }
                heart.beat()
            });
        })?;
        Ok(Pacemaker { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Pacemaker {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the heartbeat ended with an internal error");
        }
    }
}

/// Beats until told to stop, as long as the workers are well.
fn pace(
    stopped: &Receiver<()>,
    clock: impl Fn() -> Time,
    liveness: &Liveness,
    mut beat: impl FnMut() -> Result<(), NftError>,
) {
    let mut state = Told::Well;
    loop {
        let stuck = liveness.stuck(Kind::Plain, clock(), STUCK);
        let now = match stuck {
            Some(worker) => Told::Stuck(worker),
            None => match beat() {
                // The keeper of the rules puts the table back, and says so.
                Ok(()) | Err(NftError::TableMissing) => Told::Well,
                Err(e) => Told::Mute(e.to_string()),
            },
        };
        if now != state {
            now.tell();
            state = now;
        }
        match stopped.recv_timeout(INTERVAL) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What the log was told last.
#[derive(PartialEq, Debug)]
enum Told<'a> {
    Well,
    Stuck(&'a str),
    Mute(String),
}

impl Told<'_> {
    fn tell(&self) {
        match self {
            Told::Well => log::warn!("the data plane is well again: plain packets are looked at"),
            Told::Stuck(worker) => {
                log::error!("{worker} hangs: plain packets pass without being looked at");
            }
            Told::Mute(e) => {
                log::error!(
                    "signs of life cannot be given: {e}: plain packets pass without being looked at"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn it_beats_often_enough_and_ends_at_once() {
        assert!(INTERVAL * 3 < HEARTBEAT_TIMEOUT);
        let (stop, stopped) = mpsc::channel::<()>();
        let (beats_in, beats) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            pace(
                &stopped,
                || Time::from_secs(1),
                &Liveness::default(),
                || {
                    beats_in.send(()).unwrap();
                    Err(NftError::TableMissing)
                },
            );
        });
        for _ in 0..3 {
            beats
                .recv_timeout(Duration::from_secs(5))
                .expect("a missing table is no reason to end");
        }
        drop(stop);
        thread.join().unwrap();
    }

    #[test]
    fn a_hung_worker_stops_the_heart_and_its_recovery_starts_it() {
        let (liveness, hold) = Liveness::for_test(Kind::Plain);
        let (stop, stopped) = mpsc::channel::<()>();
        let stop = Cell::new(Some(stop));
        let looks = Cell::new(0);
        let beats = Cell::new(Vec::new());
        // The clock is read once a round, before the beat: it plays the worker's part.
        let clock = || {
            let round = looks.get() + 1;
            looks.set(round);
            match round {
                2 => hold(Some(Time::from_secs(1))),
                4 => hold(None),
                5 => stop.set(None),
                _ => {}
            }
            Time::from_secs(2)
        };
        pace(&stopped, clock, &liveness, || {
            let mut all = beats.take();
            all.push(looks.get());
            beats.set(all);
            Ok(())
        });
        assert_eq!(beats.take(), [1, 4, 5], "none while it hung");
        assert_eq!(looks.get(), 5);
    }
}
