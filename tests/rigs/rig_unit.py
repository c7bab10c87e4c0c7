"""The files of `systemd/`, without a systemd that runs: what its own tools say of them, and whether the unit allows what the
program does.

The tools work on a scratch root, in which the unit lies where a package puts it, with something to execute where its
commands name it.
"""

import re
import shutil
import signal
import stat
import subprocess
from pathlib import Path

from harness import (
    COUNTING,
    DEVICE_STATUS,
    ROOT,
    Authority,
    Device,
    Gateway,
    Mosquitto,
    bridge,
    case,
    check,
    device,
    equal,
    main,
    program,
    wait_until,
)
from mqtt_client import V5, Client

FILES = ROOT / "systemd"
UNIT = "fieldgate.service"
UNITS = Path("usr/lib/systemd/system")
# Of what the unit names, and of what systemd adds to each service.
TARGETS = ("basic", "multi-user", "network", "shutdown", "sysinit", "time-set", "time-sync")


def run(*command):
    """Runs a tool to its end; returns its exit status and all that it printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def scratch(site, drop_in=None):
    """A root with the unit, and one of its drop-ins."""
    root = site.folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    (root / UNITS).mkdir(parents=True)
    for target in TARGETS:
        shutil.copy(Path("/") / UNITS / f"{target}.target", root / UNITS)
    shutil.copy(FILES / UNIT, root / UNITS)
    for named in re.findall(r"^Exec\w+=(\S+)", (FILES / UNIT).read_text(), re.MULTILINE):
        place = root / named.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/true", place)
    if drop_in:
        folder = root / "etc/systemd/system" / f"{UNIT}.d"
        folder.mkdir(parents=True)
        shutil.copy(drop_in, folder)
    return root


def verify(root):
    """What systemd complains of; its exit status says nothing of a directive that it does not know."""
    return run("systemd-analyze", "verify", "--man=no", f"--root={root}", UNIT)


def drop_ins():
    found = sorted((FILES / "drop-ins").glob("*.conf"))
    check(found, "there are no drop-ins")
    return found


@case
def its_exposure_is_at_most_1_3_with_each_drop_in_too(site):
    analyze = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=13"]
    status, text = run(*analyze, FILES / UNIT)
    equal(status, 0, f"exit status; it printed:\n{text}")
    print(f"   {text.strip().splitlines()[-1]}")
    for drop_in in drop_ins():
        status, text = run(*analyze, f"--root={scratch(site, drop_in)}", UNIT)
        equal(status, 0, f"exit status with {drop_in.name}; it printed:\n{text}")


@case
def systemd_has_nothing_to_say_against_it_nor_against_its_drop_ins(site):
    for drop_in in [None, *drop_ins()]:
        equal(verify(scratch(site, drop_in)), (0, ""), f"what it says of the unit with {drop_in}")
    # It would say so.
    root = scratch(site)
    unit = root / UNITS / UNIT
    unit.write_text(unit.read_text().replace("ProtectClock=", "ProtectClok="))
    check("ProtectClok" in verify(root)[1], "a misspelt directive is not told")


@case
def its_user_and_its_folders_are_made(site):
    root = scratch(site)
    (root / "etc").mkdir(exist_ok=True)
    for kind in ("sysusers", "tmpfiles"):
        (root / f"usr/lib/{kind}.d").mkdir(parents=True)
        shutil.copy(FILES / f"{kind}.conf", root / f"usr/lib/{kind}.d/fieldgate.conf")
    for tool in (["systemd-sysusers"], ["systemd-tmpfiles", "--create"]):
        equal(run(*tool, f"--root={root}", "fieldgate.conf")[0], 0, f"exit status of {tool[0]}")
    user = [line.split(":") for line in (root / "etc/passwd").read_text().splitlines() if line.startswith("fieldgate:")]
    group = [line.split(":") for line in (root / "etc/group").read_text().splitlines() if line.startswith("fieldgate:")]
    equal((len(user), len(group)), (1, 1), "users and groups of that name")
    equal(user[0][5:], ["/var/lib/fieldgate", "/usr/sbin/nologin"], "home and shell")
    unit = (FILES / UNIT).read_text()
    check("\nUser=fieldgate\nGroup=fieldgate\n" in unit, "the unit names another user or group")
    for folder in ("etc/fieldgate", "etc/fieldgate/conf.d", "etc/fieldgate/certs"):
        found = (root / folder).stat()
        owner = (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
        equal(owner, (0o750, 0, int(group[0][2])), f"mode, owner and group of {folder}")


def syscalls(group):
    """The system calls of one of systemd's groups."""
    calls = set()
    for line in run("systemd-analyze", "--no-pager", "syscall-filter", group)[1].splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            calls |= syscalls(word)
        elif word and not word.startswith("#"):
            calls.add(word)
    check(calls, f"systemd knows no {group}")
    return calls


def allowed():
    """The system calls that the unit lets pass: the first list is of those, what has a `~` is taken away again."""
    calls = set()
    for words in re.findall(r"^SystemCallFilter=(.+)$", (FILES / UNIT).read_text(), re.MULTILINE):
        named = set().union(*(syscalls(word) if word[0] == "@" else {word} for word in words.lstrip("~").split()))
        calls = calls - named if words[0] == "~" else calls | named
    return calls


@case
def the_program_makes_no_system_call_that_it_forbids(site):
    authority = Authority(site)
    upstream = Mosquitto(site, authority)
    field = Device(site)
    rest = bridge(authority, upstream.tls_port) + device(field.port, COUNTING)
    listeners = f"- {{ name: here, bind: 'unix:{site.folder}/mqtt.sock', anonymous: true }}"
    gateway = Gateway(site, rest, listener=f"anonymous: true\n    {listeners}")
    equal(gateway.process.stop(), 0, "exit status after SIGTERM")

    trace = site.folder / "calls"
    # -D: the process is the program, its tracer the child.
    command = ["strace", "-D", "-f", "-qq", "-o", trace, program(), "run", "-c", gateway.config]
    traced = site.process("traced", command).wait_for_port(gateway.port)
    cloud = Client(site, upstream.port, "cloud", V5).accepted()
    cloud.subscribe("site/#", 1)
    local = Client(site, gateway.port, "local", V5, expiry=3600).accepted()
    local.subscribe(DEVICE_STATUS, 1)
    local.subscribe("plant/#", 1)
    local.publish("plant/a", b"1", 1, True)
    wait_until(lambda: "site/g1/plant/a" in [m.topic for m in cloud.received()], "the cloud has the message")
    wait_until(lambda: DEVICE_STATUS in [m.topic for m in local.received()], "the device was asked")
    traced.child.send_signal(signal.SIGHUP)
    wait_until(lambda: "SIGHUP" in traced.log(), "the configuration is read again")
    equal(traced.stop(), 0, "exit status after SIGTERM")

    made = set(re.findall(r"^\d+ +(?:<\.\.\. )?([a-z0-9_]+)(?:\(| resumed)", trace.read_text(errors="replace"), re.MULTILINE))
    check({"execve", "fdatasync", "accept4", "connect", "flock"} <= made, f"not all was traced: {sorted(made)}")
    equal(sorted(made - allowed()), [], "system calls that the unit forbids")


main()
