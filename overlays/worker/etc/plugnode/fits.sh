# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: whether the layout can be made on a disk, asked before anything is claimed. Read in by /etc/setup.sh.

fits() { # DISK: the layout has its tools, room on the disk, and room for what fills a partition; fails with a reason
  lacks=$({ need sfdisk "util-linux, or fdisk" && each_partition need_maker; } | head -n 1)
  [ -z "$lacks" ] || { echo "$lacks" && return 1; }
  need=$(awk '{ mib += $3 == "rest" ? 16 : $3 } END { print mib + NR + 2 }' "$WORK/partitions")
  more=$(($(mib_of "$1") - need))
  [ "$more" -ge 0 ] || { echo "$1 has $(mib_of "$1") MiB, the layout needs $need" && return 1; }
  while read -r _ _ mib _ _ fill; do
    [ "$fill" != - ] || continue
    [ "$mib" != rest ] || mib=$((16 + more))
    used=$(du -sk "$ROOT$fill" 2>/dev/null | awk '{ print int($1 / 1024) }')
    [ "$mib" -ge $((used + used / 16)) ] || { echo "$fill has $used MiB, its partition $mib" && return 1; }
  done <"$WORK/partitions"
}

need_maker() { # NUMBER MOUNT MIB FS …
  case $4 in
  swap) need mkswap util-linux ;;
  xfs) need mkfs.xfs xfsprogs ;;
  *) need "mkfs.$4" e2fsprogs ;;
  esac
}

rest_of() { # DISK: the MiB that `rest` has; counted by the shell, for mawk prints what is over 2^31 as 2.14748e+09
  rest=$(($(mib_of "$1") - 2)) count=0
  while read -r number _ mib _; do
    count=$((count + 1))
    [ "$number" -eq "$count" ] || rest=$((rest - 1))
    [ "$mib" = rest ] || rest=$((rest - mib))
  done <"$WORK/partitions"
  echo "$rest"
}
