"""The fake keeps the contract's words where it can, so that tests on it mean something."""

import pytest

from schemas.errors import SandboxFailed
from validation.sandbox.fake import FakeBackend, FakeCall, result
from validation.sandbox.protocol import CommandResult, Sandbox, SandboxBackend


def echo(call: FakeCall) -> CommandResult:
    return result(stdout=" ".join(call.command).encode())


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend(echo)


def test_fake_fits_the_protocols(backend: FakeBackend) -> None:
    whole: SandboxBackend = backend
    with whole.open() as sandbox:
        part: Sandbox = sandbox
        assert part.run(["a", "b"], timeout_s=1).stdout == b"a b"


def test_script_sees_and_changes_files() -> None:
    def append(call: FakeCall) -> CommandResult:
        call.files["/testbed/log"] += b"x"
        return result()

    with FakeBackend(append).open() as sandbox:
        sandbox.put("/testbed/log", b"")
        sandbox.run(["any"], timeout_s=1)
        assert sandbox.get("/testbed/log") == b"x"


def test_calls_are_recorded_as_made(backend: FakeBackend) -> None:
    with backend.open() as sandbox:
        sandbox.run(["x"], timeout_s=3, stdin=b"in", environment={"A": "1"}, cwd="/tmp", idle_timeout_s=2)
    call = backend.opened[0].calls[0]
    assert call[:6] == (("x",), b"in", {"A": "1"}, "/tmp", 3, 2)


def test_stored_environment_is_private_to_each_sandbox(backend: FakeBackend) -> None:
    with backend.open(building=True) as sandbox:
        sandbox.put("/testbed/a", b"clean")
        sandbox.put("/tmp/b", b"dropped")
        assert backend.store(sandbox, "name") == 5
    for _ in range(2):
        with backend.open("name") as sandbox:
            assert sandbox.get("/testbed/a") == b"clean"
            sandbox.put("/testbed/a", b"dirty")
            with pytest.raises(FileNotFoundError):
                sandbox.get("/tmp/b")


def test_channel_past_its_limit_kills_the_command() -> None:
    with FakeBackend(lambda _call: result(channel=b"0123456789")).open() as sandbox:
        past = sandbox.run(["x"], timeout_s=1, max_channel_bytes=9)
        assert (past.exit_code, past.truncated, past.channel) == (-9, True, b"012345678")
        assert sandbox.run(["x"], timeout_s=1, max_channel_bytes=10).exit_code == 0


def test_mode_of_a_replaced_file_is_kept_also_in_a_stored_environment(backend: FakeBackend) -> None:
    with backend.open(building=True) as sandbox:
        sandbox.put("/testbed/tool", b"old", mode=0o755)
        sandbox.put("/testbed/text", b"old")
        backend.store(sandbox, "name")
    with backend.open("name") as sandbox:
        sandbox.put("/testbed/tool", b"new")
        sandbox.put("/testbed/text", b"new")
    assert backend.opened[1].modes == {"/testbed/tool": 0o755, "/testbed/text": 0o644}


def test_absent_environment_is_not_found(backend: FakeBackend) -> None:
    with pytest.raises(FileNotFoundError), backend.open("absent"):
        pass


def test_closed_fake_refuses(backend: FakeBackend) -> None:
    with backend.open() as sandbox:
        pass
    with pytest.raises(SandboxFailed):
        sandbox.run(["x"], timeout_s=1)


def test_big_file_is_refused(backend: FakeBackend) -> None:
    with backend.open() as sandbox:
        sandbox.put("/a", b"123")
        with pytest.raises(SandboxFailed):
            sandbox.get("/a", max_bytes=2)


def answering(call: FakeCall) -> CommandResult:
    return result(7 if call.stdin == b"end" else 0, channel=call.stdin[::-1])


def test_each_word_of_a_conversation_is_a_call_of_the_script() -> None:
    backend = FakeBackend(answering)
    with backend.open() as sandbox, sandbox.converse(["talk"]) as talk:
        talk.say(b"abc")
        talk.say(b"")
        talk.say(b"de")
        assert [talk.hear(timeout_s=1), talk.hear(timeout_s=1)] == [b"cba", b"ed"]
        with pytest.raises(TimeoutError):
            talk.hear(timeout_s=1)
    assert [call.stdin for call in backend.opened[0].calls] == [b"abc", b"", b"de"]
    assert talk.result is not None
    assert talk.result.exit_code == -9


def test_a_script_that_fails_ends_the_conversation() -> None:
    with FakeBackend(answering).open() as sandbox, sandbox.converse(["talk"]) as talk:
        talk.say(b"end")
        with pytest.raises(SandboxFailed, match="ended with 7"):
            talk.hear(timeout_s=1)
        assert talk.result is not None
        assert (talk.result.exit_code, talk.result.channel) == (7, b"")
        with pytest.raises(SandboxFailed, match="ended with 7"):
            talk.hear(timeout_s=1)
        with pytest.raises(SandboxFailed, match="ended with 7"):
            talk.say(b"more")


def test_a_channel_past_its_limit_ends_the_conversation() -> None:
    with FakeBackend(answering).open() as sandbox, sandbox.converse(["talk"], max_channel_bytes=3) as talk:
        talk.say(b"1234")
        with pytest.raises(SandboxFailed, match="ended with -9"):
            talk.hear(timeout_s=1)
