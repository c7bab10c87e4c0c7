#!/usr/bin/env python3
"""What is linked into the program: a bill of materials (CycloneDX 1.5, JSON), and the notices that licences ask for.

    cross/sbom.py TARGET BINARY FOLDER     writes FOLDER/sbom.cdx.json and FOLDER/notices
    cross/sbom.py --check FILE             status 1 where a bill is not as the standard has it

The crates are those of Cargo.lock that the target needs: what only tests or build scripts use is not in the program, so
not in the bill. Rust's standard library is; the program's own tables name its version. Needs only Python and Cargo.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXTS = re.compile(r"(licen[cs]e|copying|notice)", re.IGNORECASE)


def metadata(target):
    """What Cargo knows of the packages of a target; those that the lock does not name are not looked for."""
    command = ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={target}"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)


def linked(known):
    """{id: ids that it needs} of what is in the program, the program first."""
    nodes = {node["id"]: node for node in known["resolve"]["nodes"]}
    macros = {
        package["id"] for package in known["packages"] if any("proc-macro" in target["kind"] for target in package["targets"])
    }

    def needs(one):
        dependencies = nodes[one]["deps"]
        return sorted(
            dependency["pkg"]
            for dependency in dependencies
            if dependency["pkg"] not in macros and any(kind["kind"] is None for kind in dependency["dep_kinds"])
        )

    found, waiting = {}, [known["resolve"]["root"]]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found[one] = needs(one)
            waiting += found[one]
    return found


def checksums():
    """{(name, version): SHA-256 of the crate's archive} by Cargo.lock."""
    lock = (ROOT / "Cargo.lock").read_text()
    row = re.compile(r'name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "([0-9a-f]{64})"')
    return {(name, version): digest for name, version, digest in row.findall(lock)}


def component(package, digests):
    name, version = package["name"], package["version"]
    reference = f"pkg:cargo/{name}@{version}"
    row = {"type": "library", "bom-ref": reference, "name": name, "version": version, "purl": reference}
    if package["license"]:
        # The older form of "or".
        row["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}]
    if digest := digests.get((name, version)):
        row["hashes"] = [{"alg": "SHA-256", "content": digest}]
    if package["repository"]:
        row["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return row


def standard_library(binary):
    """As the compiler has noted it in what it made."""
    version = re.search(rb"rustc version (\d+\.\d+\.\d+)", binary)[1].decode()
    reference = f"pkg:generic/rust-std@{version}"
    licence = [{"expression": "MIT OR Apache-2.0"}]
    names = {"name": "rust-std", "version": version, "purl": reference, "licenses": licence}
    return {"type": "library", "bom-ref": reference, **names}


def bill(known, target, binary):
    packages = {package["id"]: package for package in known["packages"]}
    found = linked(known)
    digests = checksums()
    rows = {one: component(packages[one], digests) for one in found}
    references = {one: row["bom-ref"] for one, row in rows.items()}
    program, *others = rows.values()
    std = standard_library(binary)
    program["type"] = "application"
    program["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(binary).hexdigest()}]
    program["properties"] = [{"name": "fieldgate:target", "value": target}]
    graph = [{"ref": references[one], "dependsOn": [references[need] for need in needs]} for one, needs in found.items()]
    graph[0]["dependsOn"].append(std["bom-ref"])
    # Of what it tells, so that the same program has the same bill.
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([program, others, std]))
    made = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made)),
            "tools": {"components": [{"type": "application", "name": "cross/sbom.py"}]},
            "component": program,
        },
        "components": sorted([*others, std], key=lambda row: row["bom-ref"]),
        "dependencies": sorted(graph, key=lambda row: row["ref"]),
    }


def notices(known):
    """The licence texts that come with the crates, each once."""
    texts, found = {}, linked(known)
    for package in known["packages"]:
        if package["id"] not in found or package["source"] is None:
            continue
        named = f"{package['name']} {package['version']}"
        folder = Path(package["manifest_path"]).parent
        for path in sorted(path for path in folder.iterdir() if path.is_file() and TEXTS.search(path.name)):
            texts.setdefault(path.read_text(errors="replace").strip(), []).append(f"{named} ({path.name})")
    line = "-" * 80
    return "\n\n".join(f"{line}\n" + "\n".join(names) + f"\n{line}\n\n{text}" for text, names in texts.items()) + "\n"


def faults(bill):
    """What the standard's schema asks of the parts that are used here, and does not find."""
    found = []

    def want(condition, what):
        if not condition:
            found.append(what)

    def want_component(row, where):
        want(row.get("type") in ("application", "library"), f"{where}: type")
        want(isinstance(row.get("name"), str) and row["name"], f"{where}: name")
        for licence in row.get("licenses", []):
            want(set(licence) == {"expression"} and "/" not in licence["expression"], f"{where}: licences")
        for digest in row.get("hashes", []):
            want(digest["alg"] == "SHA-256" and re.fullmatch("[0-9a-f]{64}", digest["content"]), f"{where}: hashes")
        for link in row.get("externalReferences", []):
            want({"type", "url"} <= set(link), f"{where}: external references")

    want(bill.get("bomFormat") == "CycloneDX" and bill.get("specVersion") == "1.5", "bomFormat and specVersion")
    want(re.fullmatch("urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bill.get("serialNumber", "")), "serialNumber")
    want(isinstance(bill.get("version"), int) and bill["version"] >= 1, "version")
    want(re.fullmatch(r"\d{4}(-\d\d){2}T(\d\d:){2}\d\dZ", bill.get("metadata", {}).get("timestamp", "")), "timestamp")
    program = bill.get("metadata", {}).get("component", {})
    rows = [program, *bill.get("components", [])]
    for number, row in enumerate(rows):
        want_component(row, row.get("bom-ref", f"component {number}"))
        want(row is program or row.get("licenses"), f"{row.get('bom-ref')}: says no licence")
    references = [row.get("bom-ref") for row in rows]
    want(len(references) > 20, "hardly any components")
    want(len(set(references)) == len(references), "two components with one bom-ref")
    graph = bill.get("dependencies", [])
    named = {row.get("ref") for row in graph}.union(*(row.get("dependsOn", []) for row in graph))
    want(named == set(references), "dependencies name other components than there are")
    return found


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        found = faults(json.loads(Path(sys.argv[2]).read_text()))
        print("\n".join(found) or f"{sys.argv[2]}: well")
        return 1 if found else 0
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    target, binary, folder = sys.argv[1], Path(sys.argv[2]).read_bytes(), Path(sys.argv[3])
    known = metadata(target)
    (folder / "sbom.cdx.json").write_text(json.dumps(bill(known, target, binary), indent=1) + "\n")
    (folder / "notices").write_text(notices(known))
    return 0


sys.exit(main())
