"""Lists: what is read, and what each mistake is told to be, at which place."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncsync import lists
from asyncsync.model.errors import ListError
from asyncsync.model.place import Layout
from asyncsync.model.reference import Reference

A64, B128 = "a" * 64, "b" * 128


def read(text: str) -> list[str]:
    """What a list says, each image as `line:column name`."""
    return [
        f"{spec.at.line}:{spec.at.column} {spec.source.familiar}"
        for spec in lists.read(text, "images.yaml")
    ]


def mistakes(text: str) -> list[str]:
    """What is wrong with a list, line by line as a user sees it, without the file's name."""
    with pytest.raises(ListError) as wrong:
        lists.read(text, "images.yaml")
    return [line.removeprefix("images.yaml:") for line in str(wrong.value).splitlines()]


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("", []),
        ("\n \t\n# nothing\n  # here\n", []),
        ("nginx", ["1:1 nginx:latest"]),
        ("nginx:1\nredis:7\n", ["1:1 nginx:1", "2:1 redis:7"]),
        ("nginx:1\r\nredis:7\r\n", ["1:1 nginx:1", "2:1 redis:7"]),
        ("\ufeffnginx:1", ["1:1 nginx:1"]),
        ("  nginx:1 \t\n\tredis:7", ["1:3 nginx:1", "2:2 redis:7"]),
        ("nginx:1 # the shop's\nredis:7\t#x\n", ["1:1 nginx:1", "2:1 redis:7"]),
        ("#nginx:1\nredis:7", ["2:1 redis:7"]),
        ("# a comment\u2028nginx:1\nredis:7", ["2:1 redis:7"]),
        ("images:latest", ["1:1 images:latest"]),
        ("defaults:1\nimages", ["1:1 defaults:1", "2:1 images:latest"]),
        ("[::1]:5000/x:1", ["1:1 [::1]:5000/x:1"]),
        (f"x:1@sha512:{B128}", [f"1:1 x:1@sha512:{B128}"]),
        (f"x@sha256:{A64}", [f"1:1 x@sha256:{A64}"]),
        ("1.20\non\nnull", ["1:1 1.20:latest", "2:1 on:latest", "3:1 null:latest"]),
    ],
)
def test_lines_name_one_image_each(text: str, images: list[str]) -> None:
    assert read(text) == images


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("---", []),
        ("---\n# nothing\n", []),
        ("---\n[]\n", []),
        ("- nginx:1\n- redis:7", ["1:3 nginx:1", "2:3 redis:7"]),
        ("# c\n\n---\n- nginx:1\n...\n", ["4:3 nginx:1"]),
        ("\ufeff- nginx:1\r\n-   redis:7 # r\r\n", ["1:3 nginx:1", "2:5 redis:7"]),
        ("  - nginx:1", ["1:5 nginx:1"]),
        ("-\n  nginx:1", ["2:3 nginx:1"]),
        ("- 'nginx:1'\n- \"redis:7\"", ["1:4 nginx:1", "2:4 redis:7"]),
        ("- \"ng\\x69nx:1\"", ["1:4 nginx:1"]),
        ("--- [nginx:1, redis:7]", ["1:6 nginx:1", "1:15 redis:7"]),
        ("- !!str nginx:1\n- &shop redis:7", ["1:9 nginx:1", "2:9 redis:7"]),
        (
            "- 1.20\n- on\n- 12:30\n- 0x1f\n- 2001-01-01\n- 'null'",
            [
                "1:3 1.20:latest", "2:3 on:latest", "3:3 12:30", "4:3 0x1f:latest",
                "5:3 2001-01-01:latest", "6:4 null:latest",
            ],
        ),
    ],
)  # fmt: skip
def test_a_yaml_list_names_one_image_an_entry_and_resolves_nothing(
    text: str, images: list[str]
) -> None:
    assert read(text) == images


LINES = [
    ("Nginx:1.27", "1:1: no image is called 'Nginx:1.27': names are lower case. Write nginx:1.27"),
    ("ghcr.io/Foo/bar:V1 # x", "1:9: no image is called 'ghcr.io/Foo/bar:V1': names are lower case."
     " Write ghcr.io/foo/bar:V1"),
    ("  GHCR.io/x", "1:3: no image is called 'GHCR.io/x': names are lower case. Write ghcr.io/x"),
    ("ghcr.io/x/y：1.0", "1:12: '：' is a full-width colon. Write ghcr.io/x/y:1.0"),
    ("nginx:１", "1:7: '１' is a full-width digit one. Write nginx:1"),
    ("nginx∶1", "1:6: '∶' is a ratio. Write nginx:1"),
    ("a–b:1", "1:2: '–' is an en dash. Write a-b:1"),
    ("“nginx:1”", "1:1: '“' is a left double quotation mark. Write nginx:1"),
    ("nginх:1", "1:5: 'х' is a cyrillic small letter ha. Write nginx:1"),
    ("naïve:1", "1:3: 'ï' is a latin small letter i with diaeresis. Names are made of a-z, 0-9, "
     "'.', '_', '-', '/' and ':', and a remark begins with '#'"),
    ("nginx:1\xa0", "1:8: U+00A0 (no-break space) cannot be part of an image's name. "
     "Write nginx:1"),
    ("nginx:1\u3000# x", "1:8: U+3000 (ideographic space) cannot be part of an image's name. "
     "Write nginx:1"),
    ("ng\u200binx:1", "1:3: U+200B (zero width space) cannot be part of an image's name. "
     "Write nginx:1"),
    ("nginx:1\u202e", "1:8: U+202E (right-to-left override) cannot be part of an image's name. "
     "Write nginx:1"),
    ("nginx\x1b[31m", "1:6: U+001B (a control character) cannot be part of an image's name. "
     "Remove it"),
    ("nginx:1\0", "1:8: U+0000 (a control character) cannot be part of an image's name. Remove it"),
    ("a:1\rb:2", "1:4: U+000D (a control character) is no line break here; LF and CRLF are. "
     "Put each image on a line of its own"),
    ("a:1\u2028b:2", "1:4: U+2028 (line separator) is no line break here; LF and CRLF are. "
     "Put each image on a line of its own"),
    ("https://ghcr.io/x/y:1", "1:1: an image is written without https://. Write ghcr.io/x/y:1"),
    ("docker://nginx:1", "1:1: an image is written without docker://. Write nginx:1"),
    ("https://hub.docker.com/_/nginx", "1:1: an image is written without https://. Write nginx"),
    ("https://hub.docker.com/r/team/app", "1:1: an image is written without https://. "
     "Write team/app"),
    ("hub.docker.com/_/nginx:1", "1:1: hub.docker.com is a website, and its registry is docker.io. "
     "Write nginx:1"),
    ("hub.docker.com/team/app", "1:1: hub.docker.com is a website, and its registry is docker.io. "
     "Write team/app"),
    ("https://hub.docker.com/repository/docker/team/app", "1:1: an image is written without "
     "https://. Write team/app"),
    ("https://me:secret@ghcr.io/x", "1:1: an image is written without https://. Write ghcr.io/x"),
    ("https://", "1:1: an image is written without https://. Write host/name:tag"),
    ("docker pull nginx:1.27", "1:1: 'docker pull' is no part of an image's name. "
     "Write nginx:1.27"),
    ("$ sudo docker image pull --platform linux/arm64 -q Nginx:1",
     "1:1: '$ sudo docker image pull' is no part of an image's name. Write nginx:1"),
    ("docker pull", "1:8: one image a line, but 'pull' follows 'docker'. Put a second image on a "
     "line of its own, a remark after ' #'"),
    ("--platform=linux/arm64 team/app", "1:1: '--platform=linux/arm64' is no part of an image's "
     "name, but an option for all of the list. Write team/app"),
    ("- --platform linux/arm64 nginx:1", "1:3: '--platform linux/arm64' is no part of an image's "
     "name, but an option for all of the list. Write nginx:1"),
    ("＃ 镜像", "1:1: '＃' is a full-width number sign. Names are made of a-z, 0-9, '.', '_', '-', "
     "'/' and ':', and a remark begins with '#'"),
    ("FROM nginx:1", "1:1: 'FROM' is no part of an image's name. Write nginx:1"),
    ("image: nginx:1", "1:1: 'image:' is no part of an image's name. Write nginx:1"),
    ("nginx:1 redis:7", "1:9: one image a line, but 'redis:7' follows 'nginx:1'. Put a second "
     "image on a line of its own, a remark after ' #'"),
    ("nginx: 1.27", "1:7: a blank stands inside the image's name. Write nginx:1.27"),
    ("team /app", "1:5: a blank stands inside the image's name. Write team/app"),
    ("nginx:1#x", "1:8: '#' begins a remark only at the start of a line or after a blank. "
     "Write nginx:1"),
    ("'nginx:1'", "1:1: an image is written without quotes. Write nginx:1"),
    ('"nginx:1",', "1:1: an image is written without quotes. Write nginx:1"),
    ("redis:7\n- nginx:1", "2:1: a list of lines has no '- ' before an image. Write nginx:1"),
    ("-nginx:1", "1:1: a list of lines has no '- ' before an image. Write nginx:1"),
    ('["nginx:1", "a:2"]', "1:1: a list is lines or YAML, not JSON. "
     "Put each image on its own line"),
    ("nginx:1 // the web", "1:9: a remark begins with '#', not with '//'. Write nginx:1"),
    ("nginx:1 ; the web", "1:9: a remark begins with '#', not with ';'. Write nginx:1"),
    ("; the web", "1:1: a remark begins with '#', not with ';'. Put a # before it"),
    ("nginx:1,", "1:8: '1,' is no tag: letters, digits, '_', '.', '-', not beginning with '.' or "
     "'-'. Write nginx:1"),
    ("nginx:", "1:7: the tag after ':' is missing: name:tag, or the name alone for latest"),
    ("nginx: # 1.27", "1:7: the tag after ':' is missing: name:tag, or the name alone for latest"),
    ("ghcr.io/", "1:9: the name is missing: name:tag, as nginx:1.27"),
    ("::error::x", "1:1: the name is missing: name:tag, as nginx:1.27"),
    ("x@sha256:12", "1:3: 'sha256:12' is no digest: sha256: and 64 lower-case hex digits, or "
     "sha512: and 128"),
    (f"x@sha512:{B128}", "1:2: a sha512 digest is too long to become the target's tag. Put a tag "
     "before it: x:TAG@…"),
    ("app:1: r.example/app", "1:7: a blank stands inside the image's name. "
     "Write the image alone, as nginx:1.27"),
    ("x" * 1025, "1:1: 1025 characters are too long for an image; at most 1024"),
    ("x" * 5000 + "：", "1:5001: '：' is a full-width colon. Names are made of a-z, 0-9, '.', '_', "
     "'-', '/' and ':', and a remark begins with '#'"),
]  # fmt: skip
NO_IMAGE = "no image is behind this '- '. Write one, or remove the '-'"
MAPPING = "an entry is text, but a ':' with a blank behind it makes this a mapping."
LONG_FORM = (
    "the long form (a mapping) is not known to this version. "
    "Write one image a line, or a YAML list of images"
)
ONE_LINE = "an image stands on one line. Write it behind its '- '"
YAML = [
    ("images:\n- nginx", f"1:1: {LONG_FORM}"),
    ("# c\ndefaults: {}", f"2:1: {LONG_FORM}"),
    ("destinations:\n  a: b\n  a: c", f"1:1: {LONG_FORM}"),
    ("---\nimage: nginx", f"2:1: {LONG_FORM}"),
    ("{a: b}", f"1:1: {LONG_FORM}"),
    ('{\n  "auth": {"password": "x"}\n}', f"1:1: {LONG_FORM}"),
    ("r.example:5000:\n  credentials:\n    password: x", f"1:1: {LONG_FORM}"),
    ("version: 1\ncreds:\n- registry: r.example\n  pass: {{x}}", f"1:1: {LONG_FORM}"),
    ("relay: skopeo\ntasks: # of today\n\n  - name: x", f"1:1: {LONG_FORM}"),
    ("--- nginx", "1:5: this is a text, not a list. Write '- ' before it"),
    ("- nginx\n- Nginx", "2:3: no image is called 'Nginx': names are lower case. Write nginx"),
    ("- nginx\n-", f"2:2: {NO_IMAGE}"),
    ("- nginx\n- null", f"2:3: {NO_IMAGE}"),
    ("- ~", f"1:3: {NO_IMAGE}"),
    ("- !!str", f"1:3: {NO_IMAGE}"),
    ("- ''", "1:4: the name is missing: name:tag, as nginx:1.27"),
    ("- nginx: 1.27", f"1:3: {MAPPING} Write nginx:1.27"),
    ("- image: nginx", f"1:3: {MAPPING} Write nginx"),
    ("- image: nginx\n  to: web", f"1:3: {MAPPING} Write nginx"),
    ("- a: {b: c}\n- nginx", f"1:3: {MAPPING} Write the image alone, as nginx:1.27"),
    ("- - nginx", "1:3: an entry is one image, not a list. "
     "Put each image behind a '- ' of its own"),
    ("- x\n- &a y\n- *a", "3:3: the YAML alias '*a' is not followed in a list. "
     "Write the image itself"),
    ("- !!int 5", "1:3: the YAML tag 'tag:yaml.org,2002:int' means nothing here. Remove it"),
    ("- !!python/object:os.system x", "1:3: the YAML tag "
     "'tag:yaml.org,2002:python/object:os.system' means nothing here. Remove it"),
    ("- a\n---\n- b", "2:1: a list is one YAML document, and here a second one begins. "
     "Remove this '---'"),
    ("- a\n  b", f"1:3: {ONE_LINE}"),
    ("- |\n  nginx", f"1:3: {ONE_LINE}"),
    ("- >-\n  nginx", f"1:3: {ONE_LINE}"),
    ('- "nginx:1 # remark"', "1:12: '#' begins a remark only at the start of a line or after a "
     "blank. Write nginx:1"),
    ('- "a\\nb"', "1:5: a line break stands inside an entry. Make each image an entry"),
    ("- 'a：1'", "1:5: '：' is a full-width colon. Write a:1"),
    ("- nginx\u2028- redis", "1:8: U+2028 breaks a line for YAML and not for an editor. "
     "Write LF or CRLF"),
    ("- a\n# comment\x85- b", "2:10: U+0085 breaks a line for YAML and not for an editor. "
     "Write LF or CRLF"),
    ("- a\r- b", "1:4: U+000D breaks a line for YAML and not for an editor. Write LF or CRLF"),
    ("- a\n- \x1b[2J", "2:3: U+001B cannot stand in YAML. Remove it"),
    ("- \ud800", "1:3: U+D800 cannot stand in YAML. Remove it"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "mistake"), LINES + YAML, ids=lambda value: ascii(value)[:48])
def test_a_mistake_is_told_with_its_place_and_what_to_write(text: str, mistake: str) -> None:
    assert mistakes(text) == [mistake]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("- nginx\nredis", "2:1"),  # never read again as lines
        ("- [::1]:5000/x:1", "1:4"),
        ("- a\n- @b", "2:3"),
        ("- a\n\t- b", "2:1"),
        ("- 'a", "1:3"),
        ("- a\n...\n- b", "3:1"),
        ("- nginx\nredis\n- x", "2:1"),
        ("- x\n- {a: b\n", "2:3"),
    ],
)
def test_what_is_no_yaml_is_never_read_as_lines(text: str, place: str) -> None:
    (mistake,) = mistakes(text)
    assert mistake.startswith(f"{place}: this is no YAML: ")
    assert mistake.endswith("Write '- ' and one image on each line, in quotes if need be")


@pytest.mark.parametrize("inner", ["[", "{a: "])
def test_yaml_that_nests_without_end_is_left_where_it_begins(inner: str) -> None:
    (mistake,) = mistakes("- nginx\n- " + inner * 1_000_000)
    assert re.match(r"2:\d+: this is no YAML: .* nest", mistake)  # libyaml has a limit, too


def test_lists_within_lists_are_not_followed_for_ever() -> None:
    (mistake,) = mistakes("- " * 30 + "nginx")
    assert mistake.startswith("1:3: this is no YAML: lists are nested more than 16 deep.")


def test_a_mistake_is_short_however_long_the_entry() -> None:
    (told,) = mistakes("ghcr.io/" + "X" * 250 + "@sha512:" + "A" * 128 + ":" + "t" * 600)
    assert len(told) <= 500 + len("1:9: ")
    (told,) = mistakes("h" * 700 + ".example/X:1")
    assert len(told) <= 500 + len("1:714: ")


def test_all_mistakes_are_told_in_one_go_in_the_order_of_the_text() -> None:
    text = "nginx:1\nNginx:2\n\n# x\nredis 7\nghcr.io/x/y：1\nok:1\n"
    assert [line.split(": ")[0] for line in mistakes(text)] == ["2:1", "5:7", "6:12"]


def test_a_file_of_another_kind_is_not_told_line_by_line_for_ever() -> None:
    with pytest.raises(ListError) as wrong:
        lists.read("?\n" * 1007, "images.yaml")
    assert len(wrong.value.mistakes) == 1007
    told = str(wrong.value).splitlines()
    assert len(told) == 1001
    assert told[-1] == "images.yaml:1001:1: 7 more mistakes from here on"


@pytest.mark.parametrize("prefix", ["", "- "])
def test_a_list_of_a_hundred_thousand_images_is_read_and_one_more_is_refused(prefix: str) -> None:
    text = "".join(f"{prefix}ghcr.io/team-{n}/app:v1.{n} # remark\n" for n in range(100_000))
    assert len(lists.read(text, "images.yaml")) == 100_000
    column = 1 + len(prefix)
    assert mistakes(f"{text}{prefix}nginx") == [
        f"100001:{column}: a list has at most 100000 images. Split it"
    ]


def test_entries_are_counted_from_one() -> None:
    (first, second) = lists.entries(iter(["nginx:1", " redis:7\n"]))
    assert (str(first.at), str(first.source)) == ("<entries>:1:1", "docker.io/library/nginx:1")
    assert (str(second.at), str(second.source)) == ("<entries>:2:2", "docker.io/library/redis:7")


def test_wrong_entries_are_told_all_together() -> None:
    with pytest.raises(ListError) as wrong:
        lists.entries(["ok", "", "Nginx", "# comment", "a\nb"])
    assert [str(mistake.at) for mistake in wrong.value.mistakes] == [
        f"<entries>:{place}" for place in ("2:1", "3:1", "4:1", "5:2")
    ]


@pytest.mark.parametrize(
    ("text", "column"), [("# base images\n", 1), ("base:1  # hi", 9), ("base:1#hi", 7), (" #", 2)]
)
def test_an_entry_has_no_remark_and_the_path_of_the_list_may_be_meant(
    text: str, column: int
) -> None:
    with pytest.raises(ListError) as wrong:
        lists.entries(["ok", text])
    assert str(wrong.value) == (
        f"<entries>:2:{column}: an entry is an image alone, and has no remark. Remove the '#' and "
        "what follows, or give the path of the list"
    )


@pytest.mark.parametrize("texts", ["nginx", b"nginx", [b"nginx"], [None], [1]], ids=repr)
def test_entries_that_are_no_texts_are_a_programmers_mistake(texts: object) -> None:
    with pytest.raises(TypeError):
        lists.entries(texts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "text"), [(b"", ""), (b"nginx", "nginx"), (b"\xef\xbb\xbfnginx\r\n", "nginx\r\n")]
)
def test_bytes_are_utf_8_with_or_without_a_mark(data: bytes, text: str) -> None:
    assert lists.decode(data, "-") == text


@pytest.mark.parametrize(
    ("data", "mistake"),
    [
        (b"ngin\xff", "-:1:5: the byte 0xff is no UTF-8. Save the list as UTF-8"),
        (b"a\n\xc3\xa9b\xe9", "-:2:3: the byte 0xe9 is no UTF-8. Save the list as UTF-8"),
        (b"\xef\xbb\xbfa\nb\xff", "-:2:2: the byte 0xff is no UTF-8. Save the list as UTF-8"),
        (b"\xef\xbb\xbfa\xff", "-:1:2: the byte 0xff is no UTF-8. Save the list as UTF-8"),
        ("nginx".encode("utf-16"), "-:1:1: this is UTF-16. Save the list as UTF-8"),
        (b"#" * (16 * 2**20 + 1), "-:1:1: a list has at most 16 MiB. Split it into several lists"),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_bytes_that_are_no_list_are_told_with_the_first_bad_one(data: bytes, mistake: str) -> None:
    with pytest.raises(ListError) as wrong:
        lists.decode(data, "-")
    assert str(wrong.value) == mistake


pieces = st.sampled_from([
    *" \t\n#-:/@\"'[]{}&*!|>%\r\u2028\x00：é", "- ", "---\n", "\n- ", "nginx", "images:", "X",
    "docker pull ", "https://", "ghcr.io/", ":1.27", f"@sha256:{A64}", "\n", " #", "\ufeff",
])  # fmt: skip
texts = st.text() | st.lists(pieces, max_size=15).map("".join)


@given(texts)
@example("- \ud800")
@example("- !<tag:yaml.org,2002:str> x")
@example("- ? a")
@example("%YAML 1.1\n---\n- a")
@example("---\n%YAML 9.9\n---")
def test_any_text_is_a_list_or_one_error_that_can_be_shown(text: str) -> None:
    try:
        specs = lists.read(text, "images.yaml")
    except ListError as error:
        wrong = error
    else:
        assert [Reference.parse(str(spec.source)) for spec in specs] == [s.source for s in specs]
        return
    assert wrong.mistakes == tuple(sorted(wrong.mistakes, key=lambda mistake: mistake.at))
    for mistake in wrong.mistakes:
        assert mistake.text.isprintable()
        assert len(mistake.text) <= 500
        line = [*text.removeprefix("\ufeff").split("\n"), ""][mistake.at.line - 1]
        assert 1 <= mistake.at.column <= len(line) + 1


@given(st.lists(texts))
def test_any_entries_are_images_or_one_error(values: list[str]) -> None:
    try:
        assert len(lists.entries(values)) == len(values)
    except ListError as error:
        assert 1 <= len(error.mistakes) <= len(values)


@given(st.binary() | texts.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_text_or_one_mistake(data: bytes) -> None:
    try:
        text = lists.decode(data, "images.yaml")
    except ListError as error:
        assert len(error.mistakes) == 1
    else:
        assert text.encode() == data.removeprefix(b"\xef\xbb\xbf")


names = st.from_regex(
    r"((ghcr\.io|localhost:5000|r\.example:443|\[::1\]:5000)/)?[a-z0-9]{1,9}([._-][a-z0-9]{1,9})?"
    rf"(/[a-z0-9]{{1,9}})?:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,20}}(@sha256:{A64})?",
    fullmatch=True,
)
blanks = st.text(st.sampled_from(" \t"), max_size=3)
remarks = st.just("") | st.text(st.characters(exclude_characters="\n"), max_size=9).map(
    " #".__add__
)


@given(
    st.lists(st.tuples(blanks, names, blanks, remarks)), st.sampled_from(["\n", "\r\n", "\n#\n"])
)
def test_a_list_that_was_written_is_read_as_it_was_meant(
    written: list[tuple[str, str, str, str]], end: str
) -> None:
    meant = [Reference.parse(name) for _, name, _, _ in written]
    specs = lists.read(end.join("".join(parts) for parts in written), "x")
    assert [spec.source for spec in specs] == meant
    in_yaml = "---\n" + "".join(f'- "{name}"\n' for _, name, _, _ in written)
    assert [spec.source for spec in lists.read(in_yaml, "x")] == meant
    assert [spec.source for spec in lists.entries(name for _, name, _, _ in written)] == meant


def test_yaml_is_read_the_same_without_libyaml() -> None:
    program = (
        "import sys; sys.modules['yaml._yaml'] = None\n"
        "from asyncsync import lists\n"
        "print([(s.at.line, s.at.column, s.source.familiar)"
        " for s in lists.read(sys.stdin.read(), 'x')])"
    )
    text = "- nginx:1 # r\n-   'redis:7'\n- 1.20\n- &a x:1\n"
    done = subprocess.run(
        [sys.executable, "-c", program], input=text, capture_output=True, text=True, check=True
    )
    images = [(s.at.line, s.at.column, s.source.familiar) for s in lists.read(text, "x")]
    assert done.stdout.strip() == str(images)


@pytest.mark.parametrize("prefix", ["", "- "])
def test_the_images_of_a_layout_are_named_as_it_names_them(prefix: str) -> None:
    names = ["nginx", "nginx:1.27", "r.example:5000/team/app:1", f"app@sha256:{A64}"]
    text = "".join(f"{prefix}{name}\n" for name in names)
    found = [spec.source for spec in lists.read(text, "images.yaml", Layout("./x"))]
    assert found == [Reference.within(Layout("./x"), name) for name in names]
    assert [spec.source for spec in lists.entries(names, Layout("./x"))] == found


def test_an_image_of_a_layout_is_no_entry_without_that_layout() -> None:
    assert mistakes("oci:./x:app:1") == [
        "1:1: an image of a layout is read with --from oci:./x. Write app:1 here"
    ]


def test_an_image_is_named_within_its_layout_and_not_with_it() -> None:
    with pytest.raises(ListError) as wrong:  # as from the outcomes of another run
        lists.entries(["oci:./x:team/app:1"], Layout("./x"))
    assert str(wrong.value) == (
        "<entries>:1:1: with --from oci:./x, an image is named as it is named there. "
        "Write team/app:1"
    )


def test_mistakes_in_the_names_of_a_layout_are_told_as_others_are() -> None:
    with pytest.raises(ListError) as wrong:
        lists.read("app:1\nApp:2\n'app:3'\n", "images.yaml", Layout("./x"))
    assert str(wrong.value).splitlines() == [
        "images.yaml:2:1: 'App' is no part of a name: lower-case letters and digits, joined by "
        "'.', '_', '__' or '-'. Write app:2",
        "images.yaml:3:1: an image is written without quotes. Write app:3",
    ]
