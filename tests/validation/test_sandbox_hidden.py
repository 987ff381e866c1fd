"""What a local sandbox hides among the programs that it shares with this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import SandboxUnavailable
from validation.sandbox import hidden


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A shared folder; what is searched for in it is forgotten afterwards."""
    tmp_path.chmod(0o755)
    for name, mode in (
        ("open", 0o644),
        ("program", 0o755),
        ("private", 0o640),
        ("vault/inner", 0o600),
        ("etc/rc", 0o600),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, mode=0o755)
        path.write_text("x")
        path.chmod(mode)
    (tmp_path / "vault").chmod(0o700)
    (tmp_path / "listed-by-none").mkdir(mode=0o711)
    (tmp_path / "link").symlink_to("private")
    hidden.private_paths.cache_clear()
    yield tmp_path
    hidden.private_paths.cache_clear()


def test_what_not_everybody_may_read_is_found(tree: Path) -> None:
    found = hidden.private_paths((str(tree),))
    assert [str(Path(path).relative_to(tree)) for path in found] == ["etc/rc", "private", "vault"]


def test_settings_are_covered_whole_and_nothing_is_covered_twice(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden, "SETTINGS", (str(tree / "etc"), str(tree / "vault/inner"), "/elsewhere/etc"))
    folders = [argument for name in ("etc", "vault") for argument in cover(tree / name)]
    assert hidden.hiding_arguments((str(tree),)) == [
        *folders[:6],
        "--ro-bind",
        "/dev/null",
        str(tree / "private"),
        *folders[6:],
    ]


def cover(folder: Path) -> list[str]:
    return ["--perms", "0555", "--tmpfs", str(folder), "--remount-ro", str(folder)]


def test_file_that_is_gone_since_the_search_is_not_covered(tree: Path) -> None:
    hidden.private_paths((str(tree),))
    (tree / "private").unlink()
    assert str(tree / "private") not in hidden.hiding_arguments((str(tree),))


def test_too_much_to_hide_is_said(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden, "MAX_HIDDEN", 2)
    with pytest.raises(SandboxUnavailable, match=r"3 files and folders in .*ordinary user"):
        hidden.private_paths((str(tree),))


def test_search_that_cannot_run_is_no_silence(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tree))
    with pytest.raises(SandboxUnavailable, match="findutils"):
        hidden.private_paths((str(tree),))
