# shellcheck shell=sh
#
# Plugnode: what the initrd, /etc/setup.sh and /etc/tell.sh read alike: the kernel command line, the nodes of site.img,
# the state sector of a disk, root files that it keeps.
#
# Read in by every kind of initrd, so it needs a POSIX shell and `cat`; `grep` is used where it is. ROOT stands before
# every path of this machine: the tests have one of their own.

tab=$(printf '\t')
cr=$(printf '\r')

arguments() { # NAME: the values of NAME=… on the kernel command line, a line each
  set -f
  # shellcheck disable=SC2013 # words are wanted
  for word in $(cat "${ROOT:-}/proc/cmdline"); do
    case $word in "$1="*) printf '%s\n' "${word#*=}" ;; esac
  done
  set +f
}

argument() { # NAME: the last of them, nothing where there is none
  found=
  set -f
  for value in $(arguments "$1"); do found=$value; done
  set +f
  printf '%s\n' "$found"
}

flagged() { # WORD: whether the kernel command line has it
  case " $(cat "${ROOT:-}/proc/cmdline") " in *" $1 "*) return 0 ;; esac
  return 1
}

only() { # LIST TEXT: whether a text has only characters of a list, and any at all
  case $2 in '' | *[!$1]*) return 1 ;; esac
}

mark() { # STAGE: a line of it and of the second in which it begins, by the kernel's clock
  { read -r now _ <"${ROOT:-}/proc/uptime" && echo "$1 $now"; } 2>/dev/null || :
}

lines_about() { # FILE TEXT: the lines of `nodes` that may be about it; by grep where there is one, for its speed
  if [ ! -s "$1" ]; then
    return 0
  elif command -v grep >/dev/null; then
    grep -F -e "$2" "$1" || :
  else
    cat "$1"
  fi
}

node_field() { # FILE ADDRESS N: field N of the node with that very address, never a longer or shorter one
  lines_about "$1" "$2" | while IFS= read -r line; do
    [ "${line%%"$tab"*}" = "$2" ] || continue
    set -f
    IFS=$tab
    # shellcheck disable=SC2086 # fields
    set -- "$3" ${line%"$cr"}
    [ "$1" -ge $# ] || { shift "$1" && printf '%s\n' "$1"; }
    break
  done
}

value_of() { # FILE KEY: of lines KEY=VALUE, the first
  [ -s "$1" ] || return 0
  while IFS= read -r line; do
    case $line in "$2="*) printf '%s\n' "${line#*=}" && break ;; esac
  done <"$1"
}

address_of() { # INTERFACE: the one that it has, whatever it was told
  { ip -4 -o addr show dev "$1" 2>/dev/null || ifconfig "$1" 2>/dev/null || :; } |
    sed -n 's/.*inet \(addr:\)\{0,1\}\([0-9.]*\).*/\2/p' | head -n 1
}

with_cards() { # INTERFACE: its name, and those of all below it: a VLAN's card, a bond's members
  printf '%s' "$1"
  for card in $(cards_below "$1"); do printf ' %s' "$(with_cards "$card")"; done
}

cards_below() { # INTERFACE: what it lies on; Linux 2.6.18 does not say, but by a VLAN's name
  for link in "${ROOT:-}/sys/class/net/$1/lower_"*; do
    [ ! -e "$link" ] || echo "${link##*/lower_}"
  done
  card=${1%.*}
  if [ "$card" != "$1" ] && [ -e "${ROOT:-}/sys/class/net/$card" ] && [ ! -e "${ROOT:-}/sys/class/net/$1/lower_$card" ]; then
    echo "$card"
  fi
}

checksum() { # of the standard input, 8 hex digits
  sum=$(cksum)
  printf '%08x' "${sum%% *}"
}

# shellcheck disable=SC2034 # for who asks
read_state() { # DISK: sets STATE (none, CLAIMING, COMMITTED, other), TOKENS, HAS_LAYOUT, HAS_NODE, HAS_SET, HAS_ARRAY, HAS_MARK
  STATE=none TOKENS=- HAS_LAYOUT=- HAS_NODE=- HAS_SET=- HAS_ARRAY=- HAS_MARK=
  set -f
  # shellcheck disable=SC2046 # words
  set -- $(dd if="$1" bs=512 skip=2040 count=1 2>/dev/null | tr -cd 'A-Za-z0-9.,_ ~-')
  set +f
  case ${1:-}:$# in
  PLUGNODE1:7) sum=$(printf %s "$1 $2 $3 $4 $5 $6" | checksum) said=$7 ;;
  PLUGNODE2:9) sum=$(printf %s "$1 $2 $3 $4 $5 $6 $7 $8" | checksum) said=$9 ;;
  *) return 0 ;;
  esac
  [ "$sum" = "${said%"~"}" ] || return 0
  [ "$sum" = "$said" ] || HAS_MARK=yes
  STATE=$3 TOKENS=$4 HAS_LAYOUT=$5 HAS_NODE=$6
  [ $# -eq 7 ] || { HAS_SET=$7 && HAS_ARRAY=$8; }
  [ "$2" = "$SITE" ] || STATE=other
}

network_at() { # PLACE: of a disk in sysfs, its `device`: the network that it is on, which other nodes may see it by
  case $1 in
  */rport-*) echo fc ;;
  */session[0-9]*) echo iscsi ;;
  */nvme-fabrics/*) echo fabrics ;;
  */nvme-subsys[0-9]*) # where NVMe has several paths to it itself, the controllers are links there
    for path in "$1"/nvme[0-9]*; do
      case $(readlink -f "$path") in */nvme-fabrics/*) echo fabrics && return 0 ;; esac
    done
    ;;
  esac
}

is_anothers() { # PLACE NODES NAME, of a disk of which the state was just read: on a network, and of the table a node but NAME has it
  case $HAS_NODE in - | "$3") return 1 ;; esac
  [ -n "$(network_at "$1")" ] && [ -n "$(lines_about "$2" "$tab$HAS_NODE$tab")" ]
}

room_for() { # FOLDER KILOBYTES NAME…: whether so much is free there, once root files but those, the oldest first, are gone
  place=$1 wanted=$2
  shift 2
  for old in "" $(ls -tr "$place"); do
    case " $* " in *" $old "*) [ -z "$old" ] || continue ;; esac
    case $old in '') ;; *.erofs | *.squashfs) rm -f "$place/$old" ;; *) continue ;; esac
    free=$(df -kP "$place" | while read -r _ _ _ free _; do echo "$free"; done | tail -n 1)
    [ "$free" -lt "$wanted" ] || return 0
  done
  return 1
}
