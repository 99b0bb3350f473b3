"""GitHub's expressions mean here what they mean there, and are refused where they are there."""

from __future__ import annotations

import math

import pytest
from parts.expressions import (
    CaseSensitive,
    ExpressionFailed,
    ExpressionRefused,
    Scope,
    Value,
    check,
    check_condition,
    evaluate,
    fill,
    fill_text,
    holds,
)

SCOPE = Scope(
    {
        "github": {"ref": "refs/heads/main", "event": {"repository": {"fork": False}}},
        "inputs": {"fail-fast": True, "list": "", "count": "3"},
        "needs": {"plan": {"result": "failure", "outputs": {"shards": '["a", "b"]'}}},
        "env": CaseSensitive({"NAME": "value"}),
        "matrix": {"shard": {"name": "x", "sizes": [1.0, 2.0]}},
    }
)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("null", None),
        ("true", True),
        ("'it''s'", "it's"),
        ("-1.5e2", -150),
        ("0x1F", 31),
        (".5", 0.5),
        ("github.ref", "refs/heads/main"),
        ("GitHub.REF", "refs/heads/main"),
        ("github['ref']", "refs/heads/main"),
        ("github.none.such", None),
        ("inputs.fail-fast", True),
        ("env.NAME", "value"),
        ("env.name", None),
        ("matrix.shard.sizes[1]", 2),
        ("matrix.shard.sizes[7]", None),
        ("needs.*.result", ["failure"]),
        ("contains(needs.*.result, 'failure')", True),
        ("!inputs.list", True),
        ("!!inputs.list", False),
        ("inputs.list || 'images.yaml'", "images.yaml"),
        ("inputs.fail-fast && 'yes' || 'no'", "yes"),
        ("false || 0", 0),
        ("1 && ''", ""),
        ("true || false && false", True),
        ("(true || false) && false", False),
        ("!true == false", True),
        ("1 < 2 == true", True),
        ("'A' == 'a'", True),
        ("'a' < 'B'", True),
        ("null == ''", True),
        ("null == 0", True),
        ("true == 'true'", False),
        ("true == 1", True),
        ("true == '1'", True),
        ("inputs.count == 3", True),
        ("inputs.count > 10", False),
        ("'x' == 0", False),
        ("NaN == NaN", False),
        ("2 >= 2", True),
        ("'abc' != 'abd'", True),
        ("null >= null", True),
        ("null > null", False),
        ("github.event == github.event", True),
        ("fromJSON('[1]') == fromJSON('[1]')", False),
        ("contains('Hello', 'ell')", True),
        ("contains(fromJSON('[1, 2]'), '2')", True),
        ("startsWith(github.ref, 'REFS/heads')", True),
        ("endsWith(github.ref, 'main')", True),
        ("format('{0} {{x}} {1}{0}', 'a', 1)", "a {x} 1a"),
        ("join(fromJSON('[1, true, null]'))", "1,true,"),
        ("join(fromJSON('[\"a\", \"b\"]'), ' ')", "a b"),
        ("fromJSON(needs.plan.outputs.shards)[0]", "a"),
        ('fromJson(\'{"a": {"B": 2}}\').A.b', 2),
        ("toJSON('a\"b')", '"a\\"b"'),
        ("toJSON(matrix.shard.sizes)", "[\n  1,\n  2\n]"),
        ("toJSON(fromJSON('[]'))", "[]"),
    ],
)
def test_an_expression_has_the_value_that_github_gives_it(expression: str, value: Value) -> None:
    assert evaluate(f" {expression} ", SCOPE) == value


@pytest.mark.parametrize(
    "expression",
    [
        "", "github.", "github..ref", "a b", "secrets.TOKEN", "steps.x.outputs.y", "unknown()",
        "success()", "hashFiles('x')", '"double"', "'open", "1 = 2", "1 & 2", "1 + 2", "a?b:c",
        "contains('a')", "contains('a', 'b', 'c')", "format()", "(1", "1)", "github[ref",
        "false && secrets.TOKEN", "true || unknown()", "github.1", "1a", "join('a',)", "TRUE",
        "github.*x", "${{ github }}",
    ],
)  # fmt: skip
def test_what_github_refuses_is_refused_unevaluated(expression: str) -> None:
    with pytest.raises(ExpressionRefused):
        check(f"${{{{ {expression} }}}}", SCOPE)
    with pytest.raises(ExpressionRefused):
        evaluate(expression, SCOPE)


@pytest.mark.parametrize(
    "expression", ["fromJSON('')", "fromJSON('{')", "format('{1}', 'a')", "format('{', 'a')"]
)
def test_an_expression_with_wrong_values_fails_when_it_is_evaluated(expression: str) -> None:
    check(f"${{{{ {expression} }}}}", SCOPE)
    with pytest.raises(ExpressionFailed):
        evaluate(expression, SCOPE)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain $HOME {{x}}", "plain $HOME {{x}}"),
        ("${{ inputs.fail-fast }}", "true"),
        ("a ${{ 1 == 2 }} b ${{ null }}.", "a false b ."),
        ("${{ 3.0 }}/${{ 0.1 }}/${{ 1e20 }}", "3/0.1/1E+20"),
        ("x${{ fromJSON('[1]') }}", "xArray"),
        ("${{ '}}' }}${{'{{'}}", "}}{{"),
        ("${{ 'a''}}''b' }}", "a'}}'b"),
    ],
)
def test_a_text_takes_values_as_github_writes_them(template: str, text: str) -> None:
    assert fill_text(template, SCOPE) == text


def test_an_expression_that_is_a_whole_text_keeps_its_type() -> None:
    template: Value = {
        "shard": "${{ fromJSON(needs.plan.outputs.shards) }}",
        "n": [1.0, "${{ true }}"],
    }
    assert fill(template, SCOPE) == {"shard": ["a", "b"], "n": [1.0, True]}


def test_a_list_is_no_text() -> None:
    with pytest.raises(ExpressionFailed):
        fill_text("${{ matrix.shard.sizes }}", SCOPE)


@pytest.mark.parametrize("template", ["${{ github.ref", "a ${{ 'x }} b", "${{ 'a' }} ${{"])
def test_an_expression_without_an_end_is_refused(template: str) -> None:
    with pytest.raises(ExpressionRefused):
        fill(template, SCOPE)


@pytest.mark.parametrize(
    ("condition", "after_success", "after_failure", "when_cancelled"),
    [
        ("", True, False, False),
        ("success()", True, False, False),
        ("always()", True, True, True),
        ("failure()", False, True, False),
        ("cancelled()", False, False, True),
        ("!cancelled()", True, True, False),
        ("${{ !cancelled() && inputs.fail-fast }}", True, True, False),
        ("inputs.fail-fast", True, False, False),
        ("inputs.list", False, False, False),
        ("inputs.list || always()", True, True, True),
        ("'false'", True, False, False),
    ],
)
def test_a_condition_that_asks_for_no_status_holds_only_after_success(
    condition: str, after_success: bool, after_failure: bool, when_cancelled: bool
) -> None:
    def told(status: str) -> bool:
        functions = {
            "success": lambda: status == "success",
            "failure": lambda: status == "failure",
            "cancelled": lambda: status == "cancelled",
            "always": lambda: True,
        }
        return holds(condition, Scope(SCOPE.contexts, functions))

    seen = (told("success"), told("failure"), told("cancelled"))
    assert seen == (after_success, after_failure, when_cancelled)


def test_a_condition_that_would_always_be_true_is_refused() -> None:
    with pytest.raises(ExpressionRefused, match="always true"):
        check_condition("${{ github.ref }} == 'x'", SCOPE)


def test_not_a_number_is_false() -> None:
    value = evaluate("NaN || 'x'", SCOPE)
    assert value == "x"
    assert math.isnan(float(str(evaluate("'x' && NaN", SCOPE))))
