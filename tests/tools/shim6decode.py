#!/usr/bin/env python3
"""Decode Shim6 messages from pcap files by the text of RFC 5533/5534 alone (no Wireshark). --json: one object per message.
usage: shim6decode.py [--json] file.pcap..."""
import sys, struct, json, ipaddress
TY = {1:"I1",2:"R1",3:"I2",4:"R2",5:"R1bis",6:"I2bis",64:"UpdateRequest",65:"UpdateAck",66:"Keepalive",67:"Probe",68:"Error"}
OT = {1:"ResponderValidator",2:"LocatorList",3:"LocatorPreferences",4:"CgaPds",5:"CgaSignature",6:"UlidPair",7:"FII",10:"KeepaliveTimeout"}
ip = lambda b: str(ipaddress.IPv6Address(bytes(b)))
def packets(fn):
    d = open(fn, "rb").read(); e = "<" if d[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"; o = 24; link = struct.unpack(e + "I", d[20:24])[0]
    while o + 16 <= len(d):
        s, u, c, l = struct.unpack(e + "IIII", d[o:o+16]); p = d[o+16:o+16+c]; o += 16 + c
        if link == 1:
            if p[12:14] != b"\x86\xdd": continue
            p = p[14:]
        yield s + u / 1e6, p
def decode(m):
    """m = Shim6 message octets. returns dict with field values and a list of format errors"""
    r = {}; err = []
    nh, hl, b2, b3 = m[:4]; L = (hl + 1) * 8
    if L > len(m): return {"error": "truncated"}
    if b2 & 0x80: return {"type": "Payload", "next_header": nh, "hdr_ext_len": hl, "ct": "%012x" % (int.from_bytes(m[2:8], "big") & (1 << 47) - 1)}
    t = b2 & 0x7f; s = 0
    for i in range(0, L, 2): s += m[i] << 8 | m[i+1]
    while s >> 16: s = (s & 0xffff) + (s >> 16)
    r.update(type=TY.get(t, t), next_header=nh, hdr_ext_len=hl, checksum="%04x" % int.from_bytes(m[4:6], "big"), checksum_ok=s == 0xffff)
    if nh != 59: err.append("next header not 59")
    if b3 & (1 if t == 68 else 255): err.append("octet 3 (reserved/type-specific, S) = %02x" % b3)
    if s != 0xffff: err.append("checksum")
    rbit = m[6] >> 7; ct = "%012x" % (int.from_bytes(m[6:12], "big") & (1 << 47) - 1); u32 = lambda o: "%08x" % int.from_bytes(m[o:o+4], "big")
    if t == 1: r.update(ct_initiator=ct, inonce=u32(12)); o = 16
    elif t == 2: r.update(inonce=u32(8), rnonce=u32(12)); o = 16; rbit = 0; (m[6:8] != b"\0\0") and err.append("R1 Reserved2 != 0")
    elif t == 3: r.update(ct_initiator=ct, inonce=u32(12), rnonce=u32(16)); o = 24; (m[20:24] != bytes(4)) and err.append("I2 Reserved2 != 0")
    elif t == 4: r.update(ct_responder=ct, inonce=u32(12)); o = 16
    elif t == 5: r.update(ct_packet=ct, rnonce=u32(12)); o = 16
    elif t == 6:
        r.update(ct_initiator=ct, inonce=u32(12), rnonce=u32(16), ct_packet="%012x" % (int.from_bytes(m[26:32], "big") & (1 << 47) - 1)); o = 32
        if any(m[20:26]) or m[26] & 128: err.append("I2bis Reserved2 != 0")
    elif t in (64, 65): r.update(ct_receiver=ct, rqnonce=u32(12)); o = 16
    elif t == 66: r.update(ct_receiver=ct); o = 16; (m[12:16] != bytes(4)) and err.append("KA Reserved2 != 0")
    elif t == 67:
        pr, ps, sta = m[12] >> 4, m[12] & 15, m[13] >> 6; res = (m[13] & 0x3f, m[14], m[15])
        if any(res): err.append("probe Reserved2 != 0")
        r.update(ct_receiver=ct, precvd=pr, psent=ps, sta={0:"Operational",1:"Exploring",2:"InboundOk"}.get(sta, sta)); o = 16
        rep = lambda o: {"src": ip(m[o:o+16]), "dst": ip(m[o+16:o+32]), "nonce": u32(o+32), "data": u32(o+36)}
        r["sent"] = [rep(o + 40*i) for i in range(ps)]; o += 40 * ps; r["received"] = [rep(o + 40*i) for i in range(pr)]; o += 40 * pr
        if ps < 1: err.append("Psent 0")
    elif t == 68:
        r.update(code=b3 >> 1, pointer=int.from_bytes(m[6:8], "big"), quoted=m[8:L].hex()); rbit = 0; o = L
        if L < 16: err.append("Error: nothing quoted")
        if L > 1240: err.append("Error: packet above 1280 octets")
    else: r["raw"] = m[:L].hex(); return r
    if rbit: err.append("R bit set")
    opts = []
    while o < L:
        ty, ln = struct.unpack("!HH", m[o:o+4]); tot = 11 + ln - (ln + 3) % 8; c = m[o+4:o+4+ln]; pad = m[o+4+ln:o+tot]; n = OT.get(ty >> 1, ty >> 1); q = {"option": n, "c": ty & 1, "length": ln}
        if o + tot > L: err.append("option overruns"); break
        if any(pad): err.append(f"{n}: padding not zero")
        if n == "ResponderValidator": q["validator"] = c.hex()
        elif n == "LocatorList":
            g, k = struct.unpack("!IB", c[:5]); st = 5 + k + (-(4 + 5 + k) % 8)
            if any(c[5+k:st]): err.append("LocatorList: padding not zero")
            if ln != st + 16 * k: err.append(f"LocatorList: length {ln}, expected {st + 16*k}")
            q.update(generation=g, locators=[[{1:"HBA",2:"CGA"}.get(c[5+i], c[5+i]), ip(c[st+16*i:st+16*i+16])] for i in range(k)])
        elif n in ("CgaPds", "CgaSignature"): q["content"] = c.hex()
        elif n == "KeepaliveTimeout": q["seconds"] = int.from_bytes(c[2:4], "big"); (c[:2] != b"\0\0") and err.append("KA option reserved != 0")
        elif n == "LocatorPreferences":
            g, k = struct.unpack("!IB", c[:5])
            if k < 1 or (ln - 5) % k: err.append("LocatorPreferences: element length")
            else: q.update(generation=g, element_len=k, elements=[list(c[i:i+k]) for i in range(5, ln, k)])
        elif n == "UlidPair":
            if ln != 36: err.append("UlidPair: length")
            else: q.update(sender=ip(c[4:20]), receiver=ip(c[20:36])); any(c[:4]) and err.append("UlidPair: Reserved2 != 0")
        elif n == "FII":
            if ln != 4: err.append("FII: length")
            else: q["fii"] = int.from_bytes(c, "big")
        else: q["content"] = c.hex()
        opts.append(q); o += tot
    if o != L: err.append("options do not end at the header end")
    r["options"] = opts; r["format_errors"] = err; return r
def main():
    js = "--json" in sys.argv
    for fn in [a for a in sys.argv[1:] if a != "--json"]:
        t0 = None
        for t, p in packets(fn):
            if p[6] != 140: continue
            t0 = t0 or t; d = decode(p[40:]); d = {"pcap": fn.split("/")[-1], "t": round(t - t0, 6), "src": ip(p[8:24]), "dst": ip(p[24:40]), "flow_label": "%05x" % (int.from_bytes(p[1:4], "big") & 0xfffff), "hop_limit": p[7], **d, "shim6_hex": p[40:40 + (p[41] + 1) * 8].hex(), "ipv6_hex": p.hex()}
            if js: print(json.dumps(d)); continue
            x = {k: v for k, v in d.items() if k not in ("pcap", "t", "src", "dst", "type", "shim6_hex", "ipv6_hex", "options", "sent", "received", "next_header", "flow_label", "hop_limit")}
            print(f"{d['t']:10.4f} {d['src']} > {d['dst']} {d.get('type')} {x}")
            for q in d.get("options", []): print("             ", {k: (v if not isinstance(v, str) or len(v) < 60 else v[:56] + "..") for k, v in q.items()})
            for k in ("sent", "received"):
                for q in d.get(k, []): print("              ", k, q)
if __name__ == "__main__": main()
