//! Messages that another implementation, LinShim6 0.9.1, put on the wire, against the values that an independent
//! decoder found in them.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod wire_common;

use serde_json::Value;
use shim6::addr::Locator;
use shim6::wire::ipv6::{Place, Shim6Place, walk};
use shim6::wire::payload::PayloadHeader;
use shim6::wire::{Message, ParseError, header};
use wire_common::{addr, decoded_message, hex_number, unhex};

fn vectors() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("data/messages.json")).unwrap();
    file["messages"].as_array().unwrap().clone()
}

// req-test: S6-5.3-05, S6-5.3-06, S6-5.3-07, S6-12-01
#[test]
fn all_107_messages_parse_to_their_values() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 107);
    let mut payloads = 0;
    for v in &vectors {
        let octets = unhex(v["shim6_hex"].as_str().unwrap());
        let packet = unhex(v["ipv6_hex"].as_str().unwrap());
        let (src, dst) = (addr(v["src"].as_str().unwrap()), addr(v["dst"].as_str().unwrap()));

        let w = walk(&packet).unwrap();
        assert_eq!((w.header.src, w.header.dst), (src, dst));
        assert_eq!(u64::from(w.header.flow_label), hex_number(v, "flow_label"));
        assert_eq!(Some(u64::from(w.header.hop_limit)), v["hop_limit"].as_u64());
        assert_eq!(w.end, packet.len());
        let payload = v["type"] == "Payload";
        let place = Place { offset: 40, next_header_at: 6 };
        assert_eq!(w.shim6, Some(Shim6Place { place, payload }));
        assert_eq!(header::check_addresses(src, dst), Ok(()));
        // The packet's octets from the Shim6 header on, whatever follows the message.
        let rest = &packet[40..];
        assert_eq!(rest[..octets.len()], octets);
        assert_eq!(header::is_payload(rest), payload);

        if payload {
            payloads += 1;
            let h = PayloadHeader::parse(rest).unwrap();
            assert_eq!(h.receiver_tag.value(), hex_number(v, "ct"));
            assert_eq!(Some(u64::from(h.next_header)), v["next_header"].as_u64());
            assert_eq!(h.emit()[..], octets);
            assert!(w.is(h.next_header));
            assert_eq!(Message::parse(rest), Err(ParseError::NotControl));
            continue;
        }
        assert_eq!(header::control_length(rest), Some(octets.len()));
        assert_eq!(v["format_errors"].as_array().map(Vec::len), Some(0));
        let expected = decoded_message(v);
        assert_eq!(Message::parse(rest).as_ref(), Ok(&expected));
        // And our octets for the same values are theirs.
        assert_eq!(expected.emit(), octets, "{v}");
        assert_eq!(expected.emitted_len(), octets.len());
        if let Message::Probe(p) = &expected {
            assert!(p.own_report(Locator(src), Locator(dst)).is_ok());
        }
    }
    assert_eq!(payloads, 4);
}

#[test]
fn all_messages_are_refused_at_every_shorter_length() {
    for v in vectors() {
        let octets = unhex(v["shim6_hex"].as_str().unwrap());
        for len in 0..octets.len() {
            let cut = &octets[..len];
            assert!(Message::parse(cut).is_err() && PayloadHeader::parse(cut).is_err());
        }
    }
}
