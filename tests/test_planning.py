"""Plans: what each target is called, and what cannot be carried out as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsync import lists
from asyncsync.model.errors import PlanError
from asyncsync.model.job import SHARDS_MAX, CopyJob, Destination, Plan, Shard
from asyncsync.model.place import Layout
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Reference
from asyncsync.planning import part, plan

A64, B128 = "a" * 64, "b" * 128


def planned(text: str, *to: str) -> Plan:
    destinations = [Destination.parse(each) for each in to or ("registry.example/team",)]
    return plan(lists.read(text, "images.yaml"), destinations)


def mistakes(text: str, *to: str) -> list[str]:
    with pytest.raises(PlanError) as wrong:
        planned(text, *to)
    return str(wrong.value).splitlines()


@pytest.mark.parametrize(
    ("source", "to", "target"),
    [
        ("nginx:1.27", "r.example/team", "r.example/team/nginx:1.27"),
        ("nginx", "r.example/team", "r.example/team/nginx:latest"),
        ("nginx:1", "r.example", "r.example/nginx:1"),
        ("nginx:1", "localhost:5000/a/b", "localhost:5000/a/b/nginx:1"),
        ("nginx:1", "docker.io/team", "docker.io/team/nginx:1"),
        (
            "ghcr.io/openrailassociation/osrd-edge/osrd-core:dev",
            "r.example/team",
            "r.example/team/osrd-core:dev",
        ),
        (f"x:1@sha256:{A64}", "r.example/team", "r.example/team/x:1"),
        (f"x:1@sha512:{B128}", "r.example/team", "r.example/team/x:1"),
        (f"x@sha256:{A64}", "r.example/team", f"r.example/team/x:sha256.{A64}"),
        (f"r.example/team/x:1@sha256:{A64}", "r.example/team", "r.example/team/x:1"),
    ],
)
def test_a_target_is_called_by_the_last_part_of_the_name(source: str, to: str, target: str) -> None:
    (job,) = planned(source, to).jobs
    assert (job.source, str(job.target)) == (Reference.parse(source), target)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty; write registry.example/team"),
        ("./export", "a folder is written as a layout. Write oci:./export"),
        ("team", "Write team:443, or docker.io/team if you mean Docker Hub"),
        ("host/team:tag", "a dot or a port. Write it as registry.example/team"),
        ("$REGISTRY", "a dot or a port. Write it as registry.example/team"),
        ("https://host/team", "a registry is written without https://. Write host:443/team"),
        ("http://host", "a registry is written without http://. Write host:80"),
        ("https://docker.io", "written without https://. Write docker.io/YOUR-NAME"),
        ("https://index.docker.io/v1/", "written without https://. Write docker.io/YOUR-NAME"),
        ("hub.docker.com", "hub.docker.com is a website. Write docker.io/YOUR-NAME"),
        ("hub.docker.com/me", "hub.docker.com is a website. Write docker.io/me"),
        ("https://hub.docker.com/u/me", "written without https://. Write docker.io/me"),
        ("https://ghcr.io/MyOrg", "written without https://. Write ghcr.io/myorg"),
        ("https://r.example/team/", "a registry is written without https://. Write r.example/team"),
        ("https://", "a registry is written without https://. Write it as registry.example/team"),
        ("docker.io", "Docker Hub needs a namespace. Write docker.io/YOUR-NAME"),
        ("index.docker.io/", "Docker Hub needs a namespace. Write docker.io/YOUR-NAME"),
        ("R.example/team", "host names are lower case. Write r.example/team"),
        (
            "r.example/Team/x",
            "'Team/x' is no namespace: names are lower case. Write team/x",
        ),
        ("r.example/team:1", "'team:1' is no namespace: images bring their own tags"),
        ("r.example//team", "'/team' is no namespace: a part of the name is missing"),
        ("r.example:0/team", "'0' is no port"),
        ("me:secret@r.example", "a destination has no '@': it takes neither a login nor a digest"),
        ("https://me:secret@r.example", "a destination has no '@'"),
    ],
)
def test_what_is_no_destination_is_told_what_to_write_and_shows_no_password(
    text: str, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        Destination.parse(text)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["r.example", "r.example/a", "localhost:5000/a/b", "[::1]:5000/a", "docker.io/me"]
)
def test_a_destination_is_read_back_from_its_own_text(text: str) -> None:
    assert str(Destination.parse(f"{text}/")) == text
    assert Destination.parse(text) == Destination.parse(str(Destination.parse(text)))


def test_jobs_keep_the_order_of_the_list_their_places_and_the_platforms_asked_for() -> None:
    arm = Platform("linux", "arm64")
    specs = lists.read("b:1\n\na:1 # x\n", "images.yaml")
    made = plan(specs, [Destination.parse("r.example"), Destination.parse("s.example")], (arm,))
    assert [(str(job.target), str(job.at)) for job in made.jobs] == [
        ("r.example/b:1", "images.yaml:1:1"),
        ("s.example/b:1", "images.yaml:1:1"),
        ("r.example/a:1", "images.yaml:3:1"),
        ("s.example/a:1", "images.yaml:3:1"),
    ]
    assert {job.platforms for job in made.jobs} == {(arm,)}
    assert made.warnings == ()


def test_two_images_that_would_become_one_are_told_with_both_places() -> None:
    assert mistakes("# c\n\nghcr.io/a/app:1\n\n quay.io/b/app:1") == [
        "images.yaml:5:2: quay.io/b/app:1 and ghcr.io/a/app:1 (images.yaml:3:1) would both become "
        "registry.example/team/app:1. Keep one of them. The other can go by a list of its own, "
        "into another namespace."
    ]


def test_every_collision_is_told_at_once_each_once() -> None:
    told = mistakes("a/x:1\na/y:1\nb/x:1\nb/y:1\nc/x:1\nb/x:1\nz:1\n")
    assert [line.split(" would")[0] for line in told] == [
        "images.yaml:3:1: b/x:1 and a/x:1 (images.yaml:1:1)",
        "images.yaml:4:1: b/y:1 and a/y:1 (images.yaml:2:1)",
        "images.yaml:5:1: c/x:1 and a/x:1 (images.yaml:1:1)",
    ]


def test_one_tag_by_two_digests_is_a_collision() -> None:
    (told,) = mistakes(f"x:1\nx:1@sha256:{A64}")
    assert "x:1 (images.yaml:1:1) would both become registry.example/team/x:1" in told


def test_an_image_that_stands_twice_is_copied_once_with_a_warning() -> None:
    made = planned("nginx:1\nredis:7\ndocker.io/library/nginx:1\n", "r.example", "s.example")
    assert [str(job.target) for job in made.jobs] == [
        "r.example/nginx:1", "s.example/nginx:1", "r.example/redis:7", "s.example/redis:7"
    ]  # fmt: skip
    assert [str(warning) for warning in made.warnings] == [
        "images.yaml:3:1: nginx:1 stands at images.yaml:1:1 already. It is copied once; "
        "remove one of the two."
    ]


def test_a_destination_named_twice_is_one() -> None:
    assert len(planned("nginx:1", "r.example/a", "r.example/a").jobs) == 1


def test_an_image_that_would_be_copied_onto_itself_is_a_mistake() -> None:
    assert mistakes("nginx:1\nr.example/team/x:1", "r.example/team") == [
        "images.yaml:2:1: r.example/team/x:1 would be copied onto itself. "
        "Remove it, or choose another destination"
    ]


def test_a_target_that_no_registry_takes_is_a_mistake() -> None:
    (told,) = mistakes(f"x:1\n{'a' * 100}:1", f"r.example/{'n' * 200}")
    assert told.startswith("images.yaml:2:1: ")
    assert "the name has 301 characters; at most 255. Choose a shorter namespace" in told


def test_no_images_are_an_empty_plan() -> None:
    assert planned("# nothing yet\n") == Plan(())


def test_the_list_in_this_repository_can_be_planned_without_a_warning() -> None:
    path = Path(__file__).parent.parent / "images.yaml"
    made = planned(lists.decode(path.read_bytes(), path.name))
    assert len(made.jobs) >= 10
    assert made.warnings == ()


sources = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "a/", "b/", "ghcr.io/a/", "quay.io/a/b/"]),
    st.sampled_from(["x", "y", "z"]),
    st.sampled_from(["", ":latest", ":1", ":2", f"@sha256:{A64}", f":1@sha256:{A64}"]),
)
destinations = st.sampled_from(["ghcr.io/a", "quay.io/a/b", "r.example", "r.example/a"])


@given(st.lists(sources, max_size=8), st.lists(destinations, min_size=1, max_size=3))
def test_a_plan_writes_every_target_once_and_brings_every_image_everywhere(
    texts: list[str], to: list[str]
) -> None:
    specs = lists.entries(texts)
    distinct = {spec.source for spec in specs}
    try:
        made = plan(specs, [Destination.parse(each) for each in to])
    except PlanError as error:
        assert error.mistakes
        return
    targets = [job.target for job in made.jobs]
    assert len(set(targets)) == len(targets) == len(distinct) * len(set(to))
    assert {job.source for job in made.jobs} == distinct
    assert len(made.warnings) == len(specs) - len(distinct)
    assert all(job.source != job.target for job in made.jobs)


def family(job: CopyJob) -> str:
    return f"{job.source.place}/{job.source.repository}"


lists_of_names = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 40)), unique=True, max_size=60
)


@given(lists_of_names, st.integers(1, 12))
def test_each_image_is_in_exactly_one_part_and_a_repository_in_one_alone(
    names: list[tuple[str, int]], count: int
) -> None:
    whole = planned("\n".join(f"{name}:{tag}" for name, tag in names))
    parts = [part(whole, Shard(index, count)) for index in range(1, count + 1)]
    assert sorted(job.at for each in parts for job in each.jobs) == [j.at for j in whole.jobs]
    for each in parts:
        assert list(each.jobs) == [job for job in whole.jobs if job in each.jobs]
    homes: dict[str, set[int]] = {}
    for index, each in enumerate(parts):
        for job in each.jobs:
            homes.setdefault(family(job), set()).add(index)
    assert all(len(where) == 1 for where in homes.values())


@given(lists_of_names, st.integers(1, 12))
def test_no_part_is_larger_than_another_by_more_than_one_repository(
    names: list[tuple[str, int]], count: int
) -> None:
    whole = planned("\n".join(f"{name}:{tag}" for name, tag in names))
    sizes = [len(part(whole, Shard(index, count)).jobs) for index in range(1, count + 1)]
    families = [family(job) for job in whole.jobs]
    largest = max((families.count(name) for name in families), default=0)
    assert max(sizes) - min(sizes) <= largest


def test_parts_do_not_depend_on_the_run_but_on_the_list_alone() -> None:
    whole = planned("a:1\nb:1\na:2\nc:1\nd:1\ne:1")
    first, second = (part(whole, Shard(index, 2)) for index in (1, 2))
    assert [job.source.familiar for job in first.jobs] == ["a:1", "a:2", "d:1"]
    assert [job.source.familiar for job in second.jobs] == ["b:1", "c:1", "e:1"]


def test_a_warning_about_the_list_is_told_by_one_part_alone() -> None:
    whole = planned("a:1\nb:1\nb:1")
    told = [part(whole, Shard(index, 3)).warnings for index in (1, 2, 3)]
    assert told == [whole.warnings, (), ()]
    assert whole.warnings


@pytest.mark.parametrize("text", ["1/1", "2/4", f"{SHARDS_MAX}/{SHARDS_MAX}"])
def test_a_shard_is_read_back_from_its_own_text(text: str) -> None:
    assert str(Shard.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "0/4", "5/4", "1/0", "1", "1/", "/4", "-1/4", "1/257", "a/b", "1/4\n", "1 / 4"]
)
def test_what_is_no_shard_is_refused_with_a_right_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"2/4"):
        Shard.parse(text)


def test_in_a_layout_an_image_is_called_by_its_name_and_tag_alone() -> None:
    specs = lists.entries(["ghcr.io/org/team/app:dev", f"nginx@sha256:{'a' * 64}"])
    made = plan(specs, [Destination.parse("oci:./export")])
    assert [str(job.target) for job in made.jobs] == [
        "oci:./export:app:dev",
        f"oci:./export:nginx:sha256.{'a' * 64}",
    ]
    assert made.tar is None
    assert str(plan(specs, [Destination.parse("oci:export.tar")]).tar) == "oci:./export.tar"


def test_an_image_of_a_layout_goes_out_by_its_last_part() -> None:
    specs = lists.entries(["r.example:5000/team/app:1", "web:2"], Layout("./export"))
    made = plan(specs, [Destination.parse("s.example/team")])
    assert [str(job.target) for job in made.jobs] == [
        "s.example/team/app:1",
        "s.example/team/web:2",
    ]


def test_an_image_of_a_layout_is_not_copied_onto_itself() -> None:
    specs = lists.entries(["app:1"], Layout("./export"))
    with pytest.raises(PlanError, match="would be copied onto itself"):
        plan(specs, [Destination.parse("oci:export")])
