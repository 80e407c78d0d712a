# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: whether the layout can be made on a disk, asked before anything is claimed. Read in by /etc/setup.sh.

fits() { # fails with a reason where a tool is lacking, or a disk, or room, or where a size cannot be made
  [ -z "$LEVEL" ] && whole=$MEMBERS || whole=array
  why=$({ lacks_tool && lacks_disk && lacks_room "$whole" && size_partitions "$whole" && over_table "$whole" && each_size; } | head -n 1)
  [ -z "$why" ] || { echo "$why" && return 1; }
}

lacks_tool() {
  need sfdisk "util-linux, or fdisk"
  need blkid "util-linux, or e2fsprogs on EL5"
  lacks_raid
  each_partition need_maker
}

need_maker() { # NUMBER MOUNT MIB FS …
  case $4 in
  swap) need mkswap util-linux ;;
  xfs) need mkfs.xfs xfsprogs ;;
  *) need "mkfs.$4" e2fsprogs && need "fsck.$4" e2fsprogs ;;
  esac
}

lacks_room() { # DISK, or "array": that of the members
  need=$(awk '{ mib += $3 == "rest" ? 16 : $3 } END { printf "%.0f", mib + NR + 2 }' "$WORK/partitions")
  [ "$(mib_of "$1")" -ge "$need" ] || echo "$MEMBERS has $(mib_of "$1") MiB, the layout needs $need"
}

size_partitions() { # DISK: into $WORK/sized, with the MiB that each will have there and the MiB where it begins
  rest=$(($(mib_of "$1") - 1 - $(end_of "$WORK/partitions"))) at=1 count=0
  while read -r number mount mib fs label fill; do
    count=$((count + 1))
    [ "$number" -eq "$count" ] || at=$((at + 1)) # a logical one; its own table is in the MiB before
    [ "$mib" != rest ] || mib=$rest
    echo "$number $mount $mib $fs $label $fill $at"
    at=$((at + mib))
  done <"$WORK/partitions" >"$WORK/sized"
}

end_of() { # FILE: the MiB up to the end of the last partition; by the shell, for mawk loses what is over 2^31
  end=1 count=0
  while read -r number _ mib _; do
    count=$((count + 1))
    [ "$number" -eq "$count" ] || end=$((end + 1))
    [ "$mib" = rest ] || end=$((end + mib))
  done <"$1"
  echo "$end"
}

over_table() { # DISK: a dos table counts sectors in 32 bits
  [ "$TABLE" != gpt ] || return 0
  reach=$((4294967296 * $(blockdev --getss "$1") / 1048576)) end=$(end_of "$WORK/sized")
  [ "$end" -gt "$reach" ] || return 0
  echo "a dos table reaches $reach MiB, the layout needs $end of $1; take table: gpt, or smaller sizes"
}

each_size() {
  while read -r _ mount mib fs label fill _ <&3; do
    not_made "$mount" "$mib" "$fs" "$label"
    [ "$fill" = - ] || overfull "$mib" "$fill"
  done 3<"$WORK/sized"
}

not_made() { # MOUNT MIB FS LABEL: why mkfs would make no such file system; e2fsprogs' own can be asked
  case $3 in
  swap) ;;
  xfs)
    [ "$2" -ge 300 ] || echo "$1 has $2 MiB, xfs needs 300; ext4 does with less"
    [ ${#4} -le 12 ] || echo "$1: xfs takes labels of 12 characters, $4 has ${#4}"
    ;;
  *) made_of_nothing "$2" "mkfs.$3" -n -q -F -L "$4" || echo "$1: no $3 of $2 MiB: $(output)" ;;
  esac
}

made_of_nothing() { # MIB COMMAND…: succeeds if the command does, on a file of that size of which nothing is there
  hole=$WORK/hole mib=$1
  shift
  rm -f "$hole"
  dd if=/dev/null of="$hole" bs=1048576 seek="$mib" count=0 2>/dev/null || return 0 # no room for its size
  "$@" "$hole" >"$WORK/output" 2>&1 </dev/null
}

overfull() { # MIB FILL
  used=$({ cat "$ROOT$2.kib" || du -sk "$ROOT$2"; } 2>/dev/null | awk '{ print int($1 / 1024) }')
  [ "$1" -ge $((used + used / 16)) ] || echo "$2 has $used MiB, its partition $1"
}
