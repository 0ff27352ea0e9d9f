//! The `nfq` crate's own example, as it stands: a packet, a verdict. For comparison in `testbed/bench`.

use std::io::Write;

fn main() -> std::io::Result<()> {
    let number = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let Some(number) = number else {
        eprintln!("usage: nfq_crate QUEUE");
        std::process::exit(2);
    };
    let mut queue = nfq::Queue::open()?;
    queue.bind(number)?;
    println!("ready");
    std::io::stdout().flush()?;
    loop {
        let mut message = queue.recv()?;
        message.set_verdict(nfq::Verdict::Accept);
        queue.verdict(message)?;
    }
}
