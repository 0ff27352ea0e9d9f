# shellcheck shell=bash
# Two multihomed hosts and what lies between them. topology N M [WORDS] builds:
#
#              p1 ┌────┐ core     a1 ┌──────┐ b1     core ┌────┐ p1
#          ┌──────┤ a1 ├─────────────┤      ├─────────────┤ b1 ├──────┐
#   ┌──────┴┐     └────┘             │      │             └────┘     ┌┴──────┐
#   │   A   │       …                │ core │               …        │   B   │
#   └──────┬┘ pN  ┌────┐ core     aN │      │ bM     core ┌────┐ pM  └┬──────┘
#          └──────┤ aN ├─────────────┤      ├─────────────┤ bM ├──────┘
#                 └────┘             └──────┘             └────┘
#
#   A's provider i delegates 2001:db8:a<i>::/64: the router is ::1, the host ::10, on veth p<i>.
#   B's provider j the same with 2001:db8:b<j>::/64. Every provider of A reaches every one of B.
#   A provider forwards only packets of its own prefix (as BCP 38 asks), so a host must leave by
#   the provider whose address it uses: one "from PREFIX lookup 100+i" rule per provider, and a
#   default route through each provider in the main table, the first one preferred.
#   With WORDS of tools/impair.c (topology 2 2 delay=5ms A1:loss=10%) every core link goes through it.
#
# Settings, read by topology:
#   TOPO_MODE  G: segmentation offload off, GSO and GRO on, so that packets are cut to size on the
#              wire as on a real network (default); N: GRO off too; T: as the kernel made it
#   TOPO_DAD   1: addresses pass duplicate address detection; 0 (default): usable at once
#   TOPO_MTU   MTU of all links, default 1500
#   TOPO_MAIN_DEFAULT  0: no default route in the hosts' main table

TOPO_MODE=${TOPO_MODE:-G}
TOPO_DAD=${TOPO_DAD:-0}
TOPO_MTU=${TOPO_MTU:-1500}
TOPO_MAIN_DEFAULT=${TOPO_MAIN_DEFAULT:-1}

# The number of providers of each host in the present topology.
declare -A PROVIDERS

prefix_of()  { printf '2001:db8:%s%d::/64' "${1,,}" "$2"; }    # prefix_of A 1
address_of() { printf '2001:db8:%s%d::10' "${1,,}" "$2"; }     # the host's own, hand-made address
gateway_of() { printf '2001:db8:%s%d::1' "${1,,}" "$2"; }
router_of()  { printf '%s%d' "${1,,}" "$2"; }                  # role name of the provider's router

# sysctl_on ROLE KEY=VALUE…
sysctl_on() {
    local role=$1; shift
    on "$role" sysctl -qw "$@"
}

# link ROLE1 IF1 ROLE2 IF2: a veth pair between two namespaces, both ends up.
link() {
    local r1=$1 i1=$2 r2=$3 i2=$4
    ip link add "$i1" mtu "$TOPO_MTU" netns "$(ns "$r1")" type veth \
        peer name "$i2" mtu "$TOPO_MTU" netns "$(ns "$r2")" || die "cannot create a veth pair"
    set_offload "$r1" "$i1"; set_offload "$r2" "$i2"
    ip_on "$r1" link set "$i1" up; ip_on "$r2" link set "$i2" up
}

set_offload() {
    local gro=on
    case $TOPO_MODE in
        T) return ;;
        N) gro=off ;;
    esac
    on "$1" ethtool -K "$2" tso off gso on gro $gro >/dev/null 2>&1 ||
        die "cannot switch off segmentation offload of $2 (ethtool -K)"
    # The name of this one varies; where it is absent there is nothing to switch off.
    on "$1" ethtool -K "$2" tx-udp-segmentation off >/dev/null 2>&1
    return 0
}

prepare_node() {
    local role=$1 forwarding=$2
    # accept_dad and dad_transmits of "default" hold for interfaces made afterwards.
    sysctl_on "$role" net.ipv6.conf.all.forwarding="$forwarding" \
        net.ipv6.conf.default.forwarding="$forwarding" \
        net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.default.accept_ra=0 \
        net.ipv6.conf.default.accept_dad="$TOPO_DAD" net.ipv6.conf.default.dad_transmits="$TOPO_DAD"
}

# What an administrator (or SLAAC) configures on a host for one provider.
configure_provider() {
    local host=$1 i=$2 t
    t=$((100 + i))
    ip_on "$host" address replace "$(address_of "$host" "$i")/64" dev "p$i" || return 1
    ip_on "$host" route replace default via "$(gateway_of "$host" "$i")" dev "p$i" table "$t" || return 1
    ip_on "$host" rule del pref $((1000 + i)) 2>/dev/null
    ip_on "$host" rule add pref $((1000 + i)) from "$(prefix_of "$host" "$i")" lookup "$t" || return 1
    [ "$TOPO_MAIN_DEFAULT" = 0 ] ||
        ip_on "$host" route replace default via "$(gateway_of "$host" "$i")" dev "p$i" metric $((1023 + i))
}

# add_provider HOST N [WORDS]: link, router, core link, routes, the source filter and the cut chain.
add_provider() {
    local host=$1 i=$2 r net
    shift 2
    r=$(router_of "$host" "$i")
    net=2001:db8:c:$r
    setup_ns "$r"; prepare_node "$r" 1
    link "$host" "p$i" "$r" host
    if [ $# -gt 0 ]; then
        impairment_of "$host" "$i" "$@" >"$(impair_settings "$r")"
        link_impaired "$r"
    else
        link "$r" core core "$r"
    fi
    ip_on "$r" address add "$(gateway_of "$host" "$i")/64" dev host nodad
    ip_on "$r" address add "$net::2/64" dev core nodad
    ip_on core address add "$net::1/64" dev "$r" nodad
    ip_on "$r" route add default via "$net::1" dev core
    ip_on core route add "$(prefix_of "$host" "$i")" via "$net::2" dev "$r"
    # The cut chain is empty until cut_silent or cut_oneway; a drop there tells nobody, and
    # neighbour discovery between host and router goes on as if nothing had happened.
    on "$r" nft -f - <<RULES || die "cannot load the provider's rules"
table ip6 provider {
    chain cut { }
    chain forward {
        type filter hook forward priority 0;
        jump cut
        iifname "host" ip6 saddr != $(prefix_of "$host" "$i") counter drop comment "source not ours"
    }
}
RULES
    configure_provider "$host" "$i"
}

# topology N M [WORDS]: builds the present world, N providers for A and M for B, and waits until every
# provider of A reaches every provider of B.
topology() {
    local host i j n=$1 m=$2
    shift 2
    PROVIDERS[${WORLD}A]=$n PROVIDERS[${WORLD}B]=$m
    setup_ns A B core
    prepare_node A 0; prepare_node B 0; prepare_node core 1
    for host in A B; do
        for ((i = 1; i <= ${PROVIDERS[$WORLD$host]}; i++)); do add_provider "$host" "$i" "$@"; done
    done
    for ((i = 1; i <= n; i++)); do
        for ((j = 1; j <= m; j++)); do
            busywait 10 reaches "$(address_of A "$i")" "$(address_of B "$j")" ||
                die "the topology does not carry packets from A's provider $i to B's provider $j"
        done
    done
}

providers() { printf '%s' "${PROVIDERS[$WORLD$1]}"; }

# reaches FROM TO: one echo request from A.
reaches() { on A ping -6 -q -c 1 -W 1 -I "$1" "$2" >/dev/null 2>&1; }

# ---------------------------------------------------------------------------------------------
# Failures. HOST is A or B, N the number of its provider.

# cut_silent HOST N: a black hole behind the router, both directions; no ICMP error, no link event.
cut_silent() { on "$(router_of "$1" "$2")" nft add rule ip6 provider cut counter drop; }

# cut_oneway HOST N out|in: only what the host sends, or only what it is sent, gets lost.
cut_oneway() {
    case $3 in
        out) on "$(router_of "$1" "$2")" nft add rule ip6 provider cut iifname "host" counter drop ;;
        in) on "$(router_of "$1" "$2")" nft add rule ip6 provider cut oifname "host" counter drop ;;
        *) die "cut_oneway: direction is in or out, not $3" ;;
    esac
}

# cut_link HOST N: the host's own link goes down, and with it its addresses and routes.
cut_link() { ip_on "$1" link set "p$2" down; }

# cut_carrier HOST N: the cable is pulled at the router's end; addresses stay, the carrier is gone.
cut_carrier() { ip_on "$(router_of "$1" "$2")" link set host down; }

# cut_route HOST N: nothing leads out by that provider any more; link and addresses stay.
cut_route() { ip_on "$1" route del default table $((100 + $2)); }

# cut_router HOST N: the router hangs: it keeps its link up, but takes nothing from the host, and gives it nothing.
cut_router() {
    on "$(router_of "$1" "$2")" nft -f - <<'RULES'
table ip6 hung {
    chain in { type filter hook prerouting priority -400; iifname "host" drop; }
    chain out { type filter hook postrouting priority 400; oifname "host" drop; }
}
RULES
}

# repair HOST N: undoes any of the above, as the provider and the administrator would.
repair() {
    local r; r=$(router_of "$1" "$2")
    on "$r" nft flush chain ip6 provider cut
    on "$r" nft delete table ip6 hung 2>/dev/null
    ip_on "$r" link set host up
    ip_on "$r" address replace "$(gateway_of "$1" "$2")/64" dev host nodad
    ip_on "$1" link set "p$2" up
    configure_provider "$1" "$2"
}

# cut_count HOST N: packets that the cut has swallowed so far.
cut_count() {
    on "$(router_of "$1" "$2")" nft -j list chain ip6 provider cut |
        jq '[.nftables[].rule? // empty | .expr[].counter? // empty | .packets] | add // 0'
}
