# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: whatever the layout wants and no disk gives, in memory. Read in by /etc/setup.sh.

mounted() { # FOLDER
  awk -v folder="$(real_path "$1")" '$2 == folder { found = 1 } END { exit !found }' /proc/mounts
}

mounted_type() { # FOLDER: the file system's, nothing where none is
  awk -v folder="$(real_path "$1")" '$2 == folder { type = $3 } END { print type }' /proc/mounts
}

real_path() { # PATH: as /proc/mounts has it, where a mount on a link is one on what it leads to
  (cd -P "$1" && pwd -P) 2>/dev/null || echo "$1"
}

fill_gaps() { # whatever the layout wants and no disk gives, and what no node can be without, in memory
  # shellcheck disable=SC2086 # a list
  { sed -n 's/^partition //p' $LAYOUT_FILES /dev/null | awk '$1 ~ "^/" { print $1, $5 }' && echo "/var /var.ro" && echo "/tmp -"; } |
    sort -k 1,1 -s | awk '!seen[$1]++' >"$WORK/gaps"
  while read -r folder fill <&3; do
    mounted "$ROOT$folder" || in_memory "$folder" "$fill"
  done 3<"$WORK/gaps"
  chmod "$(mount_value mode /tmp | grep . || echo 1777)" "$ROOT/tmp" || degrade "/tmp is not writable"
}

in_memory() { # FOLDER FILL: a quarter of the memory at most
  [ -d "$ROOT$1" ] || mkdir -p "$ROOT$1" 2>/dev/null || { degrade "no folder $1 in this root to mount on" && return 0; }
  step "$1 in memory"
  remember_looks "$1"
  set_aside "$1"
  run mount -n -t tmpfs -o "size=25%,mode=755$(memory_options "$1")" plugnode "$ROOT$1" ||
    { put_back && degrade "$1 is not writable" && return 0; }
  fill_memory "$1" "$2"
  put_back
}

fill_memory() { # FOLDER FILL
  if [ "$2" = - ] || [ ! -d "$ROOT$2" ]; then give_looks "$1" - && return 0; fi
  fill_from "$ROOT$2" "$ROOT$1" || {
    degrade "$1 lacks a part of $2"
    (cd "$ROOT$2" && find . -type d) | while read -r folder; do mkdir -p "$ROOT$1/$folder" || return 0; done
  }
  give_looks "$1" "$2"
}
