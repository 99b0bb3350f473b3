"""Names of layouts and of images in them: what is read, and that nothing else becomes one."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncsync.model.digest import Digest
from asyncsync.model.job import Destination
from asyncsync.model.naming import NotAReference
from asyncsync.model.place import Layout, Registry, as_registry
from asyncsync.model.reference import Reference

A64 = "a" * 64


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("oci:export", "./export"),
        ("oci:./export", "./export"),
        ("oci:./export/", "./export"),
        ("oci:../a/b", "../a/b"),
        ("oci:/media/usb stick", "/media/usb stick"),
        ("oci:.hidden", "./.hidden"),
        ("oci:..", ".."),
        ("oci:5000", "./5000"),
        ("oci:a@b", "./a@b"),
        ("oci:/", "/"),
    ],
)
def test_a_layout_is_named_by_its_folder(text: str, path: str) -> None:
    assert Layout.parse(text) == Layout(path)
    assert Layout.parse(str(Layout(path))) == Layout(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("export", "'export' is no layout: oci:FOLDER, as oci:./export"),
        ("oci:", "'oci:' is no layout: oci:FOLDER, as oci:./export"),
        ("oci:./a.tar.gz",
         "a layout is a folder or a plain tar, not packed (.tar.gz). Write oci:./a.tar"),
        ("oci:a.tgz", "a layout is a folder or a plain tar, not packed (.tgz). Write oci:a.tar"),
        ("r.example/team", "'r.example/team' is no layout: oci:FOLDER, as oci:./export"),
        ("oci:~/x", "no shell expands the '~' there. Write oci:$HOME/x"),
        ("oci:./x:app:1", "a layout's folder has no ':' in its name, and its images are named in "
         "the list"),
        ("oci:a\0b", "'a\\x00b' has a sign in it that cannot be printed"),
        ("oci:" + "a" * 3000, "a folder's name has at most 2048 characters, not 3000"),
    ],
)  # fmt: skip
def test_what_names_no_layout_is_refused(text: str, message: str) -> None:
    with pytest.raises(NotAReference, match=f"^{re.escape(message)}$"):
        Layout.parse(text)


@pytest.mark.parametrize(
    ("path", "is_tar"), [("./a.tar", True), ("./a.tar.gz", False), ("./tar", False)]
)
def test_a_name_in_tar_is_one_file(path: str, is_tar: bool) -> None:
    assert Layout(path).is_tar is is_tar


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("app:1", "app:1"),
        ("app", "app:latest"),
        ("nginx:1.27", "nginx:1.27"),
        ("library/nginx:1", "library/nginx:1"),
        ("docker.io/library/nginx:1", "docker.io/library/nginx:1"),
        ("registry.example:5000/team/app:1", "registry.example:5000/team/app:1"),
        (f"app@sha256:{A64}", f"app@sha256:{A64}"),
        (f"app:1@sha256:{A64}", f"app:1@sha256:{A64}"),
    ],
)
def test_an_image_is_named_as_its_layout_names_it(text: str, whole: str) -> None:
    ref = Reference.within(Layout("./export"), text)
    assert ref.entry == ref.familiar == whole
    assert str(ref) == f"oci:./export:{whole}"
    assert Reference.parse(str(ref)) == ref


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("", 0), ("App:1", 0), ("app:", 4), ("app:-x", 4), ("a//b", 2), ("app@sha256:x", 4),
        ("R.example/app:1", 0), ("r.example:x/app:1", 0), ("app:1:2", 5), ("a" * 2000, 0),
    ],
)  # fmt: skip
def test_what_names_no_image_of_a_layout_is_refused_where_it_is_wrong(
    text: str, offset: int
) -> None:
    with pytest.raises(NotAReference) as wrong:
        Reference.within(Layout("./export"), text)
    assert wrong.value.offset == offset
    with pytest.raises(NotAReference) as wrong:
        Reference.parse(f"oci:./export:{text}")
    assert wrong.value.offset == len("oci:./export:") + offset


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("oci:latest", "docker.io/library/oci:latest"),
        ("oci:5000/app:1", "oci:5000/app:1"),
        ("oci", "docker.io/library/oci:latest"),
    ],
)
def test_an_image_that_is_called_oci_stays_one(text: str, name: str) -> None:
    assert str(Reference.parse(text)) == name


paths = st.text(st.characters(exclude_characters=":", exclude_categories=("C", "Z")), min_size=1)
layouts = paths.filter(lambda path: path[0] != "~").map(lambda path: Layout.parse(f"oci:{path}"))
names = st.sampled_from(["a", "a/b", "r.example/a", "localhost:5000/a_b/c", "5/b"])
tags = st.none() | st.sampled_from(["1", "latest", "5000"])
digests = st.none() | st.binary().map(Digest.of)


@given(layouts, names, tags, digests)
@example(Layout("./5"), "b", "1", Digest("sha256", A64))
def test_an_image_of_a_layout_is_read_back_from_its_text(
    layout: Layout, name: str, tag: str | None, digest: Digest | None
) -> None:
    if tag or digest:
        ref = Reference(layout, name, tag, digest)
        assert Reference.parse(str(ref)) == ref
        assert Reference.within(layout, ref.entry) == ref


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("oci:./export", Layout("./export")),
        ("oci:export/deeper", Layout("./export/deeper")),
        ("oci:5000/team", Registry("oci:5000")),
        ("oci:5000", Registry("oci:5000")),
    ],
)
def test_a_destination_is_a_layout_where_no_registry_is_meant(
    text: str, place: Layout | Registry
) -> None:
    to = Destination.parse(text)
    assert to.place == place
    assert Destination.parse(str(to)) == to
    assert to.image("app", "1").place == place


def test_a_layout_has_no_logins() -> None:
    assert as_registry(Registry("r.example")) == Registry("r.example")
    with pytest.raises(TypeError, match=r"oci:\./export is a layout"):
        as_registry(Layout("./export"))
