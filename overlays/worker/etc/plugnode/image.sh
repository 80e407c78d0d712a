# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: the partition that keeps root files, `image` of a layout: what the initrd found or left there. Read in by /etc/setup.sh.

root_fact() { # KEY: what the initrd says of a root that is a file
  value_of "$DATA/root" "$1"
}

root_stands_on() { # DISK: whether the root file that is in use is there; it has that partition mounted where nobody else sees it
  node=$(root_fact partition) number=0
  [ -n "$node" ] || return 1
  while [ "$number" -lt 16 ]; do
    number=$((number + 1))
    [ "$(partition_node "$1" "$number")" != "$node" ] || return 0
  done
  return 1
}

leave_disk() { # DISK: what is under the root cannot be made anew: start again, with the root in memory
  say "the root is on $1: this node starts again with its root in memory, to make $1 anew"
  mkdir -p "$DATA/image"
  mounted "$DATA/image" || run mount -n -t ext4 -o rw,noatime "$(root_fact partition)" "$DATA/image"
  : >"$DATA/image/leave"
  flush
  ${MOCK:-} reboot -f
  exit 9
}

mount_image() { # NODE FS: for root files; where the root is one of them, the initrd has checked it
  place=$DATA/image
  mkdir -p "$place"
  if ! root_stands_on "$DISK" && ! check_filesystem "$1" "$2"; then
    degrade "image: $1 cannot be used, and stays as it is$(newer "$1")"
    return
  fi
  run mount -n -t "$2" -o rw,noatime "$1" "$place" || { degrade "image: $1 does not mount" && return; }
  rm -f "$place/leave"
  keep_image "$1" "$place"
}

keep_image() { # NODE FOLDER: the root that the initrd has fetched into memory, for the next boot; its name says what it must be
  name=$(root_fact name) bytes=$(root_fact bytes)
  [ -n "$bytes" ] && [ "$(stat -c %s "$2/$name" 2>/dev/null)" != "$bytes" ] || return 0
  rm -f "$2/$name"
  room_for "$2" $((bytes / 1024 + 1024)) "$name" || { degrade "image: $1 has no room for $bytes bytes" && return; }
  step "keep $name on $1"
  run dd if="$(root_fact device)" of="$2/$name" bs=1048576 || { rm -f "$2/$name" && degrade "image: $1 keeps no $name"; }
  flush
}
