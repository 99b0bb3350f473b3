"""What is advised fits whoever spoke, and whichever way the images go."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

from asyncsync.model.digest import Digest
from asyncsync.model.errors import (
    AuthenticationFailed,
    BlobsUnknown,
    CopyError,
    DigestMismatch,
    EngineUnavailable,
    NotFound,
    PermissionDenied,
    RegistryUnavailable,
    TargetFull,
    TlsError,
    Where,
)
from asyncsync.model.job import Step

IMAGE = "docker.io/library/nginx:1.27"


@pytest.mark.parametrize(
    ("step", "registry", "at_target"),
    [
        (Step.RESOLVE, "docker.io", False),
        (Step.RESOLVE, "r.example", True),
        (Step.PULL, "docker.io", False),
        (Step.TAG, "r.example", False),
        (Step.PUSH, "r.example", True),
        (Step.VERIFY, "r.example", True),
        (Step.COPY, "r.example", True),
        (Step.COPY, "docker.io", False),
        (Step.COPY, "docker.io:5000", True),
    ],
)
def test_it_is_the_target_that_spoke_in_its_own_steps_or_where_the_image_is_not_from(
    step: Step, registry: str, at_target: bool
) -> None:
    assert Where(registry, IMAGE, step).at_target is at_target


def test_a_registry_that_says_when_it_is_back_is_not_looked_for() -> None:
    error = RegistryUnavailable("503", Where("r.example"), transient=True, retry_after=3600)
    assert error.advice() == "Wait 3600 s, as r.example asks for, then run it again."


def test_without_an_image_nobody_is_taken_for_the_target_of_a_copy() -> None:
    assert not Where("r.example", None, Step.COPY).at_target
    assert not Where("r.example").at_target


def test_a_registry_at_another_port_is_another_one() -> None:
    assert Where("r.example", "r.example:5000/app:1", Step.COPY).at_target


@pytest.mark.parametrize("step", [Step.RESOLVE, Step.PUSH, Step.COPY])
def test_the_target_wants_its_repository_and_the_right_to_push(step: Step) -> None:
    where = Where("r.example", IMAGE, step)
    assert "Create the repository at r.example" in NotFound("", where).advice()
    assert "the right to push at r.example" in PermissionDenied("", where).advice()


@pytest.mark.parametrize("step", [Step.RESOLVE, Step.PULL])
def test_the_source_wants_the_right_name_and_the_right_to_pull(step: Step) -> None:
    where = Where("docker.io", IMAGE, step)
    assert "Correct the name or the tag" in NotFound("", where).advice()
    assert "may pull at docker.io" in PermissionDenied("", where).advice()


def test_an_image_that_its_digest_chose_wants_the_right_digest() -> None:
    where = Where("docker.io", f"{IMAGE}@{Digest.of(b'')}", Step.RESOLVE)
    assert NotFound("", where).advice().startswith("Correct the name or the digest in the list")


def test_where_source_and_target_may_be_one_the_advice_is_for_both() -> None:
    where = Where("docker.io", IMAGE, Step.COPY)
    assert "incomplete at docker.io, or, where that is the target" in NotFound("", where).advice()
    told = PermissionDenied("", where).advice()
    assert "may pull at docker.io, and push if it is the target too" in told


@pytest.mark.parametrize("step", [Step.RESOLVE, Step.PULL, Step.COPY])
def test_a_login_where_images_come_from_is_none_of_the_targets_variables(step: Step) -> None:
    advice = AuthenticationFailed("", Where("docker.io", IMAGE, step)).advice()
    assert advice.startswith("Log in: docker login docker.io. REGISTRY_USER")
    assert advice.endswith("are for the target alone.")


@pytest.mark.parametrize("step", [Step.RESOLVE, Step.PUSH, Step.COPY])
def test_a_login_at_the_target_has_its_variables(step: Step) -> None:
    advice = AuthenticationFailed("", Where("r.example", IMAGE, step)).advice()
    assert "REGISTRY_USER and REGISTRY_PASSWORD" in advice
    assert "correct them" in advice


def test_a_certificate_is_trusted_by_either_way() -> None:
    advice = TlsError("", Where("r.example:5000")).advice()
    assert "--ca-file FILE, or /etc/docker/certs.d/r.example:5000/ca.crt" in advice
    assert "--plain-http r.example:5000" in advice
    assert "--insecure-skip-verify r.example:5000" in advice
    assert "--via direct" in advice


def test_an_engine_that_is_absent_is_not_needed() -> None:
    error = EngineUnavailable("No Docker Engine answers at unix:///x (no such file)")
    assert str(error) == (
        "No Docker Engine answers at unix:///x (no such file).\n"
        "  Start Docker, point DOCKER_HOST to it, or copy without it: --via direct."
    )


@pytest.mark.parametrize(
    "error", [EngineUnavailable("nobody answers"), CopyError("what", Where("r.example"))]
)
def test_an_error_survives_pickling(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert (type(again), str(again)) == (type(error), str(error))


@pytest.mark.parametrize(
    "other",
    [
        lambda error: error.located(IMAGE, Step.COPY),
        lambda error: error.saying("it lacks a part"),
        lambda error: error.waiting(2.0),
        lambda error: error.ending_run(),
        lambda error: error.given_up(),
        lambda error: error.anew(),
    ],
    ids=["located", "said", "waiting", "ending the run", "given up", "anew"],
)
def test_an_error_made_of_another_keeps_what_that_was_given(
    other: Callable[[BlobsUnknown], BlobsUnknown],
) -> None:
    missing = (Digest.of(b"lost"),)
    error = BlobsUnknown("it lacks blobs", Where("r.example"), True, False, 1.0)
    made = other(error.naming(missing).advising("Ask its owner.").being_away())
    assert made is not error
    assert (made.missing, made.advised, made.away) == (missing, "Ask its owner.", True)
    assert made.args == (made.what, made.where, made.transient, made.ends_run, made.retry_after)


def test_a_layout_is_the_target_unless_the_image_is_from_it() -> None:
    assert Where("oci:./x", IMAGE, Step.COPY).at_target
    assert Where("oci:./x", "oci:./xy:app:1", Step.COPY).at_target
    assert not Where("oci:./x", "oci:./x:app:1", Step.COPY).at_target
    assert Where("r.example", "oci:./x:app:1", Step.COPY).at_target


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        (PermissionDenied, "Give us the right to read oci:./x, and to write there if"),
        (RegistryUnavailable, "Check the disk of oci:./x, then run it again."),
        (DigestMismatch, "oci:./x is damaged: carry it over again, or, if it is damaged where it"),
        (TargetFull, "Free space on the disk of oci:./x, then run it again"),
    ],
)
def test_what_is_advised_for_a_layout_is_about_files(kind: type[CopyError], advice: str) -> None:
    error = kind("what", Where("oci:./x", "oci:./x:app:1", Step.COPY))
    assert error.advice().startswith(advice)


def test_a_name_that_a_layout_does_not_have_is_corrected_in_the_list() -> None:
    error = NotFound("what", Where("oci:./x", "oci:./x:app:1", Step.RESOLVE))
    assert error.advice().startswith("Correct the name or the tag in the list")


def test_a_digest_that_a_layout_does_not_have_was_not_carried_over() -> None:
    error = NotFound("what", Where("oci:./x", f"oci:./x:app:1@{Digest.of(b'')}", Step.RESOLVE))
    assert error.advice().startswith("oci:./x holds not all that is listed: carry it over again")
