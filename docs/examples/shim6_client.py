#!/usr/bin/env python3
"""Lists the contexts of shim6d, then prints events: shim6_client.py [SOCKET [NUMBER-OF-EVENTS]]"""
import json, os, socket, sys

class Shim6:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(10)
        self.socket.connect(path)
        self.last_id, self.events = 0, []

    def receive(self):
        packet = self.socket.recv(65536)
        if not packet:
            raise ConnectionError("shim6d has closed the connection")
        return json.loads(packet)

    def call(self, kind, **keys):
        self.last_id += 1
        request = {"v": 1, "id": self.last_id, "request": {"type": kind, **keys}}
        self.socket.send(json.dumps(request).encode())
        while "event" in (packet := self.receive()):
            self.events.append(packet["event"])
        if "error" in packet:
            raise RuntimeError(packet["error"]["message"])
        return packet["response"]


shim6 = Shim6((sys.argv[1:] + [os.environ.get("SHIM6_SOCKET", "/run/shim6/control.sock")])[0])
shim6.call("subscribe")
page = {"next": 0}
while page["next"] is not None:
    page = shim6.call("context_list", after=page["next"])
    for c in page["contexts"]:
        print(c["id"], c["ulid_local"], c["ulid_peer"], c["state"], flush=True)
for _ in range(int((sys.argv[2:] + ["0"])[0])):
    event = shim6.events.pop(0) if shim6.events else shim6.receive()["event"]
    print(event["at_ms"], event["type"], event.get("context", "-"), flush=True)
