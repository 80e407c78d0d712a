# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: what has a disk in use, and how it is taken down. Read in by /etc/setup.sh.

in_use() { # DISK: mounted or swapped to, it or a partition of it, or under a RAID, a volume group, a mapping
  held "$(block_name "$1")" || [ -n "$(uses "$1" /proc/mounts /proc/swaps)$(btrfs_on "$(block_name "$1")")" ]
}

uses() { # DEVICE FILE…: the lines of /proc/mounts or /proc/swaps about it or a partition of it
  awk '
    BEGIN {
      disk = ARGV[1]
      ARGV[1] = ""
      partition = disk ~ /[0-9]$/ ? "^(p[0-9]+)?$" : "^([0-9]+)?$"
      if (disk ~ "^/dev/mapper/") partition = "^$"
    }
    index($1, disk) == 1 && substr($1, length(disk) + 1) ~ partition' "$@"
}

held() { # NAME: whether any block device stands on it
  for holder in "/sys/block/$1"/holders/* "/sys/block/$1"/*/holders/*; do
    [ ! -e "$holder" ] || return 0
  done
  return 1
}

btrfs_on() { # NAME: of each mounted btrfs that has it all disks, a line each; /proc/mounts knows one of them, and nothing holds them
  for device in /sys/fs/btrfs/*/devices/*; do
    if [ ! -e "$device" ] || [ "$(whole_of "$device")" != "$1" ]; then continue; fi
    for each in "${device%/*}"/*; do whole_of "$each"; done | sort -u | on_one_line
    echo
  done
}

above() { # NAME: every block device that stands on it, the topmost first
  for holder in "/sys/block/$1"/holders/* "/sys/block/$1"/*/holders/*; do
    [ -e "$holder" ] || continue
    above "${holder##*/}"
    echo "${holder##*/}"
  done | awk '!seen[$0]++'
}

below() { # NAME: the disks that it stands on
  set -- "$1" "/sys/block/$1"/slaves/*
  [ -e "$2" ] || { echo "$1" && return; }
  shift
  for slave; do below "$(whole_of "$slave")"; done
}

whole_of() { # LINK of sysfs: the block device that it leads to, of a partition its disk
  place=$(readlink -f "$1")
  [ ! -e "${place%/*}/size" ] || place=${place%/*}
  echo "${place##*/}"
}

called() { # NAME: and as people know it
  echo "$1$(sed 's/.*/ (&)/' "/sys/block/$1/dm/name" 2>/dev/null)"
}

users_of() { # DISK: in words
  {
    for name in $(above "$(block_name "$1")"); do called "$name"; done
    btrfs_on "$(block_name "$1")" | sed 's/^/btrfs of /'
    uses "$1" /proc/mounts | awk '{ print $1 " on " $2 }'
    uses "$1" /proc/swaps | awk '{ print $1 " as swap" }'
  } | tr '\n' ',' | sed 's/,$//; s/,/, /g'
}

take_down() { # DISK: what stands on it, from the top; again while udev has it open, or has just made it anew
  waited=0
  while stands_alone "$1" || return 1; do
    disk=$(block_name "$1")
    for name in $(above "$disk") "$disk"; do let_go "$name" || :; done
    in_use "$1" || return 0
    [ "$waited" -lt 5 ] || { say "$1 is still in use: $(users_of "$1")" && return 1; }
    sleep 1
    waited=$((waited + 1))
  done
}

stands_alone() { # DISK: nothing of what stands on it stands on a disk of no member as well
  for name in $(above "$(block_name "$1")"); do
    are_members "$1" "$(called "$name")" "$(below "$name" | sort -u | on_one_line)" || return 1
  done
  btrfs_on "$(block_name "$1")" | while read -r bases; do are_members "$1" "a btrfs" "$bases" || exit 1; done
}

are_members() { # DISK WHAT BASES: which WHAT stands on
  for base in $3; do
    case " $(block_name "$1") $(members_names) " in *" $base "*) continue ;; esac
    say "$2 stands on $3; it is left alone"
    return 1
  done
}

members_names() { # as sysfs has them
  for member in $MEMBERS; do block_name "$member"; done | on_one_line
}

each_use() { # FILE DEVICE COMMAND…: with the last one until there is none; busybox's umount ends several at once
  file=$1 device=$2
  shift 2
  while path=$(uses "$device" "$file" | tail -n 1) && [ -n "$path" ]; do
    run "$@" "${path%% *}" || break
  done
}

let_go() { # NAME: what is mounted from it or swaps to it, then itself, by its own number or name
  for device in "/dev/$(echo "$1" | tr '!' /)" "/dev/mapper/$(cat "/sys/block/$1/dm/name" 2>/dev/null)"; do
    each_use /proc/swaps "$device" swapoff
    each_use /proc/mounts "$device" umount -n
  done
  case $1 in dm-* | md* | bcache*) step "take down $(called "$1")" ;; esac
  case $1 in
  dm-*) tr ':' ' ' <"/sys/block/$1/dev" | while read -r major minor; do
    run dmsetup remove -j "$major" -m "$minor"
  done ;;
  md*) run mdadm --stop "/dev/$1" ;;
  bcache*) echo 1 >"/sys/block/$1/bcache/stop" ;;
  esac
}
