"""The code in answers as models really write them."""

from __future__ import annotations

import pytest

from perforch_core.models.answers import code_blocks

F = "def f(x):\n    return x + 1"
G = "def g(x):\n    return f(x)"


@pytest.mark.parametrize(
    ("answer", "blocks"),
    [
        pytest.param(f"Sure!\n\n```python\n{F}\n```\nHope it helps.", [F], id="prose around"),
        pytest.param(f"```py\r\n{F}\r\n```".replace("\n    ", "\r\n    "), [F], id="CRLF"),
        pytest.param(f"```\n{F}\n```", [F], id="no language"),
        pytest.param(f"``` python title=x\n{F}\n```", [F], id="info string"),
        pytest.param(f"~~~python\n{F}\n~~~", [F], id="tildes"),
        pytest.param(f"````python\n{F}\n# ```\n````", [f"{F}\n# ```"], id="four ticks"),
        pytest.param("1. Do:\n\n   ```python\n   def f(x):\n       return x + 1\n   ```\n", [F], id="indented fence"),
        pytest.param("- ```python\n  def f(x):\n      return x + 1\n  ```\n", [F], id="fence after a list mark"),
        pytest.param(f"Here you go: ```python\n{F}\n```", [F], id="fence after prose"),
        pytest.param(f"```python\n{F}", [F], id="fence never closed"),
        pytest.param(f"```python\n{F}\n\nprint(f(", [F], id="cut off after the function"),
        pytest.param("```python\ndef f(x):\n    return (x +", [], id="cut off inside the function"),
        pytest.param(F, [F], id="bare"),
        pytest.param(f"\n    {F}\n".replace("\n    return", "\n        return"), [F], id="bare and indented"),
        pytest.param(f"Here is the function.\n\n{F}\n\nIt adds one.", [F], id="bare in prose"),
        pytest.param("return x + 1", ["return x + 1"], id="bare body"),
        pytest.param(f"<think>\n```python\n{G}\n```\n</think>\n```python\n{F}\n```", [F], id="thinking"),
        pytest.param(f"<think>def g(x):\n  unbalanced ```\n</think>{F}", [F], id="bare after thinking"),
        pytest.param(
            f"So I try\n```python\n{G}\nhm\n</think>\n\n```python\n{F}\n```", [F], id="thinking without a start"
        ),
        pytest.param(f"<think>\n{F}", [], id="nothing but thinking"),
        pytest.param("", [], id="empty"),
        pytest.param("I cannot help with that.", [], id="refusal"),
        pytest.param("Sorry", [], id="a word that parses"),
        pytest.param("```python\n```", [], id="empty fence"),
        pytest.param(f"```bash\npip install x\n```\n```python\n{F}\n```\n```\n2\n```", [F], id="other languages"),
        pytest.param("```json\n{}\n```", [], id="only another language"),
    ],
)
def test_one_answer(answer: str, blocks: list[str]) -> None:
    assert code_blocks(answer, "python", symbol="f") == blocks


def test_the_block_that_defines_the_target_goes_first() -> None:
    answer = f"```python\n{G}\n```\nand\n```python\n{F}\n```"
    assert code_blocks(answer, "python", symbol="C.f") == [F, G]
    assert code_blocks(answer, "python", symbol="g") == [G, F]


def test_the_new_version_goes_before_the_original() -> None:
    new = "def f(x):\n    return 1 + x"
    answer = f"Your original code:\n```python\n{F}\n```\nThe optimized version:\n```python\n{new}\n```"
    assert code_blocks(answer, "python", symbol="f") == [new, F]


def test_a_block_that_parses_goes_before_one_that_does_not() -> None:
    sketch = "def f(x):\n    return ..(x"
    assert code_blocks(f"```python\n{sketch}\n```\n```python\n{F}\n```", "python", symbol="f") == [F, sketch]


def test_a_lambda_defines_too() -> None:
    answer = "```python\nprint(1)\n```\n```python\nf = lambda x: x + 1\n```"
    assert code_blocks(answer, "python", symbol="f")[0] == "f = lambda x: x + 1"


def test_ticks_inside_a_docstring_do_not_end_the_block() -> None:
    code = 'def f(x):\n    """Adds.\n\n    ```\n    f(1)\n    ```\n    """\n    return x + 1'
    assert code_blocks(f"```python\n{code}\n```", "python", symbol="f") == [code]


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("go", "func F(x int) int {\n\treturn x + 1\n}"),
        ("rust", "pub fn f(x: i32) -> i32 {\n    x + 1\n}"),
        ("java", "public static int f(int x) {\n    return x + 1;\n}"),
        ("cpp", "int f(int x) {\n    return x + 1;\n}"),
    ],
)
def test_other_languages(language: str, code: str) -> None:
    assert code_blocks(f"Here:\n```{language}\n{code}\n```", language) == [code]
    assert code_blocks(f"It is simple.\n\n{code}\n\nThat is all.", language) == [code]


def test_a_huge_answer_takes_no_time_to_speak_of() -> None:
    assert code_blocks("word " * 300_000 + "\n" * 100_000, "python", symbol="f") == []
    assert code_blocks("```" * 50_000, "python", symbol="f") == []
