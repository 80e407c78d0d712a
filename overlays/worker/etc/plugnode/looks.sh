# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: options, mode and owner of what is mounted. Read in by /etc/setup.sh.

mount_value() { # KEY MOUNT: what site.yaml gives it of that
  # shellcheck disable=SC2086 # a list
  awk -v key="$1" -v mount="$2" '$1 == key && $2 == mount { print $3 }' $LAYOUT_FILES /dev/null
}

memory_options() { # MOUNT: those of them that go with memory, too
  for option in $(mount_value options "$1" | tr ',' ' '); do
    case $option in nosuid | nodev | noexec | noatime) printf ',%s' "$option" ;; esac
  done
}

note_looks() { # of all mount points in the root, before anything covers them: one may lie below another
  # shellcheck disable=SC2086 # a list
  sed -n 's/^partition //p' $LAYOUT_FILES /dev/null | while read -r mount _; do
    [ ! -d "$ROOT$mount" ] || echo "$mount $(stat -c '%a %u:%g' "$ROOT$mount")"
  done >"$WORK/looks"
}

remember_looks() { # MOUNT: before it is covered
  looks=$(sed -n "s,^$1 ,,p" "$WORK/looks" 2>/dev/null | head -n 1 | grep .) ||
    looks=$(stat -c '%a %u:%g' "$ROOT$1" 2>/dev/null || echo "755 0:0")
}

give_looks() { # MOUNT FILL: the owner of the root's folder and its mode, or the one that site.yaml has for it
  mode=$(mount_value mode "$1")
  if [ "$2" = - ]; then
    mode=${mode:-${looks% *}}
    run chown "${looks#* }" "$ROOT$1" || degrade "$1 keeps its owner"
  fi
  [ -z "$mode" ] || run chmod "$mode" "$ROOT$1" || degrade "$1 keeps its mode"
}
