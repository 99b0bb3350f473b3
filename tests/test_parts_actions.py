"""The runner of workflows does with them what GitHub's own does."""

from __future__ import annotations

import signal
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parts.actions import Annotation, Call, Grace, JobResult, Run, Runner, WorkflowRefused
from parts.actions.log import Masks, read_command, read_pairs
from parts.expressions import ExpressionRefused

PATH = ".github/workflows/w.yaml"
PINNED = "3d3c42e5aac5ba805825da76410c181273ba90b1"


class Repository:
    """A repository in a folder, whose files a test writes; `push(jobs)` runs a workflow of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.source = folder / "source"

    def write(self, path: str, text: str) -> None:
        file = self.source / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))

    def runner(self, workflow: str, **options: Any) -> Runner:
        self.write(PATH, workflow)
        return Runner(self.source, folder=self._folder / "runs", **options)

    def push(
        self, jobs: str, *, cancel_when: Callable[[str], bool] | None = None, **options: Any
    ) -> Run:
        text = "on: push\njobs:\n" + textwrap.indent(textwrap.dedent(jobs), "  ")
        return self.runner(text, **options).push(PATH, cancel_when=cancel_when)

    def steps(
        self, steps: str, *, cancel_when: Callable[[str], bool] | None = None, **options: Any
    ) -> JobResult:
        text = textwrap.indent(textwrap.dedent(steps), "    ")
        job = f"job:\n  runs-on: ubuntu-latest\n  steps:\n{text}"
        return self.push(job, cancel_when=cancel_when, **options).job("job")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def outcomes(job: JobResult) -> list[str]:
    return [step.outcome for step in job.steps]


# What starts a workflow


DISPATCH = """
    on:
      push:
      workflow_dispatch:
        inputs:
          list: {default: images.yaml}
          fail-fast: {type: boolean, default: true}
          concurrency: {type: number, default: 8}
          level: {type: choice, options: [debug, info], default: info}
          to: {required: true}
    run-name: sync of ${{ inputs.list }}
    concurrency:
      group: sync-${{ github.ref }}
      cancel-in-progress: false
    permissions: {contents: read}
    jobs:
      job:
        runs-on: ubuntu-latest
        timeout-minutes: 350
        steps:
          - env:
              LIST: ${{ inputs.list }}
              FAST: ${{ inputs.fail-fast }}/${{ inputs.fail-fast == true }}/${{ !inputs.fail-fast }}
              MORE: ${{ inputs.concurrency }}/${{ inputs.level }}
              SENT: ${{ github.event.inputs.fail-fast }}
            run: echo "$LIST $FAST $MORE/$SENT"
"""


def test_inputs_of_a_run_by_hand_have_their_types_and_defaults(repository: Repository) -> None:
    runner = repository.runner(DISPATCH)
    run = runner.dispatch(PATH, inputs={"to": "r.example"})
    assert run.job("job").log == "images.yaml true/true/false 8/info/true"
    run = runner.dispatch(PATH, inputs={"to": "r", "fail-fast": "false", "list": "a b"})
    assert run.job("job").log == "a b false/false/true 8/info/false"
    assert run.name == "sync of a b"


def test_after_a_push_every_input_is_null(repository: Repository) -> None:
    run = repository.runner(DISPATCH).push(PATH)
    assert run.job("job").log == " /false/true //"
    assert run.name == "sync of "


def test_what_is_written_about_a_run_and_a_job_is_evaluated(repository: Repository) -> None:
    run = repository.runner(DISPATCH).push(PATH)
    assert run.concurrency == {"group": "sync-refs/heads/main", "cancel-in-progress": False}
    job = run.job("job")
    assert (run.permissions, job.permissions) == ({"contents": "read"}, {"contents": "read"})
    assert (job.runs_on, job.timeout_minutes) == ("ubuntu-latest", 350)


@pytest.mark.parametrize(
    "inputs",
    [
        {}, {"to": "r", "unknown": "x"}, {"to": "r", "fail-fast": "yes"},
        {"to": "r", "concurrency": "many"}, {"to": "r", "level": "loud"},
    ],
)  # fmt: skip
def test_inputs_that_github_would_refuse_are_refused(
    repository: Repository, inputs: dict[str, str]
) -> None:
    with pytest.raises(WorkflowRefused):
        repository.runner(DISPATCH).dispatch(PATH, inputs=inputs)


def test_a_workflow_is_not_started_by_an_event_that_it_does_not_name(
    repository: Repository,
) -> None:
    with pytest.raises(WorkflowRefused, match="not started by pull_request"):
        repository.runner(DISPATCH).pull_request(PATH)


@pytest.mark.parametrize(
    ("fork", "log"), [(False, "no: *** team/mirror"), (True, "yes:  stranger/mirror")]
)
def test_a_pull_request_from_a_fork_has_no_secrets(
    repository: Repository, fork: bool, log: str
) -> None:
    workflow = """
        on: [pull_request]
        jobs:
          job:
            runs-on: ubuntu-latest
            env:
              SECRET: ${{ secrets.KEY }}
              HEAD: ${{ github.event.pull_request.head.repo.full_name }}
            steps:
              - if: github.event.pull_request.head.repo.fork
                run: 'echo "yes: $SECRET $HEAD"'
              - if: "!github.event.pull_request.head.repo.fork"
                run: 'echo "no: $SECRET $HEAD"'
    """
    runner = repository.runner(workflow, fork=fork, secrets={"KEY": "s3cret"})
    assert runner.pull_request(PATH).job("job").log.strip() == log


# What GitHub refuses before anything runs


@pytest.mark.parametrize(
    "step",
    [
        "{run: x, if: secrets.KEY}",
        "{run: x, if: '${{ env.A }} == 1'}",
        "{run: 'echo ${{ secretss.KEY }}'}",
        "{run: x, env: {A: '${{ success() }}'}}",
        "{run: x, timeout: 5}",
        "{run: x, uses: ./a}",
        "{uses: ./a, shell: bash}",
        "{uses: 'a/${{ github.ref }}@v1'}",
        "{name: nothing}",
        "{run: x, id: 'a b'}",
        "{run: x, run: y}",
    ],
)
def test_a_wrong_step_is_refused_even_where_it_would_not_run(
    repository: Repository, step: str
) -> None:
    with pytest.raises((ExpressionRefused, WorkflowRefused)):
        repository.push(f"""
            job:
              if: false
              runs-on: ubuntu-latest
              steps: [{step}]
        """)


@pytest.mark.parametrize(
    "about",
    [
        "if: env.A", "if: steps.x.outputs.y", "env: {A: '${{ runner.temp }}'}", "needs: nobody",
        "env: {A: '${{ env.B }}'}", "concurrency: '${{ secrets.KEY }}'", "needs: [job]",
        "container: alpine", "name: '${{ steps.x.outcome }}'",
        "strategy: {matrix: {a: '${{ matrix.b }}'}}",
    ],
)  # fmt: skip
def test_a_wrong_job_is_refused(repository: Repository, about: str) -> None:
    with pytest.raises((ExpressionRefused, WorkflowRefused)):
        repository.push(f"""
            job:
              runs-on: ubuntu-latest
              {about}
              steps: [{{run: 'true'}}]
        """)


def test_yaml_is_read_as_github_reads_it(repository: Repository) -> None:
    job = repository.steps("""
        - env: {A: yes, B: 010, C: 1.10, D: true, E: null, F: 2026-01-01, G: 0x10, H: "010", I: on}
          run: echo "$A $B $C $D $E $F $G $H $I"
    """)
    assert job.log == "yes 10 1.1 true  2026-01-01 16 010 on"


# How a step runs


def test_a_shell_of_bash_sees_a_failure_in_a_pipe_and_the_default_one_does_not(
    repository: Repository,
) -> None:
    steps = """
        - run: |
            false | true
            echo "$- $(shopt -o pipefail)"
        - shell: bash
          continue-on-error: true
          run: false | true
        - shell: sh
          run: echo sh
        - shell: python
          run: print("python")
    """
    job = repository.steps(steps)
    assert outcomes(job) == ["success", "failure", "success", "success"]
    assert job.steps[0].log.split()[-2:] == ["pipefail", "off"]
    assert (job.steps[1].conclusion, job.steps[1].exit_code) == ("success", 1)
    assert job.log.splitlines()[-2:] == ["sh", "python"]
    assert job.result == "success"


def test_a_process_has_githubs_variables_and_those_of_the_test_alone(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THIS_PROCESS", "x")
    job = repository.steps(
        """
        - id: seen
          env: {GITHUB_SHA: mine, OWN: own}
          run: env
        """,
        variables={"DOCKER_HOST": "unix:///x.sock"},
    )
    seen = dict(line.split("=", 1) for line in job.step("seen").raw_lines if "=" in line)
    wanted = {
        "CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "team/mirror",
        "GITHUB_EVENT_NAME": "push", "GITHUB_REF_NAME": "main", "GITHUB_JOB": "job",
        "DOCKER_HOST": "unix:///x.sock", "OWN": "own", "GITHUB_WORKSPACE": str(job.workspace),
    }  # fmt: skip
    assert {name: seen.get(name) for name in wanted} == wanted
    assert "OF_THIS_PROCESS" not in seen
    assert len(seen["GITHUB_SHA"]) == 40
    assert seen["PWD"] == str(job.workspace)


def test_env_and_defaults_of_inner_places_win(repository: Repository) -> None:
    run = repository.runner(
        """
        on: push
        env: {A: workflow, B: workflow, C: workflow}
        defaults: {run: {shell: sh}}
        jobs:
          job:
            runs-on: ubuntu-latest
            env: {B: "job", C: "${{ github.ref_name }}"}
            defaults: {run: {working-directory: inner}}
            steps:
              - run: mkdir inner
                working-directory: .
              - env: {C: "${{ env.C }}, step"}
                run: echo "$A $B $C ${0##*/} ${{ env.C }}"
              - run: basename "$PWD"
        """
    ).push(PATH)
    assert run.job("job").log == f"workflow job main, step {_script(run)} main, step\ninner"


def _script(run: Run) -> str:
    return run.job("job").steps[1].log.split()[4]


def test_files_of_a_step_reach_the_following_steps(repository: Repository) -> None:
    job = repository.steps("""
        - id: first
          run: |
            echo "NAME=a=b" >>"$GITHUB_ENV"
            printf 'LINES<<END\\none\\n\\ntwo\\nEND\\n' >>"$GITHUB_ENV"
            mkdir tools && printf '#!/bin/sh\\necho tool' >tools/tool && chmod +x tools/tool
            echo "$PWD/tools" >>"$GITHUB_PATH"
            echo "answer=42" >>"$GITHUB_OUTPUT"
            echo "[$NAME]"
        - run: |
            echo "$NAME|$LINES|$(tool)|${{ steps.first.outputs.answer }}|${{ env.NAME }}"
            test ! -s "$GITHUB_ENV"
        - env: {NAME: own}
          run: echo "$NAME ${{ steps.first.outcome }} ${{ steps.none.outcome }}."
    """)
    assert job.steps[0].outputs == {"answer": "42"}
    assert job.log == "[]\na=b|one\n\ntwo|tool|42|a=b\nown success ."


@pytest.mark.parametrize("line", ["no-equals", "NAME<<END\nnever ended", "<<END\nx\nEND", "A<<\nx"])
def test_a_wrong_line_in_a_file_fails_the_step(repository: Repository, line: str) -> None:
    job = repository.steps(
        "- {run: 'printf %s \"$LINE\" >>\"$GITHUB_OUTPUT\"', env: {LINE: '${{ vars.LINE }}'}}",
        settings={"LINE": line},
    )
    assert job.result == "failure"
    assert job.annotations[0].message == "Unable to process file command 'output' successfully."


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("a=b\n\nc=d<<e\n", [("a", "b"), ("c", "d<<e")]),
        ("a<<E=E\nx\nE=E", [("a", "x")]),
        ("a<<E\nE\nb= x ", [("a", ""), ("b", " x ")]),
        ("a<<E\r\nx\r\nE\r\n", [("a", "x\r")]),
    ],
)
def test_pairs_are_read_as_the_runner_reads_them(text: str, pairs: list[tuple[str, str]]) -> None:
    assert read_pairs(text) == pairs


def test_an_expression_in_a_script_is_text_and_so_a_hole(repository: Repository) -> None:
    workflow = """
        on: {workflow_dispatch: {inputs: {list: {}}}}
        jobs:
          wrong:
            runs-on: ubuntu-latest
            steps:
              - run: echo "${{ inputs.list }}"
          right:
            runs-on: ubuntu-latest
            steps:
              - env: {LIST: "${{ inputs.list }}"}
                run: echo "$LIST"
    """
    hostile = "$(touch pwned)`touch pwned2`\"; touch pwned3; '"
    run = repository.runner(workflow).dispatch(PATH, inputs={"list": hostile})
    assert sorted(_names(run.job("wrong"))) == []  # the quotes do not match: nothing runs
    assert run.job("right").log == hostile
    assert _names(run.job("right")) == []
    run = repository.runner(workflow).dispatch(PATH, inputs={"list": "$(touch pwned)"})
    assert _names(run.job("wrong")) == ["pwned"]
    assert _names(run.job("right")) == []


def _names(job: JobResult) -> list[str]:
    assert job.workspace is not None
    return [path.name for path in job.workspace.iterdir()]


# What a step says


def test_commands_in_the_output_become_annotations(repository: Repository) -> None:
    job = repository.steps("""
        - run: |
            echo '::error file=images.yaml,line=3,col=4,title=a%2Cb%3A%25::one%0Atwo%25'
            echo "  ::warning file=$PWD/x.py::spaces before"
            echo 'text ::error::in the middle'
            echo '::unknown::x' >&2
            printf 'progress\\r::notice::after a carriage return\\n'
            echo 'text ##[error]anywhere'
            echo '::group::Title'
            echo '::endgroup::'
            echo '::debug::hidden'
    """)
    assert sorted(job.annotations, key=str) == sorted([
        Annotation(
            level="error", message="one\ntwo%", file="images.yaml", line=3, col=4, title="a,b:%"
        ),
        Annotation(level="warning", message="spaces before", file="x.py"),
        Annotation(level="notice", message="after a carriage return"),
        Annotation(level="error", message="anywhere"),
    ], key=str)  # fmt: skip
    assert {"text ::error::in the middle", "::unknown::x", "##[group]Title"} <= set(
        job.steps[0].lines
    )
    assert "hidden" not in job.log
    assert "hidden" in job.raw
    assert [c.name for c in job.steps[0].commands if c.name == "debug"] == ["debug"]


def test_stopped_commands_are_only_shown(repository: Repository) -> None:
    job = repository.steps("""
        - run: |
            echo '::stop-commands::t0ken'
            echo '::error::one'
            echo '::T0ken::'
            echo '::error::two'
        - run: echo '::error::three'
    """)
    assert [a.message for a in job.annotations] == ["two", "three"]
    assert "::error::one" in job.log


@pytest.mark.parametrize(
    "line", ["::set-output name=a::b", "x ##[set-env name=a]b", "::add-path::x"]
)
def test_commands_of_the_past_are_an_error_of_the_test(repository: Repository, line: str) -> None:
    with pytest.raises(WorkflowRefused, match="no longer used"):
        repository.steps(f"- run: |\n    echo '{line}'")


@pytest.mark.parametrize(
    "line",
    ["::errors::x", "error::x", ":: error::x", "::error", "##[error", "##[ error]x", "::::x"],
)
def test_what_is_no_command_is_text(line: str) -> None:
    assert read_command(line, {"error"}) is None


def test_secrets_and_what_is_masked_later_are_hidden(repository: Repository) -> None:
    job = repository.steps(
        """
        - name: tells ${{ secrets.KEY }}
          id: tells
          env: {SECRET: "${{ secrets.KEY }}", LINES: "${{ secrets.LINES }}"}
          run: |
            echo "a $SECRET b"
            echo "$LINES"
            echo derived
            echo "::add-mask::derived"
            echo "x derived y"
            echo "::error title=$SECRET::derived"
            echo "of $SECRET" >>"$GITHUB_STEP_SUMMARY"
        - run: echo "derived ${{ github.token }}"
        """,
        secrets={"KEY": "s3cret", "LINES": "first line\nsecond line"},
    )
    assert job.steps[0].name == "tells ***"
    assert job.step("tells").lines[:5] == ("a *** b", "***", "***", "derived", "x *** y")
    assert job.step("tells").raw_lines[0] == "a s3cret b"
    assert (job.annotations[0].title, job.annotations[0].message) == ("***", "***")
    assert job.summary == "of ***\n"
    assert "SECRET: ***" in job.steps[0].header
    assert 'echo "::add-mask::***"' not in job.steps[0].header  # the header came before
    assert job.steps[1].log == "*** ***"


@pytest.mark.parametrize(
    ("env", "shown"),
    [
        ("{}", "s3cret"),
        ("{A: '${{ secrets.OTHER }}'}", "s3cret"),
        ("{A: '${{ Secrets.key }}'}", "***"),
        ("{A: '${{ toJSON(secrets) }}'}", "***"),
    ],
)
def test_a_job_hides_only_secrets_that_it_names(
    env: str, shown: str, repository: Repository
) -> None:
    steps = f"- {{run: echo s3cret, env: {env}}}"
    job = repository.steps(steps, secrets={"KEY": "s3cret", "OTHER": "x"})
    assert job.steps[0].log == shown


def test_overlapping_masks_are_one() -> None:
    assert Masks("abc", "bcd", "", " ").hide("xabcdx abc") == "x***x ***"


def test_what_github_drops_is_dropped(repository: Repository) -> None:
    job = repository.steps("""
        - run: |
            for i in $(seq 12); do echo "::warning::$i"; echo "::notice::$i"; done
            head -c 1048577 /dev/zero >>"$GITHUB_STEP_SUMMARY"
        - run: head -c 1048576 /dev/zero >>"$GITHUB_STEP_SUMMARY"
    """)
    levels = [a.level for a in job.annotations]
    assert (levels.count("warning"), levels.count("notice")) == (10, 10)
    assert "upload aborted" in job.annotations[-1].message
    assert job.result == "success"
    assert [len(step.summary) > 0 for step in job.steps] == [False, True]


# What runs after what


STATUSES = textwrap.dedent("""
    - {id: default, run: 'true'}
    - {id: success, run: 'true', if: success()}
    - {id: always, run: 'true', if: always()}
    - {id: failure, run: 'true', if: failure()}
    - {id: cancelled, run: 'true', if: cancelled()}
    - {id: not-cancelled, run: 'true', if: '!cancelled()'}
    - {id: both, run: 'true', if: "${{ failure() && steps.first.outcome == 'failure' }}"}
""")


def test_after_a_failure_those_run_that_ask_for_it(repository: Repository) -> None:
    job = repository.steps("- {id: first, run: exit 3}\n" + STATUSES)
    assert [s.id for s in job.steps if s.outcome == "success"] == [
        "always", "failure", "not-cancelled", "both",
    ]  # fmt: skip
    assert (job.step("first").exit_code, job.result) == (3, "failure")
    assert job.annotations[0].message == "Process completed with exit code 3."


def test_a_cancelled_step_gets_sigint_alone_and_those_run_that_ask_for_it(
    repository: Repository,
) -> None:
    job = repository.steps(
        textwrap.dedent("""
        - id: first
          run: |
            trap 'echo interrupted; echo "told=yes" >>"$GITHUB_OUTPUT"; exit 0' INT
            echo ready
            while :; do sleep 0.01; done
        """)
        + STATUSES,
        cancel_when=lambda line: line == "ready",
    )
    first = job.step("first")
    assert (first.outcome, first.exit_code, first.outputs) == ("cancelled", 0, {"told": "yes"})
    assert "interrupted" in first.lines
    assert [s.id for s in job.steps if s.outcome == "success"] == ["always", "cancelled"]
    assert job.result == "cancelled"


def test_a_step_that_does_not_hear_gets_sigterm_and_then_sigkill(repository: Repository) -> None:
    job = repository.steps(
        """
        - id: first
          shell: python
          run: |
            import os, signal, time
            for number in signal.SIGINT, signal.SIGTERM:
                signal.signal(number, lambda number, frame: os.write(1, b"%d\\n" % number))
            os.write(1, b"ready\\n")
            while True:
                time.sleep(5)
        - {id: last, run: echo last, if: always()}
        """,
        cancel_when=lambda line: line == "ready",
        grace=Grace(sigint=0.1, sigterm=2),
    )
    first = job.step("first")
    assert first.raw_lines == ("ready", "2", "15")
    assert (first.outcome, first.exit_code) == ("cancelled", -signal.SIGKILL)
    assert job.step("last").log == "last"


def test_a_step_whose_condition_still_holds_is_not_cancelled(repository: Repository) -> None:
    job = repository.steps(
        """
        - {id: first, if: always(), run: 'echo ready; sleep 0.1; echo done'}
        - {id: last, run: 'true'}
        """,
        cancel_when=lambda line: line == "ready",
    )
    assert job.step("first").lines == ("ready", "done")
    assert (outcomes(job), job.result) == (["success", "skipped"], "cancelled")


def test_what_a_step_leaves_behind_ends_with_the_job(repository: Repository) -> None:
    job = repository.steps("""
        - run: |
            sleep 977 >/dev/null 2>&1 &
            until grep -q ^sleep "/proc/$!/cmdline"; do :; done
            echo started
    """)
    assert (job.log, job.left_behind) == ("started", ("sleep 977",))


def test_a_step_has_its_time(repository: Repository) -> None:
    job = repository.steps(
        """
        - run: exec sleep 30
          timeout-minutes: 1
        """,
        seconds_a_minute=0.1, grace=Grace(sigint=0.1),
    )  # fmt: skip
    assert job.result == "failure"
    assert "has timed out after 1 minutes" in job.annotations[0].message


# Jobs


def test_jobs_hand_on_outputs_and_run_after_what_they_need(repository: Repository) -> None:
    run = repository.push(
        """
        last:
          needs: [each, plan]
          if: always()
          runs-on: ubuntu-latest
          steps:
            - run: "echo '${{ needs.each.result }} ${{ needs.plan.outputs.none }}.'"
        never:
          needs: each
          runs-on: ubuntu-latest
          steps: [{run: 'true'}]
        also-never:
          needs: last
          runs-on: ubuntu-latest
          steps: [{run: 'true'}]
        each:
          needs: plan
          strategy:
            fail-fast: false
            matrix: {shard: "${{ fromJSON(needs.plan.outputs.shards) }}"}
          runs-on: ubuntu-latest
          env: {SHARD: "${{ matrix.shard }}"}
          steps:
            - run: touch "$SHARD"; ls; echo "${{ strategy.job-index }}/${{ strategy.job-total }}"
            - {run: exit 1, if: matrix.shard == 'a'}
        plan:
          runs-on: ubuntu-latest
          outputs:
            shards: ${{ steps.plan.outputs.shards }}
            secret: ${{ secrets.KEY }}
          steps:
            - id: plan
              run: echo 'shards=["a", "b"]' >>"$GITHUB_OUTPUT"
        """,
        secrets={"KEY": "s3cret"},
    )
    assert [(j.name, j.result) for j in run.jobs] == [
        ("plan", "success"), ("each (a)", "failure"), ("each (b)", "success"),
        ("last", "success"), ("never", "skipped"), ("also-never", "skipped"),
    ]  # fmt: skip
    assert [job.steps[0].log for job in run.jobs_of("each")] == ["a\n0/2", "b\n1/2"]
    assert run.job("last").log == "failure ."
    assert run.job("plan").outputs == {"shards": '["a", "b"]'}
    assert (
        run.job("plan").annotations[0].message
        == "Skip output 'secret' since it may contain secret."
    )
    assert run.conclusion == "failure"


def test_by_default_one_failure_in_a_matrix_ends_the_others(repository: Repository) -> None:
    run = repository.push("""
        each:
          strategy: {matrix: {a: [1, 2], b: [x], include: [{a: 1, c: more}, {a: 3}]}}
          name: ${{ matrix.a }}${{ matrix.b }}${{ matrix.c }}
          runs-on: ubuntu-latest
          steps: [{run: exit 1}]
    """)
    assert [(j.name, j.result) for j in run.jobs] == [
        ("1xmore", "failure"), ("2x", "cancelled"), ("3", "cancelled"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ('timeout-minutes: "${{ fromJSON(vars.TIME) }}"', "fromJSON"),
        ('timeout-minutes: "${{ vars.TIME }}"', "is no number"),
        ("strategy: {matrix: {a: \"${{ fromJSON('[]') }}\"}}", "does not contain any values"),
        ("strategy: {matrix: {a: \"${{ fromJSON('') }}\"}}", "fromJSON"),
    ],
)
def test_a_job_fails_unbegun_if_what_is_written_about_it_has_no_value(
    repository: Repository, about: str, message: str
) -> None:
    run = repository.push(
        f"""
        job:
          runs-on: ubuntu-latest
          {about}
          steps: [{{run: 'true'}}]
        last:
          needs: job
          if: failure()
          runs-on: ubuntu-latest
          steps: [{{run: 'true'}}]
        """,
        settings={"TIME": "$(touch pwned)"},
    )
    assert [job.result for job in run.jobs] == ["failure", "success"]
    assert run.job("job").steps == ()
    assert message in run.job("job").annotations[0].message


def test_a_step_fails_if_an_expression_in_it_has_no_value(repository: Repository) -> None:
    job = repository.steps("""
        - run: echo "${{ fromJSON('') }}"
        - {run: echo last, if: failure()}
    """)
    assert (outcomes(job), job.log.splitlines()[-1]) == (["failure", "success"], "last")


# Actions


ACTION = """
    name: Sync
    inputs:
      list: {default: "images.yaml of ${{ github.ref_name }}"}
      to: {required: true}
      dry-run: {default: false}
    outputs:
      copied: {value: "${{ steps.copy.outputs.copied }}"}
    runs:
      using: composite
      steps:
        - id: copy
          shell: bash
          env: {LIST: "${{ inputs.list }}", TO: "${{ inputs.to }}"}
          run: |
            echo "$LIST to $TO, ${{ inputs.dry-run }}, $OUTER, ${GITHUB_ACTION_PATH##*/}"
            echo "::warning::from within"
            echo "copied=$TO" >>"$GITHUB_OUTPUT"
            echo "LATER=later" >>"$GITHUB_ENV"
            echo "summary" >>"$GITHUB_STEP_SUMMARY"
            test "$TO" != fail
        - {id: default, shell: bash, run: 'true'}
        - {id: always, shell: bash, run: 'true', if: always()}
        - {id: failure, shell: bash, run: 'true', if: failure()}
"""


def use_action(repository: Repository, to: str) -> JobResult:
    repository.write(".github/actions/sync/action.yml", ACTION)
    return repository.steps(f"""
        - uses: actions/checkout@{PINNED}
        - uses: ./.github/actions/sync
          id: sync
          env: {{OUTER: outer}}
          with: {{to: "{to}", typo: x}}
        - if: always()
          env: {{INNER: "${{{{ steps.copy.outcome }}}}"}}
          run: echo "${{{{ steps.sync.outputs.copied }}}} $LATER [$OUTER] $INNER."
    """)


def test_a_composite_action_runs_within_its_job(repository: Repository) -> None:
    job = use_action(repository, "r.example")
    sync = job.step("sync")
    assert sync.lines[1] == "images.yaml of main to r.example, false, outer, sync"
    assert [(s.id, s.outcome) for s in sync.steps] == [
        ("copy", "success"), ("default", "success"), ("always", "success"), ("failure", "skipped"),
    ]  # fmt: skip
    assert [a.message for a in sync.annotations] == ["Unexpected input(s) 'typo'", "from within"]
    assert sync.summary == "summary\n"
    assert job.steps[2].log == "r.example later [] ."


def test_a_composite_action_fails_with_one_of_its_steps(repository: Repository) -> None:
    job = use_action(repository, "fail")
    assert [s.outcome for s in job.step("sync").steps] == [
        "failure", "skipped", "success", "success",
    ]  # fmt: skip
    assert (job.step("sync").outcome, job.result) == ("failure", "failure")
    assert job.steps[2].log.startswith("fail later")


@pytest.mark.parametrize(
    "change",
    [
        ("${{ inputs.to }}", "${{ secrets.TO }}"), ("${{ inputs.to }}", "${{ needs.x.result }}"),
        ("shell: bash, run: 'true'}", "run: 'true'}"), ("using: composite", "using: node24"),
        ("if: failure()", "timeout-minutes: 5"),
    ],
)  # fmt: skip
def test_a_wrong_action_is_refused(repository: Repository, change: tuple[str, str]) -> None:
    repository.write("a/action.yml", ACTION.replace(*change))
    with pytest.raises((ExpressionRefused, WorkflowRefused)):
        repository.steps(f"""
            - uses: actions/checkout@{PINNED}
            - uses: ./a
              with: {{to: x}}
        """)


def test_a_local_action_is_there_only_after_a_checkout(repository: Repository) -> None:
    repository.write(".github/actions/sync/action.yml", ACTION)
    job = repository.steps("- {uses: ./.github/actions/sync, with: {to: x}}")
    assert "Did you forget to run actions/checkout" in job.annotations[0].message


def test_a_required_input_that_is_not_given_is_an_error_of_the_test(
    repository: Repository,
) -> None:
    repository.write("a/action.yml", ACTION)
    with pytest.raises(WorkflowRefused, match="to is required"):
        repository.steps(f"[{{uses: actions/checkout@{PINNED}}}, {{uses: ./a}}]")


def test_a_name_means_the_outer_step_before_one_within_an_action(repository: Repository) -> None:
    job = use_action(repository, "r.example")
    assert job.step("sync").step("copy") == job.step("copy")
    with pytest.raises(LookupError, match="0 steps"):
        job.step("none")


def test_steps_of_an_action_that_ask_for_it_run_after_a_cancellation(
    repository: Repository,
) -> None:
    repository.write(
        "a/action.yml", ACTION.replace('test "$TO"', "echo ready; exec sleep 30; test")
    )
    job = repository.steps(
        f"""
        - uses: actions/checkout@{PINNED}
        - {{uses: ./a, id: sync, with: {{to: x}}}}
        """,
        cancel_when=lambda line: line == "ready",
    )
    assert [s.outcome for s in job.step("sync").steps] == [
        "cancelled", "skipped", "success", "skipped",
    ]  # fmt: skip
    assert (job.step("sync").outcome, job.result) == ("cancelled", "cancelled")


def test_checkout_copies_the_source_and_lets_the_test_change_the_copy(
    repository: Repository,
) -> None:
    for path in ("images.yaml", "a/b.txt", ".git/config", "__pycache__/x", ".mypy_cache/x"):
        repository.write(path, "of the source\n")
    job = repository.steps(
        f"""
        - uses: actions/checkout@{PINNED}
        - uses: actions/setup-python@v7
          with: {{python-version: "3.13"}}
        - run: ls -A; cat images.yaml
        """,
        edit=lambda workspace: (workspace / "images.yaml").write_text("of the test\n"),
    )
    assert job.log == ".github\na\nimages.yaml\nof the test"
    assert (repository.source / "images.yaml").read_text() == "of the source\n"


def test_an_action_without_a_stand_in_is_an_error_of_the_test(repository: Repository) -> None:
    with pytest.raises(WorkflowRefused, match="no stand-in"):
        repository.steps("- uses: docker/login-action@v4")


def test_a_stand_in_gets_its_inputs_and_gives_outputs(repository: Repository) -> None:
    calls: list[Call] = []

    def login(call: Call) -> dict[str, str]:
        calls.append(call)
        call.write("::notice::logged in")
        return {"user": call.inputs["username"]}

    job = repository.steps(
        """
        - id: login
          uses: docker/login-action@650006c
          with: {username: "${{ secrets.USER }}", logout: true}
        - run: echo "${{ steps.login.outputs.user }}"
        """,
        secrets={"USER": "me!"}, stand_ins={"docker/login-action": login},
    )  # fmt: skip
    assert calls[0].inputs == {"username": "me!", "logout": "true"}
    assert job.annotations[0].message == "logged in"
    assert job.steps[1].raw == "me!"


# Artifacts


def upload(name: str, path: str, more: str = "") -> str:
    lines = textwrap.indent(path, " " * 16)
    return textwrap.dedent(f"""
        - uses: actions/upload-artifact@v7
          if: always()
          with:
              name: {name}
              {more}
              path: |
{lines}
    """)


MAKE_FILES = """
- run: mkdir -p out/deep .hidden && touch out/a.json out/b.txt out/deep/c.json out/.h.json .hidden/x
"""


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("out/a.json", ["a.json"]),
        ("out", ["a.json", "b.txt", "deep/c.json"]),
        ("out/", ["a.json", "b.txt", "deep/c.json"]),
        ("out/*.json", ["a.json"]),
        ("out/**/*.json", ["a.json", "deep/c.json"]),
        ("out\n!out/**/*.json", ["b.txt"]),
        ("out/a.json\nout/deep/c.json", ["a.json", "deep/c.json"]),
        ("out/deep/c.json\nnone.txt", ["out/deep/c.json"]),
        ("# remark\nout/a.json", ["a.json"]),
    ],
)
def test_an_artifact_begins_where_the_real_action_lets_it_begin(
    repository: Repository, path: str, files: list[str]
) -> None:
    run = repository.push(
        "job:\n  runs-on: x\n  steps:" + textwrap.indent(MAKE_FILES + upload("r", path), "    ")
    )
    root = run.artifacts["r"]
    assert sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()) == files


@pytest.mark.parametrize(
    ("more", "level", "result"),
    [
        ("", "warning", "success"), ("if-no-files-found: error", "error", "failure"),
        ("if-no-files-found: ignore", None, "success"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["none", ".hidden"])
def test_nothing_to_upload_is_told_as_asked(
    repository: Repository, more: str, level: str | None, result: str, path: str
) -> None:
    job = repository.steps(MAKE_FILES + upload("r", path, more))
    assert [a.level for a in job.annotations] == ([level] if level else [])
    assert job.result == result


def test_the_same_name_twice_in_a_run_fails_unless_it_may_overwrite(
    repository: Repository,
) -> None:
    steps = MAKE_FILES + upload("r", "out/a.json")
    again = repository.steps(steps + upload("r", "out/b.txt"))
    assert "an artifact with this name already exists" in again.annotations[0].message
    over = repository.steps(steps + upload("r", "out/b.txt", "overwrite: true"))
    assert over.result == "success"


def test_artifacts_outlive_their_jobs(repository: Repository) -> None:
    run = repository.push("""
        each:
          strategy: {matrix: {shard: [a, b]}}
          runs-on: ubuntu-latest
          steps:
            - run: echo "${{ matrix.shard }}" >"${{ matrix.shard }}.txt"
            - uses: actions/upload-artifact@v7
              with: {name: "part-${{ matrix.shard }}", path: "*.txt"}
        last:
          needs: each
          runs-on: ubuntu-latest
          steps:
            - uses: actions/download-artifact@v8
              with: {pattern: part-*, path: all, merge-multiple: true}
            - uses: actions/download-artifact@v8
              with: {path: apart}
            - uses: actions/download-artifact@v8
              with: {name: part-b, path: one}
            - run: echo all/* apart/*/* one/*
            - uses: actions/download-artifact@v8
              with: {name: none}
    """)
    last = run.job("last")
    assert last.log.splitlines()[0] == (
        "all/a.txt all/b.txt apart/part-a/a.txt apart/part-b/b.txt one/b.txt"
    )
    assert list(run.artifacts) == ["part-a", "part-b"]
    assert "Artifact not found for name: none" in last.annotations[0].message


def test_failed_jobs_run_again_with_what_follows_and_nothing_else(repository: Repository) -> None:
    workflow = """
    on: push
    jobs:
      first:
        runs-on: ubuntu-latest
        outputs: {told: "${{ steps.tell.outputs.told }}"}
        steps: [{id: tell, run: 'echo told=$GITHUB_RUN_ATTEMPT >>"$GITHUB_OUTPUT"'}]
      parts:
        needs: first
        runs-on: ubuntu-latest
        strategy: {fail-fast: false, matrix: {part: [1, 2]}}
        steps: [{run: 'test $GITHUB_RUN_ATTEMPT -ge ${{ matrix.part }}'}]
      last:
        needs: [first, parts]
        if: always()
        runs-on: ubuntu-latest
        steps: [{run: 'echo "${{ needs.first.outputs.told }} ${{ needs.parts.result }}"'}]
    """
    first = repository.runner(workflow).push(PATH)
    assert first.job("last").log == "1 failure"
    second = first.rerun_failed()
    assert [job is before for job, before in zip(second.jobs, first.jobs, strict=True)] == [
        True, True, False, False,
    ]  # fmt: skip
    assert second.job("last").log == "1 success"
    assert second.conclusion == "success"


def test_an_artifact_of_which_two_attempts_left_one_cannot_be_got(repository: Repository) -> None:
    """Not even with `overwrite`: which one GitHub gives is not certain."""
    workflow = """
    on: push
    jobs:
      leave:
        runs-on: ubuntu-latest
        steps:
          - run: echo $GITHUB_RUN_ATTEMPT >a
          - uses: actions/upload-artifact@v7
            with: {name: "${{ vars.NAME || format('a-{0}', github.run_attempt) }}", path: a}
          - run: exit 1
      get:
        needs: leave
        if: always()
        runs-on: ubuntu-latest
        steps:
          - {uses: actions/download-artifact@v8, with: {pattern: "a*"}}
          - run: cat a*/a
    """
    told = repository.runner(workflow).push(PATH).rerun_failed().job("get").log
    assert told == "1\n2"
    with pytest.raises(WorkflowRefused, match="two attempts have left a"):
        runner = repository.runner(workflow, settings={"NAME": "a"})
        runner.push(PATH).rerun_failed()
