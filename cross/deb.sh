#!/usr/bin/env bash
# Makes Debian's package for an architecture, and has lintian judge it:
#
#   cross/deb.sh amd64|arm64|armhf            builds the program first (cross/build.sh)
#   cross/deb.sh amd64|arm64|armhf PROGRAM    with a program that is built already
#
# By dpkg-deb and nothing else: what is in the package is what `put` below names, line by line, and a tool that would derive that
# from Cargo.toml would be one more to install and to trust. The same program gives the same package, byte by byte: all times
# are SOURCE_DATE_EPOCH, by default that of the last commit.
#
# FIELDGATE_MAINTAINER="NAME <MAIL>"   who answers for the package
set -euo pipefail
. "$(dirname "$0")/env.sh"
. "$root/cross/rust.sh"
know "${1:-}"
need dpkg-dev lintian python3 man-db
if [ -n "${2:-}" ]; then
    binary=$2
else
    "$root/cross/build.sh" "$debian"
fi
cd "$root"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
maintainer=${FIELDGATE_MAINTAINER:-fieldgate packages <fieldgate@packages.invalid>}
version=$(version)-1
tree=$work/deb/$debian
package=$work/fieldgate_${version}_$debian.deb
doc=usr/share/doc/fieldgate

put() { # put MODE FILE PLACE
    install -D -m "$1" "$2" "$tree/$3"
}

# As Debian wants documents that are long, without a time inside.
put_gz() { # put_gz FILE PLACE
    mkdir -p "$(dirname "$tree/$2")"
    gzip -9n <"$1" >"$tree/$2.gz"
    chmod 0644 "$tree/$2.gz"
}

# As on the box, where pages, examples and the schema lie elsewhere than in the source.
put_page() { # put_page FILE PLACE
    mkdir -p "$(dirname "$tree/$2")"
    sed -e "s|\$schema=\.\./|\$schema=/usr/share/fieldgate/|" \
        -e 's#\. docs/configuration\.md#. ../configuration.md#' \
        -e 's#](config/docs/#](#g; s#](config/examples#](examples#g; s#](\.\./templates#](/usr/share/fieldgate/templates#g' \
        -e 's#](\(\.\./\.\./\)\?systemd/README\.md#](systemd.md#g; s#](CHANGELOG\.md)#](changelog.gz)#g' \
        -e 's#\[[^]]*](\(\.\./\.\./\)\?\(cross/README\.md\|ARCHITECTURE\.md\))#`\2` of the source#g' \
        "$1" >"$tree/$2"
    chmod 0644 "$tree/$2"
}

# Prints the links of the pages to what is not in the package.
dead_links() (
    cd "$tree/$doc"
    grep -oE '\]\([^)#]+' -- *.md | tr -d ']' | while IFS='(' read -r page target; do
        case $target in
        http*) continue ;;
        /*) target=$tree$target ;;
        esac
        [ -e "$target" ] || echo "$page $target"
    done
)

fill() { # fill FILE: its @NAMES@
    local mit
    mit=$(sed -n '3,$p' LICENSE-MIT | sed 's/^$/./; s/^/ /')
    SIZE=$(du -k -s "$tree" | cut -f 1) VERSION=$version ARCHITECTURE=$debian MAINTAINER=$maintainer MIT=$mit \
        COPYRIGHT=$(sed -n '1s/^Copyright (c) //p' LICENSE-MIT) \
        perl -pe 's/@([A-Z]+)@/$ENV{$1}/g' "$1"
}

# What the program knows of its commands, and Cargo of its parts: asked on this machine, whatever the package is for.
describe() ( # describe TRIPLE PROGRAM
    know "$host"
    choose_rust
    cargo run "${cargo_flags[@]}" --quiet --example generate -- "$generated"
    cross/sbom.py "$1" "$2" "$generated"
)

say "man pages, completions, bill of materials"
generated=$work/generated/$debian
rm -rf "$generated" && mkdir -p "$generated"
describe "$triple" "$binary"
cross/sbom.py --check "$generated/sbom.cdx.json"

say "$package"
rm -rf "$tree"
put 0755 "$binary" usr/bin/fieldgate
put 0644 systemd/fieldgate.service usr/lib/systemd/system/fieldgate.service
put 0644 systemd/sysusers.conf usr/lib/sysusers.d/fieldgate.conf
put 0644 systemd/tmpfiles.conf usr/lib/tmpfiles.d/fieldgate.conf
put 0644 systemd/default etc/default/fieldgate
put 0644 cross/deb/fieldgate.yaml etc/fieldgate/fieldgate.yaml
put 0644 cross/deb/conf.d-README etc/fieldgate/conf.d/README
for page in "$generated"/man/*.8; do
    put_gz "$page" "usr/share/man/man8/$(basename "$page")"
done
put 0644 "$generated/completions/bash" usr/share/bash-completion/completions/fieldgate
put 0644 "$generated/completions/zsh" usr/share/zsh/vendor-completions/_fieldgate
put 0644 "$generated/completions/fish" usr/share/fish/vendor_completions.d/fieldgate.fish
for file in config/templates/*.yaml; do
    put 0644 "$file" "usr/share/fieldgate/templates/$(basename "$file")"
done
for file in config/*.schema.json; do
    [ ! -e "$file" ] || put 0644 "$file" "usr/share/fieldgate/$(basename "$file")"
done
for file in config/docs/*.md README.md SECURITY.md; do
    put_page "$file" "$doc/$(basename "$file")"
done
for file in config/fieldgate.yaml config/examples/*.yaml; do
    put_page "$file" "$doc/examples/$(basename "$file")"
done
for file in systemd/drop-ins/*.conf; do
    put 0644 "$file" "$doc/drop-ins/$(basename "$file")"
done
put_page systemd/README.md "$doc/systemd.md"
put 0644 "$generated/sbom.cdx.json" "$doc/sbom.cdx.json"
put_gz "$generated/notices" "$doc/notices"
put_gz CHANGELOG.md "$doc/changelog"
printf 'fieldgate (%s) stable; urgency=medium\n\n  * What changed for users: changelog.gz.\n\n -- %s  %s\n' \
    "$version" "$maintainer" "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")" >"$generated/changelog"
put_gz "$generated/changelog" "$doc/changelog.Debian"
fill cross/deb/copyright >"$generated/copyright"
put 0644 "$generated/copyright" "$doc/copyright"
put 0644 cross/deb/lintian-overrides usr/share/lintian/overrides/fieldgate

fill cross/deb/control >"$generated/control"
put 0644 "$generated/control" DEBIAN/control
put 0644 cross/deb/conffiles DEBIAN/conffiles
for script in preinst postinst prerm postrm; do
    put 0755 "cross/deb/$script" "DEBIAN/$script"
done
dead=$(dead_links)
[ -z "$dead" ] || refuse "pages name what the package does not have: $dead"
(cd "$tree" && find etc usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$generated/md5sums"
put 0644 "$generated/md5sums" DEBIAN/md5sums

find "$tree" -type d -exec chmod 0755 {} +
find "$tree" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz --build "$tree" "$package" >/dev/null
say "lintian"
lintian --allow-root --fail-on error,warning --info "$package"
echo "$package: $(stat -c %s "$package") bytes"
