#!/usr/bin/env bash
# Builds the program for an architecture of Debian's, as packages have it (profile dist):
#
#   cross/build.sh amd64|arm64|armhf      says where it lies, its size and what it needs
#
# Needs Debian 12 (bookworm) or newer, and of it only C compilers and libraries, which root has it install. Where rustup has the target
# (`rustup target add`), the installed Rust builds, else Debian's newest, unpacked into target/cross and not installed
# (rust.sh). What is there is not fetched again, and what is built not built again.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. "$root/cross/rust.sh"
know "${1:-}"
choose_rust

# ring has C and assembly; everything else is Rust.
if [ "$debian" = "$host" ]; then
    need gcc libc6-dev
else
    need "gcc-${gnu//_/-}" "libc6-dev-$debian-cross"
    variable=${triple//-/_}
    export "CARGO_TARGET_${variable^^}_LINKER=$gnu-gcc" "CC_$variable=$gnu-gcc" "AR_$variable=$gnu-ar"
fi

# Small code for x86-64 pushes and pops, and the tables for unwinding name each of it: 0.3 MB, unless frames have a pointer, which
# also shows profilers who calls whom. lld keeps once what was made twice, the same code for other types: 0.1 MB.
if [ "$debian" = amd64 ]; then
    need lld
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C force-frame-pointers=yes -C link-arg=-fuse-ld=lld -C link-arg=-Wl,--icf=all"
fi

cargo build --manifest-path "$root/Cargo.toml" "${cargo_flags[@]}" --profile dist --bin fieldgate --target "$triple"
install -D -m 0755 "${CARGO_TARGET_DIR:-$root/target}/$triple/dist/fieldgate" "$binary"
"$root/cross/check-elf.sh" "$binary" "$debian"
