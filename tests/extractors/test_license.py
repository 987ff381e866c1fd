"""Licences from the repository's own files, and no guess where they do not say."""

import importlib
import re
import textwrap

import pytest

from extractors.license import NOASSERTION, attribution_of, license_of

_LICENSES = dict(importlib.import_module("identify.vendor.licenses").LICENSES)


def text(spdx):
    return "Copyright (c) 2024 Somebody\n\n" + _LICENSES[spdx]


def tree(tmp_path, **files):
    for name, content in files.items():
        path = tmp_path / name.replace("__", "/").replace("_dash_", "-").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def project(expression):
    return f'[project]\nname = "x"\nlicense = {expression}\n'


@pytest.mark.parametrize(
    "name", ["LICENSE", "LICENCE_dot_txt", "license_dot_md", "COPYING", "LICENSE_dash_MIT", "LICENSES__MIT_dot_txt"]
)
def test_one_licence_file_is_recognised_under_its_usual_names(tmp_path, name):
    assert license_of(tree(tmp_path, **{name: text("MIT")})) == "MIT"


def test_no_licence_file_is_no_assertion(tmp_path):
    assert license_of(tree(tmp_path, README="MIT", pyproject_dot_toml=project('"MIT"'))) == NOASSERTION


def test_unknown_text_is_no_assertion_even_where_metadata_names_a_licence(tmp_path):
    assert license_of(tree(tmp_path, LICENSE="Do as I say.", pyproject_dot_toml=project('"MIT"'))) == NOASSERTION


def test_two_licences_without_a_word_on_how_they_combine_are_no_assertion(tmp_path):
    assert (
        license_of(tree(tmp_path, LICENSE_dash_MIT=text("MIT"), LICENSE_dash_APACHE=text("Apache-2.0"))) == NOASSERTION
    )


def test_two_licences_combine_as_the_repository_says(tmp_path):
    files = {"LICENSE_dash_MIT": text("MIT"), "LICENSE_dash_APACHE": text("Apache-2.0"), "LICENSE": "Either of them."}
    found = license_of(tree(tmp_path, **files, pyproject_dot_toml=project('"mit or apache-2.0"')))
    assert found == "MIT OR Apache-2.0"


def test_metadata_that_contradicts_the_text_is_no_assertion(tmp_path):
    assert license_of(tree(tmp_path, LICENSE=text("MIT"), pyproject_dot_toml=project('"Apache-2.0"'))) == NOASSERTION


def test_metadata_tells_whether_later_versions_are_allowed(tmp_path):
    files = tree(tmp_path, COPYING=text("GPL-3.0"), pyproject_dot_toml=project('"GPL-3.0-or-later"'))
    assert license_of(files) == "GPL-3.0-or-later"


@pytest.mark.parametrize("pyproject", ["not toml [", project("3"), project('"not a licence"'), "project = 1"])
def test_broken_metadata_does_not_hide_the_text(tmp_path, pyproject):
    assert license_of(tree(tmp_path, LICENSE=text("ISC"), pyproject_dot_toml=pyproject)) == "ISC"


def test_link_out_of_the_tree_is_not_followed(tmp_path):
    (tmp_path / "outside").write_text(text("MIT"))
    inside = tmp_path / "tree"
    inside.mkdir()
    (inside / "LICENSE").symlink_to("../outside")
    assert license_of(inside) == NOASSERTION


def test_link_inside_the_tree_is_followed(tmp_path):
    tree(tmp_path, docs__license_dot_txt=text("MIT"))
    (tmp_path / "LICENSE").symlink_to("docs/license.txt")
    assert license_of(tmp_path) == "MIT"


def test_code_that_is_named_like_a_licence_is_not_one(tmp_path):
    assert license_of(tree(tmp_path, LICENSE=text("MIT"), license_dot_py="x = 1\n", licenses_dot_json="{}")) == "MIT"


def test_absurd_files_are_no_assertion(tmp_path):
    (tmp_path / "LICENSE").write_bytes(b"\xff\xfe" * 10)
    (tmp_path / "COPYING").write_bytes(b"x" * 10_000_000)
    assert license_of(tmp_path) == NOASSERTION


@pytest.mark.parametrize("width", [40, 72, 79, 200])
@pytest.mark.parametrize("spdx", ["MIT", "BSD-3-Clause", "Zlib"])
def test_wrapping_does_not_matter(tmp_path, spdx, width):
    paragraphs = text(spdx).split("\n\n")
    wrapped = "\n\n".join(textwrap.fill(paragraph, width) for paragraph in paragraphs)
    assert license_of(tree(tmp_path, LICENSE=wrapped)) == spdx


def test_apache_is_recognised_without_the_appendix_on_how_to_apply_it(tmp_path):
    terms = _LICENSES["Apache-2.0"].partition("APPENDIX")[0]
    assert license_of(tree(tmp_path, LICENSE=terms)) == "Apache-2.0"
    assert license_of(tree(tmp_path, LICENSE=terms[: len(terms) * 2 // 3])) == NOASSERTION


def test_copyright_lines_of_licence_and_notice_files_are_kept_as_they_stand(tmp_path):
    files = tree(
        tmp_path,
        LICENSE="MIT License\n\nCopyright (c) 2013, Jane Doe <jane@doe.example>\n  Portions Copyright 2019 Größe | Co.\n",
        NOTICE="© 2020 The Project\n(c) 2021 Others\nThis product includes software.\n",
        COPYING="# Copyright (c) 2013, Jane Doe <jane@doe.example>\n",
        LICENSES__BSD_dot_txt="Copyright (c) Somebody Else. All rights reserved.\n",
        LICENCE="Copyright Steven Loria and contributors\n\nCopyright notices stay.\nCOPYRIGHT HOLDERS ARE NOT LIABLE\n",
        README="Copyright (c) 2001 Not Here\n",
    )
    assert attribution_of(files) == (
        "Copyright (c) 2013, Jane Doe <jane@doe.example>",
        "Copyright Steven Loria and contributors",
        "Portions Copyright 2019 Größe | Co.",
        "Copyright (c) Somebody Else. All rights reserved.",
        "© 2020 The Project",
        "(c) 2021 Others",
    )


@pytest.mark.parametrize("spdx", sorted(_LICENSES))
def test_no_sentence_of_a_licence_is_taken_for_a_copyright_line(tmp_path, spdx):
    found = attribution_of(tree(tmp_path, LICENSE=text(spdx)))
    assert found[0] == "Copyright (c) 2024 Somebody"
    assert all(len(line) < 160 and re.search(r"\b(?:19|20)\d\d\b|\(c\)", line, re.IGNORECASE) for line in found), found


def test_no_licence_file_has_no_copyright_lines_and_many_are_bounded(tmp_path):
    assert attribution_of(tmp_path) == ()
    lines = [f"Copyright 2020 Somebody {number} {'x' * 1000}" for number in range(200)]
    found = attribution_of(tree(tmp_path, LICENSE="\n".join(lines)))
    assert len(found) == 100
    assert {len(line) for line in found} == {300}
