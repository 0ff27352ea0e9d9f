# shellcheck shell=bash
# The scenario of both firewall cases; the case defines refused: packets that B's firewall dropped.

begin_flows 12
cut_now cut_silent A 1
wait_for 10 "A sends by another pair" switched A
wait_for 10 "B sends by another pair" switched B
settle
A_PAIR=$(sends_from A 2; echo $?)

# Behind the Shim6 header the firewall has to see the ULIDs and the port. A datagram that comes with
# the right tag but for a port that nobody opened is refused, one for an open port gets through.
start_flow closed-port B flow-udp echo --bind "$ULID_B" --port 6000
REFUSED_BEFORE=$(refused)
forge() {
    on a2 "$TOOLS/send-tagged" --to "$(context B .current.local)" --tag "$(context B .local_tag)" \
        --ulids "$ULID_A" "$ULID_B" --port "$1" --sport 40000 --count 5
}
forge 6000
refused_some() { [ "$(refused)" -ge $((REFUSED_BEFORE + 5)) ]; }
wait_for 5 "the firewall's counter" refused_some
REFUSED=$?
stop_flow closed-port
# At the open port they can be told from the stream only when that has ended.
stop_flow udp-send
quiet() { local n; n=$(flow_total udp-echo); watch_for 0.5 flow_still udp-echo "$n"; }
wait_for 5 "silence of the stream" quiet
OPEN_BEFORE=$(flow_total udp-echo)
forge "$UDP_PORT"
wait_for 5 "the forged datagrams at the open port" flow_beyond udp-echo "$OPEN_BEFORE"
OPENED=$?
end_flows 40
