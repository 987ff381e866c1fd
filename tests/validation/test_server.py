"""Job after job in one sandbox: none sees anything of the one before it, and what cannot be taken back ends the server."""

import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import pytest

from schemas.errors import SandboxFailed, SandboxUnavailable
from schemas.reports import Outcome
from validation.channel import SuiteRun
from validation.sandbox.protocol import TESTBED
from validation.suite import SuiteOptions, run_suite
from validation.warm import Ground, WarmServer

from .conftest import MakeRepository, Repository
from .hostile_deeds import HOSTILE

DEED = "def act():\n    pass\n"
FILES = {
    "deed.py": DEED,
    "other.py": "def value():\n    return 1\n",
    "data.txt": "data\n",
    "folder/inner.txt": "inner\n",
    "conftest.py": "STATE = []\n",
    # The deed comes first: what it spoils, the others feel.
    "tests/test_a_deed.py": "from deed import act\ndef test_deed(): act()\n",
    "tests/test_other.py": "from other import value\ndef test_value(): assert value() == 1\ndef test_none(): pass\n",
}
A_DEED, VALUE, NONE = (
    "tests/test_a_deed.py::test_deed",
    "tests/test_other.py::test_value",
    "tests/test_other.py::test_none",
)
OPTIONS = SuiteOptions(
    default_limit_s=4.0, default_cpu_limit_s=4.0, suite_limit_s=20.0, exit_grace_s=2.0, stop_on_timeout=True
)
BUG = {"other.py": b"def value():\n    return 2\n"}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("local", marks=pytest.mark.sandbox),
        pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow]),
    ],
)
def repository(request: pytest.FixtureRequest, repository_of: MakeRepository) -> Repository:
    return repository_of(FILES, kind=request.param)


@pytest.fixture(scope="module")
def shared(repository: Repository) -> Iterator[WarmServer]:
    with WarmServer(repository.ground) as warm:
        yield warm


@pytest.fixture
def warm(shared: WarmServer) -> WarmServer:
    """One for all tests, as in a run over many candidates."""
    return shared


def deed(*statements: str) -> dict[str, bytes]:
    body = "\n".join(textwrap.dedent(one).strip("\n") for one in statements)
    return {"deed.py": f"def act():\n{textwrap.indent(body, '    ')}\n".encode()}


def outcomes(run: SuiteRun) -> dict[str, Outcome]:
    return dict(run.report.outcomes)


def assert_right(warm: WarmServer) -> None:
    """A clean tree passes, and a bug is found, as in a sandbox of its own."""
    clean, bugged = (warm.run(edits, OPTIONS) for edits in ({}, BUG))
    assert outcomes(clean) == dict.fromkeys((A_DEED, VALUE, NONE), Outcome.PASSED)
    assert outcomes(bugged) == {A_DEED: Outcome.PASSED, VALUE: Outcome.FAILED, NONE: Outcome.PASSED}
    assert not clean.contradiction
    assert not bugged.contradiction


LEFT: dict[str, tuple[str, str]] = {
    "a module": (
        "import sys, types; sys.modules['left'] = types.ModuleType('left')",
        "import sys; assert 'left' not in sys.modules",
    ),
    "a change of a library": ("import json; json.left = 1", "import json; assert not hasattr(json, 'left')"),
    "a change of pytest": ("import pytest; pytest.left = 1", "import pytest; assert not hasattr(pytest, 'left')"),
    "state of a conftest": (
        "import conftest; conftest.STATE.append(1)",
        "import conftest; assert conftest.STATE == []",
    ),
    "a variable": ("import os; os.environ['LEFT'] = '1'", "import os; assert 'LEFT' not in os.environ"),
    "a folder to be in": ("import os; os.chdir('/')", "import os; assert os.getcwd() == '/testbed'"),
    "a mask": ("import os; os.umask(0o777)", "import os; assert os.umask(0o022) == 0o022"),
    "a limit": (
        "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (10, 10))",
        "import resource as r; assert r.getrlimit(r.RLIMIT_FSIZE)[0] == r.RLIM_INFINITY",
    ),
    "files": (
        "for f in ('/testbed', '/testbed/tests', '/tmp', '/home/gym', '/dev/shm'): open(f + '/left', 'w').close()",
        """
        import os
        for f in ('/testbed', '/testbed/tests', '/tmp', '/home/gym', '/dev/shm'): assert 'left' not in os.listdir(f)
        """,
    ),
    "compiled files": (
        "import compileall; compileall.compile_dir('/testbed', quiet=1, force=True)",
        "import os; assert not os.path.exists('/testbed/__pycache__')",
    ),
    "a process": (
        "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)",
        """
        import os
        lines = [open(f'/proc/{p}/cmdline').read() for p in os.listdir('/proc') if p.isdigit()]
        assert not [one for one in lines if one.startswith('sleep')]
        """,
    ),
    "a listener": (
        """
        import os, socket
        s = socket.socket(socket.AF_UNIX); s.bind('\\0left'); s.listen(); s.set_inheritable(True)
        if os.fork() == 0: os.setsid(); os.execvp('sleep', ['sleep', '1000'])
        """,
        "import socket; socket.socket(socket.AF_UNIX).bind('\\0left')",
    ),
    "shared memory (System V)": (
        "import ctypes; assert ctypes.CDLL(None).shmget(77, 4096, 0o1666) >= 0",
        "assert len(open('/proc/sysvipc/shm').readlines()) == 1",
    ),
    "a semaphore (System V)": (
        "import ctypes; assert ctypes.CDLL(None).semget(77, 1, 0o1666) >= 0",
        "assert len(open('/proc/sysvipc/sem').readlines()) == 1",
    ),
    "a message queue (POSIX)": (
        "import ctypes; ctypes.CDLL('librt.so.1').mq_open(b'/left', 0o102, 0o666, None)",
        "import ctypes; assert ctypes.CDLL('librt.so.1').mq_open(b'/left', 0) == -1",
    ),
    "output that does not block": (
        "import os; [os.set_blocking(fd, False) for fd in (0, 1, 2)]; print('x')",
        "import os; assert all(map(os.get_blocking, (0, 1, 2)))",
    ),
    "output that does not block, past pytest's capture": (
        "import os; [os.set_blocking(fd, False) for fd in range(3, 30) if os.path.exists(f'/proc/self/fd/{fd}')]",
        """
        import os
        for fd in range(3, 30):
            if os.path.exists(f'/proc/self/fd/{fd}'): assert os.get_blocking(fd), os.readlink(f'/proc/self/fd/{fd}')
        """,
    ),
    "extended attributes": (
        "import os; [os.setxattr(f, 'user.left', b'1') for f in ('/testbed/data.txt', '/testbed/folder', '/tmp')]",
        "import os; assert not [f for f in ('/testbed/data.txt', '/testbed/folder', '/tmp') if 'user.left' in os.listxattr(f)]",
    ),
    "modes of the roots": (
        "import os; os.chmod('/home/gym', 0o500)",
        "import os; assert all(os.access(f, os.W_OK) for f in ('/testbed', '/home/gym', '/tmp'))",
    ),
    "a limit of those who fork": (
        """
        import os, resource
        for pid in map(int, filter(str.isdigit, os.listdir('/proc'))):
            if pid > 1 and pid != os.getpid():
                try: resource.prlimit(pid, resource.RLIMIT_MEMLOCK, (4096, 4096))
                except OSError: pass
        """,
        "import resource as r; assert r.getrlimit(r.RLIMIT_MEMLOCK) != (4096, 4096)",
    ),
    "priorities and processors of those who fork": (
        """
        import os
        for pid in map(int, filter(str.isdigit, os.listdir('/proc'))):
            if pid > 1:
                try: os.setpriority(os.PRIO_PROCESS, pid, 7); os.sched_setaffinity(pid, {max(os.sched_getaffinity(0))})
                except OSError: pass
        """,
        "import os; assert os.getpriority(os.PRIO_PROCESS, 0) != 7",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", LEFT)
def test_a_job_sees_nothing_of_the_one_before_it(warm: WarmServer, case: str) -> None:
    leave, look = LEFT[case]
    left = warm.run(deed(leave), OPTIONS)
    assert outcomes(left)[A_DEED] is Outcome.PASSED, left.report.failures
    looked = warm.run(deed(look), OPTIONS)
    assert outcomes(looked) == dict.fromkeys((A_DEED, VALUE, NONE), Outcome.PASSED), looked.report.failures


def test_a_job_does_not_see_the_edits_of_the_one_before_it(warm: WarmServer) -> None:
    for _ in range(3):
        assert_right(warm)


def test_workers_are_forked_and_the_server_stays_up(warm: WarmServer) -> None:
    server = warm.server
    assert server.forks
    assert not server.why_not
    opened = warm.opened
    assert_right(warm)
    assert warm.server is server
    assert warm.opened == opened


CHANGED = {
    "written": "open('data.txt', 'a').write('x')",
    "written, same size and time": """
        import os
        before = os.stat('data.txt'); open('data.txt', 'w').write('DATA\\n')
        os.utime('data.txt', ns=(before.st_atime_ns, before.st_mtime_ns))
        """,
    "written in memory": """
        import mmap
        with open('data.txt', 'r+b') as file:
            view = mmap.mmap(file.fileno(), 0); assert view[:4] == b'data'; view[:4] = b'DATA'; view.close()
        """,
    "deleted": "import os; os.remove('data.txt')",
    "a link": "import os; os.rename('data.txt', 'tests/data.txt'); os.symlink('tests/data.txt', 'data.txt')",
    "a folder": "import os; os.remove('data.txt'); os.mkdir('data.txt')",
    "a pipe": "import os; os.remove('data.txt'); os.mkfifo('data.txt')",
    "another mode": "import os; os.chmod('data.txt', 0o755)",
    "touched": "import os; os.utime('data.txt')",
    "linked": "import os; os.link('data.txt', '/testbed/data2.txt')",
    "a folder without its files": "import shutil; shutil.rmtree('folder')",
    "a closed folder": "import os; os.chmod('folder', 0)",
    "a moved folder": "import os; os.rename('folder', 'tests/folder')",
    "the edited file": "open('deed.py', 'a').write('# x')",
    "the edited file, gone": "import os; os.remove('deed.py')",
    "another source": "open('other.py', 'a').write('# x')",
    "pytest's settings": "open('pyproject.toml', 'a').write('# x')",
    "compiled files": """
        import glob
        for path in glob.glob('/dev/shm/gymforge-bytecode/**/other*.pyc', recursive=True): open(path, 'ab').write(b'x')
        """,
}
TAKEN_BACK = {"the edited file", "the edited file, gone"}


@pytest.mark.slow
@pytest.mark.parametrize("case", CHANGED)
def test_what_a_job_changes_in_the_tree_is_noticed(warm: WarmServer, case: str) -> None:
    server = warm.server
    run = server.run(deed(CHANGED[case]), OPTIONS)
    assert outcomes(run)[A_DEED] is Outcome.PASSED, run.report.failures
    assert bool(server.ended) == (case not in TAKEN_BACK)
    if server.ended:
        with pytest.raises(SandboxFailed):
            server.run({}, OPTIONS)
    assert_right(warm)


ADDED = {
    "deep": "import os; os.makedirs('/'.join(['/tmp'] + ['deep'] * 300))",
    "unreadable": "import os; os.close(os.open('unreadable', os.O_CREAT, 0)); os.mkdir('/tmp/shut', 0)",
    "read-only folders": """
        import os
        os.makedirs('/tmp/a/b/c'); open('/tmp/a/b/c/file', 'w').close()
        for path in ('/tmp/a/b/c', '/tmp/a/b', '/tmp/a'): os.chmod(path, 0o500)
        """,
    "closed folders in closed folders": """
        import os
        os.makedirs('a/b/c'); open('a/b/c/file', 'w').close()
        for path in ('a/b/c', 'a/b', 'a'): os.chmod(path, 0)
        """,
    "pipes and sockets": """
        import os, socket
        os.mkfifo('tests/pipe'); socket.socket(socket.AF_UNIX).bind('/home/gym/socket')
        """,
    "links": "import os; os.symlink('/', 'root'); os.symlink('root', '/tmp/loop'); os.symlink('loop', 'loop')",
    "odd names": """
        import os
        for name in (b'a\\nb', b'\\xff\\xfe', b' ', b'-rf', b'x' * 255, b'{"e": "clean"}'): os.mkdir(b'tests/' + name)
        """,
    "many": "import os\nos.mkdir('many')\nfor n in range(3000): open(f'many/{n}', 'w').close()",
    "large": "open('/tmp/large', 'wb').write(bytes(50_000_000))",
    "cuckoo": "open('other.py.gymforge-new', 'w').close(); open('tests/test_new.py', 'w').write('def test_x(): assert 0')",
}


@pytest.mark.slow
@pytest.mark.parametrize("case", ADDED)
def test_what_a_job_adds_is_removed(warm: WarmServer, case: str) -> None:
    server = warm.server
    before = "import os; found = sorted(os.path.join(f, n).encode('utf-8', 'replace') for r in ('/testbed', '/tmp', '/home/gym')"
    look = f"{before} for f, ds, ns in os.walk(r) for n in ds + ns); assert len(found) < 60, found"
    run = server.run(deed(ADDED[case]), OPTIONS)
    assert outcomes(run)[A_DEED] is Outcome.PASSED, run.report.failures
    assert not server.ended
    looked = server.run(deed(look), OPTIONS)
    assert outcomes(looked)[A_DEED] is Outcome.PASSED, looked.report.failures
    assert_right(warm)


@pytest.mark.slow
@pytest.mark.parametrize("case", HOSTILE)
def test_the_job_after_a_hostile_one_is_right(warm: WarmServer, case: str) -> None:
    with suppress(SandboxFailed):
        warm.run(deed(HOSTILE[case]), OPTIONS)
    assert_right(warm)


FORGERY = """
import json, os, sys, time
frame = sys._getframe()
while 'item' not in frame.f_locals: frame = frame.f_back
plugins = frame.f_locals['item'].config.pluginmanager.get_plugins()
reporter = next(one for one in plugins if type(one).__name__ == 'Reporter')
def tell(text): os.write(reporter.channel_fd, reporter.token + text.encode() + b'\\n')
report = {"e": "report", "t": "VALUE", "when": "call", "outcome": "passed", "xfail": False, "duration_s": 0, "cpu_s": 0,
          "failure": None}
tell('{"e": "done", "exit": 0}')
for word in ('!{"e": "clean", "stages_s": {}}', '{"e": "clean", "stages_s": {}}', '{"e": "clean", "e": "end", "exit": 0}'):
    tell(word)
for _ in range(3):
    time.sleep(0.3)
    tell(json.dumps(report))
    tell('{"e": "done", "exit": 0}')
""".replace("VALUE", VALUE)


@pytest.mark.slow
def test_a_job_that_holds_the_token_speaks_for_itself_alone(warm: WarmServer) -> None:
    server = warm.server
    forged = server.run(deed(FORGERY), OPTIONS)
    assert forged.refused_records >= 6, "the words of the supervisor and of the server are not a worker's to say"
    assert not server.ended
    assert_right(warm)
    assert warm.server is server


@pytest.mark.slow
def test_a_job_after_many_is_right_and_its_sandbox_is_replaced(repository: Repository) -> None:
    with WarmServer(repository.ground, max_jobs=3) as warm:
        for _ in range(4):
            assert_right(warm)
        assert warm.opened == 3


def test_an_engine_that_went_away_is_no_lost_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def server_of_an_engine_that_ends(*_: object, **__: object) -> Iterator[SimpleNamespace]:
        try:
            yield SimpleNamespace(ended="", jobs=0, run=lost)
        except SandboxFailed as error:  # as the Docker backend does
            raise SandboxUnavailable("The engine went away", transient=True) from error
        finally:
            closed.append(True)

    def lost(*_: object) -> None:
        raise SandboxFailed("The sandbox died")

    closed: list[bool] = []
    monkeypatch.setattr("validation.warm.open_server", server_of_an_engine_that_ends)
    ground = Ground(backend=None, image="", test_command=(), environment={}, limits=None)  # type: ignore[arg-type]  # never opened
    with WarmServer(ground) as warm:
        for opened in (1, 2):
            with pytest.raises(SandboxUnavailable, match="went away"):
                warm.run(BUG, OPTIONS)
            assert (warm.opened, len(closed)) == (opened, opened)


def test_a_server_that_is_given_up_with_its_engine_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def server_that_cannot_be_removed(*_: object, **__: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(ended="", jobs=0)
        raise SandboxUnavailable("The engine went away", transient=True)

    monkeypatch.setattr("validation.warm.open_server", server_that_cannot_be_removed)
    ground = Ground(backend=None, image="", test_command=(), environment={}, limits=None)  # type: ignore[arg-type]  # never opened
    with WarmServer(ground) as warm:
        assert warm.server
        warm.drop()
        assert warm.server
    assert warm.opened == 2


def test_a_part_of_the_suite_runs_and_a_failure_is_told(warm: WarmServer) -> None:
    run = warm.run(BUG, OPTIONS._replace(files=("tests/test_other.py",), select=(VALUE,)))
    assert outcomes(run) == {VALUE: Outcome.FAILED}
    assert run.report.failures[VALUE].statement.endswith("assert value() == 1")


def test_how_a_worker_ends_is_seen(warm: WarmServer) -> None:
    for statement, message in (
        ("import os; os._exit(3)", "exit status 3"),
        ("import os; os.kill(os.getpid(), 11)", "signal 11"),
        ("import os; os.abort()", "signal 6"),
    ):
        run = warm.run(deed(statement), OPTIONS)
        assert outcomes(run) == {A_DEED: Outcome.ERROR, VALUE: Outcome.PASSED, NONE: Outcome.PASSED}
        assert run.report.failures[A_DEED].message.endswith(message)
    assert warm.run({}, OPTIONS).report.exit_code == 0
    assert warm.run(BUG, OPTIONS).report.exit_code == 1


@pytest.mark.slow
def test_a_child_that_is_killed_for_want_of_memory_is_seen(warm: WarmServer) -> None:
    allocate = "kept = []\nwhile True: kept.append(bytearray(b'x') * 10_000_000)"
    statement = f"import subprocess, sys; assert subprocess.run([sys.executable, '-c', {allocate!r}]).returncode == -9"
    run = warm.run(deed(statement), OPTIONS._replace(default_limit_s=20.0, default_cpu_limit_s=20.0))
    assert outcomes(run)[A_DEED] is Outcome.PASSED, run.report.failures
    assert run.out_of_memory
    assert not warm.run({}, OPTIONS).out_of_memory


@pytest.mark.slow
def test_limits_hold_in_a_warm_sandbox(warm: WarmServer) -> None:
    for statement in ("import time; time.sleep(1000)", "while True: pass"):
        run = warm.run(deed(statement), OPTIONS._replace(default_limit_s=1.0))
        assert outcomes(run)[A_DEED] is Outcome.TIMED_OUT
        assert run.report.timed_out
    lingering = warm.run(deed(HOSTILE["leaves a thread"]), OPTIONS._replace(exit_grace_s=0.5))
    waiting = OPTIONS._replace(exit_grace_s=60.0, exit_idle_limit_s=0.5)
    began = time.monotonic()
    assert warm.run(deed(HOSTILE["leaves a thread"]), waiting).lingered
    assert time.monotonic() - began < 30, "it waits too long, and is not waited for"
    assert lingering.lingered


@pytest.mark.slow
def test_all_that_can_be_written_to_is_looked_at(repository: Repository) -> None:
    """What lies elsewhere would last from job to job unseen."""
    program = """
        import os, stat
        found = []
        for folder, names, files in os.walk('/'):
            names[:] = [n for n in names if os.path.join(folder, n) not in
                        ('/proc', '/testbed', '/tmp', '/home/gym', '/dev/shm', '/dev/pts', '/dev/mqueue')
                        and not os.statvfs(os.path.join(folder, n)).f_flag & os.ST_RDONLY]
            for path in [folder, *(os.path.join(folder, n) for n in files)]:
                kind = os.lstat(path).st_mode
                if not stat.S_ISLNK(kind) and not stat.S_ISCHR(kind) and os.access(path, os.W_OK): found.append(path)
        assert not found, found
        assert not os.access('/dev/pts', os.W_OK) or not [n for n in os.listdir('/dev/pts') if n != 'ptmx']
        try: open('/dev/mqueue/x', 'w').close()
        except OSError: return
        assert False, 'a message queue can be made'
        """
    with WarmServer(repository.ground) as warm:
        run = warm.run(deed(program), OPTIONS)
        assert outcomes(run)[A_DEED] is Outcome.PASSED, run.report.failures


# Libraries and plugins that a fork would not find as a fresh process does


def with_libraries(repository: Repository) -> Ground:
    """The ground, with these modules among its libraries."""
    (folder,) = repository.store.glob("environments/*/env/lib/python*/site-packages")
    for name, text in LIBRARIES.items():
        (folder / f"{name}.py").write_text(text)
    return repository.ground


def in_a_fresh_sandbox(ground: Ground, edits: dict[str, bytes]) -> dict[str, Outcome]:
    with ground.backend.open(ground.image, limits=ground.limits) as sandbox:
        for path, content in edits.items():
            sandbox.put(f"{TESTBED}/{path}", content)
        return outcomes(run_suite(sandbox, ground.test_command, options=OPTIONS))


LIBRARIES = {
    "fine": "import math, colorsys\nVALUE = math.floor(1.5)\n",
    "starts_thread": (
        "import queue, threading\nasked, told = queue.Queue(), queue.Queue()\n"
        "threading.Thread(target=lambda: [told.put(n + 1) for n in iter(asked.get, None)], daemon=True).start()\n"
        "def more(n):\n    asked.put(n)\n    return told.get(timeout=2)\n"
    ),
    "rests_thread": (
        "import os, queue, threading\nasked, told, running = queue.Queue(), queue.Queue(), []\n"
        "def work():\n    for n in iter(asked.get, None): told.put(n + 1)\n"
        "def start():\n    running.append(threading.Thread(target=work, daemon=True))\n    running[0].start()\n"
        "def stop():\n    if running:\n        asked.put(None)\n        running.pop().join()\n"
        "os.register_at_fork(before=stop)\nstart()\n"
        "def more(n):\n    if not running: start()\n    asked.put(n)\n    return told.get(timeout=2)\n"
    ),
    "holds_file": "file = open(__file__)\ndef first(): return file.readline()\n",
    "needs_repository": "import other\ndef twice(): return 2 * other.value()\n",
    "likes_repository": "try:\n    import other\nexcept ImportError:\n    other = None\n",
    "needs_liking": "from likes_repository import other\n",
    "is_broken": "raise RuntimeError('not here')\n",
    "exits_in_pytest": "import pytest\ndef main(*args): raise SystemExit(3)\npytest.main = main\n",
    "fails_in_pytest": "import pytest\npytest.main = lambda *args: 3\n",
    "ends_the_process": "import os, pytest\npytest.main = lambda *args: os._exit(0)\n",
    "leaves_a_file": "import pytest\nfiles = []\npytest.main = lambda *args: files.append(open(__file__)) or 0\n",
    "leaves_a_finder": (
        "import pytest, sys\ndef main(*args): sys.meta_path.append(type(sys)('finder')); return 0\npytest.main = main\n"
    ),
    "has_fixtures": "import pytest\n@pytest.fixture\ndef of_library(): return 1\n",
}
USES = {
    "tests/test_libraries.py": """
import pytest
@pytest.mark.slow
def test_fine():
    import fine
    assert fine.VALUE == 1
@pytest.mark.slow
def test_thread(): assert starts_thread.more(1) == 2
@pytest.mark.slow
def test_resting(): assert rests_thread.more(1) == 2
@pytest.mark.slow
def test_file(): assert holds_file.first().startswith('file')
@pytest.mark.slow
def test_needs(): assert needs_repository.twice() == 2
@pytest.mark.slow
def test_likes(): assert likes_repository.other is needs_liking.other is not None
try:
    import is_broken
except RuntimeError:
    is_broken = None
@pytest.mark.slow
def test_broken(): assert is_broken is None
import starts_thread, rests_thread, holds_file, needs_repository, likes_repository, needs_liking, fine
"""
}


@pytest.mark.slow
@pytest.mark.sandbox
def test_libraries_that_cannot_be_shared_are_loaded_by_every_worker(repository_of: MakeRepository) -> None:
    repository = repository_of(FILES | USES)
    ground = with_libraries(repository)
    try:
        with WarmServer(ground) as warm:
            assert warm.server.forks, warm.server.why_not
            for edits in ({}, BUG, {}):
                assert outcomes(warm.run(edits, OPTIONS)) == in_a_fresh_sandbox(ground, edits)
            assert warm.opened == 1
            look = "import sys; known = {'fine', 'starts_thread', 'rests_thread', 'holds_file', 'needs_repository', 'likes_repository', 'needs_liking', 'other'} & set(sys.modules); assert known == {'fine', 'rests_thread'}, known"
            seen = warm.run(deed(look), OPTIONS._replace(files=("tests/test_a_deed.py",)))
            assert outcomes(seen) == {A_DEED: Outcome.PASSED}, seen.report.failures
    finally:
        ground.backend.remove(ground.image)


FIXTURES = """
import warnings, pytest
@pytest.fixture(autouse=True)
def around(request, tmp_path_factory): return request.node.name
class TestAll:
    @pytest.fixture
    def of_class(self): return 1
    def test_pytests(self, cache, capfd, caplog, monkeypatch, pytestconfig, record_property, recwarn, tmp_path, tmpdir, around):
        warnings.warn('told')
        assert len(recwarn) == 1
    def test_pytesters(self, pytester): assert pytester.path
    def test_conftests(self, of_conftest, of_class): assert of_conftest == of_class == 1
    def test_librarys(self, of_library): assert of_library == 1
"""


@pytest.mark.slow
@pytest.mark.sandbox
def test_a_forked_worker_has_every_fixture(repository_of: MakeRepository) -> None:
    of_conftest = "import pytest\npytest_plugins = 'pytester'\n@pytest.fixture\ndef of_conftest(): return 1\n"
    ini = {"pytest.ini": "[pytest]\naddopts = -p has_fixtures\n", "conftest.py": of_conftest}
    repository = repository_of(FILES | ini | {"tests/test_fixtures.py": FIXTURES})
    ground = with_libraries(repository)
    try:
        with WarmServer(ground) as warm:
            assert warm.server.forks, warm.server.why_not
            look = "from _pytest.fixtures import FixtureManager as m; assert hasattr(m.pytest_plugin_registered, '__wrapped__')"
            spared = warm.run(deed(look), OPTIONS._replace(files=("tests/test_a_deed.py",)))
            assert outcomes(spared) == {A_DEED: Outcome.PASSED}, "pytest looks at its own plugins as ever"
            found = outcomes(warm.run({}, OPTIONS))
        assert found == dict.fromkeys(found, Outcome.PASSED)
        assert found == in_a_fresh_sandbox(ground, {})
        assert sum(test.startswith("tests/test_fixtures.py") for test in found) == 4
    finally:
        ground.backend.remove(ground.image)


PROCESS = """
import faulthandler, logging, os, random, signal, sys, tempfile, threading, warnings, pytest
def seen():
    here = (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook)
    yield 'path', sys.path
    yield 'finders', [type(one).__name__ for one in sys.meta_path]
    yield 'importers', sorted(one for one in sys.path_importer_cache if 'gymforge' in one)
    yield 'modules', sorted(one for one in sys.modules if 'gymforge' in one or one.startswith(('test', 'conftest')))
    yield 'variables', {n: v for n, v in sorted(os.environ.items()) if n.startswith('PYTEST')}
    yield 'hooks', [getattr(one, 'func', one).__qualname__ for one in here]
    yield 'filters', warnings.filters
    yield 'handlers', [(type(one).__name__, one.level) for one in logging.root.handlers]
    yield 'faults', faulthandler.is_enabled()
    yield 'threads', threading.active_count()
    yield 'folder', os.getcwd()
    yield 'signals', [(n, str(signal.getsignal(n))) for n in range(1, 32)]
    yield 'streams', [type(one).__name__ for one in (sys.stdin, sys.stdout, sys.stderr)]
    yield 'files', sorted({*os.listdir('/tmp'), *os.listdir('/dev/shm')} - {'gymforge-bytecode'})
    yield 'newest', [name for name in vars(sys) if name.startswith('last_')]
    yield 'random', random.random()
    yield 'folder for files', tempfile.tempdir
@pytest.mark.parametrize('number', range(17))
def test_seen(number):
    name, value = list(seen())[number]
    raise LookupError(f'{name} is {value!r}')
"""


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.parametrize("options", ["-k seen", "-k seen -s"])
def test_a_forked_worker_is_as_a_process_of_its_own(repository_of: MakeRepository, options: str) -> None:
    """Nothing tells that a small suite was run in the process that it comes from."""
    path = "tests/test_a_deed.py"
    ground = repository_of(FILES).ground._replace(environment={"PYTEST_ADDOPTS": options})
    asked = OPTIONS._replace(environment=ground.environment, files=(path,))
    with ground.backend.open(ground.image, limits=ground.limits) as sandbox:
        sandbox.put(f"{TESTBED}/{path}", PROCESS.encode())
        alone = run_suite(sandbox, ground.test_command, options=asked)
    with WarmServer(ground) as warm:
        assert (warm.server.forks, warm.server.why_not) == (True, "")
        forked = warm.run({path: PROCESS.encode()}, asked)
    wanted, found = ([one.message for _, one in sorted(run.report.failures.items())] for run in (alone, forked))
    assert len({message.partition(" is ")[0] for message in wanted}) == 17
    assert found == wanted


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.parametrize(
    "plugin", ["exits_in_pytest", "fails_in_pytest", "leaves_a_finder", "leaves_a_file", "ends_the_process"]
)
def test_workers_are_forked_cold_where_pytest_cannot_be_warmed_up(repository_of: MakeRepository, plugin: str) -> None:
    repository = repository_of(FILES | {"pytest.ini": f"[pytest]\naddopts = -p {plugin}\n"})
    ground = with_libraries(repository)
    try:
        with WarmServer(ground) as warm:
            assert warm.server.forks
            assert "cold" in warm.server.why_not
            assert_right(warm)
    finally:
        ground.backend.remove(ground.image)


PLANTS = """
import os, subprocess, sys
FOLDER, EVIL = '/tmp/gymforge-warmup', 'import sys\\nsys.planted = True\\ndef test_it(): pass\\n'
def plant(folder):
    with open(folder + '/test_planted.py', 'w') as file: file.write(EVIL)
AGAIN = f'''
import time
until = time.monotonic() + 20
while time.monotonic() < until:
    try:
        with open({FOLDER!r} + '/test_planted.py', 'w') as file: file.write({EVIL!r})
    except OSError: pass
    time.sleep(0.001)
'''
"""
PLANTERS = {
    "a folder that cannot be emptied": "os.mkdir(FOLDER); plant(FOLDER); os.chmod(FOLDER, 0o555)",
    "a link": "os.mkdir('/tmp/there'); plant('/tmp/there'); os.symlink('/tmp/there', FOLDER)",
    "a process": "subprocess.Popen([sys.executable, '-c', AGAIN], start_new_session=True)",
}


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.parametrize("case", PLANTERS)
def test_nothing_that_the_suite_left_is_run_when_pytest_is_warmed_up(repository_of: MakeRepository, case: str) -> None:
    conftest = f"{PLANTS}if not os.path.lexists(FOLDER): {PLANTERS[case]}\n"
    look = "import sys; assert not hasattr(sys, 'planted')"
    with WarmServer(repository_of(FILES | {"tests/conftest.py": conftest}).ground) as warm:
        assert (warm.server.forks, warm.server.why_not) == (True, "")
        assert outcomes(warm.run(deed(look), OPTIONS))[A_DEED] is Outcome.PASSED


SHADOW = """
import os, sys
sys.shadowed, __file__ = os.getpid(), '/elsewhere.py'
class InteractiveConsole: "What pdb wants of code, from Python 3.13 on; below, what rlcompleter wants of readline."
def set_completer(*_): pass
"""


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.parametrize("name", ["code", "readline"])
def test_no_module_of_the_repositorys_is_loaded_when_pytest_is_warmed_up(
    repository_of: MakeRepository, name: str
) -> None:
    """Its name is that of a module which pytest loads late."""
    look = "import os, sys; assert getattr(sys, 'shadowed', os.getpid()) == os.getpid()"
    with WarmServer(repository_of(FILES | {f"{name}.py": SHADOW}).ground) as warm:
        assert warm.server.forks, warm.server.why_not
        assert_right(warm)
        assert outcomes(warm.run(deed(look), OPTIONS))[A_DEED] is Outcome.PASSED


ODD_CONFTEST = """
import pytest, _pytest.monkeypatch
class Lazy:
    @property
    def __class__(self): raise RuntimeError('not yet')
def other(): return 'another'
def pytest_configure(config):
    config.lazy = Lazy()
    config.pluginmanager.register(type('Nameless', (), {'__module__': None})())
_pytest.monkeypatch.monkeypatch = pytest.fixture(other)
"""


@pytest.mark.slow
@pytest.mark.sandbox
def test_what_a_conftest_does_to_pytest_holds_in_a_forked_worker(repository_of: MakeRepository) -> None:
    asks = {"tests/test_asks.py": "def test_another(monkeypatch): assert monkeypatch == 'another'\n"}
    ground = repository_of(FILES | asks | {"conftest.py": ODD_CONFTEST}).ground
    with WarmServer(ground) as warm:
        assert (warm.server.forks, warm.server.why_not) == (True, "")
        found = outcomes(warm.run({}, OPTIONS))
    assert found == dict.fromkeys(found, Outcome.PASSED) == in_a_fresh_sandbox(ground, {})
    assert len(found) == 4


NOT_FORKED: dict[str, dict[str, str]] = {
    "a plugin of the repository's": {"pytest.ini": "[pytest]\naddopts = -p plug\n", "plug.py": "import other\n"},
    "a plugin that starts a thread": {
        "pytest.ini": "[pytest]\naddopts = -p starts_thread\n",
    },
    "a plugin that holds a file": {"pytest.ini": "[pytest]\naddopts = -p holds_file\n"},
}


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.parametrize("case", NOT_FORKED)
def test_workers_are_started_anew_where_a_fork_would_differ(repository_of: MakeRepository, case: str) -> None:
    repository = repository_of(FILES | NOT_FORKED[case])
    ground = with_libraries(repository)
    try:
        with WarmServer(ground) as warm:
            assert not warm.server.forks
            assert warm.server.why_not
            for edits in ({}, BUG, deed("import os; os._exit(1)"), {}):
                assert outcomes(warm.run(edits, OPTIONS)) == in_a_fresh_sandbox(ground, edits)
            assert warm.opened == 1
    finally:
        ground.backend.remove(ground.image)


@pytest.mark.slow
@pytest.mark.sandbox
def test_a_suite_that_leaves_traces_when_it_is_loaded_has_no_server(repository_of: MakeRepository) -> None:
    writes = {"tests/test_writes.py": "open('data.txt', 'a').write('x')\ndef test_x(): pass\n"}
    repository = repository_of(FILES | writes)
    with WarmServer(repository.ground) as warm, pytest.raises(SandboxFailed, match=r"leaves traces: .*data\.txt"):
        _ = warm.server
