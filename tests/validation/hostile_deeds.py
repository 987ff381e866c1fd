"""What code under test may do to whatever runs it: by name, the statements."""

HOSTILE = {
    "kills its parent": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
    "kills the one that forks": """
        import os, signal
        for pid in map(int, filter(str.isdigit, os.listdir('/proc'))):
            if pid not in (1, os.getpid(), os.getppid()):
                try: os.kill(pid, signal.SIGKILL)
                except OSError: pass
        """,
    "interrupts the one that forks": """
        import os, signal
        for pid in map(int, filter(str.isdigit, os.listdir('/proc'))):
            if pid not in (1, os.getpid(), os.getppid()):
                try: os.kill(pid, signal.SIGINT)
                except OSError: pass
        """,
    "stops the one that forks": """
        import os, signal
        for pid in map(int, filter(str.isdigit, os.listdir('/proc'))):
            if pid not in (1, os.getpid(), os.getppid()): os.kill(pid, signal.SIGSTOP)
        """,
    "kills everything": "import os; os.kill(-1, 9)",
    "kills itself": "import os; os.kill(os.getpid(), 9)",
    "exits": "import os; os._exit(0)",
    "exits with 1": "import os; os._exit(1)",
    "forks without end": """
        import os
        while True:
            try: os.fork()
            except OSError: pass
        """,
    "forks away": """
        import os, time
        for _ in range(20):
            if os.fork() == 0:
                os.setsid()
                while True:
                    if os.fork(): os._exit(0)
        """,
    "allocates without end": "kept = []\nwhile True: kept.append(bytearray(10_000_000))",
    "sleeps for ever": "import time; time.sleep(1000)",
    "burns": "while True: pass",
    "fills the disk": """
        import errno
        for path in ('/testbed/fill', '/tmp/fill', '/dev/shm/fill', '/home/gym/fill'):
            with open(path, 'wb', 0) as file:
                try:
                    while file.write(bytes(1 << 20)): pass
                except OSError as error: assert error.errno == errno.ENOSPC
        """,
    "closes all descriptors": "import os; os.closerange(0, 4096)",
    "closes all but the streams": "import os; os.closerange(3, 4096)",
    "writes to all descriptors": """
        import os
        line = b'\\n!{"e": "clean", "stages_s": {}}\\n{"e": "done", "exit": 0}\\n{"e": "clean"}\\n'
        for fd in range(200):
            try: os.write(fd, line)
            except OSError: pass
        """,
    "prints without end": "import os\nfor _ in range(3000): os.write(1, bytes(1 << 20))",
    "leaves a thread": "import threading, time; threading.Thread(target=time.sleep, args=(1000,)).start()",
    "hangs at exit": "import atexit, time; atexit.register(time.sleep, 1000)",
    "ignores signals": "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; time.sleep(1000)",
    "spoils pytest": "import pytest, _pytest.runner; _pytest.runner.runtestprotocol = lambda *a, **k: True",
    "leaves a writer of files": """
        import os, time
        if os.fork() == 0:
            os.setsid()
            while True: open('other.py', 'w').write('def value(): return 3')
        """,
}
