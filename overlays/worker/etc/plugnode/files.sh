# shellcheck shell=sh disable=SC2154 # of other parts
#
# Plugnode: files of this node's own, filled with what the site says of it; nothing in them is run. Read in by /etc/setup.sh.

fill_node_files() { # those that the release names, and no others: /etc/plugnode/node_files has PATH and TEMPLATE
  [ -s "$ROOT/etc/plugnode/node_files" ] || return 0
  own_words >"$WORK/words"
  while read -r path template; do
    fill_node_file "$DATA/files/$path" "$DATA/templates/$template"
  done <"$ROOT/etc/plugnode/node_files"
}

fill_node_file() { # FILE TEMPLATE: a file without a template is none
  [ -f "$2" ] || { rm -f "$1" && return 0; }
  mkdir -p "${1%/*}"
  filled "$WORK/words" "$2" >"$1.new"
  mv -f "$1.new" "$1"
}

filled() { # WORDS TEMPLATE: the template with each {{ word }} replaced, by nothing where there is none
  awk -F "$tab" '
    NR == FNR { word[$1] = substr($0, length($1) + 2); next }
    {
      done = ""
      while (match($0, /[{][{][^{}]*[}][}]/)) {
        name = substr($0, RSTART + 2, RLENGTH - 4)
        gsub(/[ \t]/, "", name)
        done = done substr($0, 1, RSTART - 1) word[name]
        $0 = substr($0, RSTART + RLENGTH)
      }
      print done $0
    }' "$1" "$2"
}

own_words() { # NAME and VALUE, a line each
  printf 'name\t%s\nip\t%s\n' "$NODE" "$ADDRESS"
  printf 'mac\t%s\ngroups\t%s\n' "$(own_field 3 | sed 's/^-$//')" "$(own_field 4 | sed 's/^-$//')"
  printf 'site\t%s\ndomain\t%s\n' "$(site_value site)" "$(site_value domain)"
  lines_about "$DATA/facts" "$ADDRESS" | awk -F "$tab" -v address="$ADDRESS" '
    $1 "" == address {
      for (i = 2; i <= NF; i++) { at = index($i, "="); print substr($i, 1, at - 1) "\t" substr($i, at + 1) }
    }'
}
