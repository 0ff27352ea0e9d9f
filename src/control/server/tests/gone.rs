//! Clients that go away at the worst moment: what was theirs is free again, and nobody else notices.

use super::*;

const HELLO: &[u8] = br#"{"v":1,"id":1,"request":{"type":"hello"}}"#;

/// A server that has room for one client alone, and slows nobody down.
fn for_one() -> Running {
    let limits = Limits { connections: 1, rate: 1e9, burst: 1e9, ..Limits::default() };
    Running::start(limits, "")
}

fn is_hello(answer: &serde_json::Value) -> bool {
    answer["id"] == 1 && answer.get("error").is_none()
}

/// The only place, which is free before long if nobody holds it any more.
#[allow(clippy::disallowed_methods)]
fn place(server: &Running) -> SeqPacket {
    let start = std::time::Instant::now();
    loop {
        let socket = server.raw();
        // Whoever is refused may be so before he has asked.
        let mut buffer = [0; 4096];
        if socket.send(HELLO, None).is_ok()
            && socket.wait(false, Some(10 * SECOND)).unwrap()
            && let Ok(got) = socket.recv(&mut buffer)
            && serde_json::from_slice(&buffer[..got.len]).as_ref().is_ok_and(is_hello)
        {
            return socket;
        }
        assert!(start.elapsed() < 5 * SECOND, "somebody who has left holds the place");
    }
}

/// A packet is all or nothing here, so whoever ends in the middle of a message has sent a part of one.
#[test]
fn a_client_that_goes_away_in_the_middle_of_a_message_leaves_nothing_behind() {
    let server = for_one();
    for cut in 1..HELLO.len() {
        let socket = place(&server);
        socket.send(HELLO, None).unwrap();
        socket.send(&HELLO[..cut], None).unwrap();
        // Half of them wait for the answers.
        if cut % 2 == 0 {
            assert!(is_hello(&read(&socket).unwrap()));
            assert_eq!(read(&socket).unwrap()["error"]["code"], "bad_request", "{cut}");
        }
    }
    drop(place(&server));
    let invalid = server.counters.invalid.load(Ordering::Relaxed);
    assert!(invalid >= HELLO.len() as u64 / 2 - 1, "{invalid}");
}

/// Asks until the server reads no more, because it waits for room to write.
fn fill(socket: &SeqPacket) {
    for _ in 0..1_000_000 {
        if !socket.wait(true, Some(Duration::from_millis(300))).unwrap() {
            return;
        }
        match socket.send(HELLO, None) {
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => panic!("{e}"),
            _ => {}
        }
    }
    panic!("the server reads on while nobody reads its answers");
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_a_long_answer_leaves_nothing_behind() {
    let server = for_one();
    // With nothing of it read, and with something.
    for read_before in [0, 5] {
        let socket = place(&server);
        fill(&socket);
        for _ in 0..read_before {
            assert!(is_hello(&read(&socket).unwrap()));
        }
    }
    // A stream of events.
    let socket = place(&server);
    socket.send(br#"{"v":1,"id":2,"request":{"type":"subscribe"}}"#, None).unwrap();
    assert_eq!(read(&socket).unwrap()["id"], 2);
    for i in 0..5000 {
        server.events.send(i, None, EventKind::Reloaded {});
    }
    assert!(read(&socket).is_some());
    drop(socket);
    drop(place(&server));
    assert_eq!(server.counters.slow.load(Ordering::Relaxed), 0, "nobody was sent away as slow");
}
