# What the scripts of this folder know of an architecture, and how they ask for Debian's packages. Read by them with `.`;
# it sets variables and functions and does nothing else.
# shellcheck shell=bash disable=SC2034

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Everything that is fetched or built lies here: `rm -r target/cross` is as if nothing had been.
work=${FIELDGATE_CROSS:-$root/target/cross}
name=$(basename "$0")

# debian: as Debian names it; triple: as Rust does; gnu: as the C compiler does; machine: as readelf prints it.
know() { # know ARCH
    debian=$1
    case $debian in
    amd64) gnu=x86_64-linux-gnu cpu=x86_64 machine='Advanced Micro Devices X86-64' loader=ld-linux-x86-64.so.2 ;;
    arm64) gnu=aarch64-linux-gnu cpu=aarch64 machine=AArch64 loader=ld-linux-aarch64.so.1 ;;
    armhf) gnu=arm-linux-gnueabihf cpu=arm machine=ARM loader=ld-linux-armhf.so.3 ;;
    *) refuse "no architecture ${debian:-given}; there are: amd64 arm64 armhf" ;;
    esac
    case $debian in
    # ARMv7 with a hardware floating point unit: Raspberry Pi 2 and later, but not Zero and 1, which are ARMv6.
    armhf) triple=armv7-unknown-linux-gnueabihf ;;
    *) triple=$cpu-unknown-linux-gnu ;;
    esac
    qemu=qemu-$cpu-static
    binary=$work/bin/$debian/fieldgate
}

refuse() {
    echo "$name: $*" >&2
    exit 2
}

say() {
    echo "== $*"
}

host=$(dpkg --print-architecture 2>/dev/null) || refuse "this is no Debian, and the tools come by apt-get"

# Debian's packages, unless they are there. Only root may install; others are told what to ask for.
need() { # need PACKAGE...
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        refuse "missing on this machine; as root: apt-get install --no-install-recommends ${missing[*]}"
    fi
    say "installs ${missing[*]}"
    mkdir -p "$work"
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}"; } \
        >"$work/apt.log" 2>&1 </dev/null; then
        tail -20 "$work/apt.log" >&2
        exit 1
    fi
}

version() {
    sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -1
}
