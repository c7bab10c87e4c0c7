#!/usr/bin/env bash
# Says whether a program fits the boxes that it is for, by its own tables:
#
#   cross/check-elf.sh FILE amd64|arm64|armhf      status 1 where it does not
#
# The right machine; no glibc newer than 2.34, so that it starts on Debian 12 and what is as old; no library but those that every
# Debian has; position independent, with its relocations read-only; stripped, and small.
set -euo pipefail
. "$(dirname "$0")/env.sh"
file=${1:-}
know "${2:-}"
[ -r "$file" ] || refuse "cannot read ${file:-the file, which is not named}"
need binutils

glibc_max=2.34
bytes_max=$((8 * 1024 * 1024))
allowed="libc.so.6 libm.so.6 libgcc_s.so.1 $loader"
faults=0

judge() { # judge TEXT COMMAND...
    local text=$1
    shift
    if "$@"; then
        echo "ok   $text"
    else
        echo "FAIL $text"
        faults=$((faults + 1))
    fi
}

is_at_most() {
    [ "$(printf '%s\n' "$1" "$2" | sort -V | tail -1)" = "$2" ]
}

only_allowed() {
    local library
    for library in $needed; do
        [[ " $allowed " == *" $library "* ]] || return 1
    done
}

header=$(readelf --wide --file-header "$file")
dynamic=$(readelf --wide --dynamic "$file")
found=$(sed -n 's/^ *Machine: *//p' <<<"$header")
needed=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p' <<<"$dynamic" | paste -sd ' ')
glibc=$(readelf --wide --version-info "$file" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -Vu | tail -1)
bytes=$(stat -c %s "$file")

echo "$file"
judge "machine: $found" [ "$found" = "$machine" ]
if [ "$debian" = armhf ]; then
    judge "floating point: by hardware" grep -q 'hard-float ABI' <<<"$header"
fi
judge "glibc: $glibc, at most $glibc_max" is_at_most "${glibc:-none}" "$glibc_max"
judge "libraries: $needed" only_allowed
judge "position independent" grep -q 'Type: *DYN' <<<"$header"
judge "relocations read-only" grep -qE '\(BIND_NOW\)|FLAGS.*(NOW|BIND_NOW)' <<<"$dynamic"
judge "stripped" [ -z "$(readelf --wide --section-headers "$file" | grep -F .symtab)" ]
judge "size: $bytes bytes, at most $bytes_max" [ "$bytes" -le "$bytes_max" ]
[ "$faults" = 0 ]
