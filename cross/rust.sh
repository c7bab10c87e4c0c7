# Which Rust builds for the architecture that `know` was told: the one on the path, where it is new enough and has the target's
# standard library, else Debian's. Read with `.`, after env.sh.
# shellcheck shell=bash

rust=$work/rust

# Sets `toolchain` and `cargo_flags`, and puts what is chosen on the path.
choose_rust() {
    cargo_flags=(--locked)
    toolchain=installed
    is_installed || use_debians
    # What one compiler has built, another does not know.
    [ $toolchain = installed ] || export CARGO_TARGET_DIR=$work/debian-$debian
    say "$(rustc --version), $toolchain, for $triple"
}

is_installed() {
    command -v cargo rustc >/dev/null || return 1
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\([0-9.]*\)".*/\1/p' "$root/Cargo.toml")
    found=$(rustc --version | cut -d ' ' -f 2)
    [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -1)" = "$wanted" ] || return 1
    [ -n "$(find "$(rustc --print sysroot)/lib/rustlib/$triple/lib" -name 'libstd-*.rlib' 2>/dev/null)" ]
}

# Compiler, Cargo and libraries in one tree, $rust/usr: rustc looks for libraries beside itself.
use_debians() {
    local std package libraries
    toolchain=debian
    std=$(apt-cache depends libstd-rust-web-dev 2>/dev/null | sed -n 's/^ *Depends: \(libstd-rust-web-[0-9.]*\)$/\1/p')
    [ -n "$std" ] || refuse "apt-get knows no rustc-web; run apt-get update, or rustup target add $triple"
    # What their programs load; which LLVM that is, the packages say.
    mapfile -t libraries < <(apt-cache depends "$std" cargo-web |
        sed -n 's/^ *Depends: \(lib[a-z0-9.-]*\)$/\1/p' | grep -v '^libstd-rust' | sort -u)
    need gcc libc6-dev "${libraries[@]}"
    mkdir -p "$rust/.unpacked" "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
    if [ ! -e "$rust/.unpacked/lists-$debian" ]; then
        say "reads Debian's lists for $host and $debian"
        # Third parties' sources may not have the architecture; Debian's own are what counts.
        own_apt update >"$work/apt/update.log" 2>&1 || tail -3 "$work/apt/update.log" >&2
        touch "$rust/.unpacked/lists-$debian"
    fi
    for package in rustc-web cargo-web "$std" libstd-rust-web-dev; do
        unpack "$package"
    done
    LD_LIBRARY_PATH=$rust/usr/lib/$(uname -m)-linux-gnu
    export LD_LIBRARY_PATH PATH=$rust/usr/bin:$PATH RUSTC=$rust/usr/bin/rustc
    [ "$debian" != "$host" ] || return 0
    if [ "$debian" = armhf ]; then
        # Debian has none that is new enough, so it is built along: by a flag of Cargo that a stable compiler must be allowed.
        unpack rust-web-src
        export RUSTC_BOOTSTRAP=1
        cargo_flags+=("-Zbuild-std=std,panic_unwind")
    else
        unpack "libstd-rust-web-dev:$debian"
    fi
}

# apt-get with lists of its own, so that the machine's architectures stay as they are; needs no root.
own_apt() {
    apt-get -q -o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" -o "APT::Architecture=$host" \
        -o "APT::Architectures::=$host" -o "APT::Architectures::=$debian" -o APT::Sandbox::User=root "$@"
}

# One package into the tree, unless it is there.
unpack() { # unpack PACKAGE
    [ ! -e "$rust/.unpacked/$1" ] || return 0
    say "unpacks $1"
    local folder
    folder=$(mktemp -d -p "$work/apt")
    (cd "$folder" && own_apt download "$1" >/dev/null)
    dpkg-deb -x "$folder"/*.deb "$rust"
    rm -r "$folder"
    touch "$rust/.unpacked/$1"
}
