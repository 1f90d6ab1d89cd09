"""Text of a record never becomes code of the script that is made of it: it is refused, or stands in a comment."""

import ast
import copy
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from properties.cases.case import Case
from properties.failures.record import Record, RecordError
from properties.failures.scripts import standalone_script
from properties.trials.implementation import CannotRun
from properties.trials.verdict import Failed
from tests.helpers.mutant_cases import BY_NAME, judge, load_cases
from tests.helpers.scripts import CORRECT
from tests.mutants import MUTANTS

JUDGED = ("values_exact", "global_state_unchanged", "right_after_any_history")
# What the payloads name, and no script does.
FOREIGN = {"os", "system", "owned", "__import__"}
CODE = '__import__("os").system("owned")'
PAYLOADS = (
    CODE,
    f"torch.float32);{CODE};(0",
    f"torch.float32,{CODE}",
    f"nan);{CODE}#",
    f"1.0\n{CODE}",
    f"1.0\r{CODE}",
    f"1.0\f\n{CODE}",
    f"1.0\u2028{CODE}",
    f"1.0\x85{CODE}",
    f"1.0\\\n{CODE}\\",
    f'"\n{CODE}\n"',
    f'""";{CODE};"""',
    f"';{CODE};'",
    f'"+{CODE}+"',
    f'{{{CODE}}}"{{}}',
    "owned",
    "torch.owned",
    "owned.system",
    f"coding: unicode_escape \\u000a{CODE}",
    f"coding=utf-7: +AAo-{CODE}",
    "import.from:class",
    "owned:lambda",
    f"owned:{CODE}",
    "cpu\n",
    f'cpu")\n{CODE}#',
)


# In the place of a text, before it, after it, and where a property has a value.
CHANGES: tuple[Callable[[str, str], str], ...] = (
    lambda text, payload: payload,
    lambda text, payload: f"{payload} {text}",
    lambda text, payload: f"{text}{payload}",
    lambda text, payload: f"here set to {payload} instead of 0.0",
    lambda text, payload: f"forward of a {payload} input, uncovered pixels at {payload}",
)


def recorded(name: str) -> dict[str, Any]:
    """A record, as plain data, of a mutant that a property detects."""
    mutant = next(mutant for mutant in MUTANTS if mutant.detected_by == name)
    case = load_cases()[mutant.name]
    verdict = judge(mutant, BY_NAME[name], case)
    assert isinstance(verdict, Failed)
    layer = f"{mutant.layer.__module__}:{mutant.layer.__name__}"
    return Record(BY_NAME[name], layer, "cpu", case, verdict, "as it was made", 7, "random0").to_json()


def texts(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where all the texts of plain data are."""
    if isinstance(data, str):
        yield path
    elif isinstance(data, dict | list):
        for key, member in data.items() if isinstance(data, dict) else enumerate(data):
            yield from texts(member, (*path, key))


def changed(data: dict[str, Any], path: tuple[Any, ...], change: Callable[[str], str]) -> dict[str, Any]:
    """The data with another text in one place."""
    data = copy.deepcopy(data)
    inner: Any = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = change(inner[path[-1]])
    return data


def script_of(data: dict[str, Any]) -> str:
    """What the command ``script`` prints of a record."""
    record = Record.from_json(data)
    return standalone_script(record.prop.name, record.implementation, record.device, record.case, record.verdict)


def names_in(script: str) -> set[str]:
    """All that a script names or reaches, as Python reads it from a file, which may say how it is encoded."""
    found = set()
    for node in ast.walk(ast.parse(script.encode())):
        found |= {getattr(node, member, None) for member in ("id", "attr", "name")}
    return {name for name in found if isinstance(name, str)}


def code_of(script: str) -> list[str]:
    """The lines of a script that are no comments, as Python tells lines and reads a file."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(script.encode()).readline)
    return [line for line in re.split(r"\r\n|\r|\n", script.encode().decode(encoding)) if line[:1] != "#"]


# Lines that no name of a layer reaches.
MOST = 20


@pytest.mark.parametrize("name", JUDGED)
def test_no_text_of_a_record_becomes_code(name: str) -> None:
    data = recorded(name)
    assert not names_in(script_of(data)) & FOREIGN
    code, scripts, refusals = code_of(script_of(data)), 0, []
    for path in list(texts(data)):
        # With a dotted name at its end the name of a layer is another layer's, which the script imports.
        payloads = [text for text in PAYLOADS if path != ("implementation",) or not re.fullmatch(r"[\w.]+", text)]
        for payload in payloads:
            for change in CHANGES:
                try:
                    script = script_of(changed(data, path, lambda text: change(text, payload)))  # noqa: B023
                except (RecordError, CannotRun) as refused:
                    refusals.append(str(refused))
                else:
                    scripts += 1
                    # Of other layers, too: what follows the import is the same.
                    assert code_of(script)[-MOST:] == code[-MOST:], (path, payload, script)
                    assert path == ("implementation",) or code_of(script) == code
    assert [line for line in refusals if len(line.splitlines()) != 1] == []
    assert min(scripts, len(refusals)) > 100


@pytest.mark.parametrize("implementation", ["import.from:class", "acme:lambda", "acme:None.Layer", "acme:<locals>"])
def test_no_keyword_names_a_layer(implementation: str) -> None:
    with pytest.raises(CannotRun, match="no script can import"):
        standalone_script("values_exact", implementation, "cpu", Case(), Failed("it is wrong"))


def test_no_name_of_a_layer_chooses_the_encoding() -> None:
    """Python would take the second line for a declaration of the encoding ``Patch``."""
    text = standalone_script("values_exact", "acme.coding:Patch", "cpu", Case(), Failed("it is wrong"))
    assert "from acme.coding import Patch as Layer" in text
    compile(text.encode(), "script", "exec")


@pytest.mark.parametrize("payload", [CODE, f"1.0\n{CODE}", f"1.0\u2028{CODE}", f'"""\n{CODE}', f"coding: utf-7 {CODE}"])
def test_no_text_becomes_code_of_a_script_of_the_law(payload: str) -> None:
    """Those that are made of the law's own source take a verdict over in comments, and else names and a case."""
    law, case = "right_after_any_history", Case()
    told = Failed(payload, payload, payload, payload, payload)
    assert not names_in(standalone_script(law, CORRECT, "cpu", case, told)) & FOREIGN
    for implementation, device in ((f"acme:{payload}", "cpu"), (CORRECT, payload)):
        with pytest.raises(CannotRun):
            standalone_script(law, implementation, device, case, told)
