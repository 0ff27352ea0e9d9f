//! All that we emit, before a decoder that was written from the RFCs' text alone: it must find no format error and
//! the same values.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod wire_common;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use shim6::wire::Message;
use shim6::wire::payload::PayloadHeader;
use wire_common::{addr, decoded_message, hex_number, packet, samples, to_hex};

/// A pcap file of raw IPv6 packets.
fn pcap(packets: &[Vec<u8>]) -> Vec<u8> {
    const LINKTYPE_RAW: u32 = 101;
    let mut file = vec![];
    for word in [0xa1b2_c3d4_u32, 0x0002_0004, 0, 0, 65535, LINKTYPE_RAW] {
        file.extend(word.to_be_bytes());
    }
    for (second, p) in packets.iter().enumerate() {
        for word in [second as u32, 0, p.len() as u32, p.len() as u32] {
            file.extend(word.to_be_bytes());
        }
        file.extend(p);
    }
    file
}

/// What the decoder says about the packets.
fn decode(packets: &[Vec<u8>]) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("samples.pcap");
    std::fs::write(&path, pcap(packets)).unwrap();
    decode_file(&path)
}

/// What the decoder says about the packets in a file.
fn decode_file(path: &Path) -> Vec<Value> {
    let decoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed/tools/shim6decode.py");
    let output = Command::new("python3")
        .arg(&decoder)
        .arg("--json")
        .arg(path)
        .output()
        .expect("this test needs python3 in PATH");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", decoder.display());
    let stdout = String::from_utf8(output.stdout).unwrap();
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

// req-test: S6-5.3-05, S6-5.15-02, S6-5.15-03, S6-5.15-04, S6-5.15.2-01, S6-5.14-01, RP-5.2-02, RP-5.3-05
#[test]
fn an_independent_decoder_sees_what_we_meant() {
    let (src, dst) = (addr("2001:db8:a::1"), addr("2001:db8:b::2"));
    let samples = samples();
    assert!(samples.len() > 200);
    let packets: Vec<Vec<u8>> = samples.iter().map(|m| packet(&m.emit(), src, dst)).collect();
    let decoded = decode(&packets);
    assert_eq!(decoded.len(), samples.len());
    for (message, d) in samples.iter().zip(&decoded) {
        assert_eq!(d["format_errors"], serde_json::json!([]), "{message:?}\n{d}");
        assert_eq!(d["checksum_ok"], true, "{message:?}\n{d}");
        assert_eq!(d["shim6_hex"], to_hex(&message.emit()));
        assert_eq!(&decoded_message(d), message);
    }
}

// req-test: S6-5.2-01
#[test]
fn an_independent_decoder_sees_our_tags() {
    let (src, dst) = (addr("2001:db8:a::1"), addr("2001:db8:b::2"));
    let tags = [0, 1, 0x4000_0000_0000, 0x1234_5678_9abc, 0x7fff_ffff_ffff];
    let headers: Vec<PayloadHeader> = tags
        .map(|t| PayloadHeader {
            next_header: 17,
            receiver_tag: shim6::addr::ContextTag::new(t).unwrap(),
        })
        .to_vec();
    let packets: Vec<Vec<u8>> = headers.iter().map(|h| packet(&h.emit(), src, dst)).collect();
    let decoded = decode(&packets);
    assert_eq!(decoded.len(), headers.len());
    for (h, d) in headers.iter().zip(&decoded) {
        assert_eq!(d["type"], "Payload");
        assert_eq!(d["next_header"], 17);
        assert_eq!(d["hdr_ext_len"], 0);
        assert_eq!(hex_number(d, "ct"), h.receiver_tag.value());
    }
}

/// The decoder is worth asking only if it does find errors.
#[test]
fn the_decoder_does_find_errors() {
    let (src, dst) = (addr("2001:db8:a::1"), addr("2001:db8:b::2"));
    let spoilt: Vec<Vec<u8>> = samples()
        .iter()
        .filter(|m| !matches!(m, Message::Error(_)))
        .map(|m| {
            let mut octets = m.emit();
            octets[3] |= 1;
            octets[7] ^= 2;
            packet(&octets, src, dst)
        })
        .collect();
    for d in decode(&spoilt) {
        let errors = d["format_errors"].as_array().unwrap();
        assert!(errors.iter().any(|e| e == "checksum"), "{d}");
        assert!(errors.iter().any(|e| e.as_str().unwrap().starts_with("octet 3")), "{d}");
    }
}

/// The annotated captures of `docs/captures`, made by `testbed/make-captures`: what each is about is in it, and both
/// decoders take every packet.
#[test]
fn the_captures_in_the_documentation_are_well_formed() {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/captures");
    for (name, kinds) in [
        ("establishment", &["I1", "R1", "I2", "R2"][..]),
        ("exploration", &["Probe", "Payload"]),
        ("recovery", &["R1bis", "I2bis", "R2", "Payload"]),
        ("update", &["UpdateRequest", "UpdateAck"]),
        ("errors", &["Error"]),
        ("fork", &["I1", "R1", "I2", "R2", "Payload"]),
    ] {
        let file = captures.join(name).with_extension("pcap");
        assert!(std::fs::metadata(&file).unwrap().len() < 60_000, "{name}");
        assert!(captures.join(name).with_extension("txt").is_file(), "{name}");
        let decoded = decode_file(&file);
        for kind in kinds {
            assert!(decoded.iter().any(|d| d["type"] == *kind), "{name} has no {kind}");
        }
        for d in decoded.iter().filter(|d| d["type"] != "Payload") {
            assert_eq!(d["checksum_ok"], true, "{name}\n{d}");
            if d["type"].is_string() {
                assert_eq!(d["format_errors"], serde_json::json!([]), "{name}\n{d}");
            }
        }
    }
}
