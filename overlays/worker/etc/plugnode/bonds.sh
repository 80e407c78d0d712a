# shellcheck shell=sh disable=SC2034,SC2153,SC2154 # of other parts
#
# Plugnode: several cards as one, where site.yaml has a bond. Read in by /etc/setup.sh. A line of one has the columns of
# interfaces.sh, then in place of a MAC the mode and the cards: by commas `boot`, NAME, NAME=MAC or =MAC.
# The one with the card that the root comes over is made here, whoever manages networks: by /etc/hand-over.sh.

own_bonds() { # of this node, a line each
  while IFS="$tab" read -r node rest; do
    [ "$node" != "$ADDRESS" ] || echo "$rest"
  done <"$DATA/bonds"
}

take_bond() { # the verb: the address and the root go over to the bond that has the card they came by
  [ -s "$DATA/bonds" ] || return 0
  own_bonds >"$WORK/bonds"
  while IFS="$tab" read -r bond _ _ _ vlan mode of _; do
    case ,$of, in
    *,boot,*) take_over "$bond" "$vlan" "$mode" "$of" || degrade "the bond $bond is not made: the root stays on $INTERFACE" ;;
    esac
  done <"$WORK/bonds"
}

take_over() { # BOND VLAN MODE CARDS
  set -- "$@" "$(with_cards "$INTERFACE" | sed 's/.* //')" # the card itself, below a VLAN
  case " $(with_cards "$INTERFACE") " in *" $1 "*) return 0 ;; esac # done before
  [ "$INTERFACE" = "$5" ] || [ "$2" != - ] || return 1              # in a VLAN that site.yaml does not know
  step "bond $1 of $4: the root goes over to it from $INTERFACE"
  { udevadm settle --timeout=10 || udevsettle --timeout=10; } >/dev/null 2>&1 || : # cards get their names now
  others=$(cards_of "$4" "$5")
  made=yes
  # shellcheck disable=SC2086 # words
  { new_bond "$1" "$3" && small_root sh ip sleep && hand_over "$INTERFACE" "$5" "$1" "$2" $others; } || made=no
  end_small_root
  [ "$made" = yes ] || { drop_bond "$1"; return 1; }
  link=${2#-}
  INTERFACE=$1${link:+.$link}
  echo "$INTERFACE" >"$DATA/interface"
  say "bond $1: $mode, $(tr '\n' ' ' <"$ROOT/sys/class/net/$1/bonding/slaves")"
}

hand_over() { # INTERFACE CARD BOND VLAN OTHERS…
  cp "${0%/*}/hand-over.sh" "$WORK/small/hand-over"
  run chroot "$WORK/small" "$(command -v sh)" /hand-over "$@"
}

drop_bond() { # NAME
  [ ! -d "$ROOT/sys/class/net/$1" ] || echo "-$1" >"$ROOT/sys/class/net/bonding_masters"
}

cards_of() { # CARDS BUT: their names here, without BUT; a bond does without those that are not there
  echo "$1" | tr , '\n' | while IFS="=" read -r name its_mac; do
    case $name$its_mac in '' | boot) continue ;; esac
    found=$(card_of "$name" "${its_mac:--}") || { degrade "bond: there is no card $name $its_mac" && continue; }
    [ "$found" = "${2:-}" ] || echo "$found"
  done
}

new_bond() { # NAME MODE: by sysfs, as all kernels have it (Documentation/networking/bonding.rst)
  bonds=$ROOT/sys/class/net
  [ -e "$bonds/bonding_masters" ] || run modprobe bonding max_bonds=0 || return 1
  [ -d "$bonds/$1" ] || echo "+$1" >"$bonds/bonding_masters" || return 1
  echo "$2" >"$bonds/$1/bonding/mode" && echo 100 >"$bonds/$1/bonding/miimon"
}

small_root() { # PROGRAM…: in memory and with all that they load, for programs of the root wait while the network is away
  mkdir -p "$WORK/small"
  run mount -n -t tmpfs -o mode=0700 tmpfs "$WORK/small" && mkdir "$WORK/small/sys" || return 1
  run mount -n --bind "$ROOT/sys" "$WORK/small/sys" || return 1
  for name in "$@"; do
    program=$(command -v "$name")
    libraries=$(LD_TRACE_LOADED_OBJECTS=1 "$program" </dev/null 2>/dev/null | tr -s '[:space:]' '\n' | grep ^/) || libraries=
    # shellcheck disable=SC2086 # words
    run cp -L --parents "$program" $libraries "$WORK/small" || return 1
  done
}

end_small_root() {
  umount -n "$WORK/small/sys" 2>/dev/null || :
  umount -n "$WORK/small" 2>/dev/null || :
}

other_bonds() { # told to whoever manages networks, as other cards are
  [ -s "$DATA/bonds" ] || return 0
  own_bonds >"$WORK/bonds"
  while IFS="$tab" read -r card address netmask mtu vlan mode of _; do
    case ,$of, in *,boot,*) continue ;; esac
    mac=- link=$card
    [ "$vlan" = - ] || link=$card.$vlan
    step "bond $link $address by $manager"
    { "bond_by_$manager" && "card_by_$manager"; } || degrade "the bond $card is not configured"
  done <"$WORK/bonds"
}

each_card() { # COMMAND…: with name and MAC, `-` for none, of each card of the bond
  echo "$of" | tr , '\n' | while IFS="=" read -r name its_mac; do "$@" "$name" "${its_mac:--}"; done
}

bond_by_networkd() { # systemd.netdev(5)
  units=$ROOT/run/systemd/network
  mkdir -p "$units"
  {
    printf '[NetDev]\nName=%s\nKind=bond\n' "$card"
    given 'MTUBytes=%s' "$mtu"
    printf '[Bond]\nMode=%s\nMIIMonitorSec=100ms\n' "$mode"
  } >"$units/10-plugnode-$card.netdev"
  each_card member_by_networkd
}

member_by_networkd() {
  { match_of "$1" "$2" && printf '[Network]\nBond=%s\n' "$card"; } >"$units/09-plugnode-$1.network"
}

bond_by_networkmanager() { # nm-settings-keyfile(5)
  keyfiles=$ROOT/run/NetworkManager/system-connections
  mkdir -p "$keyfiles"
  each_card member_by_networkmanager
}

member_by_networkmanager() {
  {
    printf '[connection]\nid=plugnode-%s\ntype=ethernet\nmaster=%s\nslave-type=bond\n' "$1" "$card"
    [ "$2" != - ] || echo "interface-name=$1"
    echo '[ethernet]'
    given 'mac-address=%s' "$2"
  } >"$keyfiles/plugnode-$1.nmconnection"
  chmod 600 "$keyfiles/plugnode-$1.nmconnection"
}

bond_by_scripts() { # sysconfig.txt of initscripts
  new_bond "$card" "$mode" || return 1
  each_card member_by_scripts
}

member_by_scripts() {
  {
    printf 'DEVICE=%s\nONBOOT=yes\nBOOTPROTO=none\nNM_CONTROLLED=no\nMASTER=%s\nSLAVE=yes\n' "$1" "$card"
    given 'HWADDR=%s' "$2"
  } >"$scripts/ifcfg-$1"
}

bond_by_ip() { # nobody else does
  new_bond "$card" "$mode" && run ip link set dev "$card" up || return 1
  for each in $(cards_of "$of"); do
    run ip link set dev "$each" down && echo "+$each" >"$ROOT/sys/class/net/$card/bonding/slaves" || return 1
  done
}
