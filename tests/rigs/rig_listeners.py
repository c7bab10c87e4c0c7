"""fieldgate's listeners and the clients of the field: WebSocket with paho-mqtt and mqtt.js, unix sockets, client
certificates that were revoked, and the figures in $SYS beside those of Mosquitto."""

import json
import os
import signal
import subprocess

from harness import NODE_MODULES, Authority, Gateway, add_case, case, check, equal, free_port, main, wait_until
from mqtt_client import V5, V311, Client

VERSIONS = {"MQTT 3.1.1": V311, "MQTT 5": V5}


def listeners(site, *more):
    """A gateway with a plain listener and these beside it."""
    return Gateway(site, listener="anonymous: true\n" + "".join(f"    - {one}\n" for one in more))


def web(site, authority=None):
    """A gateway with a WebSocket listener; returns it, the port, and what a client needs for TLS."""
    port, tls, files = free_port(), "", {}
    if authority:
        certificate, key = authority.issue("gateway", names=["localhost"], purpose="serverAuth")
        tls = f", tls: {{ certificate: {certificate}, private_key: {key} }}"
        files = {"ca": str(authority.certificate)}
    one = f'{{ name: web, bind: "127.0.0.1:{port}", anonymous: true, websocket: {{ path: /mqtt }}{tls} }}'
    gateway = listeners(site, one)
    gateway.process.wait_for_port(port)
    return gateway, port, files


# --- WebSocket


def paho_over_websocket(site, version, secure):
    gateway, port, files = web(site, Authority(site) if secure else None)
    client = Client(site, port, "web", version, transport="websockets", host="localhost")
    if secure:
        client.paho.tls_set(files["ca"])
    client.accepted()
    client.subscribe("a/#", 2)
    plain = Client(site, gateway.port, "plain", version).accepted()
    plain.subscribe("a/#", 2)
    payloads = [str(size) + "x" * size for size in (0, 100, 5000, 70_000, 200_000)]
    for qos in (0, 1, 2):
        for payload in payloads:
            client.publish("a/b", payload, qos=qos)
    for one in (client, plain):
        found = sorted(one.wait_for(15), key=len)
        check(found == sorted(payloads * 3, key=len), "a payload was changed on the way")
    client.end()


def mqtt_js(site, scheme, version, port, files):
    arguments = {"url": f"{scheme}://localhost:{port}/mqtt", "version": version, **files}
    script = os.path.join(os.path.dirname(__file__), "mqttjs.cjs")
    environment = {**os.environ, "NODE_PATH": str(NODE_MODULES)}
    client = site.process("mqttjs", ["node", script, json.dumps(arguments)], env=environment)
    status = client.wait_for_end()
    equal((status, client.log().splitlines()[-1:]), (0, ["done"]), "status and last line of mqtt.js")


def mqtt_js_over_websocket(site, version, secure):
    gateway, port, files = web(site, Authority(site) if secure else None)
    mqtt_js(site, "wss" if secure else "ws", version, port, files)
    check("panic" not in gateway.process.log(), "the gateway says nothing of a panic")


for name, level in VERSIONS.items():
    for secure in (False, True):
        over = f"over {'secure ' if secure else ''}WebSocket, {name}"
        add_case(f"paho {over}", lambda site, v=level, s=secure: paho_over_websocket(site, v, s))
        add_case(f"mqtt.js {over}", lambda site, v=level, s=secure: mqtt_js_over_websocket(site, int(v), s))


@case
def a_web_page_of_another_site_is_refused_and_told_how_it_would_be_allowed(site):
    gateway, port, _ = web(site)
    url = f"http://127.0.0.1:{port}/mqtt"
    fields = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: mqtt"]
    fields += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    command = ["curl", "-s", "-i", "--http1.1", "-m", "10", url, "-H", "Origin: https://evil.example"]
    for field in fields:
        command += ["-H", field]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
    check(answer.startswith("HTTP/1.1 403 "), answer)
    check('origins: ["https://evil.example"]' in answer, answer)
    check("https://evil.example" in gateway.process.log(), "the log names the site")


# --- unix sockets


@case
def mosquitto_pub_and_paho_over_a_unix_socket(site):
    path = site.folder / "mqtt.sock"
    gateway = listeners(site, f'{{ name: here, bind: "unix:{path}", anonymous: true }}')
    client = Client(site, 1, "here", V5, transport="unix", host=str(path)).accepted()
    client.subscribe("a/#", 1)
    command = ["mosquitto_pub", "--unix", str(path), "-t", "a/b", "-m", "hello", "-q", "1"]
    subprocess.run(command, timeout=30, check=True)
    equal(client.wait_for(1), ["hello"], "payloads")
    client.end()
    # kill -9 leaves the file behind; the next start takes its place.
    gateway.process.kill()
    check(path.exists(), "the file of a killed gateway stays")
    gateway.restart()
    subprocess.run(command, timeout=30, check=True)
    equal(gateway.process.stop(), 0, "exit status")
    check(not path.exists(), "the file is removed at the end")


# --- revoked certificates


def publish(authority, port, identity, version):
    certificate, key = identity
    command = ["mosquitto_pub", "-h", "localhost", "-p", port, "--cafile", authority.certificate, "--cert", certificate]
    command += ["--key", key, "--tls-version", version, "-t", "a", "-m", "x", "-q", "1"]
    return subprocess.run([str(word) for word in command], capture_output=True, timeout=30).returncode


def a_revoked_certificate_is_refused(site, version):
    authority = Authority(site)
    certificate, key = authority.issue("gateway", names=["localhost"], purpose="serverAuth")
    good, lost = authority.issue("good"), authority.issue("lost")
    crl = authority.revoke(lost[0])
    port = free_port()
    tls = f"certificate: {certificate}, private_key: {key}, client_ca: {authority.certificate}, crl: {crl}"
    one = f'{{ name: plant, bind: "127.0.0.1:{port}", tls: {{ {tls}, user_from: common_name }} }}'
    gateway = listeners(site, one)
    equal(publish(authority, port, good, version), 0, "status of the client with a good certificate")
    check(publish(authority, port, lost, version) != 0, "the client with a revoked certificate is refused")
    wait_until(lambda: "is revoked by the list in `crl`" in gateway.process.log(), "the log says why")


for tls_version in ("tlsv1.2", "tlsv1.3"):
    add_case(
        f"a revoked certificate is refused, {tls_version}",
        lambda site, version=tls_version: a_revoked_certificate_is_refused(site, version),
    )


@case
def a_certificate_is_revoked_by_sighup_and_nobody_else_is_disconnected(site):
    authority = Authority(site)
    certificate, key = authority.issue("gateway", names=["localhost"], purpose="serverAuth")
    lost, other = authority.issue("lost"), authority.issue("other")
    crl = authority.revoke(other[0])
    port = free_port()
    tls = f"certificate: {certificate}, private_key: {key}, client_ca: {authority.certificate}, crl: {crl}"
    gateway = listeners(site, f'{{ name: plant, bind: "127.0.0.1:{port}", tls: {{ {tls}, user_from: common_name }} }}')
    stays = Client(site, gateway.port, "stays", V5).accepted()
    equal(publish(authority, port, lost, "tlsv1.3"), 0, "status before the certificate is revoked")
    authority.revoke(lost[0])
    gateway.process.child.send_signal(signal.SIGHUP)
    wait_until(lambda: publish(authority, port, lost, "tlsv1.3") != 0, "the client is refused")
    check("new connections get the certificate files" in gateway.process.log(), "the log says so")
    check(stays.closed is None, f"another client was disconnected: {stays.closed}")


# --- $SYS

# Anonymous clients may not, unless a rule says so.
MAY_READ_SYS = 'access: [{ anonymous: true, publish: ["#"], subscribe: ["#", "$SYS/#"] }]'

# Mosquitto counts its allocations, which we do not; of shared subscriptions `subscriptions/count` has the sum.
NOT_HERE = {"heap/current", "heap/maximum", "shared_subscriptions/count"}


def figures(port):
    """Names under $SYS/broker and their values, as mosquitto_sub prints the retained ones."""
    command = ["mosquitto_sub", "-p", str(port), "-t", "$SYS/broker/#", "-v", "--retained-only", "-F", "%t=%p", "-W", "2"]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.splitlines()
    return dict(line.removeprefix("$SYS/broker/").split("=", 1) for line in lines)


def form(value):
    """What a value looks like, whatever the number."""
    for digit in "0123456789":
        value = value.replace(digit, "9")
    return value.replace("9", "").strip()


@case
def sys_has_mosquittos_names_and_forms(site):
    gateway = Gateway(site, broker=MAY_READ_SYS)
    port = free_port()
    config = site.write("other.conf", f"listener {port} 127.0.0.1\nallow_anonymous true\nsys_interval 1\nuser root\n")
    site.process("mosquitto", ["mosquitto", "-c", config]).wait_for_port(port)
    ours = wait_until(lambda: figures(gateway.port), "our figures")

    def with_all_of_ours():
        # Mosquitto does not begin with all of them at once.
        found = figures(port)
        return found if found.keys() >= ours.keys() | NOT_HERE else None

    theirs = wait_until(with_all_of_ours, f"Mosquitto has all of {sorted(ours)} and {sorted(NOT_HERE)}")
    equal(set(theirs) - set(ours), NOT_HERE, "names that we lack")
    for name in set(ours) - {"version"}:
        equal(form(ours[name]), form(theirs[name]), f"form of {name}")
    check(ours["version"].startswith("fieldgate version "), ours["version"])


@case
def sys_counts_what_clients_do(site):
    gateway = Gateway(site, broker=MAY_READ_SYS)
    client = Client(site, gateway.port, "c", V311).accepted()
    client.subscribe("a", 1)
    for number in range(10):
        client.publish("a", "12345", qos=1)
    client.wait_for(10)
    watcher = Client(site, gateway.port, "watcher", V5).accepted()
    watcher.subscribe("$SYS/broker/publish/#", 0)

    def newest():
        return {message.topic.removeprefix("$SYS/broker/publish/"): message.payload for message in watcher.received()}

    wait_until(lambda: newest().get("bytes/received") == b"50", "the figures of the next ten seconds")
    equal(newest()["messages/received"], b"10", "publish/messages/received")


if __name__ == "__main__":
    main()
