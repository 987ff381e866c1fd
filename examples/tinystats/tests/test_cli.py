import io

import pytest

from tinystats.cli import main

RAIN = "day,rain\nmon,4\ntue,0\nwed,8\nthu,-\nfri,4\n"


@pytest.fixture
def rain(tmp_path):
    path = tmp_path / "rain.csv"
    path.write_text(RAIN, encoding="utf-8")
    return str(path)


def test_describe(rain, capsys):
    assert main(["describe", rain, "--column", "rain"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "count       4",
        "mean        4",
        "stdev    3.27",
        "minimum     0",
        "lower       3",
        "median      4",
        "upper       5",
        "maximum     8",
    ]


def test_describe_counts_outliers(tmp_path, capsys):
    path = tmp_path / "hail.csv"
    path.write_text("hail\n1\n2\n2\n3\n40\n", encoding="utf-8")
    assert main(["describe", str(path), "--column", "hail"]) == 0
    assert "outliers      1" in capsys.readouterr().out


def test_digits(rain, capsys):
    main(["describe", rain, "--column", "rain", "--digits", "4"])
    assert "3.266" in capsys.readouterr().out


def test_histogram(rain, capsys):
    assert main(["histogram", rain, "--column", "rain", "--bins", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == ["[0, 4)  1  ███████", "[4, 8]  3  ████████████████████"]


def test_rolling(rain, capsys):
    assert main(["rolling", rain, "--column", "rain", "--width", "2"]) == 0
    assert capsys.readouterr().out.split() == ["2", "4", "6"]


def test_reads_standard_input(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(RAIN))
    assert main(["rolling", "-", "--column", "rain"]) == 0
    assert capsys.readouterr().out.split() == ["4", "4"]


@pytest.mark.parametrize(
    ("column", "message"),
    [("sun", "no column 'sun'; there are day, rain"), ("day", "column 'day' holds no numbers")],
)
def test_bad_column(rain, capsys, column, message):
    assert main(["describe", rain, "--column", column]) == 1
    assert capsys.readouterr().err == f"tinystats: {message}\n"


def test_missing_file(tmp_path, capsys):
    assert main(["describe", str(tmp_path / "none.csv"), "--column", "rain"]) == 1
    assert "No such file" in capsys.readouterr().err


def test_command_is_required(capsys):
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert "usage: tinystats" in capsys.readouterr().err
