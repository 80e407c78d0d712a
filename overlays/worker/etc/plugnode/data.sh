# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: who this node is and what its disks shall be: what site.img, the initrd and the kernel command line say. Read in by /etc/setup.sh.

site_value() { # KEY
  value_of "$DATA/site" "$1"
}

own_field() { # N: field N of this node's line, "-" if there is none
  node_field "$DATA/nodes" "$ADDRESS" "$1" | grep . || echo -
}

layout_values() { # KEY: what follows KEY in this node's layout, a line each
  sed -n "s/^$1[[:space:]][[:space:]]*//p" "$LAYOUT_FILE"
}

read_data() { # who this node is, and what its disks shall be; once, for this process and those that it starts
  INTERFACE=$(cat "$DATA/interface" 2>/dev/null || echo eth0)
  ADDRESS=$(cat "$DATA/address" 2>/dev/null || address_of "$INTERFACE")
  RELEASE=$(cat "$DATA/release" 2>/dev/null || root_name)
  SITE=$(site_value site | checksum)
  NODE=$(own_field 2)
  LAYOUT_FILES=$(layout_files "$(own_field 5)")
  take_layout "${LAYOUT_FILES%% *}"
  KNOWN=yes
  export KNOWN INTERFACE ADDRESS RELEASE SITE NODE LAYOUT_FILES
}

layout_files() { # NAME: those of this node, in order, on one line
  for file in "$DATA/layouts/$1" "$DATA/layouts/$1"..*; do
    [ ! -f "$file" ] || echo "$file"
  done | tr '\n' ' '
}

take_layout() { # FILE: the one that this process, and those that it starts, are about
  LAYOUT_FILE=$1 LAYOUT='' TABLE='' SET=- LEVEL='' COUNT=1
  [ -f "$1" ] || return 0
  TABLE=$(table_kind)
  number_partitions
  LAYOUT=$(sed -n '/^table/p; /^raid/p; /^partition/p' "$1" | checksum)
  SET=$(sed -n 's/^partition //p' "$1" | head -n 1 | cut -d ' ' -f 4)
  LEVEL=$(layout_values raid | cut -d ' ' -f 1)
  [ -z "$LEVEL" ] || COUNT=$(layout_values raid | cut -d ' ' -f 2)
  export LAYOUT_FILE LAYOUT TABLE SET LEVEL COUNT
}

root_name() { # the last part of the path that the root was mounted from, which is the release
  awk '$2 == "/" { n = split($1, part, "/"); name = part[n] } END { print name }' /proc/mounts
}

table_kind() { # gpt, dos, or old: a dos table by EL5's sfdisk, which has no GPT
  if sfdisk --help 2>&1 | grep -q gpt; then layout_values table; else echo old; fi
}

number_partitions() { # NUMBER MOUNT MIB FS LABEL FILL; a dos table of more than four has logical ones from number 5
  awk -v kind="$TABLE" '
    $1 == "partition" { n++; line[n] = $2 " " $3 " " $4 " " $5 " " $6 }
    END { for (i = 1; i <= n; i++) print (kind != "gpt" && n > 4 && i > 3 ? i + 1 : i), line[i] }
  ' "$LAYOUT_FILE" >"$WORK/partitions"
}

each_partition() { # COMMAND…: with number, mount, MiB, fs, label and fill of each, parents first; stdin is free
  sort -k 2,2 "$WORK/partitions" >"$WORK/sorted"
  while read -r number mount mib fs label fill <&3; do
    "$@" "$number" "$mount" "$mib" "$fs" "$label" "$fill"
  done 3<"$WORK/sorted"
}
