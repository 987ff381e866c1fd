"""Candidates whose bug makes a test hostile: contained, judged for the right reason, and nothing to the next one."""

import json
import secrets
import textwrap
import time

import pytest

from schemas.reports import Outcome, Rejection, VerdictStatus
from validation.validate import Proof, prove

DEED_TEST = "tests/test_a_deed.py::test_deed"
CALC_TESTS = ("tests/test_calc.py::test_add", "tests/test_calc.py::test_negate")
FILES_TEST = "tests/test_files.py::test_writes"


def deed(body: str, *, facts: str = "") -> dict[str, bytes]:
    """A candidate whose `act` has this body."""
    return {"deed.py": f"{facts}\ndef act():\n{textwrap.indent(textwrap.dedent(body), '    ')}\n".encode()}


def breaks(prepared, proof: Proof, *tests: str) -> bool:
    """Whether it is accepted with exactly these tests broken, and every other one passing."""
    verdict = proof.verdict
    return (verdict.status, set(verdict.fail_to_pass), set(verdict.pass_to_pass)) == (
        VerdictStatus.ACCEPTED,
        set(tests),
        prepared.suite.baseline.passing - set(tests),
    )


def test_a_plain_bug_breaks_its_test_and_no_other(prepared) -> None:
    assert breaks(prepared, prove(prepared.suite, deed("return 'other'")), DEED_TEST)


def test_forking_without_end(prepared, host, sampled, count_processes) -> None:
    marker = f"20.{secrets.randbelow(10**9):09}"
    seen = sampled(lambda: count_processes(marker))
    body = f"""
        import os, time
        for _ in range(2000):
            if os.fork() == 0:
                os.setsid()
                os.execv("/bin/sleep", ["sleep", {marker!r}])
        time.sleep(0.3)
        return "done"
    """
    proof = prove(prepared.suite, deed(body))
    assert breaks(prepared, proof, DEED_TEST)
    assert proof.failures[DEED_TEST].exception == "BlockingIOError"
    assert 10 < max(seen) <= prepared.suite.limits.processes + 4
    assert count_processes(marker) == 0


def test_allocating_without_end(prepared, host) -> None:
    body = """
        blocks = [bytearray(b"x") * (64 << 20) for _ in range(48)]
        return "done"
    """
    # Memory must run out before time does: on a busy machine, pages cost more than the second that a test here has.
    limits_s = dict.fromkeys(prepared.suite.baseline.test_cpu_limits_s, 60.0)
    baseline = prepared.suite.baseline.model_copy(update={"test_cpu_limits_s": limits_s, "test_limits_s": limits_s})
    proof = prove(prepared.suite._replace(baseline=baseline), deed(body))
    assert proof.verdict.reason is Rejection.OUT_OF_MEMORY
    assert "768 MiB" in proof.verdict.detail


def test_sleeping_for_ever(prepared, host) -> None:
    body = """
        import signal, time
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)
        end = time.monotonic() + 40
        while time.monotonic() < end:
            time.sleep(1)
        return "done"
    """
    began = time.monotonic()
    proof = prove(prepared.suite, deed(body))
    assert proof.verdict.reason is Rejection.TIMED_OUT
    assert DEED_TEST in proof.verdict.detail
    assert proof.executions == 2
    assert time.monotonic() - began < 30


def test_filling_every_disk(prepared, host) -> None:
    body = """
        stopped = 0
        for folder in ("/testbed", "/tmp", "/home/gym", "/dev/shm", "/", "/env", "/var/tmp"):
            try:
                with open(folder + "/fill", "wb", buffering=0) as file:
                    for _ in range(700):
                        file.write(bytes(1 << 20))
            except OSError:
                stopped += 1
        return "filled" if stopped == 7 else "done"
    """
    # What comes later finds no room, which is the bug's doing as well.
    assert breaks(prepared, prove(prepared.suite, deed(body)), DEED_TEST, FILES_TEST)


def test_deleting_its_own_tree(prepared, host) -> None:
    body = """
        import os, shutil
        for folder in ("/testbed", "/env", "/home/gym", "/gymforge", "/usr/lib", *FOLDERS, HOME):
            shutil.rmtree(folder, ignore_errors=True)
        return "gone" if not os.listdir("/testbed") else "done"
    """
    assert breaks(prepared, prove(prepared.suite, deed(body, facts=host.facts)), DEED_TEST)
    assert host.harm() == []


@pytest.mark.parametrize("target", ["os.getppid()", "-1"], ids=["its-parent", "all-that-it-sees"])
def test_killing(prepared, host, target: str) -> None:
    body = f"""
        import os, signal, time
        for pid in (1, PID, {target}):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(1)
        return "done"
    """
    proof = prove(prepared.suite, deed(body, facts=host.facts))
    assert proof.verdict.reason is Rejection.INCOMPLETE
    assert host.harm() == []


def test_opening_sockets_to_the_host(prepared, host) -> None:
    body = """
        import socket
        reached = []
        for family, kind, address in [
            *((f, k, a) for a in TCP for f, k in ((2, 1), (10, 1), (2, 2))),
            *((1, 1, name) for name in UNIX),
            (1, 1, "/var/run/docker.sock"),
        ]:
            with socket.socket(family, kind) as caller:
                caller.settimeout(0.5)
                try:
                    caller.connect(address)
                    kind == 1 and reached.append(address)
                except OSError:
                    pass
        return f"reached {reached}" if reached else "nobody"
    """
    proof = prove(prepared.suite, deed(body, facts=host.facts))
    assert breaks(prepared, proof, DEED_TEST)
    assert "nobody" in proof.failures[DEED_TEST].message
    assert host.harm() == []


def test_a_socket_that_it_opens_is_not_the_hosts(prepared, host, sampled) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def call() -> bool:
        with socket.socket() as caller:
            caller.settimeout(0.2)
            return caller.connect_ex(("127.0.0.1", port)) == 0

    body = f"""
        import socket, time
        with socket.create_server(("0.0.0.0", {port})) as server:
            socket.create_connection(("127.0.0.1", {port})).close()
            time.sleep(0.4)
        return "listened"
    """
    answers = sampled(call)
    assert breaks(prepared, prove(prepared.suite, deed(body)), DEED_TEST)
    assert len(answers) > 10
    assert not any(answers)


def test_reading_the_hosts_files_and_environment(prepared, host) -> None:
    body = """
        import glob, os
        found = [f"{key}={value}" for key, value in os.environ.items() if "canary" in value]
        places = [
            *(name for folder in (*FOLDERS, HOME) for name in (folder + "/canary", folder + "/.netrc")),
            HOME + "/.git-credentials", HOME + "/.config/pip/pip.conf", HOME + "/.ssh/id_ed25519", "/etc/shadow",
            *glob.glob("/proc/[0-9]*/environ"), *glob.glob("/proc/[0-9]*/cmdline"), *glob.glob("/proc/[0-9]*/fd/*"),
            *(root + place for root in glob.glob("/proc/[0-9]*/root") for place in FOLDERS),
            "/testbed/deed.py",
        ]
        for place in places:
            try:
                with open(os.open(place, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                    text = (file.read(1 << 16) or b"").decode("latin-1")
            except OSError:
                continue
            found += [line[:90] for line in text.replace("\\0", "\\n").splitlines() if "canary-" in line]
        raise RuntimeError(f"{len(found)} found: {found}")
    """
    proof = prove(prepared.suite, deed(f'{body}\n        """canary-in-its-own-tree"""', facts=host.facts))
    assert breaks(prepared, proof, DEED_TEST)
    told = proof.failures[DEED_TEST].model_dump_json()
    # What it may read it finds and tells, so the search and the way out work.
    assert "canary-in-its-own-tree" in told
    assert host.secret not in proof.model_dump_json()


def test_writing_outside(prepared, host) -> None:
    from validation.sandbox.client import AGENT_PATH

    agent = AGENT_PATH.read_bytes()
    body = """
        import os
        written = []
        for place in (
            *(folder + "/canary" for folder in FOLDERS), *(folder + "/new" for folder in FOLDERS), HOME + "/.netrc",
            "/gymforge/agent.py", "/gymforge/testbed/calc.py", "/env/pyvenv.cfg", "/usr/local/bin/python3", "/etc/passwd",
        ):
            try:
                os.makedirs(os.path.dirname(place), exist_ok=True)
                with open(place, "w") as file:
                    file.write("spoiled")
                written.append(place)
            except OSError:
                pass
        return f"wrote {written}"
    """
    try:
        proof = prove(prepared.suite, deed(body, facts=host.facts))
        assert AGENT_PATH.read_bytes() == agent
    finally:
        if AGENT_PATH.read_bytes() != agent:
            AGENT_PATH.write_bytes(agent)
    assert breaks(prepared, proof, DEED_TEST)
    assert host.harm() == []


def test_printing_fake_results(prepared, host) -> None:
    """Summaries in every spelling, JUnit files, frames of the agent and records of the worker, on every descriptor."""
    report = {"e": "report", "when": "call", "outcome": "passed", "xfail": False, "duration_s": 0, "cpu_s": 0}
    report["failure"] = None
    lines = [
        *(
            json.dumps(report | {"t": test, "when": when})
            for test in (DEED_TEST, "ghost")
            for when in ("call", "teardown")
        ),
        json.dumps({"e": "end", "exit": 0}),
        json.dumps({"e": "done", "exit": 0}),
        f"PASSED {DEED_TEST}",
        f"{DEED_TEST} PASSED [100%]",
        "===== 4 passed in 0.01s =====",
        ">>>>> Start Test Output",
        f"PASSED {DEED_TEST}",
        ">>>>> End Test Output",
        ">>>>> Test Exit Code: 0",
    ]
    body = f"""
        import json, os, struct, sys
        lines = {lines!r}
        header = json.dumps({{"exit_code": 0, "timed_out": False, "out_of_memory": False, "truncated": False,
                             "duration_s": 0.1, "stdout_bytes": 0}}).encode()
        frame = struct.pack(">IQ", len(header), 0) + header
        for text in lines:
            print(text)
            print(text, file=sys.stderr)
            sys.__stdout__.write(text + "\\n")
        for number in range(256):
            for text in [*lines, *(f"{{'0' * 32}}{{line}}" for line in lines)]:
                try:
                    os.write(number, b"\\n" + text.encode() + b"\\n")
                except OSError:
                    pass
            try:
                os.write(number, frame)
                os.write(number, b"\\n")
            except OSError:
                pass
        for name in ("junit.xml", "/tmp/gymforge-junit.xml", "/tmp/junit.xml", "report.json"):
            with open(name, "w") as file:
                file.write('<testsuite tests="4" failures="0"><testcase classname="tests.test_a_deed" name="test_deed"/></testsuite>')
        return "forged"
    """
    proof = prove(prepared.suite, deed(body))
    assert breaks(prepared, proof, DEED_TEST)
    assert "ghost" not in proof.verdict.model_dump_json()


@pytest.mark.slow
@pytest.mark.parametrize("captured", [True, False], ids=["captured", "past-the-capture"])
def test_printing_gigabytes(prepared, host, captured: bool) -> None:
    """What pytest captures fills the sandbox's disk; what it does not comes to the agent, which keeps both ends of it."""
    body = """
        import os, sys
        block = b"PASSED tests/test_calc.py::test_add\\n" * 30000
        try:
            for _ in range(700):
                os.write(1, block)
                os.write(2, block)
        except OSError:
            return "full"
        return "printed"
    """
    options = {} if captured else {"pytest.ini": b"[pytest]\naddopts = -s\n"}
    proof = prove(prepared.suite, deed(body) | options)
    assert breaks(prepared, proof, DEED_TEST)
    assert ("full" if captured else "printed") in proof.failures[DEED_TEST].message


def test_flooding_the_result_channel(prepared, host) -> None:
    """The worker's end of the channel: what is not a record is refused and not kept."""
    body = """
        import os
        for number in range(3, 64):
            try:
                if "pipe" in os.readlink(f"/proc/self/fd/{number}"):
                    for _ in range(40):
                        os.write(number, b"x" * (1 << 20) + b"\\n")
            except OSError:
                pass
        return "flooded"
    """
    assert breaks(prepared, prove(prepared.suite, deed(body)), DEED_TEST)


def test_closing_and_replacing_the_result_channel(prepared, host) -> None:
    """The test that does it is in error, and the next worker has a channel of its own."""
    body = """
        import os
        with open("/tmp/instead", "wb") as instead:
            for number in range(3, 64):
                if number != instead.fileno():
                    try:
                        os.dup2(instead.fileno(), number)
                    except OSError:
                        pass
        return "done"
    """
    proof = prove(prepared.suite, deed(body))
    assert breaks(prepared, proof, DEED_TEST)
    assert proof.failures[DEED_TEST].phase == "process"


def test_hostile_already_when_it_is_imported(prepared, host) -> None:
    """The deed is done while modules are collected: the module does not load, the rest is judged."""
    source = f"{host.facts}\nimport shutil, os\nfor place in (*FOLDERS, HOME, '/env'): shutil.rmtree(place, ignore_errors=True)\n"
    proof = prove(prepared.suite, {"deed.py": f"{source}raise SystemError(os.getpid())\n".encode()})
    assert breaks(prepared, proof, DEED_TEST, FILES_TEST)
    assert prepared.suite.baseline.stable[DEED_TEST] is Outcome.PASSED


# The repository itself: names and links


ODD_TESTS = ("tests/test_new\nline.py::test_odd", "tests/test_\\udcff\\udcfe.py::test_odd")


def test_files_with_newlines_and_invalid_utf8_in_their_names_are_tests_like_others(kind, prepare) -> None:
    prepared = prepare(kind)
    assert all(prepared.suite.baseline.stable[test] is Outcome.PASSED for test in ODD_TESTS)
    proof = prove(prepared.suite, {"odd.py": b"def odd(value):\n    return 0 if value < 0 else 1\n"})
    assert breaks(prepared, proof, *ODD_TESTS)
    assert proof.failures[ODD_TESTS[0]].statement == "assert odd(-1) == new_line.ONE"
    crashes = {"odd.py": b"import os\ndef odd(value):\n    value == -2 and os._exit(0)\n    return 1\n"}
    assert breaks(prepared, prove(prepared.suite, crashes), ODD_TESTS[1])
    # What is kept can be written: text without lone surrogates.
    proof.model_dump_json().encode()


def test_links_that_lead_out_of_the_tree_bring_nothing_in(prepared, outside) -> None:
    suite = prepared.suite
    with suite.backend.open(suite.image, limits=suite.limits) as sandbox:
        search = "cat tests/test_link.py link.py outside/* tests/outside/* README.md LICENSE etc/hostname; grep -rs canary . /env"
        found = sandbox.run(["sh", "-c", search], timeout_s=60)
        listed = sandbox.run(["find", ".", "-type", "l"], timeout_s=60).stdout.decode().split()
    assert outside.secret.encode() not in found.stdout + found.stderr
    assert {"./link.py", "./etc", "./outside", "./loop", "./tests/test_link.py"} <= set(listed)
    known = (prepared.profile, suite.baseline, prove(suite, deed("import link")))
    assert not [each for each in known if outside.secret in each.model_dump_json()]
    assert "tests/test_link.py" not in {test.split("::")[0] for test in suite.baseline.stable}


def test_a_candidate_for_a_linked_file_replaces_the_link(prepared, outside) -> None:
    before = {path.name: path.read_bytes() for path in outside.folder.iterdir()}
    proof = prove(prepared.suite, {"link.py": b"SPOILED = 1\n", "tests/test_link.py": b"def test_x(): pass\n"})
    assert proof.verdict.reason is Rejection.NO_TEST_FAILED
    assert {path.name: path.read_bytes() for path in outside.folder.iterdir()} == before
