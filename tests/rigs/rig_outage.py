"""A long outage at full speed: the backlog grows to millions of messages, is looked at, and drains; memory does not grow.

benches/loadgen publishes as fast as fieldgate acknowledges while nobody listens at the upstream's address, then takes the
upstream's place and counts. `fieldgate backlog` is asked all the while, as a person would: depth, age, and the time left.

- Nothing is lost, nothing is out of order, nothing is dropped.
- What was resident at its highest is no more than ALLOWED_KB above what was before: whatever the number of messages.
- Nothing old is purged by a person who says no, and by one who says yes only what is old.

The short one is 200 000 messages; the long one is what 1000 messages a second come to in an hour.
"""

import json
import os
import pty
import signal
import subprocess

from harness import LONG, ROOT, Gateway, add_case, check, equal, free_port, main, program, wait_until

MESSAGES = 3_600_000 if LONG else 200_000
SIZE = 256
# The buffers of connections, one commit, what a log holds in RAM (4 MiB) and redb's caches, with what malloc keeps of them.
ALLOWED_KB = 48 << 10
# The upstream stops reading for a moment when it has three quarters, so that the time left can be asked for.
STOP_AT = MESSAGES * 3 // 4
LASTS = 1800  # seconds; only a broken program takes them

LOADGEN = ROOT / "target" / "loadgen" / "release" / "loadgen"


def memory(gateway, what):
    """Of the gateway, in KB."""
    with open(f"/proc/{gateway.process.child.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(what))


def standing(gateway):
    """What `fieldgate backlog` says, as a program reads it."""
    command = [program(), "backlog", "cloud", "--json", "-c", gateway.config]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)


def purge(gateway, age, answer):
    """`fieldgate backlog purge` on a terminal; its exit status and all it said."""
    ours, theirs = pty.openpty()
    command = [program(), "backlog", "purge", "cloud", "--older", age, "-c", gateway.config]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as asked:
        os.write(ours, f"{answer}\n".encode())
        said = asked.communicate(timeout=60)[0]
    os.close(ours)
    os.close(theirs)
    return asked.returncode, said


def loadgen(site, scenario, *options):
    return site.process(scenario, [LOADGEN, scenario, *options])


def result(process):
    """The line that it prints at its end."""
    equal(process.wait_for_end(LASTS), 0, f"exit status of {process.name}")
    return json.loads(process.log().splitlines()[-1])


def outage(site):
    upstream = free_port()
    rest = f"""\
bridges:
  - name: cloud
    url: mqtt://127.0.0.1:{upstream}
    allow_plaintext: true
    inflight: 1000
    backlog: {{ max_bytes: 8GiB }}
    backoff: {{ min: 1s, max: 1s }}
    forward:
      - {{ filter: "plant/#", topic: "site/{{topic}}" }}
"""
    gateway = Gateway(site, rest)
    before = memory(gateway, "VmRSS:")

    fill = loadgen(
        site, "fill", "--port", gateway.port, "--count", MESSAGES, "--pubs", 10, "--window", 1000, "--size", SIZE
    )
    depths = []
    while fill.running():
        depths.append(standing(gateway)["backlog_messages"])
    filled = result(fill)
    equal(filled["acked"], MESSAGES, "acknowledged")
    equal(depths, sorted(depths), "a backlog that only grows")
    full = wait_until(
        lambda: (now := standing(gateway))["backlog_messages"] == MESSAGES and now, "all of them are in the backlog"
    )
    check(full["oldest_age_s"] is not None, f"no age: {full}")
    check(full["flow"]["messages_in"] > 0, f"no rate: {full}")
    check(full["backlog_bytes"] >= MESSAGES * SIZE, f"fewer bytes than were published: {full}")

    status, said = purge(gateway, "1d", "n")
    check(status == 1 and "nothing was purged" in said and f"{MESSAGES} messages wait" in said, f"{status}: {said}")
    status, said = purge(gateway, "1d", "y")
    check(status == 0 and "0 messages purged" in said, f"{status}: {said}")

    # Smoothed over half a minute: until less comes than will go, no time left can be told.
    wait_until(lambda: standing(gateway)["flow"]["messages_in"] < MESSAGES / 60, "that they came is some time ago", 300)
    sink = loadgen(site, "sink", "--port", upstream, "--count", MESSAGES, "--stop-at", STOP_AT)
    left = wait_until(
        lambda: (now := standing(gateway))["flow"]["drained_in_s"] and now["backlog_messages"] < MESSAGES and now,
        "the time left is told",
        LASTS,
    )
    while sink.running():
        sink.child.send_signal(signal.SIGCONT)
        standing(gateway)
    counted = result(sink)
    equal(counted["firsts"], MESSAGES, "arrived")
    equal(counted["missed"], 0, "lost, or out of order")
    drained = wait_until(lambda: (now := standing(gateway))["backlog_messages"] == 0 and now, "nothing waits any more")
    equal(drained["dropped"], 0, "dropped")
    highest = memory(gateway, "VmHWM:")
    check(highest - before <= ALLOWED_KB, f"resident: {before} KB before, {highest} KB at its highest")

    came, size, waited = filled["msgs_s"], full["file_bytes"] >> 20, left["backlog_messages"]
    print(f"    {MESSAGES} messages of {SIZE} bytes: {came:.0f} a second came, into {size} MiB")
    print(f"    asked {len(depths)} times meanwhile; then {waited} waited, to be drained in {left['flow']['drained_in_s']} s")
    print(f"    drained in {counted['secs']:.1f} s: lost 0, order kept, {counted['again']} came again")
    print(f"    resident: {before >> 10} MiB before, {highest >> 10} MiB at its highest")


add_case(f"{MESSAGES} messages wait for an upstream that is away, and all drain", outage)

main()
