#!/usr/bin/env bash
# Runs a cross built program on this machine, by emulation of its processor, against clients of this machine:
#
#   cross/smoke-qemu.sh amd64|arm64|armhf [PROGRAM]     default: what cross/build.sh has built; the last line counts
#
# Its tables (cross/check-elf.sh), `check` on configurations, messages over mutual TLS, and kills while messages are
# acknowledged: each that was acknowledged must be delivered afterwards.
#
# What it cannot show: serial ports, because qemu's user mode does not have the call that sets a line's speed (TCGETS2); Modbus
# over serial lines and instruments are tested natively only. Nor time and memory: those would be the emulator's.
set -euo pipefail
. "$(dirname "$0")/env.sh"
know "${1:-}"
program=${2:-$binary}
[ -x "$program" ] || refuse "no $program: cross/build.sh $debian builds it"
need mosquitto-clients openssl qemu-user-static
if [ "$debian" = "$host" ]; then
    run=("$program")
else
    need "libc6-$debian-cross" "libgcc-s1-$debian-cross"
    run=("$qemu" -L "/usr/$gnu" "$program")
fi

rounds=5
acknowledged_each=200
scratch=$work/smoke/$debian
passed=0
failed=0
gateway=
rm -rf "$scratch" && mkdir -p "$scratch"
trap '[ -z "$gateway" ] || kill -9 "$gateway" 2>/dev/null; [ -z "$(jobs -p)" ] || kill $(jobs -p) 2>/dev/null' EXIT

judge() { # judge TEXT COMMAND...
    local text=$1
    shift
    if "$@" >"$scratch/judged" 2>&1; then
        echo "ok     $text"
        passed=$((passed + 1))
    else
        echo "FAILED $text: $*"
        tail -20 "$scratch/judged" | sed 's/^/       /'
        failed=$((failed + 1))
    fi
}

# Asks until the answer is yes; gives up only on what is broken, emulation is slow.
await() { # await WHAT COMMAND...
    local what=$1 tries
    shift
    for ((tries = 0; tries < 1200; tries++)); do
        "$@" && return
        sleep 0.1
    done
    echo "FAILED not within two minutes: $what"
    tail -20 "$scratch"/*.log
    exit 1
}

accepts() {
    (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

free_port() {
    local port
    while port=$((20000 + RANDOM % 12000)) && accepts "$port"; do :; done
    echo "$port"
}

start() {
    "${run[@]}" run -c "$scratch/fieldgate.yaml" >>"$scratch/gateway.log" 2>&1 &
    gateway=$!
    await "the gateway accepts" accepts "$plain"
}

stop() { # stop SIGNAL
    kill "-$1" "$gateway"
    wait "$gateway" 2>/dev/null || true
    gateway=
}

if "$root/cross/check-elf.sh" "$program" "$debian"; then passed=1; else failed=1; fi
judge "version: $("${run[@]}" --version)" "${run[@]}" --version
for file in fieldgate.yaml examples/meters.yaml examples/plc.yaml; do
    judge "check config/$file" "${run[@]}" check "$root/config/$file"
done

say "messages over mutual TLS"
issue() { # issue NAME EXTENSION
    openssl req -new -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj "/CN=$1" \
        -keyout "$scratch/$1.key" -out "$scratch/$1.csr"
    openssl x509 -req -days 2 -in "$scratch/$1.csr" -CA "$scratch/ca.crt" -CAkey "$scratch/ca.key" -CAcreateserial \
        -out "$scratch/$1.crt" -extfile <(printf 'basicConstraints=CA:FALSE\n%s\n' "$2")
}
{
    openssl req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=smoke \
        -addext basicConstraints=critical,CA:TRUE -keyout "$scratch/ca.key" -out "$scratch/ca.crt"
    issue gateway subjectAltName=DNS:localhost,IP:127.0.0.1
    issue plc7 extendedKeyUsage=clientAuth
} >"$scratch/openssl.log" 2>&1
plain=$(free_port)
secure=$(free_port)
cat >"$scratch/fieldgate.yaml" <<END
gateway: { id: smoke, data_dir: data }
broker:
  listeners:
    - { name: local, bind: "127.0.0.1:$plain", anonymous: true }
    - name: plant
      bind: 127.0.0.1:$secure
      tls:
        certificate: gateway.crt
        private_key: gateway.key
        client_ca: ca.crt
        client_certificate: required
        user_from: common_name
  limits: { queued_messages: 1000000, queued_bytes: 64MiB }
END
start
await "the gateway accepts by TLS" accepts "$secure"
tls=(-h localhost -p "$secure" --cafile "$scratch/ca.crt" --cert "$scratch/plc7.crt" --key "$scratch/plc7.key")
for version in mqttv311 mqttv5; do
    judge "publishes over TLS ($version)" mosquitto_pub "${tls[@]}" -V $version -q 2 -r -t "tls/$version" -m "$version"
    judge "gets it over TLS ($version)" grep -qx $version \
        <(mosquitto_sub "${tls[@]}" -V $version -q 2 -C 1 -W 60 -t "tls/$version")
done
not_let_in() {
    ! mosquitto_pub -h localhost -p "$secure" --cafile "$scratch/ca.crt" -q 1 -t tls/none -m none
}
judge "without a certificate nobody is let in" not_let_in

say "kills while messages are acknowledged"
here=(-h 127.0.0.1 -p "$plain" -q 1)
# A session that lasts, and nobody connected for it.
mosquitto_sub "${here[@]}" -i keeper -c -t 'crash/#' -E
acknowledged() { # of a round: its messages are numbered as their packet ids are
    sed -n "s/.*received PUBACK (Mid: \([0-9]*\),.*/$1.\1/p" "$scratch/publisher.$1"
}
enough() {
    [ "$(acknowledged "$1" | wc -l)" -ge "$acknowledged_each" ]
}
for ((round = 1; round <= rounds; round++)); do
    seq -f "$round.%.0f" 60000 | stdbuf -oL mosquitto_pub "${here[@]}" -i "publisher$round" -d -l -t "crash/$round" \
        >"$scratch/publisher.$round" 2>&1 &
    publisher=$!
    await "$acknowledged_each messages are acknowledged" enough "$round"
    stop KILL
    kill "$publisher" 2>/dev/null || true
    wait "$publisher" 2>/dev/null || true
    start
done
mosquitto_pub "${here[@]}" -t crash/end -m end
: >"$scratch/delivered"
mosquitto_sub "${here[@]}" -i keeper -c -t 'crash/#' >"$scratch/delivered" &
await "the last message is delivered" grep -qx end "$scratch/delivered"
for ((round = 1; round <= rounds; round++)); do
    acknowledged "$round"
done | sort >"$scratch/acknowledged"
lost=$(comm -23 "$scratch/acknowledged" <(sort -u "$scratch/delivered") | wc -l)
judge "$rounds kills, $(wc -l <"$scratch/acknowledged") acknowledged, $(sort -u "$scratch/delivered" | wc -l) delivered, $lost lost" \
    [ "$lost" = 0 ]
stop TERM
judge "ends in good order" grep -q ' stopped$' "$scratch/gateway.log"

echo "not tested here: serial ports (qemu's user mode has no TCGETS2), time, memory"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
