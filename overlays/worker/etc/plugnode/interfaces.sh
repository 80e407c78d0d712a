# shellcheck shell=sh disable=SC2034,SC2153,SC2154 # of other parts
#
# Plugnode: the node's other cards, where site.yaml says `configure: true`: told to whoever manages networks in this root.
# Read in by /etc/setup.sh. A card's line: node's address, name, address/prefix, netmask, MTU, VLAN, MAC; `-` for none.

configure_interfaces() { # each with its fixed address
  [ -s "$DATA/interfaces" ] || [ -s "$DATA/bonds" ] || return 0
  manager=$(network_manager)
  [ "$manager" != scripts ] || copy_scripts
  other_bonds
  mode=''
  [ -s "$DATA/interfaces" ] || return 0
  while IFS="$tab" read -r node card address netmask mtu vlan mac _; do
    [ "$node" = "$ADDRESS" ] || continue
    link=$card
    [ "$vlan" = - ] || link=$card.$vlan
    by=$manager
    case " $(with_cards "$INTERFACE") " in *" $card "*) by=ip ;; esac # which they leave alone: the root is on it
    step "interface $link $address by $by"
    "card_by_$by" || degrade "the interface $link is not configured"
  done <"$DATA/interfaces"
}

network_manager() { # what this root starts: networkd, networkmanager, scripts of EL; none: we do it ourselves
  if starts systemd-networkd; then
    echo networkd
  elif starts NetworkManager; then
    echo networkmanager
  elif [ -x "$ROOT/etc/rc.d/init.d/network" ]; then
    echo scripts
  else
    echo ip
  fi
}

starts() { # SERVICE of systemd
  for wanted in "$ROOT/etc/systemd/system/"*.wants/"$1.service"; do
    [ -L "$wanted" ] && return 0
  done
  return 1
}

given() { # FORMAT VALUE: a line with the value, nothing for -
  # shellcheck disable=SC2059 # the format is ours
  [ "$2" = - ] || printf "$1\n" "$2"
}

match_of() { # NAME MAC: which card is meant
  echo '[Match]'
  [ "$2" = - ] && echo "Name=$1" || echo "PermanentMACAddress=$2"
}

card_by_networkd() { # systemd.network(5), systemd.netdev(5)
  units=$ROOT/run/systemd/network
  mkdir -p "$units"
  {
    match_of "$card" "$mac"
    printf '[Link]\n'
    given 'MTUBytes=%s' "$mtu"
    printf '[Network]\n'
    [ "$vlan" = - ] && echo "Address=$address" || printf 'VLAN=%s\nLinkLocalAddressing=no\n' "$link"
  } >"$units/10-plugnode-$card.network"
  [ "$vlan" != - ] || return 0
  printf '[NetDev]\nName=%s\nKind=vlan\n[VLAN]\nId=%s\n' "$link" "$vlan" >"$units/10-plugnode-$link.netdev"
  printf '[Match]\nName=%s\n[Network]\nAddress=%s\n' "$link" "$address" >"$units/11-plugnode-$link.network"
}

card_by_networkmanager() { # nm-settings-keyfile(5), which takes files of root's alone
  keyfiles=$ROOT/run/NetworkManager/system-connections
  mkdir -p "$keyfiles"
  kind=ethernet
  case $card in ib*) kind=infiniband ;; esac
  [ -z "$mode" ] || kind=bond
  ipv4="method=manual\naddress1=$address\nnever-default=true"
  uuid=$(profile_of "$mac")
  if [ "$vlan" = - ]; then
    keyfile "$card" "$kind" "$ipv4"
  else
    keyfile "$card" "$kind" 'method=disabled'
    [ "$uuid" != - ] && parent=$uuid || parent=$card
    uuid=-
    keyfile "$link" vlan "$ipv4" && printf '[vlan]\nid=%s\nparent=%s\n' "$vlan" "$parent" >>"$keyfiles/plugnode-$link.nmconnection"
  fi
}

profile_of() { # MAC: an id for the profile of the card that has it, whose name is the site's alone; - where the kernel's says which
  [ "$1" = - ] && echo - || echo "706c7567-6e6f-6465-8000-$(echo "$1" | tr -d :)"
}

keyfile() { # NAME KIND IPV4
  {
    printf '[connection]\nid=plugnode-%s\ntype=%s\n' "$1" "$2"
    [ "$uuid" != - ] && echo "uuid=$uuid" || echo "interface-name=$1"
    case $2 in
    vlan) ;;
    bond) printf '[bond]\nmode=%s\nmiimon=100\n[ethernet]\n' "$mode" ;;
    *) echo "[$2]" ;;
    esac
    [ "$2" = vlan ] || given 'mtu=%s' "$mtu"
    [ "$2" = vlan ] || given 'mac-address=%s' "$mac"
    # shellcheck disable=SC2059
    printf "[ipv4]\n$3\n[ipv6]\nmethod=ignore\n"
  } >"$keyfiles/plugnode-$1.nmconnection"
  chmod 600 "$keyfiles/plugnode-$1.nmconnection"
}

copy_scripts() { # a folder of this node's own over the shared one
  scripts=$DATA/network-scripts
  mkdir -p "$scripts"
  cp -a "$ROOT/etc/sysconfig/network-scripts/." "$scripts/"
  run mount -n --bind "$scripts" "$ROOT/etc/sysconfig/network-scripts"
}

card_by_scripts() { # sysconfig.txt of initscripts; EL5 wants a netmask
  if [ "$vlan" = - ]; then
    script "$card" "IPADDR=${address%/*}" "NETMASK=$netmask"
  else
    script "$card"
    script "$link" VLAN=yes "IPADDR=${address%/*}" "NETMASK=$netmask"
  fi
}

script() { # NAME LINE…
  name=$1
  shift
  {
    printf 'DEVICE=%s\nONBOOT=yes\nBOOTPROTO=none\nDEFROUTE=no\nNM_CONTROLLED=no\n' "$name"
    given 'MTU=%s' "$mtu"
    [ "$name" != "$card" ] || [ -z "$mode" ] || echo "BONDING_OPTS=\"mode=$mode miimon=100\""
    [ "$name" != "$card" ] || given 'HWADDR=%s' "$mac"
    [ $# -eq 0 ] || printf '%s\n' "$@"
  } >"$scripts/ifcfg-$name"
}

card_by_ip() { # nobody else does
  device=$(card_of "$card" "$mac") || return 1
  run ip link set dev "$device" up || return 1
  [ "$mtu" = - ] || run ip link set dev "$device" mtu "$mtu" || return 1
  if [ "$vlan" != - ]; then
    run ip link add link "$device" name "$link" type vlan id "$vlan" || return 1
    device=$link
    run ip link set dev "$device" up || return 1
  fi
  run ip addr add "$address" dev "$device"
}

card_of() { # NAME MAC: the card's name here, once it is there
  for wait in ${WAITS:-1 1 2 4 8 0}; do
    [ "$2" != - ] || [ ! -e "$ROOT/sys/class/net/$1" ] || { echo "$1" && return; }
    for file in "$ROOT/sys/class/net/"*/address; do
      [ "$(cat "$file" 2>/dev/null)" != "$2" ] || { file=${file%/address} && echo "${file##*/}" && return; }
    done
    sleep "$wait"
  done
  say "there is no card $1"
  return 1
}
