"""`fieldgate demo`: a device, the gateway and an upstream in one command, with a cut link and a verdict at its end."""

import os
import re
import signal

from harness import LONG, add_case, case, check, equal, main, program, wait_until

LASTS, CUT = (30, 10) if LONG else (12, 4)


def run_demo(site, *options):
    folder = site.folder / "tmp"
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder)}
    return site.process("demo", [program(), "demo", *options], env=environment)


def demo(site, qos):
    process = run_demo(site, "--for", LASTS, "--cut", CUT, "--qos", qos)
    status = process.wait_for_end(LASTS + 60)
    lines = [line for line in process.log().splitlines() if line.strip()]
    check(lines, "the demo printed nothing")
    equal(status, 0, f"exit status; the last line was {lines[-1]!r}")
    for word in ("published", "received", "lost", "duplicated"):
        check(re.search(rf"\b{word}\b", lines[-1]), f"{word!r} is not in the last line: {lines[-1]!r}")
    check(re.search(r"\blost 0\b", lines[-1]), f"lost: {lines[-1]!r}")
    check(re.search(r"\bduplicated 0\b", lines[-1]), f"duplicated: {lines[-1]!r}")
    counts = [int(number) for number in re.findall(r"\b(?:published|received) (\d+)", lines[-1])]
    check(counts and min(counts) > 0, f"nothing was published or received: {lines[-1]!r}")
    backlogs = [int(number) for line in lines[:-1] for number in re.findall(r"backlog\D{0,3}(\d+)", line)]
    check(backlogs and max(backlogs) > 0, "no line shows a backlog that grew during the cut")
    equal(os.listdir(site.folder / "tmp"), [], "what the demo left in the temporary folder")


for level in (1, 2):
    add_case(
        f"the demo at QoS {level} loses nothing over a cut of {CUT} s", lambda site, level=level: demo(site, level)
    )


@case
def ctrl_c_ends_the_demo_in_good_order(site):
    process = run_demo(site, "--for", "600", "--cut", "5")
    wait_until(lambda: len(process.log().splitlines()) > 3, "the demo shows what flows")
    process.child.send_signal(signal.SIGINT)
    status = process.wait_for_end()
    check(status >= 0, f"the demo died of signal {-status}")
    equal(os.listdir(site.folder / "tmp"), [], "what the demo left in the temporary folder")


main()
