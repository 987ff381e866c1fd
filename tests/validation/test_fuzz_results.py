"""What comes out of a sandbox is a stranger's text: read or refused, never an error of the host's, never a pass unsaid."""

import json
import math
import os
import socket
import struct
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement

from schemas.errors import EnvironmentFailed, SandboxFailed
from schemas.reports import CoverageMap, Outcome, TestReport
from validation.channel import read_channel
from validation.junit import JunitResult, read_junit
from validation.project_build import read_metadata
from validation.sandbox.attach import AttachedAgent
from validation.sandbox.client import AgentSandbox
from validation.sandbox.protocol import CommandResult

TIMES = int(os.environ.get("FUZZ_TIMES", "1"))
"""How much more to try than CI does."""


def result(channel):
    fields = {"exit_code": 0, "stdout": b"", "stderr": b"", "timed_out": False, "out_of_memory": False}
    return CommandResult(channel=channel, truncated=False, duration_s=1.0, **fields)


def line(record):
    return json.dumps(record).encode() + b"\n"


FAILURE = {"phase": "call", "exception": "E", "message": "m", "path": "a.py", "line": 1, "statement": "s", "trace": "t"}


def report(test, when="call", said="passed", **more):
    fields = {
        "e": "report",
        "t": test,
        "when": when,
        "outcome": said,
        "xfail": False,
        "duration_s": 0.1,
        "cpu_s": 0.1,
        "failure": None,
    }
    return fields | more


VALID = [
    report("t::a", "setup"), report("t::a"), report("t::a", "teardown"),
    report("t::b"), report("t::b", said="failed", failure=FAILURE), report("t::c", said="skipped"),
    report("t::d", said="skipped", xfail=True), {"e": "died", "t": "t::e", "status": -9}, {"e": "died", "t": None, "status": 1},
    {"e": "timeout", "t": "t::f"}, {"e": "timeout", "t": None}, {"e": "collect_error", "path": "x.py", "failure": FAILURE},
    {"e": "coverage_tests", "tests": ["t::a", "t::b"]}, {"e": "coverage", "path": "a.py", "lines": {"1": [0], "2": [0, 1]}, "imports": [3]},
    {"e": "end", "exit": 0}, {"e": "refused", "n": 2}, {"e": "gave_up"}, {"e": "done", "exit": 0},
]  # fmt: skip
odd = st.recursive(
    st.none() | st.booleans() | st.sampled_from([-1, 0, 1, 2**63, 10**400, 1e308, math.inf, -math.inf, math.nan, 0.5, "", "t::a", "\ud800", "passed", "1", "x" * 5000]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["", "1", "-1", "t", "e", "99999999999999999999"]), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


def held(channel):
    """The run read from a channel, held to what every reader of it may rely on."""
    run = read_channel(result(channel))
    assert TestReport.model_validate_json(run.report.model_dump_json()) == run.report, "it can be kept"
    assert run.refused_records >= 0
    if run.coverage is not None:
        assert CoverageMap.model_validate_json(run.coverage.model_dump_json()) == run.coverage
        for path in run.coverage.lines:
            run.coverage.tests_touching(path, 0, 10)
    return run


def passes_said(channel):
    """Tests that a record with every field in order says passed: found without the reader that is tested."""
    found = set()
    for text in channel.split(b"\n"):
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if not isinstance(record, dict) or record.get("e") != "report":
            continue
        whole = report("x").keys() <= record.keys()
        if whole and record["when"] == "call" and record["outcome"] == "passed" and isinstance(record["t"], str):
            found.add(record["t"].encode("utf-8", "backslashreplace").decode())
    return found


def assert_no_pass_unsaid(run, channel):
    passed = {test for test, outcome in run.report.outcomes.items() if outcome in {Outcome.PASSED, Outcome.XPASSED}}
    assert passed <= passes_said(channel)


@settings(max_examples=300 * TIMES, deadline=None)
@given(channel=st.binary(max_size=300))
def test_any_bytes_on_the_channel_are_no_result(channel):
    run = held(channel)
    assert not run.complete
    assert_no_pass_unsaid(run, channel)


@settings(max_examples=400 * TIMES, deadline=None)
@given(
    records=st.lists(st.sampled_from(VALID), max_size=8),
    at=st.integers(min_value=0),
    key=st.integers(min_value=0),
    value=odd,
)
@example(records=[report("t")], at=0, key=3, value="nonsense")  # an outcome that pytest does not have
@example(records=[report("t")], at=0, key=5, value=math.nan)  # refused after the outcome was taken
@example(records=[report("t")], at=0, key=1, value={"a": 1})  # a test id that is no text
@example(records=[report("t", failure=FAILURE)], at=0, key=6, value={**FAILURE, "phase": "\ud800"})
@example(records=[VALID[12], VALID[13]], at=1, key=1, value=7)  # a path that is no text
@example(records=[VALID[12], VALID[13]], at=1, key=1, value="\ud800")
@example(records=[VALID[12], VALID[13]], at=1, key=2, value={"1": [-1]})
@example(records=[VALID[15]], at=0, key=1, value=-5)
@example(records=[VALID[-1]], at=0, key=1, value="x")
def test_a_record_with_an_odd_value_is_refused_whole_or_read(records, at, key, value):
    lines = [dict(record) for record in records]
    if lines:
        chosen = lines[at % len(lines)]
        chosen[sorted(chosen, key=list(chosen).index)[key % len(chosen)]] = value
    channel = b"".join(map(line, lines))
    assert_no_pass_unsaid(held(channel), channel)


def test_a_refused_record_leaves_no_trace():
    for key, value in [
        ("outcome", "nonsense"),
        ("when", "later"),
        ("duration_s", "1"),
        ("xfail", 0),
        ("t", None),
        ("failure", 3),
    ]:
        run = held(line(report("t") | {key: value}))
        assert (run.refused_records, run.report.outcomes, run.report.durations_s) == (1, {}, {}), key
    run = held(line(VALID[12]) + line(VALID[13] | {"imports": ["x"]}))
    assert (run.refused_records, run.coverage.lines) == (1, {})
    assert not held(line({"e": "done", "exit": None})).complete


@settings(max_examples=200 * TIMES, deadline=None)
@given(order=st.permutations(VALID), cut=st.integers(min_value=0), twice=st.booleans())
def test_a_stream_that_is_shuffled_cut_or_repeated_passes_nothing_that_it_does_not_say(order, cut, twice):
    whole = b"".join(map(line, order)) * (1 + twice)
    channel = whole[: cut % (len(whole) + 1)]
    run = held(channel)
    assert_no_pass_unsaid(run, channel)
    failed = line(VALID[4]).strip() in channel.split(b"\n")
    assert run.report.outcomes.get("t::b") is not Outcome.PASSED or not failed, "the gravest phase counts"


@settings(max_examples=200 * TIMES, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(min_value=0), st.binary(max_size=3)), min_size=1, max_size=6))
def test_a_stream_with_changed_bytes_passes_nothing_that_it_does_not_say(changes):
    channel = b"".join(map(line, VALID))
    for at, put in changes:
        place = at % len(channel)
        channel = channel[:place] + put + channel[place + 1 :]
    assert_no_pass_unsaid(held(channel), channel)


# --- JUnit files

JUNIT = (
    b'<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" tests="3"><testcase classname="a.b" name="c" time="0.1"/>'
    b'<testcase classname="a.b" name="d"><failure message="m">t</failure></testcase><testcase classname="a.b" name="e"><skipped/></testcase>'
    b"</testsuite></testsuites>"
)
BOMB = b"<!DOCTYPE a [" + b"".join(b'<!ENTITY b%d "%s">' % (n, b"&b%d;" % (n - 1) * 10) for n in range(1, 10)) + b"]>"


def junit(content):
    """The results, or `None` where it is refused as documented."""
    try:
        return read_junit(content)
    except ValueError:
        return None


@settings(max_examples=300 * TIMES, deadline=None)
@given(content=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")))
@example(content=b'<?xml version="1.0" encoding="nonsense"?><a/>')
@example(content=b'<?xml version="1.0" encoding="utf-16"?><a/>')
@example(content=b'<?xml version="1.0" encoding="idna"?><a/>')
@example(content=b"<a>" * 100_000)
def test_any_bytes_are_a_junit_file_or_refused(content):
    assert junit(content) in (None, {})


@settings(max_examples=300 * TIMES, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(min_value=0), st.integers(0, 5), st.binary(max_size=4)), min_size=1, max_size=3), cut=st.none() | st.integers(0, len(JUNIT) - 1))  # fmt: skip
@example(changes=[(15, 1, b"9")], cut=None)
@example(changes=[(30, 5, b"utf-7")], cut=None)
def test_a_changed_junit_file_passes_no_other_test_and_a_cut_one_none(changes, cut):
    content = JUNIT
    for at, drop, put in changes if cut is None else ():
        place = at % len(content)
        content = content[:place] + put + content[place + drop :]
    found = junit(content if cut is None else content[:cut])
    assert cut is None or found is None, "a file without its end is none"
    whole = content.count(b"<testcase")
    assert sum(one is JunitResult.PASSED for one in (found or {}).values()) <= whole


@pytest.mark.parametrize(
    "content",
    [
        BOMB + b"<a>&b9;</a>",
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><testsuites/>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b'<!DOCTYPE a [<!ENTITY %% p SYSTEM "http://127.0.0.1:9/x"> %%p;]><a/>',
        BOMB,
    ],
)
def test_entities_are_refused_and_soon(content):
    began = time.process_time()
    assert junit(content) is None
    assert time.process_time() - began < 2


# --- what a build says of itself

metadata_lines = st.sampled_from(
    ["Name: a", "Name: ", "Requires-Dist: b>=1", "Requires-Dist: b; extra == 'x'", "Requires-Dist: a[x,y]; extra == 'x'", "Requires-Dist: b @ file:///etc/passwd",
     "Requires-Dist: ; ;", "Requires-Dist: b; python_version > 'x'", "Requires-Dist: b; platform_release > '1.x-y'", "Requires-Dist: b===x y", "",
     "Requires-Dist: b; " + "(" * 300 + "extra == 'x'" + ")" * 300, "Requires-Dist: a[" + "x" * 300 + "]", "\x00", " continued", "Name: é", "Requires-Dist: é"]
)  # fmt: skip


@settings(max_examples=150 * TIMES, deadline=None)
@given(text=st.lists(metadata_lines | st.text(max_size=20), max_size=8).map("\n".join))
@example(text="Name: a\ud800")
def test_any_metadata_of_a_build_is_read_or_refused(text):
    try:
        name, needed = read_metadata(text, python_version="3.11.7", extras=("x",))
    except EnvironmentFailed:
        return
    assert name
    assert all(map(Requirement, needed))


def test_a_requirement_of_a_build_that_nests_without_end_is_refused():
    deep = "(" * 900 + "extra == 'x'" + ")" * 900
    with pytest.raises(EnvironmentFailed, match="invalid requirement"):
        read_metadata(f"Name: a\nRequires-Dist: b; {deep}", python_version="3.11.7", extras=())


# --- the agent's frames


class Bytes:
    """A transport whose agent says these bytes, in pieces, and then nothing: it hangs, or ends."""

    def __init__(self, said, piece=64, *, ends=True):
        self.said, self.piece, self.ends = bytearray(said), piece, ends

    def send(self, data):
        pass

    def receive(self, timeout_s):
        data = bytes(self.said[: self.piece])
        del self.said[: self.piece]
        if not data and not self.ends:
            raise TimeoutError
        return data

    def oom_kills(self):
        return None

    def died_of_memory(self):
        return False

    def post_mortem(self):
        return "what the agent printed"


def frame(header, payload=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack(">IQ", len(text), len(payload)) + text + payload


RESULT = {
    "exit_code": 0,
    "timed_out": False,
    "out_of_memory": False,
    "truncated": False,
    "duration_s": 0.5,
    "stdout_bytes": 2,
}


def run(transport, **options):
    return AgentSandbox(transport).run(["true"], timeout_s=0.2, max_output_bytes=100, max_channel_bytes=1000, **options)


def test_a_whole_answer_is_read():
    answer = run(
        Bytes(frame({"event": "channel"}, b"ab") + frame({"event": "channel"}, b"c") + frame(RESULT, b"outerr"))
    )
    assert (answer.channel, answer.stdout, answer.stderr, answer.exit_code) == (b"abc", b"ou", b"terr", 0)


def answered(call, *arguments):
    """Whether an agent's bytes were taken; a refusal must be the documented one, and the last word of the sandbox."""
    try:
        call(*arguments)
    except SandboxFailed as error:
        return "Open a fresh one" not in str(error) and "max_bytes" not in str(error)
    except OSError:
        return False
    return True


headers = st.dictionaries(st.sampled_from([*RESULT, "event", "errno", "error", "agent"]), odd, max_size=6)


@settings(max_examples=300 * TIMES, deadline=None)
@given(said=st.binary(max_size=120) | st.lists(st.tuples(headers | st.just(RESULT) | st.just({"event": "channel"}), st.binary(max_size=20)), max_size=4).map(lambda frames: b"".join(frame(*one) for one in frames)))  # fmt: skip
@example(said=frame(b"[]"))
@example(said=frame(b"{" * 3))
@example(said=frame(b'{"a":' * 9_000))
@example(said=frame(RESULT | {"stdout_bytes": -1}, b"x"))
@example(said=frame(RESULT | {"exit_code": "0"}, b"xx"))
@example(said=frame({"event": "channel"}, b"x" * 999) * 2 + frame(RESULT, b"xx"))
@example(said=frame(RESULT | {"errno": 10**30}))
@example(said=frame({"errno": "x", "error": "y"}))
@example(said=frame({"errno": 5}))
@example(said=struct.pack(">IQ", 2**32 - 1, 2**64 - 1) + b"{}")
def test_any_bytes_of_an_agent_are_an_answer_or_its_end(said):
    sandbox = AgentSandbox(Bytes(said))
    for call, arguments in [
        (run, (Bytes(said),)), (AgentSandbox(Bytes(said)).put, ("/a", b"x")), (AgentSandbox(Bytes(said)).wait_ready, ()),
        (lambda path: AgentSandbox(Bytes(said)).get(path, max_bytes=100), ("/a",)), (sandbox.get, ("/a",)), (sandbox.get, ("/a",)),
    ]:  # fmt: skip
        answered(call, *arguments)


def test_a_frame_that_says_to_be_huge_is_not_waited_for_nor_kept():
    for size in [(10**9, 0), (2, 10**12)]:
        transport = Bytes(struct.pack(">IQ", *size) + b"{}" + b"x" * 100_000)
        with pytest.raises(SandboxFailed, match="broke the protocol"):
            run(transport)
        assert len(transport.said) > 90_000, "it was not read on"


def test_an_agent_that_floods_the_channel_is_cut_off():
    with pytest.raises(SandboxFailed, match="more on the channel than was asked for"):
        run(Bytes(frame({"event": "channel"}, b"x" * 500) * 3 + frame(RESULT, b"xx")))


class Endless(Bytes):
    """An agent that never stops to say the same."""

    def receive(self, timeout_s):
        time.sleep(0.001)
        return bytes(self.said) * 50


def test_an_agent_that_never_comes_to_an_end_is_given_up(monkeypatch):
    monkeypatch.setattr("validation.sandbox.client._GRACE_S", 0.3)
    began = time.monotonic()
    with pytest.raises(SandboxFailed, match="in time"):
        bounded(lambda: run(Endless(frame({"event": "channel"}))))
    assert time.monotonic() - began < 8


def bounded(call):
    """`call`, which must not outlast ten seconds: a hang would be a hang of the whole suite."""
    import threading

    outcome = []

    def work():
        try:
            outcome.append(call())
        except SandboxFailed as error:
            outcome.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert outcome, "it does not end"
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


@settings(max_examples=200 * TIMES, deadline=None)
@given(said=st.binary(max_size=100) | st.lists(st.tuples(st.integers(0, 255), st.integers(0, 40), st.binary(max_size=40))).map(lambda frames: b"".join(struct.pack(">BxxxI", *one[:2]) + one[2] for one in frames)))  # fmt: skip
def test_any_bytes_on_dockers_stream_are_read_or_end(said):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
        agent = AttachedAgent(ours, died_of_memory=lambda: False)
        pieces = []
        while data := agent.receive(5):
            pieces.append(data)
        assert sum(map(len, pieces)) <= len(said)
        assert len(agent.post_mortem()) <= 4000


def test_a_flood_on_stderr_does_not_put_the_time_limit_off():
    import threading

    ours, theirs = socket.socketpair()
    with ours, theirs:
        stop = threading.Event()

        def flood():
            deadline = time.monotonic() + 10
            while not stop.is_set() and time.monotonic() < deadline:
                try:
                    theirs.sendall(struct.pack(">BxxxI", 2, 1000) + b"x" * 1000)
                except OSError:
                    return

        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        agent = AttachedAgent(ours, died_of_memory=lambda: False)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            agent.receive(0.3)
        assert time.monotonic() - began < 5
        stop.set()
        ours.shutdown(socket.SHUT_RDWR)
        thread.join()
