"""Call one PEP 517/660 hook of a build backend; runs inside a building sandbox, never on the host.

One file, standard library only, Python 3.6 or newer. Its argument is a JSON file with the request; the answer goes
to the file that the request names, so that nothing the backend prints is taken for it.
"""

import importlib
import json
import sys
import zipfile
from pathlib import Path


def main(request_path: str) -> None:
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    # The folder of this script is not the project's.
    sys.path[0:1] = request["backend_path"]
    sys.argv = ["setup.py"]
    module, _, attribute = request["backend"].partition(":")
    backend = importlib.import_module(module)
    for name in filter(None, attribute.split(".")):
        backend = getattr(backend, name)
    hook = getattr(backend, request["hook"], None)
    value = None if hook is None else hook(*request["arguments"])
    is_build = hook is not None and request["hook"] in ("build_wheel", "build_editable")
    text = metadata(Path(request["arguments"][0]) / str(value)) if is_build else ""
    answer = {"missing": hook is None, "value": value, "metadata": text}
    Path(request["answer"]).write_text(json.dumps(answer), encoding="utf-8")


def metadata(wheel: Path) -> str:
    with zipfile.ZipFile(str(wheel)) as archive:
        for name in archive.namelist():
            folder, _, base = name.rpartition("/")
            if base == "METADATA" and folder.endswith(".dist-info") and "/" not in folder:
                return archive.read(name).decode("utf-8", "replace")
    raise SystemExit("the wheel has no METADATA")


if __name__ == "__main__":
    main(sys.argv[1])
