# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: what the managers of networks are told; the root is on the card that the node booted from. Read in by /etc/setup.sh.

write_network() { # what RHEL's scripts read as /etc/sysconfig/network; an admin's other lines stay
  {
    printf 'NETWORKING=yes\nHOSTNAME=%s\n' "$NAME"
    sed '/^NETWORKING=/d; /^HOSTNAME=/d' "$VAR/network" 2>/dev/null || :
  } >"$DATA/network"
  [ "$(cat "$DATA/network")" != "$(cat "$VAR/network" 2>/dev/null)" ] || return 0
  cp "$DATA/network" "$VAR/network.new" 2>/dev/null && flush && mv -f "$VAR/network.new" "$VAR/network"
}

bind_network() { # a full /var: over the old one
  rm -f "$VAR/network.new" || :
  [ -f "$VAR/network" ] && run mount -n --bind "$DATA/network" "$VAR/network"
}

name_servers() { # the site's, where DHCP gave none: /etc/resolv.conf of the shared root leads here
  [ -s "$DATA/resolv.conf" ] || {
    site_value domain | sed -n 's/^./search &/p'
    site_value dns | tr ',' '\n' | sed -n 's/^./nameserver &/p'
  } >"$DATA/resolv.conf"
  search_more "$(own_words | sed -n "s/^search$tab//p")"
}

search_more() { # DOMAINS of the site, behind the one that DHCP gave: no initrd asks for more
  [ -n "$1" ] || return 0
  domains=$(sed -n 's/^search //p' "$DATA/resolv.conf")
  for each in $1; do
    case " $domains " in *" $each "*) ;; *) domains="$domains $each" ;; esac
  done
  {
    echo "search ${domains# }"
    grep -v '^search ' "$DATA/resolv.conf" || :
  } >"$WORK/resolv.conf"
  cat "$WORK/resolv.conf" >"$DATA/resolv.conf"
}

keep_network_up() { # the root is on it: whoever manages networks leaves this interface, and what is below it, alone
  keep_address
  cards=$(with_cards "$INTERFACE")
  mask_scripts "$cards"
  [ -d "$ROOT/run/systemd/system" ] || return 0
  mkdir -p "$ROOT/run/systemd/network" "$ROOT/run/NetworkManager/conf.d"
  printf '[Match]\nName=%s\n[Link]\nUnmanaged=yes\n' "$cards" >"$ROOT/run/systemd/network/00-plugnode.network"
  # shellcheck disable=SC2086 # words
  named=$(printf ';interface-name:%s' $cards)
  unmanaged "${named#;}" >"$ROOT/run/NetworkManager/conf.d/00-plugnode.conf"
}

unmanaged() { # CARDS: NetworkManager.conf(5); what /etc says of unmanaged-devices replaces it, and a section of its own stays
  printf '[keyfile]\nunmanaged-devices+=%s\n' "$1"
  printf '[device-plugnode]\nmatch-device=%s\nmanaged=0\n' "$1"
}

keep_address() { # for good, as the initrd did; but NetworkManager, in dracut's, may have renewed its lease since
  ip -4 -o addr show dev "$INTERFACE" dynamic 2>/dev/null | while read -r _ _ _ address _; do
    run ip addr change "$address" dev "$INTERFACE" valid_lft forever preferred_lft forever ||
      degrade "the address $address ends with its lease"
  done
}

mask_scripts() { # CARDS: of EL's network service, which would start a DHCP client, whatever their files are called
  for script in "$ROOT/etc/sysconfig/network-scripts/ifcfg-"*; do
    [ -f "$script" ] || continue
    card=$(sed -n "s/^[[:space:]]*DEVICE=[\"']*\([^\"'[:space:]#]*\).*/\1/p" "$script" | tail -n 1)
    card=${card:-${script##*/ifcfg-}}
    case " $1 " in *" $card "*) mask_script "$card" "$script" ;; esac
  done
}

mask_script() { # CARD FILE: as if the admin had said that the card is not brought up
  printf 'DEVICE=%s\nONBOOT=no\n' "$1" >"$DATA/ifcfg-$1"
  run mount -n --bind "$DATA/ifcfg-$1" "$2"
}
