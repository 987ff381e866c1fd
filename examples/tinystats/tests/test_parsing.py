import pytest

from tinystats.parsing import ParseError, Table, guess_delimiter, parse_cell, parse_table, split_row

WEATHER = """\
# measured at noon
day, rain, note

mon, 4, "wet, cold"
tue, -, dry
wed, 8.5, wet
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b", ["a", "b"]),
        (" a , b ", ["a", "b"]),
        ("a,,", ["a", "", ""]),
        ('"a,b",c', ["a,b", "c"]),
        ('"say ""hi""",c', ['say "hi"', "c"]),
        ("", [""]),
    ],
)
def test_split_row(text, expected):
    assert split_row(text) == expected


def test_split_row_with_another_delimiter():
    assert split_row("a;b,c", delimiter=";") == ["a", "b,c"]


def test_open_quote_is_refused():
    with pytest.raises(ParseError, match="line 3: a quote is never closed") as caught:
        split_row('"a,b', line=3)
    assert caught.value.line == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", 12),
        ("-3", -3),
        ("2.5", 2.5),
        ("1e3", 1000.0),
        ("50%", 0.5),
        (" 7 ", 7),
        ("seven", "seven"),
        ("5x%", "5x%"),
    ],
)
def test_parse_cell(text, expected):
    assert parse_cell(text) == expected


def test_integers_stay_integers():
    assert isinstance(parse_cell("12"), int)


@pytest.mark.parametrize("text", ["", "-", "NA", "n/a", "NaN", "null"])
def test_missing_cells(text):
    assert parse_cell(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a,b\n1,2", ","), ("a;b\n1,5;2", ";"), ("a\tb\n1\t2", "\t"), ("a|b|c", "|"), ("alone", ",")],
    ids=["comma", "semicolon", "tab", "bar", "none"],
)
def test_guess_delimiter(text, expected):
    assert guess_delimiter(text) == expected


class TestParseTable:
    def test_header_and_rows(self):
        table = parse_table(WEATHER)
        assert table.header == ["day", "rain", "note"]
        assert table.rows[0] == ["mon", 4, "wet, cold"]

    def test_comments_and_blank_lines_are_left_out(self):
        assert len(parse_table(WEATHER)) == 3

    def test_comment_marker_can_be_changed(self):
        assert parse_table("; old\na,b\n1,2", comment=";").rows == [[1, 2]]

    def test_comments_can_be_switched_off(self):
        assert parse_table("#a,b\n1,2", comment=None).header == ["#a", "b"]

    def test_ragged_row(self):
        with pytest.raises(ParseError, match="line 3: expected 2 cells, found 3"):
            parse_table("a,b\n1,2\n1,2,3", delimiter=",")

    def test_same_name_twice(self):
        with pytest.raises(ParseError, match="same name"):
            parse_table("a,a\n1,2")

    @pytest.mark.parametrize("text", ["", "\n\n", "# only a comment"])
    def test_no_header(self, text):
        with pytest.raises(ParseError, match="there is no header"):
            parse_table(text)


class TestTable:
    @pytest.fixture
    def table(self):
        return parse_table(WEATHER)

    def test_column_by_name(self, table):
        assert table.column("rain") == [4, None, 8.5]

    def test_column_by_position(self, table):
        assert table.column(-1) == ["wet, cold", "dry", "wet"]

    def test_unknown_column(self, table):
        with pytest.raises(KeyError, match="no column 'sun'; there are day, rain, note"):
            table.column("sun")

    def test_numbers_leave_out_gaps_and_text(self, table):
        assert table.numbers("rain") == [4, 8.5]
        assert table.numbers("note") == []

    def test_where_a_cell_is(self, table):
        assert table.where("note", "dry").column("day") == ["tue"]

    def test_where_a_condition_holds(self, table):
        wet = table.where("note", lambda note: note.startswith("wet"))
        assert wet.column("day") == ["mon", "wed"]

    def test_grouped(self):
        table = Table(["city", "rain"], [["Köln", 1], ["Bonn", 2], ["Köln", None], ["Köln", 3]])
        assert table.grouped("city", "rain") == {"Köln": [1, 3], "Bonn": [2]}
