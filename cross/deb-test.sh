#!/usr/bin/env bash
# Installs the package of this machine's architecture into a scratch root, updates, removes and purges it there, and looks at what
# is left each time:
#
#   cross/deb-test.sh [PACKAGE]      default: what cross/deb.sh has made; the last line counts
#
# The root is a small Debian of debootstrap's, with a network of its own. Its systemctl is a stand-in that writes down what it is
# asked and, as systemd would, runs the program as the service's user; so "the old process stays" is seen, not inferred.
# Needs root. Nothing outside target/cross changes.
set -euo pipefail
. "$(dirname "$0")/env.sh"
know "$host"
[ "$(id -u)" = 0 ] || refuse "needs root, for a scratch root"
package=${1:-$work/fieldgate_$(version)-1_$debian.deb}
[ -r "$package" ] || refuse "no $package: cross/deb.sh $debian makes it"
need debootstrap dpkg-dev iproute2 util-linux

base=$work/root.tar
scratch=$work/root
rss_max=10000 # kB
passed=0
failed=0

if [ ! -e "$base" ]; then
    say "makes a small Debian (once)"
    rm -rf "$scratch"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 'Component: main' | head -1)
    debootstrap --variant=minbase --include=systemd bookworm "$scratch" "$mirror" >"$work/debootstrap.log" 2>&1 ||
        refuse "debootstrap failed, see $work/debootstrap.log"
    tar -C "$scratch" -cf "$base.new" . && mv "$base.new" "$base"
fi

# From here on with mounts, processes and a network of its own: all of it goes when this ends.
if [ -z "${FIELDGATE_UNSHARED:-}" ]; then
    FIELDGATE_UNSHARED=1 exec unshare --mount --net --pid --fork --kill-child "$0" "$package"
fi

judge() { # judge TEXT COMMAND...
    local text=$1
    shift
    if "$@" >"$work/judged" 2>&1; then
        echo "ok     $text"
        passed=$((passed + 1))
    else
        echo "FAILED $text: $*"
        sed 's/^/       /' "$work/judged"
        failed=$((failed + 1))
    fi
}

not() {
    ! "$@"
}

inside() {
    chroot "$scratch" "$@"
}

# The exit status is dpkg's; a question about a file would find nobody to answer, and fail.
dpkg_says() { # dpkg_says OPTION ARGUMENT
    : >"$scratch/asked"
    DEBIAN_FRONTEND=noninteractive inside dpkg "$@" </dev/null >"$work/dpkg.log" 2>&1
}

asked() { # asked VERB: of systemctl, since the last dpkg
    grep -q "$1 .*fieldgate.service" "$scratch/asked"
}

runs() {
    kill -0 "$(cat "$scratch/service.pid")"
}

accepts() {
    for _ in $(seq 100); do
        (: <>/dev/tcp/127.0.0.1/1883) 2>/dev/null && return
        sleep 0.1
    done
    return 1
}

runs_still() { # runs_still PID
    [ "$(cat "$scratch/service.pid")" = "$1" ] && runs && accepts
}

only_loopback() {
    ss -Hltn | grep -q . && ! ss -Hltun | awk '{ print $5 }' | grep -v -e '^127\.' -e '^\[::1\]'
}

has() { # has MODE OWNER PATH
    [ "$(inside stat -c '%a %U:%G' "$3")" = "$1 $2" ]
}

# The same package as a later version.
later() { # later REVISION
    local tree=$work/deb/later
    rm -rf "$tree"
    dpkg-deb -R "$package" "$tree"
    sed -i "s/^Version: .*/Version: $(version)-$1/" "$tree/DEBIAN/control"
    dpkg-deb --root-owner-group -Zgzip -z1 --build "$tree" "$scratch/later.deb" >/dev/null
}

rm -rf "$scratch" && mkdir -p "$scratch"
tar -C "$scratch" -xf "$base"
mount -t proc proc "$scratch/proc"
mount -t proc proc /proc
ip link set lo up
mkdir -p "$scratch/run/systemd/system" # what tells scripts that systemd runs
mv "$scratch/usr/bin/systemctl" "$scratch/usr/bin/systemctl.real"
cat >"$scratch/usr/bin/systemctl" <<'END'
#!/bin/sh
# A stand-in: writes down what it is asked, and does as much of it as the package can tell.
echo "$*" >>/asked
running() { [ -s /service.pid ] && kill -0 "$(cat /service.pid)" 2>/dev/null; }
stop() {
    running || return 0
    kill "$(cat /service.pid)"
    while running; do sleep 0.05; done
}
start() {
    mkdir -p /var/lib/fieldgate /run/fieldgate
    chmod 0700 /var/lib/fieldgate
    chown fieldgate: /var/lib/fieldgate /run/fieldgate
    STATE_DIRECTORY=/var/lib/fieldgate RUNTIME_DIRECTORY=/run/fieldgate setsid setpriv --reuid fieldgate --regid fieldgate \
        --init-groups /usr/bin/fieldgate run </dev/null >>/service.log 2>&1 &
    echo $! >/service.pid
}
case " $* " in
*" is-active "*) running ;;
*" is-enabled "* | *" preset "*) exec systemctl.real --root=/ "$@" ;; # files only
*" stop "*) stop ;;
*" start "*) running || start ;;
*" restart "* | *" try-restart "*) stop && start ;;
esac
END
chmod 0755 "$scratch/usr/bin/systemctl"
cp "$package" "$scratch/first.deb"

say "installs"
judge "installs" dpkg_says -i /first.deb
judge "nothing of it is changed or missing" inside dpkg --verify fieldgate
judge "its user is there, without a shell" inside grep -q '^fieldgate:.*:/usr/sbin/nologin$' /etc/passwd
for folder in /etc/fieldgate /etc/fieldgate/conf.d /etc/fieldgate/certs; do
    judge "$folder is root's to write and the service's to read" has 750 root:fieldgate "$folder"
done
judge "enabled" test -L "$scratch/etc/systemd/system/multi-user.target.wants/fieldgate.service"
judge "started" asked start
judge "runs and accepts" accepts
judge "nobody beyond this machine is let in" only_loopback
judge "the installed configuration is well, without a warning" inside runuser -u fieldgate -- fieldgate check --strict
judge "it answers on its control socket" inside fieldgate backlog
judge "man page" inside sh -c 'gzip -dc /usr/share/man/man8/fieldgate.8.gz | grep -q "^.TH fieldgate 8"'
judge "bill of materials" "$root/cross/sbom.py" --check "$scratch/usr/share/doc/fieldgate/sbom.cdx.json"
rss=$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$(cat "$scratch/service.pid")/status")
judge "idle it takes $rss kB of memory, at most $rss_max" [ "$rss" -le "$rss_max" ]

say "updates"
first=$(cat "$scratch/service.pid")
later 2
judge "updates" dpkg_says -i /later.deb
judge "restarted" asked restart
judge "the new one runs, the old one does not" not runs_still "$first"
judge "accepts" accepts

say "root adds a user"
echo '  users_file: users' >>"$scratch/etc/fieldgate/fieldgate.yaml"
judge "adds, and the service takes it up" inside sh -c 'echo open-sesame | fieldgate user add hmi --stdin'
judge "the service may read who it is" has 640 root:fieldgate /etc/fieldgate/users
inside systemctl restart fieldgate.service
judge "accepts after the next start" accepts
cp "$root/cross/deb/fieldgate.yaml" "$scratch/etc/fieldgate/fieldgate.yaml"
rm "$scratch/etc/fieldgate/users"
inside systemctl restart fieldgate.service
judge "accepts without it" accepts

say "updates with a configuration at fault"
second=$(cat "$scratch/service.pid")
sed -i 's/anonymous/anonimous/' "$scratch/etc/fieldgate/fieldgate.yaml"
later 3
judge "updates, and asks nothing about the changed file" dpkg_says -i /later.deb
judge "not restarted" not asked restart
judge "the old process runs and accepts" runs_still "$second"
judge "it says so" grep -q 'NOT restarted' "$work/dpkg.log"
judge "it says where the fault is" grep -q '/etc/fieldgate/fieldgate.yaml:[0-9]*:[0-9]*' "$work/dpkg.log"
judge "the configuration is as it was" grep -q anonimous "$scratch/etc/fieldgate/fieldgate.yaml"

say "updates with a file that root can read and the service cannot"
cp "$root/cross/deb/fieldgate.yaml" "$scratch/etc/fieldgate/fieldgate.yaml"
echo '  users_file: users' >>"$scratch/etc/fieldgate/fieldgate.yaml"
install -m 0600 /dev/null "$scratch/etc/fieldgate/users"
later 4
judge "updates" dpkg_says -i /later.deb
judge "not restarted" not asked restart
judge "the old process runs and accepts" runs_still "$second"

say "updates while it was stopped by its owner"
cp "$root/cross/deb/fieldgate.yaml" "$scratch/etc/fieldgate/fieldgate.yaml"
inside systemctl stop fieldgate.service
later 5
judge "updates" dpkg_says -i /later.deb
judge "stays stopped" not runs
inside systemctl start fieldgate.service
judge "accepts when it is started again" accepts

say "removes"
judge "removes" dpkg_says -r fieldgate
judge "stopped" not runs
judge "the program is gone" test ! -e "$scratch/usr/bin/fieldgate"
judge "the data stays" test -n "$(ls "$scratch/var/lib/fieldgate")"
judge "the configuration stays" test -s "$scratch/etc/fieldgate/fieldgate.yaml"

say "installs again"
judge "installs" dpkg_says -i /first.deb
judge "runs and accepts" accepts

say "purges"
echo key >"$scratch/etc/fieldgate/certs/cloud.key"
judge "purges" dpkg_says -P fieldgate
judge "stopped" not runs
leftover() {
    (cd "$scratch" && find etc usr var/lib -path '*fieldgate*' -not -path 'var/lib/dpkg/*' | grep .)
}
judge "nothing is left, keys and data included" not leftover

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
