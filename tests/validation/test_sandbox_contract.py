"""What every sandbox must do; each test runs on every backend of the machine."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from schemas.errors import SandboxFailed
from validation.sandbox.hidden import private_paths
from validation.sandbox.protocol import MIB, CommandResult, Conversation, Limits, Sandbox, SandboxBackend

SMALL = Limits(memory_bytes=256 * MIB, disk_bytes=32 * MIB, processes=32)
MAKE = {
    "local": "LocalBackend(cache_dir=Path({cache!r}))",
    "watchdog": "LocalBackend(cache_dir=Path({cache!r}), use_cgroups=False)",
    "docker": "DockerBackend()",
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("local", marks=pytest.mark.sandbox),
        pytest.param("watchdog", marks=[pytest.mark.sandbox, pytest.mark.slow]),
        pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow]),
    ],
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def make_source(kind: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Source text that makes the backend, for this process and for others."""
    cache = str(tmp_path_factory.mktemp("cache"))
    module = "docker" if kind == "docker" else "local"
    name = "DockerBackend" if kind == "docker" else "LocalBackend"
    return f"from pathlib import Path\nfrom validation.sandbox.{module} import {name}\nbackend = {MAKE[kind].format(cache=cache)}\n"


@pytest.fixture(scope="module")
def backend(make_source: str) -> SandboxBackend:
    names: dict[str, object] = {}
    exec(make_source, names)
    return names["backend"]  # type: ignore[return-value]


@pytest.fixture(scope="module")
def python(backend: SandboxBackend) -> str:
    return backend.platform().interpreters[0].path


@pytest.fixture
def sandbox(backend: SandboxBackend) -> Iterator[Sandbox]:
    with backend.open(limits=SMALL) as opened:
        yield opened


@pytest.fixture
def run(sandbox: Sandbox, python: str) -> Callable[..., CommandResult]:
    """Run a Python program in a fresh small sandbox."""

    def run_python(program: str, *arguments: str, timeout_s: float = 30, **options: object) -> CommandResult:
        command = [python, "-c", textwrap.dedent(program), *arguments]
        return sandbox.run(command, timeout_s=timeout_s, **options)  # type: ignore[arg-type]

    return run_python


def sh(sandbox: Sandbox, script: str, **options: object) -> CommandResult:
    return sandbox.run(["sh", "-c", script], timeout_s=30, **options)  # type: ignore[arg-type]


def host_processes_with(marker: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if marker in line:
                found.append(line)
    return found


def eventually(condition: Callable[[], bool], *, within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def leftovers(backend: SandboxBackend, pid: int) -> list[str]:
    """Control groups and containers that a process has."""
    if hasattr(backend, "_engine"):
        with backend._engine.connect() as api:
            containers = api.containers(all=True, filters={"label": "gymforge.run"})
        return [item["Id"] for item in containers if f":{pid}-" in item["Labels"]["gymforge.run"]]
    folders = backend._hierarchy.folders if backend._hierarchy else ()  # type: ignore[attr-defined]
    return [str(path) for folder in folders for path in folder.glob(f"gymforge-{pid}-*")]


# Commands and their results


def test_exit_code_is_the_commands(sandbox: Sandbox) -> None:
    assert [sh(sandbox, f"exit {code}").exit_code for code in (0, 1, 42)] == [0, 1, 42]


def test_death_by_signal_is_a_negative_exit_code(sandbox: Sandbox) -> None:
    assert [sh(sandbox, f"kill -{number} $$").exit_code for number in (9, 11, 15)] == [-9, -11, -15]


def test_missing_command_is_127_and_says_so(sandbox: Sandbox) -> None:
    result = sandbox.run(["no-such-command"], timeout_s=5)
    assert result.exit_code == 127
    assert b"no-such-command" in result.stderr


def test_stdout_and_stderr_are_apart(sandbox: Sandbox) -> None:
    result = sh(sandbox, "echo out; echo err >&2")
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")


def test_stdin_arrives_whole(sandbox: Sandbox) -> None:
    sent = os.urandom(3 * MIB)
    assert sandbox.run(["cat"], stdin=sent, timeout_s=30).stdout == sent


def test_command_that_ignores_its_stdin_ends(sandbox: Sandbox) -> None:
    assert sandbox.run(["true"], stdin=b"x" * MIB, timeout_s=30).exit_code == 0


def test_command_without_stdin_sees_its_end(sandbox: Sandbox) -> None:
    assert sandbox.run(["cat"], timeout_s=10).exit_code == 0


def test_arguments_survive_spaces_newlines_and_unicode(run: Callable[..., CommandResult]) -> None:
    odd = ["a b", "c\nd", "é[ü]", "", "'\""]
    assert run("import sys; print(sys.argv[1:])", *odd).stdout.decode() == f"{odd}\n"


def test_command_runs_in_the_given_folder(sandbox: Sandbox) -> None:
    assert sandbox.run(["pwd"], timeout_s=5).stdout == b"/testbed\n"
    assert sandbox.run(["pwd"], cwd="/tmp", timeout_s=5).stdout == b"/tmp\n"


def test_environment_is_the_fixed_one_and_what_was_passed(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_SECRET", "canary-value")
    lines = set(sandbox.run(["/usr/bin/env"], environment={"PASSED": "1"}, timeout_s=5).stdout.decode().splitlines())
    fixed = {
        "PATH=/env/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME=/home/gym",
        "LANG=C.UTF-8",
        "LC_ALL=C.UTF-8",
        "TZ=UTC",
        "PYTHONHASHSEED=0",
        "TMPDIR=/tmp",
        "VIRTUAL_ENV=/env",
        "PYTHONDONTWRITEBYTECODE=1",
    }
    channel = {line for line in lines if line.startswith("GYMFORGE_CHANNEL_FD=")}
    assert lines == fixed | channel | {"PASSED=1"}


def test_host_environment_is_in_no_process_of_the_sandbox(
    sandbox: Sandbox, run: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "PATH" in os.environ
    host = {f"{key}={value}" for key, value in os.environ.items() if len(value) > 12}
    seen = sh(sandbox, "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'").stdout.decode()
    assert not host & set(seen.splitlines())


def test_channel_brings_bytes_in_order(run: Callable[..., CommandResult]) -> None:
    result = run("import os; [os.write(int(os.environ['GYMFORGE_CHANNEL_FD']), b'%d,' % i) for i in range(5000)]")
    assert result.channel == b"".join(b"%d," % i for i in range(5000))


def test_printing_does_not_reach_the_channel(run: Callable[..., CommandResult]) -> None:
    result = run("import os, sys; print('x', flush=True); os.write(1, b'y'); os.write(2, b'z'); sys.stdout.write('w')")
    assert result.channel == b""


def test_channel_past_its_limit_kills_the_command(sandbox: Sandbox) -> None:
    result = sh(sandbox, "head -c 70000000 /dev/zero >&$GYMFORGE_CHANNEL_FD; sleep 20")
    assert result.exit_code == -9
    assert result.truncated
    assert len(result.channel) <= 64 * MIB


def test_channel_limit_is_the_one_that_was_asked_for(sandbox: Sandbox) -> None:
    past = sh(sandbox, "head -c 1001 /dev/zero >&$GYMFORGE_CHANNEL_FD; sleep 20", max_channel_bytes=1000)
    assert (past.exit_code, past.truncated, past.timed_out) == (-9, True, False)
    assert len(past.channel) <= 1000
    at = sh(sandbox, "head -c 1000 /dev/zero >&$GYMFORGE_CHANNEL_FD", max_channel_bytes=1000)
    assert (at.exit_code, at.truncated, at.channel) == (0, False, b"\0" * 1000)


def test_channel_may_be_larger_than_usual(sandbox: Sandbox) -> None:
    script = "head -c 70000000 /dev/zero >&$GYMFORGE_CHANNEL_FD"
    assert len(sh(sandbox, script, max_channel_bytes=80 * MIB).channel) == 70_000_000


def test_output_past_its_limit_keeps_head_and_tail(sandbox: Sandbox) -> None:
    result = sh(sandbox, "echo FIRST; head -c 5000000 /dev/zero; echo; echo LAST", max_output_bytes=1000)
    assert result.truncated
    assert len(result.stdout) == 1000
    assert result.stdout.startswith(b"FIRST\n")
    assert result.stdout.endswith(b"\nLAST\n")
    assert result.exit_code == 0


def test_output_at_its_limit_is_whole(sandbox: Sandbox) -> None:
    result = sh(sandbox, "printf 0123456789", max_output_bytes=10)
    assert (result.stdout, result.truncated) == (b"0123456789", False)


@pytest.mark.slow
def test_gigabytes_of_output_are_bounded_and_do_not_stop_the_command(sandbox: Sandbox) -> None:
    result = sh(sandbox, "head -c 3000000000 /dev/zero; head -c 1000000000 /dev/zero >&2; exit 7")
    assert result.exit_code == 7
    assert len(result.stdout) + len(result.stderr) == 8 * MIB


# Time


def test_time_limit_ends_the_command(sandbox: Sandbox) -> None:
    result = sandbox.run(["sleep", "30"], timeout_s=0.3)
    assert (result.timed_out, result.exit_code) == (True, None)
    assert 0.3 <= result.duration_s < 10


def test_command_that_ignores_signals_is_ended_too(run: Callable[..., CommandResult]) -> None:
    program = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; time.sleep(30)"
    assert run(program, timeout_s=0.5).timed_out


def test_silence_on_the_channel_ends_the_command(sandbox: Sandbox) -> None:
    result = sh(sandbox, "while :; do echo loud; sleep 0.05; done", idle_timeout_s=0.4)
    assert result.timed_out
    assert result.duration_s < 10


def test_command_that_speaks_on_the_channel_is_not_idle(sandbox: Sandbox) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do echo $i >&$GYMFORGE_CHANNEL_FD; sleep 0.1; done"
    assert sh(sandbox, script, idle_timeout_s=0.6).exit_code == 0


def test_output_before_a_time_out_is_kept(sandbox: Sandbox) -> None:
    result = sandbox.run(["sh", "-c", "echo before; echo told >&$GYMFORGE_CHANNEL_FD; sleep 30"], timeout_s=0.5)
    assert (result.stdout, result.channel) == (b"before\n", b"told\n")


# Processes


def test_processes_do_not_outlive_their_run(sandbox: Sandbox) -> None:
    began = time.monotonic()
    sh(sandbox, "(setsid sleep 31 &) ; setsid nohup sleep 32 >/dev/null 2>&1 & exit 0")
    assert time.monotonic() - began < 10
    count = sh(sandbox, "ls -d /proc/[0-9]* | wc -l").stdout
    assert int(count) <= 4  # the agent, the shell, ls and wc


def test_grandchild_that_holds_the_pipes_does_not_hold_the_run(sandbox: Sandbox) -> None:
    result = sh(sandbox, "sleep 30 & echo done")
    assert (result.exit_code, result.stdout) == (0, b"done\n")
    assert result.duration_s < 10


def test_killing_everything_from_inside_leaves_a_usable_sandbox(
    run: Callable[..., CommandResult], sandbox: Sandbox
) -> None:
    program = """
        import os, signal
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGINT, signal.SIGSEGV, signal.SIGHUP, signal.SIGUSR1):
            try:
                os.kill(1, number)
                os.kill(os.getppid(), number)
            except OSError:
                pass
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            pass  # nobody else is there
        print("alive")
    """
    assert run(program).stdout == b"alive\n"
    assert sh(sandbox, "echo again").stdout == b"again\n"


def test_agent_cannot_be_read_or_traced_from_inside(run: Callable[..., CommandResult]) -> None:
    program = """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.ptrace(16, 1, 0, 0) == -1, "attached"
        for name in ("mem", "environ", "fd/0", "fd/10", "fd/11", "root"):
            try:
                os.open("/proc/1/" + name, os.O_RDONLY)
            except OSError:
                continue
            raise SystemExit("opened " + name)
        print("kept out")
    """
    result = run(program)
    assert result.stdout == b"kept out\n", result.stderr


def test_fork_bomb_is_contained(run: Callable[..., CommandResult], sandbox: Sandbox) -> None:
    program = """
        import os, time
        children = 0
        while True:
            try:
                if os.fork() == 0:
                    time.sleep(30)
                    os._exit(0)
            except OSError:
                break
            children += 1
            print(children, flush=True)
    """
    result = run(program, timeout_s=20)
    assert 8 <= int(result.stdout.split()[-1]) < 3000
    assert not result.timed_out
    assert not result.out_of_memory
    assert sh(sandbox, "echo again").stdout == b"again\n"


def test_exploding_fork_bomb_is_cleaned_up(sandbox: Sandbox) -> None:
    result = sandbox.run(["sh", "-c", "f() { f | f & }; f; sleep 0.5; f"], timeout_s=5, max_output_bytes=1000)
    assert result.duration_s < 60
    assert sh(sandbox, "echo again").stdout == b"again\n"


# Memory and disk


@pytest.mark.slow
def test_memory_of_the_whole_tree_is_limited(run: Callable[..., CommandResult], sandbox: Sandbox) -> None:
    program = """
        import os, time
        for _ in range(8):
            if os.fork() == 0:
                block = bytearray(os.urandom(1)) * (100 << 20)
                time.sleep(2)
                os._exit(0)
        for _ in range(8):
            os.wait()
    """
    assert run(program).out_of_memory
    assert sh(sandbox, "echo again").stdout == b"again\n"


def test_modest_memory_is_not_out_of_memory(run: Callable[..., CommandResult]) -> None:
    result = run("block = bytearray(b'x') * (60 << 20); print(len(block))")
    assert (result.exit_code, result.out_of_memory) == (0, False)


def test_full_disks_are_contained_and_leave_a_usable_sandbox(sandbox: Sandbox) -> None:
    for folder in ("/testbed", "/tmp", "/home/gym", "/dev/shm"):
        result = sh(sandbox, f"head -c 300000000 /dev/zero > {folder}/fill; stat -c %s {folder}/fill")
        assert 0 < int(result.stdout) <= SMALL.disk_bytes
        assert not result.out_of_memory
    assert sh(sandbox, "echo again").stdout == b"again\n"


def test_nothing_else_is_writable(sandbox: Sandbox) -> None:
    sized = ["/testbed", "/tmp", "/home/gym", "/dev/shm"]
    kernels = ["/dev/pts", "/dev/mqueue", "/proc/[0-9]*", "/proc/self", "/proc/thread-self", "/proc/pressure"]
    pruned = " -o ".join(f"-path '{path}'" for path in [*sized, *kernels, "/usr/*"])
    found = sh(sandbox, rf"find / \( {pruned} \) -prune -o -writable -not -type l -not -xtype c -print 2>/dev/null")
    assert found.stdout == b""
    assert sh(sandbox, "touch /usr/lib/x /usr/local/x").exit_code != 0


# Isolation from the host


def test_host_files_are_neither_read_nor_written(sandbox: Sandbox, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("untouched")
    for path in (
        canary,
        Path.home() / ".bashrc",
        Path.home() / ".gitconfig",
        Path("/etc/shadow"),
        Path("/etc/hostname"),
    ):
        seen = sandbox.run(["cat", str(path)], timeout_s=5).stdout
        assert not path.exists() or path.name == "hostname" or not seen
    sh(sandbox, f"echo spoiled > {canary}; mkdir -p {tmp_path}/made; rm -rf {tmp_path}")
    assert canary.read_text() == "untouched"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["canary"]


@pytest.fixture
def canary() -> Iterator[str]:
    """A name for files among this machine's programs, which are removed again."""
    if os.geteuid() != 0:
        pytest.skip("only root can put files into /usr")
    name = f"gymforge-canary-{secrets.token_hex(6)}"
    private_paths.cache_clear()
    yield name
    for folder in ("/usr/local/etc", "/usr/local/share"):
        path = Path(folder, name)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    private_paths.cache_clear()


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_settings_of_the_host_are_not_read(backend: SandboxBackend, canary: str, mode: int) -> None:
    path = Path("/usr/local/etc", canary)
    path.parent.mkdir(exist_ok=True)
    path.write_text("token")
    path.chmod(mode)
    with backend.open(limits=SMALL) as sandbox:
        seen = sh(sandbox, f"cat {path}; grep -r token /usr/local/etc /usr/etc; touch /usr/local/etc/x && echo token")
    assert b"token" not in seen.stdout


@pytest.mark.parametrize("folder", ["", "folder/"])
def test_private_files_among_the_hosts_programs_are_not_read(backend: SandboxBackend, canary: str, folder: str) -> None:
    path = Path("/usr/local/share", canary, folder, "file")
    path.parent.mkdir(parents=True)
    path.write_text("token")
    private = path if not folder else path.parent
    private.chmod(0o700 if folder else 0o640)
    with backend.open(limits=SMALL) as sandbox:
        seen = sh(sandbox, f"cat {path}; chmod -R 777 {private}; cat {path}")
    assert b"token" not in seen.stdout
    assert private.stat().st_mode & 0o777 == (0o700 if folder else 0o640)


def test_host_is_not_reached_over_the_network(run: Callable[..., CommandResult]) -> None:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        listener.settimeout(0.2)
        port = listener.getsockname()[1]
        addresses = [
            "127.0.0.1",
            "172.17.0.1",
            *{info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)},
        ]
        with socket.create_connection(("127.0.0.1", port), 2), listener.accept()[0]:
            pass  # the listener works: whoever can connect, does
        program = f"""
            import socket, sys
            for address in sys.argv[1:]:
                try:
                    socket.create_connection((address, {port}), 1)
                    print("reached", address)
                except OSError:
                    pass
        """
        assert run(program, *addresses).stdout == b""
        with pytest.raises(TimeoutError):
            listener.accept()


def test_hosts_abstract_sockets_are_out_of_reach(run: Callable[..., CommandResult]) -> None:
    name = f"gymforge-canary-{secrets.token_hex(4)}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        program = f"import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}')"
        assert run(program).exit_code == 1


def test_loopback_works_inside(run: Callable[..., CommandResult]) -> None:
    program = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname()); print('ok')"
    assert run(program).stdout == b"ok\n"


def test_no_capabilities_no_root_and_no_way_to_either(run: Callable[..., CommandResult]) -> None:
    program = """
        import ctypes, os
        status = dict(line.split(":\\t", 1) for line in open("/proc/self/status"))
        assert os.getuid() == os.geteuid() == 1000
        assert all(int(status[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
        assert status["NoNewPrivs"].strip() == "1"
        assert ctypes.CDLL(None).unshare(0x10000000) == -1, "made a user namespace"
        print("none")
    """
    result = run(program)
    assert result.stdout == b"none\n", result.stderr


def test_kernel_settings_cannot_be_written(run: Callable[..., CommandResult]) -> None:
    program = """
        import os
        paths = [os.path.join(folder, name) for folder, _, names in os.walk("/proc/sys") for name in names]
        opened = []
        for path in [*paths, "/proc/sysrq-trigger"]:
            try:
                os.close(os.open(path, os.O_WRONLY))
            except OSError:
                continue
            opened.append(path)
        print(len(paths) > 100, opened)
    """
    assert run(program).stdout == b"True []\n"


def test_hosts_processes_are_invisible(sandbox: Sandbox) -> None:
    marker = f"61.{secrets.randbelow(10**9)}"
    with subprocess.Popen(["sleep", marker]) as canary:
        try:
            assert eventually(lambda: host_processes_with(marker) != [])
            assert marker.encode() not in sh(sandbox, "cat /proc/[0-9]*/cmdline").stdout
        finally:
            canary.kill()


def test_work_trees_are_private(backend: SandboxBackend) -> None:
    with backend.open(limits=SMALL) as one, backend.open(limits=SMALL) as two:
        for folder in ("/testbed", "/tmp", "/home/gym", "/dev/shm"):
            one.put(f"{folder}/mine", b"1")
            assert sh(two, f"ls -A {folder}").stdout == b""


def test_two_sandboxes_run_at_once(backend: SandboxBackend) -> None:
    def use(number: int) -> bytes:
        with backend.open(limits=SMALL) as sandbox:
            return sh(sandbox, f"sleep 0.2; echo {number}").stdout

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(use, range(4))) == [b"0\n", b"1\n", b"2\n", b"3\n"]


# Conversations


ECHO = """
    import os, struct, sys
    channel = int(os.environ["GYMFORGE_CHANNEL_FD"])
    def read(size):
        data = b""
        while len(data) < size:
            piece = os.read(0, min(size - len(data), 1 << 20))
            if not piece: sys.exit(7)
            data += piece
        return data
    def write(data):
        view = memoryview(data)
        while view: view = view[os.write(channel, view):]
    while True:
        size, = struct.unpack(">Q", read(8))
        write(read(size)[::-1])
"""


@pytest.fixture
def talk_to(sandbox: Sandbox, python: str) -> Callable[..., AbstractContextManager[Conversation]]:
    """Talk with a Python program in a fresh small sandbox."""

    def start(program: str, **options: object) -> AbstractContextManager[Conversation]:
        return sandbox.converse([python, "-c", textwrap.dedent(program)], **options)  # type: ignore[arg-type]

    return start


def said(talk: Conversation, word: bytes) -> bytes:
    """What the echo answers."""
    talk.say(len(word).to_bytes(8, "big") + word)
    heard = bytearray()
    while len(heard) < len(word):
        heard += talk.hear(timeout_s=60)
    return bytes(heard)


Talk = Callable[..., AbstractContextManager[Conversation]]


def test_words_go_both_ways_one_after_another(talk_to: Talk) -> None:
    with talk_to(ECHO) as talk:
        for number in range(50):
            word = b"word %d" % number
            assert said(talk, word) == word[::-1]
        assert talk.result is None


def test_large_words_go_both_ways(talk_to: Talk) -> None:
    with talk_to(ECHO) as talk:
        for size in (1, 3 * MIB, 10, 12 * MIB):
            word = os.urandom(size)
            assert said(talk, word) == word[::-1]


def test_a_command_that_was_not_told_anything_is_heard(talk_to: Talk) -> None:
    with talk_to("import os, time; os.write(int(os.environ['GYMFORGE_CHANNEL_FD']), b'hello'); time.sleep(60)") as talk:
        assert talk.hear(timeout_s=30) == b"hello"


def test_a_command_that_ends_by_itself_says_how(talk_to: Talk, sandbox: Sandbox) -> None:
    with talk_to("import sys; sys.stdin.buffer.read(1); print('out'); sys.exit(5)") as talk:
        talk.say(b"x")
        with pytest.raises(SandboxFailed, match=r"ended with 5.*out"):
            talk.hear(timeout_s=30)
        assert talk.result is not None
        assert (talk.result.exit_code, talk.result.stdout, talk.result.channel) == (5, b"out\n", b"")
        with pytest.raises(SandboxFailed, match="ended with 5"):
            talk.say(b"y")
        with pytest.raises(SandboxFailed, match="ended with 5"):
            talk.hear(timeout_s=1)
    assert sh(sandbox, "echo usable").stdout == b"usable\n"


def test_what_a_command_said_before_its_end_is_heard(talk_to: Talk) -> None:
    with talk_to("import os; os.write(int(os.environ['GYMFORGE_CHANNEL_FD']), b'last')") as talk:
        assert talk.hear(timeout_s=30) == b"last"
        with pytest.raises(SandboxFailed, match="ended with 0"):
            talk.hear(timeout_s=30)


def test_a_conversation_left_after_the_command_ended_unheard_leaves_a_usable_sandbox(
    talk_to: Talk, sandbox: Sandbox
) -> None:
    with talk_to("pass") as talk:
        time.sleep(1)
        talk.say(b"nobody reads this")
    assert talk.result is not None
    assert talk.result.exit_code == 0
    assert sh(sandbox, "echo usable").stdout == b"usable\n"


def test_silence_is_a_timeout_and_the_conversation_can_be_left(talk_to: Talk, sandbox: Sandbox) -> None:
    with talk_to("import time; time.sleep(60)") as talk:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            talk.hear(timeout_s=0.3)
        assert 0.2 <= time.monotonic() - began < 10
    assert talk.result is not None
    assert talk.result.exit_code == -9
    assert sh(sandbox, "echo usable").stdout == b"usable\n"


def test_leaving_kills_all_that_the_command_started(talk_to: Talk, sandbox: Sandbox) -> None:
    marker = f"63.{secrets.randbelow(10**9)}"
    program = f"""
        import os, subprocess
        subprocess.Popen(["sleep", "{marker}"])
        subprocess.Popen(["sleep", "{marker}"], start_new_session=True)
        if os.fork() == 0:
            os.setsid()
            if os.fork(): os._exit(0)
            os.closerange(0, 100)
            os.execvp("sleep", ["sleep", "{marker}"])
        os.write(int(os.environ["GYMFORGE_CHANNEL_FD"]), b"started")
        while True: pass
    """
    with talk_to(program) as talk:
        assert talk.hear(timeout_s=30) == b"started"
        assert eventually(lambda: len(host_processes_with(f"sleep {marker}")) == 3)
    assert host_processes_with(f"sleep {marker}") == []
    assert sh(sandbox, "ls -d /proc/[0-9]* | wc -l").stdout.strip() <= b"5"


def test_an_error_in_the_middle_ends_the_command_and_not_the_sandbox(talk_to: Talk, sandbox: Sandbox) -> None:
    def fail() -> None:
        with talk_to(ECHO) as talk:
            talk.say((1000).to_bytes(8, "big") + b"half a word")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert sh(sandbox, "echo usable").stdout == b"usable\n"


def test_a_conversation_left_in_the_middle_of_an_answer_leaves_nothing_of_it(talk_to: Talk, sandbox: Sandbox) -> None:
    with talk_to(ECHO) as talk:
        word = b"x" * (8 * MIB)
        talk.say(len(word).to_bytes(8, "big") + word)
        talk.hear(timeout_s=30)
    again = sh(sandbox, "echo fresh >&$GYMFORGE_CHANNEL_FD")
    assert (again.channel, again.exit_code) == (b"fresh\n", 0)


def test_files_last_and_conversations_follow_one_another(talk_to: Talk, sandbox: Sandbox) -> None:
    sandbox.put("/testbed/file", b"kept")
    for _ in range(2):
        with talk_to("import os; os.write(int(os.environ['GYMFORGE_CHANNEL_FD']), open('file', 'rb').read())") as talk:
            assert talk.hear(timeout_s=30) == b"kept"
    assert sandbox.get("/testbed/file") == b"kept"


def test_no_other_request_is_taken_meanwhile(talk_to: Talk, sandbox: Sandbox) -> None:
    with talk_to(ECHO) as talk:
        with pytest.raises(SandboxFailed):
            sandbox.get("/testbed/file")
        assert said(talk, b"abc") == b"cba"


def test_memory_that_runs_out_is_in_the_result(talk_to: Talk) -> None:
    program = "import sys; sys.stdin.buffer.read(1)\nkept = []\nwhile True: kept.append(bytearray(b'x') * 10_000_000)"
    with talk_to(program) as talk:
        talk.say(b"x")
        with pytest.raises(SandboxFailed):
            talk.hear(timeout_s=120)
    # A command of its own limit (where no control group holds it) is told of by Python itself.
    assert talk.result is None or talk.result.out_of_memory or b"MemoryError" in talk.result.stderr


def test_the_limit_of_the_channel_counts_from_word_to_word(talk_to: Talk) -> None:
    with talk_to(ECHO, max_channel_bytes=1000) as talk:
        for _ in range(5):
            assert said(talk, b"x" * 900) == b"x" * 900
        with pytest.raises(SandboxFailed):
            said(talk, b"x" * 1001)
    assert talk.result is not None
    assert talk.result.truncated


def test_output_of_a_conversation_is_bounded(talk_to: Talk) -> None:
    program = """
        import os, sys
        sys.stdout.write("FIRST" + "x" * 5_000_000 + "LAST"); sys.stdout.flush()
        os.write(int(os.environ["GYMFORGE_CHANNEL_FD"]), b"printed")
    """
    with talk_to(program, max_output_bytes=1000) as talk:
        assert talk.hear(timeout_s=30) == b"printed"
    assert talk.result is not None
    assert (len(talk.result.stdout), talk.result.truncated) == (1000, True)


def test_a_missing_command_is_127(sandbox: Sandbox) -> None:
    with sandbox.converse(["no-such-command"]) as talk, pytest.raises(SandboxFailed, match="127"):
        talk.hear(timeout_s=30)


def test_a_killed_agent_ends_the_conversation_and_the_sandbox(backend: SandboxBackend, python: str) -> None:
    marker = f"64.{secrets.randbelow(10**9)}"
    with backend.open(limits=SMALL) as sandbox:
        with sandbox.converse(["sleep", marker]) as talk:
            assert eventually(lambda: host_processes_with(f"sleep {marker}") != [])
            os.kill(agent_of(marker), signal.SIGKILL)
            with pytest.raises(SandboxFailed):
                talk.hear(timeout_s=30)
            with pytest.raises(SandboxFailed):
                talk.say(b"x")
        with pytest.raises(SandboxFailed):
            sandbox.run(["true"], timeout_s=5)
    assert eventually(lambda: host_processes_with(f"sleep {marker}") == [])


def agent_of(marker: str) -> int:
    """The process that started the command with this argument."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cmdline").read_bytes() == f"sleep\0{marker}\0".encode():
                return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    raise LookupError(marker)


# Files


def test_put_then_get_is_the_same(sandbox: Sandbox) -> None:
    content = os.urandom(2 * MIB)
    sandbox.put("/testbed/made/on/the way/é.bin", content)
    assert sandbox.get("/testbed/made/on/the way/é.bin") == content


def test_put_sets_mode_and_content_at_once(sandbox: Sandbox) -> None:
    sandbox.put("/tmp/tool", b"#!/bin/sh\necho tool\n", mode=0o755)
    assert sandbox.run(["/tmp/tool"], timeout_s=5).stdout == b"tool\n"


def test_put_keeps_the_mode_of_the_file_that_it_replaces(sandbox: Sandbox) -> None:
    sh(sandbox, "echo old > tool; chmod 0755 tool; echo old > secret; chmod 0600 secret")
    sandbox.put("/testbed/tool", b"#!/bin/sh\necho tool\n")
    sandbox.put("/testbed/secret", b"new")
    assert sandbox.run(["./tool"], timeout_s=5).stdout == b"tool\n"
    assert sh(sandbox, "stat -c %a tool secret").stdout == b"755\n600\n"


def test_put_where_no_regular_file_was_makes_it_readable_and_no_program(sandbox: Sandbox) -> None:
    sh(sandbox, "echo victim > victim; chmod 0700 victim; ln -s victim link")
    sandbox.put("/testbed/link", b"new")
    sandbox.put("/testbed/fresh", b"new")
    assert sh(sandbox, "stat -c %a link fresh victim").stdout == b"644\n644\n700\n"


def test_put_with_a_mode_overrides_the_one_in_place(sandbox: Sandbox) -> None:
    sandbox.put("/testbed/tool", b"old", mode=0o755)
    sandbox.put("/testbed/tool", b"new", mode=0o640)
    assert sh(sandbox, "stat -c %a tool").stdout == b"640\n"


def test_put_replaces_a_link_instead_of_following_it(sandbox: Sandbox) -> None:
    sh(sandbox, "echo victim > /tmp/victim; ln -s /tmp/victim /testbed/link")
    sandbox.put("/testbed/link", b"new")
    assert sandbox.get("/tmp/victim") == b"victim\n"
    assert sandbox.get("/testbed/link") == b"new"


def test_put_through_a_link_to_a_host_path_stays_inside(sandbox: Sandbox, tmp_path: Path) -> None:
    sh(sandbox, f"ln -s {tmp_path} /testbed/out")
    with pytest.raises(OSError, match=r"out"):
        sandbox.put("/testbed/out/spoiled", b"x")
    assert list(tmp_path.iterdir()) == []


def test_put_on_a_full_disk_is_an_os_error_and_leaves_a_usable_sandbox(sandbox: Sandbox) -> None:
    with pytest.raises(OSError, match="No space left"):
        sandbox.put("/testbed/big", b"x" * (SMALL.disk_bytes + MIB))
    assert sh(sandbox, "ls -A /testbed").stdout == b""


@pytest.mark.parametrize("make", ["true", "mkdir /testbed/it", "mkfifo /testbed/it", "ln -s /etc/passwd /testbed/it"])
def test_get_of_anything_but_a_regular_file_is_not_found(sandbox: Sandbox, make: str) -> None:
    sh(sandbox, make)
    with pytest.raises(FileNotFoundError):
        sandbox.get("/testbed/it")


def test_get_of_more_than_asked_for_fails(sandbox: Sandbox) -> None:
    sandbox.put("/testbed/big", b"x" * 1001)
    with pytest.raises(SandboxFailed, match="1000"):
        sandbox.get("/testbed/big", max_bytes=1000)
    assert len(sandbox.get("/testbed/big", max_bytes=1001)) == 1001


# Stored environments


@pytest.fixture
def image(backend: SandboxBackend) -> Iterator[str]:
    name = f"gymforge/test__contract:{secrets.token_hex(6)}"
    yield name
    backend.remove(name)


def test_stored_environment_opens_as_it_was(backend: SandboxBackend, image: str) -> None:
    assert not backend.has(image)
    with backend.open(limits=SMALL, building=True) as sandbox:
        sandbox.put("/env/bin/tool", b"#!/bin/sh\necho tool\n", mode=0o755)
        sandbox.put("/testbed/src/a b.txt", b"text")
        sh(sandbox, "ln -s ../env/bin/tool link; ln /testbed/src/a\\ b.txt hard; touch -d @1000000000 src; mkdir empty")
        size_bytes = backend.store(sandbox, image)
    assert 20 < size_bytes < 10 * MIB
    assert backend.has(image)
    with backend.open(image, limits=SMALL) as sandbox:
        assert sandbox.run(["tool"], timeout_s=5).stdout == b"tool\n"
        listing = sh(sandbox, "cat 'src/a b.txt' hard; readlink link; stat -c %Y src; ls").stdout
        assert listing == b"texttext../env/bin/tool\n1000000000\nempty\nhard\nlink\nsrc\n"


def test_stored_tree_is_writable_and_private_and_the_environment_is_not(backend: SandboxBackend, image: str) -> None:
    with backend.open(limits=SMALL, building=True) as sandbox:
        sandbox.put("/testbed/file", b"clean")
        sandbox.put("/env/file", b"clean")
        backend.store(sandbox, image)
    for _ in range(2):
        with backend.open(image, limits=SMALL) as sandbox:
            result = sh(
                sandbox,
                "cat file /env/file; echo dirty > file; echo dirty > /env/file; rm -rf /env/*; cat file /env/file",
            )
            assert result.stdout == b"cleancleandirty\nclean"


def test_environment_that_was_sent_opens_as_it_was_stored(backend: SandboxBackend, image: str) -> None:
    pieces: list[bytes] = []
    with backend.open(limits=SMALL, building=True) as sandbox:
        sandbox.put("/env/bin/tool", b"#!/bin/sh\necho tool\n", mode=0o755)
        sandbox.put("/testbed/src/a b.txt", b"text")
        sh(sandbox, "ln -s ../env/bin/tool link; touch -d @1000000000 src")
        backend.store(sandbox, image)
    backend.send(image, pieces.append)
    backend.remove(image)
    assert backend.receive(iter(pieces), image) > 20
    assert backend.has(image)
    with backend.open(image, limits=SMALL) as sandbox:
        assert sandbox.run(["tool"], timeout_s=5).stdout == b"tool\n"
        listing = sh(sandbox, "cat 'src/a b.txt'; readlink link; stat -c %Y src; stat -c %a /env/bin/tool src").stdout
        assert listing == b"text../env/bin/tool\n1000000000\n755\n755\n"


def test_sending_what_is_not_stored_is_not_found(backend: SandboxBackend) -> None:
    with pytest.raises(FileNotFoundError):
        backend.send("gymforge/never__stored:0", print)


def test_environment_that_breaks_off_on_its_way_is_not_stored(backend: SandboxBackend, image: str) -> None:
    pieces: list[bytes] = []
    with backend.open(limits=SMALL, building=True) as sandbox:
        sandbox.put("/env/file", bytes(50_000))
        sandbox.put("/testbed/file", b"text")
        backend.store(sandbox, image)
    backend.send(image, pieces.append)
    backend.remove(image)
    with pytest.raises(SandboxFailed):
        backend.receive([b"".join(pieces)[:20_000]], image)
    assert not backend.has(image)


def test_opening_what_is_not_stored_is_not_found(backend: SandboxBackend) -> None:
    with pytest.raises(FileNotFoundError), backend.open("gymforge/never__stored:0"):
        pass


def test_removed_environment_is_gone_and_removing_again_is_no_error(backend: SandboxBackend, image: str) -> None:
    with backend.open(limits=SMALL, building=True) as sandbox:
        backend.store(sandbox, image)
    backend.remove(image)
    backend.remove(image)
    assert not backend.has(image)


def test_environment_directory_is_read_only_unless_building(backend: SandboxBackend) -> None:
    with backend.open(limits=SMALL) as sandbox:
        assert sh(sandbox, "touch /env/x").exit_code != 0


def test_platform_names_interpreters_that_run_inside(backend: SandboxBackend) -> None:
    platform = backend.platform()
    assert platform.machine == os.uname().machine
    with backend.open(limits=SMALL) as sandbox:
        for item in platform.interpreters:
            shown = sandbox.run([item.path, "-c", "import platform; print(platform.python_version())"], timeout_s=20)
            assert shown.stdout.decode().strip() == item.version, shown.stderr


# The end


def test_closing_leaves_nothing_behind(backend: SandboxBackend) -> None:
    with backend.open(limits=SMALL) as sandbox:
        assert sandbox.run(["true"], timeout_s=5).exit_code == 0
    assert eventually(lambda: leftovers(backend, os.getpid()) == [])


def test_closed_sandbox_refuses(backend: SandboxBackend) -> None:
    with backend.open(limits=SMALL) as sandbox:
        pass
    with pytest.raises(SandboxFailed):
        sandbox.run(["true"], timeout_s=5)


def test_sandbox_left_in_the_middle_of_a_command_refuses(sandbox: Sandbox) -> None:
    def interrupt(_piece: bytes) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sandbox.stream(["sh", "-c", "echo x >&$GYMFORGE_CHANNEL_FD"], interrupt, timeout_s=5)  # type: ignore[attr-defined]
    with pytest.raises(SandboxFailed, match="middle"):
        sandbox.get("/etc/passwd")


def test_process_that_inherited_the_pipes_does_not_hold_the_end(backend: SandboxBackend) -> None:
    with backend.open(limits=SMALL):
        child = os.fork()
        if child == 0:
            time.sleep(20)
            os._exit(0)
        began = time.monotonic()
    try:
        assert time.monotonic() - began < 3
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_error_in_the_block_still_closes(backend: SandboxBackend) -> None:
    with pytest.raises(KeyError), backend.open(limits=SMALL):
        raise KeyError
    assert eventually(lambda: leftovers(backend, os.getpid()) == [])


def test_sandbox_dies_with_a_killed_host(make_source: str) -> None:
    marker = f"62.{secrets.randbelow(10**9)}"
    program = f"{make_source}\nwith backend.open() as sandbox:\n    sandbox.run(['sleep', {marker!r}], timeout_s=60)"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE
    ) as host:
        try:
            assert eventually(
                lambda: any(line.startswith(f"sleep {marker}") for line in host_processes_with(marker)), within_s=30
            )
        finally:
            host.send_signal(signal.SIGKILL)
    assert eventually(lambda: host_processes_with(marker) == [])

    def next_run_leaves_nothing() -> bool:
        names: dict[str, object] = {}
        exec(make_source, names)
        return leftovers(names["backend"], host.pid) == []  # type: ignore[arg-type]

    assert eventually(next_run_leaves_nothing)


@pytest.mark.slow
def test_store_that_was_killed_leaves_no_environment(make_source: str, backend: SandboxBackend, image: str) -> None:
    program = f"""{make_source}
with backend.open(building=True) as sandbox:
    sandbox.run(["sh", "-c", "for i in $(seq 40); do head -c 4000000 /dev/urandom > /env/$i; done"], timeout_s=60)
    print("storing", flush=True)
    backend.store(sandbox, {image!r})
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE
    ) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == b"storing\n"
        time.sleep(0.05)
        host.kill()
    assert not backend.has(image)
    with backend.open(limits=SMALL, building=True) as sandbox:
        sandbox.put("/testbed/file", b"whole")
        backend.store(sandbox, image)
    with backend.open(image, limits=SMALL) as sandbox:
        assert sandbox.get("/testbed/file") == b"whole"
