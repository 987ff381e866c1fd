"""The closed list of domains, and what in a repository speaks for each; plain data, documented in `docs/tags.md`."""

from collections.abc import Iterable
from typing import NamedTuple

OTHER = "other"


class Signals(NamedTuple):
    """What speaks for one domain. Modules are top-level or dotted names; a listed module covers those below it."""

    meaning: str
    strong: frozenset[str]
    """Modules, and distributions by the same name, whose use nearly settles it."""
    weak: frozenset[str]
    """Modules that hint at it."""
    tokens: frozenset[str]
    """Words of a path or keyword, in lower case."""
    topics: tuple[str, ...]
    """Beginnings of trove classifiers."""


def _signals(meaning: str, *, strong: str, weak: str = "", tokens: str, topics: Iterable[str] = ()) -> Signals:
    return Signals(
        meaning=meaning,
        strong=frozenset(strong.split()),
        weak=frozenset(weak.split()),
        tokens=frozenset(tokens.split()),
        topics=tuple(topics),
    )


DOMAINS: dict[str, Signals] = {
    "web": _signals(
        "web applications, frameworks and what they serve",
        strong=(
            "aiohttp bottle bs4 cherrypy django falcon fastapi flask httpx jinja2 pyramid requests "
            "sanic scrapy starlette tornado uvicorn werkzeug wsgiref"
        ),
        weak="cgi html http urllib webbrowser xmlrpc",
        tokens=(
            "asgi cookie cookies crawler html http https middleware request requests response "
            "responses router routing scraper session template templates url urls view views web wsgi"
        ),
        topics=(
            "Topic :: Internet :: WWW/HTTP",
            "Framework :: Django",
            "Framework :: Flask",
            "Framework :: FastAPI",
        ),
    ),
    "cli": _signals(
        "command-line programs, terminals and their output",
        strong=("argparse blessed click cmd curses docopt fire optparse prompt_toolkit readline rich textual typer"),
        weak="getopt getpass shlex termios tty",
        tokens="argparse cli cmd command commands console prompt shell term terminal tty",
        topics=(
            "Environment :: Console",
            "Topic :: System :: Shells",
            "Topic :: Terminals",
        ),
    ),
    "data-processing": _signals(
        "tables, pipelines and other bulk data",
        strong="airflow dask duckdb pandas petl polars pyarrow pyspark xarray",
        weak="csv itertools",
        tokens=(
            "csv dataframe dataset datasets etl frame frames pipeline pipelines stream streams table tables tabular"
        ),
        topics=(
            "Topic :: Scientific/Engineering :: Information Analysis",
            "Topic :: Office/Business",
        ),
    ),
    "scientific-computing": _signals(
        "numerics, statistics and the sciences",
        strong="astropy networkx numba numpy scipy statsmodels sympy",
        weak="cmath decimal fractions math random statistics",
        tokens=("math matrix numeric numerical physics probability series solver stat statistics stats units vector"),
        topics=(
            "Topic :: Scientific/Engineering",
            "Intended Audience :: Science/Research",
        ),
    ),
    "machine-learning": _signals(
        "models that are trained, and what trains them",
        strong=("catboost jax keras lightgbm nltk onnx sklearn spacy tensorflow torch transformers xgboost"),
        tokens=(
            "classifier embedding embeddings inference layer layers learn learning loss ml model "
            "neural nn tokenizer train trainer training"
        ),
        topics=("Topic :: Scientific/Engineering :: Artificial Intelligence",),
    ),
    "networking": _signals(
        "sockets, protocols and remote machines below the web",
        strong=(
            "asyncssh dns ftplib imaplib ipaddress netaddr paramiko poplib scapy smtplib socket "
            "socketserver telnetlib twisted websockets zmq"
        ),
        weak="http.client select selectors ssl urllib3",
        tokens=(
            "client dns ftp ip mail mbox network networking packet port protocol proxy rpc server "
            "smtp socket tcp udp websocket"
        ),
        topics=(
            "Topic :: Internet",
            "Topic :: System :: Networking",
            "Topic :: Communications",
        ),
    ),
    "databases": _signals(
        "databases, their drivers and mappers",
        strong=(
            "alembic asyncpg dbm django.db elasticsearch motor mysql peewee psycopg psycopg2 pymongo "
            "redis shelve sqlalchemy sqlite3 tinydb"
        ),
        tokens="database db migration migrations mongo mysql orm postgres queries query redis sql sqlite",
        topics=("Topic :: Database",),
    ),
    "parsing": _signals(
        "grammars, languages and structured formats read from text",
        strong=("antlr4 ast html.parser lark libcst lxml parsimonious parso ply pyparsing tokenize tree_sitter"),
        weak="html re xml",
        tokens=(
            "ast compile compiler grammar html lex lexer markdown parse parser parsers parsing syntax "
            "token tokenize xml"
        ),
        topics=(
            "Topic :: Software Development :: Compilers",
            "Topic :: Software Development :: Interpreters",
            "Topic :: Text Processing :: Markup",
        ),
    ),
    "text-processing": _signals(
        "strings, formats, encodings and human language",
        strong="chardet ftfy rapidfuzz regex textwrap unicodedata wcwidth",
        weak="codecs difflib gettext locale re string",
        tokens=(
            "diff encoding format formatter formatting i18n inflect locale regex slug str string "
            "strings text unicode word words wrap"
        ),
        topics=(
            "Topic :: Text Processing",
            "Topic :: Software Development :: Internationalization",
            "Topic :: Software Development :: Localization",
        ),
    ),
    "cryptography-security": _signals(
        "ciphers, hashes, secrets, authentication",
        strong="bcrypt Crypto cryptography hmac itsdangerous jwt nacl OpenSSL passlib rsa secrets",
        weak="getpass hashlib ssl uuid",
        tokens=(
            "auth cert certificate cipher credential credentials crypto encrypt hash hashing hmac jwt "
            "key login oauth password secret secure security signature signing tls"
        ),
        topics=("Topic :: Security",),
    ),
    "concurrency": _signals(
        "threads, processes, event loops, queues of work",
        strong=("aiostream anyio asyncio celery concurrent gevent greenlet multiprocessing queue trio"),
        weak="contextvars sched select selectors signal threading",
        tokens=(
            "async asyncio concurrent event executor future futures lock loop pool process queue "
            "scheduler task thread threading worker"
        ),
        topics=(
            "Framework :: AsyncIO",
            "Framework :: Trio",
            "Topic :: System :: Distributed Computing",
        ),
    ),
    "testing-tools": _signals(
        "tools that test other code",
        strong="doctest hypothesis mock nose pytest unittest",
        tokens="assertion assertions coverage fixture fixtures mock mocks pytest test testing tests",
        topics=(
            "Topic :: Software Development :: Testing",
            "Topic :: Software Development :: Quality Assurance",
            "Framework :: Pytest",
        ),
    ),
    "developer-tools": _signals(
        "debugging, introspection, packaging and building of code",
        strong=(
            "bdb code cProfile dis distutils faulthandler git pdb pip pkg_resources profile "
            "pygments setuptools sys.monitoring traceback tracemalloc"
        ),
        weak="gc importlib inspect linecache logging types warnings",
        tokens=(
            "build debug debugger deprecation lint linter log logging package packaging plugin "
            "profile profiler release tb trace traceback version"
        ),
        topics=(
            "Topic :: Software Development :: Build Tools",
            "Topic :: Software Development :: Debuggers",
            "Topic :: Software Development :: Version Control",
            "Topic :: System :: Logging",
            "Topic :: Software Development :: Code Generators",
            "Topic :: System :: Software Distribution",
        ),
    ),
    "serialization": _signals(
        "objects to bytes or text and back, schemas and validation",
        strong=(
            "cattrs cbor2 json jsonschema marshal marshmallow msgpack orjson pickle "
            "plistlib protobuf pydantic toml tomllib ujson yaml"
        ),
        weak="base64 configparser copyreg struct",
        tokens=(
            "codec config configuration convert converter converters decode encode json pickle schema "
            "serialization serialize serializer toml validate validation validator validators yaml"
        ),
        topics=("File Formats :: JSON",),
    ),
    "date-time": _signals(
        "dates, times, zones and calendars",
        strong="arrow calendar croniter datetime dateutil pendulum pytz tzlocal zoneinfo",
        weak="time",
        tokens="calendar clock cron date dates datetime duration easter time timestamp timezone tz",
        topics=("Topic :: Office/Business :: Scheduling",),
    ),
    "file-systems": _signals(
        "files, folders, archives and streams of bytes",
        strong=("bz2 fcntl fsspec glob gzip lzma mmap pathlib tarfile tempfile watchdog zipfile zlib"),
        weak="errno io os shutil stat",
        tokens=("archive dir directory disk file files filesystem folder fs glob io path paths storage tar tmp zip"),
        topics=(
            "Topic :: System :: Filesystems",
            "Topic :: System :: Archiving",
        ),
    ),
    "collections-algorithms": _signals(
        "data structures, iteration and algorithms on them",
        strong="array bisect graphlib heapq sortedcontainers",
        weak="collections functools itertools operator weakref",
        tokens=(
            "algorithm algorithms cache caching collection collections container dict graph heap "
            "index iter iterator iterators itertools list map queue search set sort sorted stack "
            "structure tree trie"
        ),
    ),
    "graphics": _signals(
        "images, plots, games and user interfaces",
        strong=(
            "arcade bokeh cairo cv2 imageio matplotlib PIL plotly pygame PyQt5 PyQt6 PySide6 seaborn "
            "skimage tkinter turtle wx"
        ),
        weak="colorsys",
        tokens=("canvas color colors draw figure font gui image images paint pixel plot render renderer svg widget"),
        topics=(
            "Topic :: Multimedia",
            "Topic :: Games/Entertainment",
            "Topic :: Software Development :: User Interfaces",
            "Topic :: Scientific/Engineering :: Visualization",
            "Environment :: X11 Applications",
        ),
    ),
    "object-model": _signals(
        "classes, types, decorators and functions as a subject of their own",
        strong="attr attrs dataclasses wrapt zope.interface",
        weak="abc copy enum functools types typing",
        tokens=(
            "attr attrs class classes dataclass decorator decorators descriptor enum func function "
            "functools meta metaclass mixin namedtuple object protocol slots type types typing"
        ),
    ),
}
"""Label to its signals. `other` stands alone where nothing speaks loudly enough for any of these."""

LABELS = (*DOMAINS, OTHER)

IMPORT_NAMES = {
    "attrs": "attr", "beautifulsoup4": "bs4", "opencv-python": "cv2", "pillow": "PIL", "pycryptodome": "Crypto",
    "pyjwt": "jwt", "pynacl": "nacl", "pyopenssl": "OpenSSL", "python-dateutil": "dateutil", "pyyaml": "yaml",
    "pyzmq": "zmq", "scikit-image": "skimage", "scikit-learn": "sklearn", "wxpython": "wx", "dnspython": "dns",
    "gitpython": "git", "psycopg2-binary": "psycopg2", "apache-airflow": "airflow",
}  # fmt: skip
"""Distributions whose import name is another."""

TEST_DEPENDENCIES = frozenset(("coverage", "doctest", "hypothesis", "mock", "nose", "pytest", "tox", "unittest"))
"""Dependencies that nearly every repository has for its own tests: no evidence."""
