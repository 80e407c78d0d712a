# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: the node's name, its ssh host keys, and what must not be another node's. Read in by /etc/setup.sh.

name_node() { # by the exact address: the node at .10 is not the one at .100
  NAME=$(own_name)
  step "name $NAME, address ${ADDRESS:-none}"
  echo "$NAME" >"$DATA/hostname"
  echo "$NAME" >"$ROOT/proc/sys/kernel/hostname" || degrade "the kernel does not take the name $NAME"
  write_network || bind_network || degrade "/var/network cannot be written"
}

own_name() { # from hosts, else nodes, else what DHCP or the initrd gave, else one made of the address; without domain
  domain=$(site_value domain)
  for name in $(hosts_name) "$NODE" "$(cat "$ROOT/proc/sys/kernel/hostname" 2>/dev/null)"; do
    is_name "$name" || continue
    case $name in "$NODE".*) name=$NODE ;; esac # in another network's domain
    echo "${name%."$domain"}" && return
  done
  say "no name for ${ADDRESS:-a node without address} in site.img"
  echo "node-$(echo "${ADDRESS:-unknown}" | tr . -)"
}

hosts_name() {
  awk -v address="$ADDRESS" '
    { sub(/\r$/, ""); sub(/#.*/, "") }
    $1 "" == address && NF >= 2 { print $2; exit }' "$DATA/hosts" 2>/dev/null
}

is_name() { # RFC 1123
  case $1 in localhost | localhost.* | *[!A-Za-z0-9.-]*) return 1 ;; esac
  label='[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?'
  echo "$1" | grep -Eqx "$label(\.$label)*" && [ ${#1} -le 253 ]
}

own_identity() { # ssh host keys, once for this node on this disk; the shared root has symlinks to them
  ! mounted "$OWN/ssh/ssh_host_ed25519_key" || { say "ssh host key: the site's, kept" && return 0; }
  [ -d "$ROOT/etc/ssh" ] && command -v ssh-keygen >/dev/null || return 0
  [ "$(mounted_type "$VAR")" != tmpfs ] || say "/var is in memory: ssh host keys are new ones at each boot"
  for type in rsa ecdsa ed25519; do host_key "ssh_host_${type}_key" "$type"; done
  [ -x "$ROOT/etc/rc.d/init.d/sshd" ] || return 0 # it makes what is missing, and gives up where /etc is read-only
  host_key ssh_host_key rsa1
  host_key ssh_host_dsa_key dsa
}

forget_other() { # what was of the node that this disk was in before; its local files begin anew
  mkdir -p "$OWN/ssh"
  was=$(cat "$OWN/node" 2>/dev/null || :)
  [ "$was" != "$NODE" ] || return 0
  if [ -n "$was" ]; then
    say "this disk was $was's; its keys, secrets and files of its own are deleted"
    rm -rf "$OWN/ssh" "$OWN/files" "$OWN/secrets" "$OWN/age.key"
    [ ! -d "$ROOT/var.ro/lib/plugnode" ] || run cp -a "$ROOT/var.ro/lib/plugnode/." "$OWN/"
    mkdir -p "$OWN/ssh"
  fi
  write_synced "$OWN/node" "$NODE"
}

host_key() { # FILE TYPE; a type that this ssh does not know is none
  [ ! -s "$OWN/ssh/$1" ] || return 0
  rm -f "$OWN/ssh/new" "$OWN/ssh/new.pub"
  ssh-keygen -q -t "$2" -N '' -C '' -f "$OWN/ssh/new" >/dev/null 2>&1 </dev/null || return 0
  flush
  mv -f "$OWN/ssh/new.pub" "$OWN/ssh/$1.pub"
  mv -f "$OWN/ssh/new" "$OWN/ssh/$1"
  say "made ssh host key: $2"
}
