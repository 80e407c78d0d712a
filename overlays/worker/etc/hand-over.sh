#!/bin/sh
#
# Plugnode: hand-over.sh INTERFACE CARD BOND VLAN OTHERS…: CARD, by which the root comes, becomes a card of BOND, and the
# address and routes of INTERFACE (CARD itself, or its VLAN) are BOND's, or of its VLAN. Run by bonds.sh in a root of its
# own in memory: from the card's end to the bond's first frame there is no network, and nothing of the root can be read.
# The root's own connection waits meanwhile. Where the bond gets no link, all is put back.
set -eu
PATH=/sbin:/usr/sbin:/bin:/usr/bin
top=$1 card=$2 bond=$3 vlan=$4
shift 4
net=/sys/class/net

read_from() { # INTERFACE: its address and what leads over it
  address='' routes=''
  for word in $(ip -4 -o addr show dev "$1"); do
    [ -n "$address" ] || case $word in *.*.*.*/*) address=$word ;; esac
  done
  routes=$(ip -4 route show dev "$1" | while read -r route; do
    case $route in *'proto kernel'*) ;; *) echo "${route%linkdown*}" ;; esac
  done)
}

put_on() { # INTERFACE
  ip link set dev "$1" up
  ip addr add "$address" brd + dev "$1"
  echo "$routes" | while read -r route; do
    # shellcheck disable=SC2086 # words
    [ -z "$route" ] || ip route add $route dev "$1" || echo "no route $route"
  done
}

add_vlan() { # ON: a link of the same VLAN
  [ "$vlan" = - ] || ip link add link "$1" name "$1.$vlan" type vlan id "$vlan"
}

add_card() { # CARD: which must be down
  ip link set dev "$1" down && echo "+$1" >"$net/$bond/bonding/slaves"
}

go_over() { # the card of the root first: the bond takes its MAC
  ip link set dev "$bond" mtu "$(cat_of "$net/$card/mtu")"
  ip addr del "$address" dev "$top" # a card that is down has it still
  [ "$top" = "$card" ] || ip link del dev "$top"
  ip link set dev "$bond" up
  add_card "$card" || return 1
  for other in "$@"; do
    add_card "$other" || echo "$other does not become a card of $bond"
  done
  add_vlan "$bond"
  put_on "$bond$link"
}

cat_of() { # FILE
  read -r text <"$1" && echo "$text"
}

has_link() { # within a minute: a card takes seconds for it, LACP some more
  for wait in ${WAITS:-0 1 1 1 1 1 2 2 4 8 16 20}; do
    sleep "$wait"
    [ "$(cat_of "$net/$bond/carrier")" != 1 ] || return 0
  done
  return 1
}

go_back() {
  echo "-$bond" >"$net/bonding_masters"
  add_vlan "$card"
  ip link set dev "$card" up
  put_on "$top"
}

read_from "$top"
link=${vlan#-}
link=${link:+.$link}
if ! go_over "$@" || ! has_link; then
  echo "$bond got no link"
  go_back
  exit 1
fi
