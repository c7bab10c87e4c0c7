"""What every rig needs: processes that end with their case, ports, certificates, a link that can be cut, and waiting.

A rig is a file rig_NAME.py with functions marked `@case`; each gets a `Site`, a folder of its own in which it starts
fieldgate and its peers, all on loopback. Nothing sleeps for a fixed time: `wait_until` asks again until what is awaited
is there, with a deadline that only a broken program reaches. No case depends on how long something took.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "rigs" / "work"
NODE_MODULES = ROOT / "target" / "rigs" / "node" / "node_modules"
DEADLINE = 30.0  # seconds; what is awaited usually takes milliseconds
LONG = bool(os.environ.get("RIG_LONG"))

_cases = []


class Failed(AssertionError):
    """What the case says is not so."""


def case(function):
    """Marks a case of the rig; its name, underscores as spaces, is what is printed."""
    add_case(function.__name__.replace("_", " "), function)
    return function


def add_case(name, function):
    """A case whose name is not its function's: repetitions, tables."""
    _cases.append((name, function))


def main():
    """Runs the rig's cases in order and prints a line for each: `ok NAME` or `FAILED NAME`."""
    rig = Path(sys.argv[0]).stem.removeprefix("rig_")
    wanted = os.environ.get("RIG_CASE", "")
    failed = 0
    for number, (name, function) in enumerate(_cases):
        if wanted not in name:
            continue
        site = Site(WORK / rig / str(number))
        try:
            with site:
                function(site)
            print(f"ok {rig}: {name}")
            shutil.rmtree(site.folder, ignore_errors=True)
        except Exception:  # whatever it is, the next case must run
            failed += 1
            print(f"FAILED {rig}: {name}")
            print(indent(traceback.format_exc(limit=-4)))
            print(indent(site.logs()))
            print(f"    its files are in {site.folder.relative_to(ROOT)}")
    sys.exit(1 if failed else 0)


def indent(text):
    return "".join(f"    {line}\n" for line in text.splitlines())


def check(condition, what):
    """Fails the case, saying what is wrong."""
    if not condition:
        raise Failed(what)


def equal(found, wanted, what):
    """Fails the case unless both are the same."""
    check(found == wanted, f"{what}: {found!r}, but it should be {wanted!r}")


def wait_until(question, what, seconds=DEADLINE):
    """Asks until the answer is true, and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)


def free_port():
    """A port that nobody listens on, outside the range that the system hands out to clients."""
    for port in random.SystemRandom().sample(range(20000, 32000), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Failed("no free port on this machine")


def accepts(port):
    """Whether somebody accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Site:
    """The place of one case: its folder, and all that runs in it. Everything ends with it."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = []
        self._ends = contextlib.ExitStack()

    def __enter__(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        return self

    def __exit__(self, *exception):
        self._ends.close()

    def on_end(self, function):
        """Called when the case ends, the last one first."""
        self._ends.callback(function)

    def write(self, name, text):
        """A file of the case; returns its path."""
        path = self.folder / name
        path.write_text(text)
        return path

    def process(self, name, command, **options):
        """Starts a process that ends with the case at the latest."""
        process = Process(self, name, [str(word) for word in command], **options)
        self.processes.append(process)
        self.on_end(process.kill)
        return process

    def logs(self):
        """The last lines that each process wrote."""
        tails = []
        for name in dict.fromkeys(process.name for process in self.processes):
            lines = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()
            tails += [f"--- {name}", *lines[-25:]]
        return "\n".join(tails)


class Process:
    """A process whose output goes to NAME.log in the site's folder. `start` again after an end appends to it."""

    def __init__(self, site, name, command, **options):
        self.name = name
        self.command = command
        self.options = options
        self.path = site.folder / f"{name}.log"
        self.folder = site.folder
        self.start()

    def start(self):
        with self.path.open("ab") as log:
            self.child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                **self.options,
            )
        return self

    def log(self):
        return self.path.read_text(errors="replace")

    def running(self):
        return self.child.poll() is None

    def wait_for_port(self, port):
        """Waits until the process accepts connections."""

        def answer():
            check(self.running(), f"{self.name} ended with status {self.child.poll()}")
            return accepts(port)

        wait_until(answer, f"{self.name} listens on port {port}")
        return self

    def wait_for_end(self, seconds=DEADLINE):
        """Waits until it ended by itself; returns its exit status."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.child.wait(seconds)
        raise Failed(f"{self.name} did not end within {seconds:.0f} s")

    def stop(self):
        """Asks it to end (SIGTERM) and waits; returns its exit status."""
        self.child.send_signal(signal.SIGTERM)
        return self.wait_for_end()

    def kill(self):
        """SIGKILL: no chance to put anything in order."""
        self.child.kill()
        self.child.wait()


# ----------------------------------------------------------------------------------------------------------------------
# fieldgate and its peers
# ----------------------------------------------------------------------------------------------------------------------


def program():
    """The fieldgate to test."""
    path = os.environ.get("FIELDGATE_BIN") or ROOT / "target" / "release" / "fieldgate"
    check(os.access(path, os.X_OK), f"no program at {path}: tests/run builds it")
    return str(path)


class Gateway:
    """A running `fieldgate run`."""

    def __init__(self, site, rest="", broker="", listener="anonymous: true", store=""):
        self.port = free_port()
        text = f"""\
gateway:
  id: g1
  data_dir: data
console: {{ bind: "off" }}
broker:
  listeners:
    - name: local
      bind: 127.0.0.1:{self.port}
      {listener}
"""
        text += indented(broker, "  ") + (f"store:\n{indented(store, '  ')}" if store else "") + rest
        self.config = site.write("fieldgate.yaml", text)
        command = [program(), "run", "-c", self.config]
        environment = {**os.environ, "RUST_BACKTRACE": "1"}
        self.process = site.process("fieldgate", command, env=environment)
        self.process.wait_for_port(self.port)

    def restart(self):
        self.process.start()
        self.process.wait_for_port(self.port)


def indented(text, by):
    return "".join(f"{by}{line}\n" for line in text.splitlines())


class Mosquitto:
    """Debian's broker, with persistence: a port with TLS that asks for a client certificate, a plain one to look in."""

    def __init__(self, site, authority, **settings):
        self.site, self.authority = site, authority
        self.tls_port, self.port = free_port(), free_port()
        self.process = None
        self.start(**settings)

    def start(self, host="localhost", signed_by=None, access="allow_anonymous true", tls=""):
        """Starts it with a certificate for `host`, signed by its own authority unless told otherwise; `tls`: more lines
        for the port with TLS."""
        data = self.site.folder / "mosquitto"
        data.mkdir(exist_ok=True)
        signer = signed_by or self.authority
        certificate, key = signer.issue(f"upstream-{host}", names=[host], purpose="serverAuth")
        config = self.site.write(
            "mosquitto.conf",
            f"""\
user root
persistence true
persistence_location {data}/
log_type all
max_queued_messages 0
{access}
listener {self.port} 127.0.0.1
listener {self.tls_port} 127.0.0.1
cafile {self.authority.certificate}
certfile {certificate}
keyfile {key}
require_certificate true
{tls}
""",
        )
        if self.process:
            self.process.start()
        else:
            self.process = self.site.process("mosquitto", ["mosquitto", "-c", config])
        self.process.wait_for_port(self.port)
        self.process.wait_for_port(self.tls_port)

    def stop(self):
        """Ends it in good order: it keeps its sessions."""
        self.process.stop()


def bridge(authority, port, filters=("plant/#",), protocol=5, client_authority=None, more=""):
    """A bridge named `cloud` to a port on this machine, as YAML: everything goes up as site/g1/TOPIC."""
    certificate, key = (client_authority or authority).issue("g1")
    routes = "".join(f'      - {{ filter: "{one}", topic: "site/{{gateway}}/{{topic}}" }}\n' for one in filters)
    return f"""\
bridges:
  - name: cloud
    url: mqtts://localhost:{port}
    protocol: {protocol}
    client_id: "{{gateway}}"
    tls:
      ca: {authority.certificate}
      certificate: {certificate}
      private_key: {key}
    backoff: {{ min: 1s, max: 2s }}
{indented(more, "    ")}    forward:
{routes}"""


class Device:
    """A Modbus device of pymodbus, in a process of its own: see device.py for its registers.

    Over `tcp` and `rtu_over_tcp` it has a `port`; over `rtu` it is on the serial port `line`.
    """

    def __init__(self, site, way="tcp", line=None):
        self.port = None if line else free_port()
        self.mode_file = site.write("device-mode", "ok")
        self.reads_file = site.folder / "device-reads"
        self.opens_file = site.folder / "device-opens"
        self.writes_file = site.folder / "device-writes"
        script = Path(__file__).with_name("device.py")
        files = [self.mode_file, self.reads_file, self.opens_file, self.writes_file]
        self.process = site.process("device", [sys.executable, script, way, line or self.port, *files])
        self._wait()

    def mode(self, mode):
        """How it answers from now on: see device.py."""
        staged = self.mode_file.with_suffix(".new")
        staged.write_text(mode)
        staged.rename(self.mode_file)

    def start(self):
        self.process.start()
        self._wait()

    def _wait(self):
        if self.port:
            self.process.wait_for_port(self.port)

    def reads(self):
        """{count: stamp in ms}: what the counting register answered, and when."""
        if not self.reads_file.exists():
            return {}
        lines = self.reads_file.read_text().splitlines()
        return {int(count): int(stamp) for count, stamp in (line.split() for line in lines)}

    def opens(self):
        """Stamps in ms: when it was connected to."""
        return [int(stamp) for stamp in self.opens_file.read_text().split()]

    def writes(self):
        """[(address, values...)]: what was written, in order; a bit is 0 or 1."""
        lines = self.writes_file.read_text().splitlines() if self.writes_file.exists() else []
        return [tuple(int(word) for word in line.split()) for line in lines]


class Authority:
    """A certificate authority in a folder, by openssl."""

    def __init__(self, site, name="ca"):
        self.folder = site.folder / name
        self.folder.mkdir()
        self.certificate, self.key = self.folder / "ca.crt", self.folder / "ca.key"
        self._openssl(
            f"req -x509 -nodes -days 30 -subj /CN={name} -keyout {self.key} -out {self.certificate} "
            "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 "
            "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign"
        )

    def issue(self, name, names=(), purpose="clientAuth", days=90):
        """A certificate for `name` with these DNS names; returns the paths of certificate and key."""
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        alternative = ",".join(f"DNS:{dns}" for dns in names) or f"DNS:{name}"
        extensions.write_text(f"subjectAltName={alternative}\nextendedKeyUsage={purpose}\nbasicConstraints=CA:FALSE\n")
        self._openssl(
            f"req -new -nodes -subj /CN={name} -keyout {key} -out {request} "
            "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
        )
        self._openssl(
            f"x509 -req -days {days} -in {request} -out {certificate} -extfile {extensions} "
            f"-CA {self.certificate} -CAkey {self.key} -CAcreateserial"
        )
        return certificate, key

    def revoke(self, *certificates):
        """A list of these certificates; returns its path."""
        (self.folder / "index.txt").touch()
        (self.folder / "crlnumber").write_text("01\n")
        config = self.folder / "ca.conf"
        config.write_text(
            "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=30\n"
            "crlnumber=crlnumber\ncrl_extensions=ext\n[ext]\nauthorityKeyIdentifier=keyid\n"
        )
        own = f"-config {config} -cert {self.certificate} -keyfile {self.key}"
        for certificate in certificates:
            self._openssl(f"ca {own} -revoke {certificate}")
        self._openssl(f"ca {own} -gencrl -out {self.folder / 'revoked.crl'}")
        return self.folder / "revoked.crl"

    def _openssl(self, arguments):
        subprocess.run(["openssl", *arguments.split()], check=True, capture_output=True, cwd=self.folder)


class Proxy:
    """A TCP relay to a port on loopback: the link. `cut` ends what runs and refuses what comes; `mend` lets it through."""

    def __init__(self, site, target):
        self.target = target
        self.port = free_port()
        self._lock = threading.Lock()
        self._open = []  # (near, far)
        self._listener = None
        self.mend()
        site.on_end(self.cut)

    def mend(self):
        listener = socket.create_server(("127.0.0.1", self.port))
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self):
        with self._lock:
            listener, self._listener = self._listener, None
            pairs, self._open = self._open, []
        for one in [listener, *chain(*pairs)] if listener else chain(*pairs):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads it
            one.close()

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.target), 5)
                    far.settimeout(None)
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    live = self._listener is listener
                    if live:
                        self._open.append((near, far))
                if not live:
                    near.close()
                    far.close()
                    return
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


# ----------------------------------------------------------------------------------------------------------------------
# What is read of the gateway's own topics
# ----------------------------------------------------------------------------------------------------------------------


BRIDGE_STATUS = "g1/$bridge/cloud"
DEVICE_STATUS = "g1/dev1/$status"


def device(port, groups, more=""):
    """A device named `dev1` on its connection, as YAML; `groups` is a YAML list."""
    return f"""\
connections:
  - name: line1
    modbus_tcp: {{ host: 127.0.0.1, port: {port}, connect_timeout: 2s }}
devices:
  - name: dev1
    connection: line1
    unit_id: 1
{indented(more, "    ")}    groups:
{indented(groups, "      ")}"""


COUNTING = """\
- name: counter
  interval: 100ms
  tags:
    - { name: n, register: input, address: 1000, type: uint32 }
"""


def newest(client, topic):
    """The newest JSON body that the client got on a topic, else None."""
    bodies = [message.payload for message in client.received() if message.topic == topic]
    return json.loads(bodies[-1]) if bodies else None
