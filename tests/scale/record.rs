//! What is kept of a run that failed: a capture of all packets, and every input and event in words.

use crate::host::Segment;
use shim6::addr::ContextTag;
use shim6::proto::Time;
use std::fmt::Write as _;
use std::io;
use std::net::Ipv6Addr;
use std::path::Path;

/// LINKTYPE_RAW: packets begin with their IPv6 header.
const RAW: u32 = 101;

#[derive(Default)]
pub struct Recorder {
    pcap: Vec<u8>,
    text: String,
}

impl Recorder {
    pub fn new() -> Recorder {
        let mut pcap = Vec::new();
        pcap.extend(0xa1b2_c3d4u32.to_le_bytes());
        pcap.extend(2u16.to_le_bytes());
        pcap.extend(4u16.to_le_bytes());
        pcap.extend([0; 8]);
        pcap.extend(65_535u32.to_le_bytes());
        pcap.extend(RAW.to_le_bytes());
        Recorder { pcap, text: String::new() }
    }

    pub fn line(&mut self, now: Time, text: &str) {
        let _ = writeln!(self.text, "{:12.6} {text}", now.nanos() as f64 / 1e9);
    }

    /// A packet as it leaves its host.
    pub fn packet(&mut self, now: Time, packet: &[u8]) {
        let micros = now.nanos() / 1000;
        self.pcap.extend(((micros / 1_000_000) as u32).to_le_bytes());
        self.pcap.extend(((micros % 1_000_000) as u32).to_le_bytes());
        self.pcap.extend((packet.len() as u32).to_le_bytes());
        self.pcap.extend((packet.len() as u32).to_le_bytes());
        self.pcap.extend_from_slice(packet);
    }

    /// Payload: a UDP datagram of eight octets that name flow and packet, behind a payload header if it is tagged.
    pub fn payload(
        &mut self,
        now: Time,
        (src, dst): (Ipv6Addr, Ipv6Addr),
        tag: Option<ContextTag>,
        s: Segment,
    ) {
        let mut p = vec![0x60, 0, 0, 0, 0, 16, if tag.is_some() { 140 } else { 17 }, 64];
        p.extend(src.octets());
        p.extend(dst.octets());
        if let Some(tag) = tag {
            p[5] += 8;
            p.extend([17, 0]);
            let octets = tag.value().to_be_bytes();
            p.push(0x80 | octets[2]);
            p.extend(&octets[3..]);
        }
        let port = 9000 + s.flow;
        let ports = if s.ack { [9, port] } else { [port, 9] };
        ports.iter().for_each(|n| p.extend(n.to_be_bytes()));
        p.extend([0, 16, 0, 0]);
        p.extend(s.seq.to_be_bytes());
        p.extend([0; 4]);
        self.packet(now, &p);
    }

    /// Writes `NAME.pcap` and `NAME.txt` into a folder.
    pub fn save(&self, folder: &Path, name: &str, head: &str) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join(format!("{name}.pcap")), &self.pcap)?;
        std::fs::write(folder.join(format!("{name}.txt")), format!("{head}\n{}", self.text))
    }
}
