"""Puts literals in the place of what is known where a script is made, and drops branches that this rules out."""

import ast
import copy
import math
import operator
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, is_dataclass
from typing import Any, cast, get_args

import torch

from oracles import rounding
from properties.cases.case import Case
from properties.cases.history import Step
from properties.failures.scripts.syntax import Without, called_name, calls, dotted, is_stored, loaded, walk
from properties.trials.tensors import TORCH_DTYPES


class Unknown:
    """What is known only where the script runs."""


_UNKNOWN = Unknown()
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": len, "max": max, "min": min, "list": list, "tuple": tuple, "math.prod": math.prod, "math.ceil": math.ceil,
    "rounding_precision_of": rounding.precision_of,
}  # fmt: skip
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv, ast.Mod: operator.mod, ast.Pow: operator.pow,
    ast.Not: operator.not_, ast.USub: operator.neg,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
    ast.In: lambda item, items: item in items, ast.NotIn: lambda item, items: item not in items,
}  # fmt: skip


@dataclass(frozen=True)
class _Common:
    """What all cases, inputs or fills have in common where a law makes others of those that failed."""

    known: dict[str, object]

    def __getattr__(self, name: str) -> object:
        """What is not known differs from one to the other."""
        return self.known.get(name, _UNKNOWN)


def _common(case: Case, varied: Collection[str]) -> _Common:
    names = ("spec", "weight_layout", "compiled", "tf32", "autocast")
    same = {name: getattr(case, name) for name in names if name not in varied}
    fill = {} if "fill" in varied else {name: getattr(case.fill, name) for name in ("name", "integral", "sparse")}
    return _Common({**same, "input": _Common({"dtype": case.input.dtype}), "fill": _Common(fill)})


@dataclass
class Known:
    """What is known of a script, and of its trial."""

    case: Case
    device: str
    # Whether the trial is the only one.
    alone: bool
    # Parts of its case, such as the spec, that cases of other trials have otherwise.
    varied: Collection[str]
    # By name, properties of the trial, and functions, that return a literal.
    attributes: dict[str, object] = field(default_factory=dict)
    functions: dict[str, object] = field(default_factory=dict)
    # By function and parameter, what every call gives it.
    arguments: dict[tuple[str, str], object] = field(default_factory=dict)
    # Names of the script that stand for a literal, and dictionaries of it.
    constants: dict[str, object] = field(default_factory=dict)

    def attribute(self, name: str) -> object:
        """An attribute of the trial."""
        found: dict[str, object] = {
            "case": self.case if self.alone else _common(self.case, self.varied),
            "device": torch.device(self.device),
            "dtype": TORCH_DTYPES[self.case.input.dtype],
        }
        return {**found, **self.attributes}.get(name, _UNKNOWN)


def fold(function: ast.FunctionDef, known: Known, names: tuple[str, ...], empty: set[str]) -> None:
    """Work out in a function what is known.

    Args:
        function: which is changed.
        known: what is known.
        names: those by which it knows the trial.
        empty: functions that do nothing.
    """
    given = {parameter: value for (name, parameter), value in known.arguments.items() if name == function.name}
    the_case = {"case": known.attribute("case")}
    folded = _Folded({**known.constants, **the_case, **given, **dict.fromkeys(names, known)}, known, function, empty)
    function.body = folded.block(function.body)
    while True:
        read = loaded(function)
        unread = [one for one in folded.learnt if cast(ast.Name, one.targets[0]).id not in read]
        if not unread:
            break
        folded.learnt = [one for one in folded.learnt if one not in unread]
        Without(lambda node: node in unread).visit(function)  # noqa: B023 - used at once


class _Folded(ast.NodeTransformer):
    """Puts literals in the place of what is known, in one function."""

    def __init__(self, known: dict[str, object], script: Known, function: ast.FunctionDef, empty: set[str]) -> None:
        self.script = script
        # Functions that do nothing.
        self.empty = empty
        stored = [part.id for part in walk(function) if isinstance(part, ast.Name) and is_stored(part)]
        given = {part.arg for part in walk(function.args) if isinstance(part, ast.arg)}
        self.known = {name: value for name, value in known.items() if name not in stored}
        self.once = {name for name in stored if stored.count(name) == 1} - given
        # Assignments of what is known, which are dropped where no use of the variable is left.
        self.learnt: list[ast.Assign] = []

    # Statements.

    def block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """Statements without those that are not reached, or leave nothing to do."""
        found: list[ast.stmt] = []
        for statement in statements:
            result = self.visit(statement)
            found += result if isinstance(result, list) else [] if result is None else [result]
            if found and isinstance(found[-1], ast.Return | ast.Raise | ast.Continue | ast.Break):
                break
        for index in reversed(range(len(found) - 1)):
            # What is looked at and read at once is read alone.
            this, following = found[index], found[index + 1]
            looked_at = this.value if isinstance(this, ast.Expr) else None
            if isinstance(looked_at, ast.Attribute) and ast.unparse(looked_at) in ast.unparse(following):
                del found[index]
        return [one for one in found if not isinstance(one, ast.Pass)] or [ast.Pass()]

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        test = self.value(node.test)
        if not isinstance(test, Unknown):
            looked_at = node.test.args[0] if isinstance(node.test, ast.Call) and node.test.args else None
            # Which runs what it is about.
            ran = [ast.Expr(looked_at)] if isinstance(looked_at, ast.Attribute) else []
            return [*ran, *self.block(node.body if test else node.orelse)]
        node.test, node.body = self.visit(node.test), self.block(node.body)
        node.orelse = self.block(node.orelse) if node.orelse else []
        has_effect = any(isinstance(part, ast.Call) for part in walk(node.test))
        empty = all(isinstance(one, ast.Pass) for one in (*node.body, *node.orelse))
        return [] if empty and not has_effect else node

    def visit_With(self, node: ast.With) -> ast.AST | list[ast.stmt]:
        # A script lets the layer's exceptions through as they are.
        node.items = [item for item in node.items if not calls(item.context_expr, "blaming")]
        self.generic_visit(node)
        node.items = [item for item in node.items if not calls(item.context_expr, "nullcontext")]
        return node if node.items else node.body

    def visit_Try(self, node: ast.Try) -> ast.AST | list[ast.stmt]:
        node.handlers = [
            one for one in node.handlers if not (isinstance(one.type, ast.Name) and one.type.id == "Raised")
        ]
        self.generic_visit(node)
        return node if node.handlers or node.finalbody else [*node.body, *node.orelse]

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        does_nothing = isinstance(node.value, ast.Call) and called_name(node.value.func) in self.empty
        return None if does_nothing else self.generic_visit(node)

    def visit_Match(self, node: ast.Match) -> ast.AST | list[ast.stmt]:
        subject = self.value(node.subject)
        if isinstance(subject, Unknown):
            # A history that was seen whole has no other steps.
            never = _STEPS - {type(step).__name__ for step in self.script.case.history or ()}
            if self.script.case.history:
                node.cases = [case for case in node.cases if _kind(case.pattern) not in never]
            return self.generic_visit(node)
        for case in node.cases:
            if _matches(subject, case.pattern):
                if isinstance(case.pattern, ast.MatchAs) and case.pattern.name:
                    self.known[case.pattern.name] = subject
                return self.block(case.body)
        return []

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Look inside, at blocks as such."""
        for name in ("body", "orelse", "finalbody"):
            inside = getattr(node, name, None)
            if isinstance(inside, list) and inside and isinstance(inside[0], ast.stmt):
                setattr(node, name, self.block(inside))
        return super().generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        # One inside of another has names of its own.
        given = {part.arg for part in walk(node.args) if isinstance(part, ast.arg)}
        kept, self.known = self.known, {name: value for name, value in self.known.items() if name not in given}
        self.generic_visit(node)
        self.known = kept
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST | None:
        return None if self.value(node.test) is True else self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST | list[ast.stmt]:
        target, value = node.targets[0], node.value
        pairs = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            pairs = list(zip(target.elts, value.elts, strict=True))
        known = [pair for pair in pairs if self._learn(*pair)]
        if not known:
            return self.generic_visit(node)
        learnt = [ast.Assign([name], value, lineno=node.lineno) for name, value in known]
        self.learnt += learnt
        rest = [(name, self.visit(value)) for name, value in pairs if (name, value) not in known]
        if len(rest) > 1:
            names, values = zip(*rest, strict=True)
            rest = [(ast.Tuple(list(names), ast.Store()), ast.Tuple(list(values), ast.Load()))]
        return [*learnt, *(ast.Assign([name], value, lineno=node.lineno) for name, value in rest)]

    def _learn(self, target: ast.expr, value: ast.expr) -> bool:
        """Whether a variable is known from here on."""
        if not isinstance(target, ast.Name) or target.id not in self.once or isinstance(value, ast.List | ast.Dict):
            return False
        found = self.value(value)
        if _any_unknown([found]):
            return False
        self.known[target.id] = found
        return True

    # Expressions.

    def visit(self, node: ast.AST) -> Any:
        """Put a literal in the place of an expression where one is known."""
        if isinstance(node, ast.expr) and not isinstance(node, ast.Constant) and not is_stored(node):
            written = _literal(self.value(node))
            if written is not None:
                return written
            of_trial = isinstance(node, ast.Attribute) and isinstance(self.value(node.value), Known)
            if of_trial and cast(ast.Attribute, node).attr == "implementation":
                return ast.Name("Layer", ast.Load())
        return super().visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        key, holder = (
            self.value(node.slice),
            self.known.get(node.value.id) if isinstance(node.value, ast.Name) else node.value,
        )
        if isinstance(holder, ast.Dict) and not isinstance(key, Unknown) and not is_stored(node):
            found = [
                value
                for name, value in zip(holder.keys, holder.values, strict=True)
                if name and self.value(name) == key
            ]
            if found:
                return cast(ast.AST, self.visit(copy.deepcopy(found[0])))
        return self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        parts: list[ast.expr] = []
        for part in node.values:
            value = self.value(part.value) if isinstance(part, ast.FormattedValue) else _UNKNOWN
            plain = isinstance(part, ast.FormattedValue) and part.conversion == -1 and part.format_spec is None
            folded = ast.Constant(str(value)) if plain and isinstance(value, str | int) else self.visit(part)
            if parts and isinstance(folded, ast.Constant) and isinstance(parts[-1], ast.Constant):
                parts[-1] = ast.Constant(str(parts[-1].value) + str(folded.value))
            else:
                parts.append(folded)
        alone = len(parts) == 1 and isinstance(parts[0], ast.Constant)
        return parts[0] if alone else ast.JoinedStr(parts)

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        test = self.value(node.test)
        if isinstance(test, Unknown):
            return self.generic_visit(node)
        return cast(ast.AST, self.visit(node.body if test else node.orelse))

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        # What is known and decides nothing is left out; what decides was found before.
        *others, last = node.values
        kept = [value for value in others if isinstance(self.value(value), Unknown)]
        if not kept or not isinstance(self.value(last), bool):
            kept.append(last)
        node.values = [self.visit(value) for value in kept]
        return node.values[0] if len(kept) == 1 else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        # A tensor of the CPU is there.
        match node:
            case ast.Call(func=ast.Attribute(value=tensor, attr="to"), args=[device], keywords=[]):
                if self.value(device) == torch.device("cpu"):
                    return cast(ast.AST, self.visit(tensor))
        return self.generic_visit(node)

    def value(self, node: ast.AST) -> object:
        """What an expression is, where that is known."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self.known.get(name, _UNKNOWN)
            case ast.Attribute():
                return self._attribute(node)
            case ast.Tuple(elts=items):
                found = [self.value(item) for item in items]
                return _UNKNOWN if _any_unknown(found) else tuple(found)
            case ast.BoolOp():
                return self._both_or_either(node)
            case ast.IfExp():
                test = self.value(node.test)
                return _UNKNOWN if isinstance(test, Unknown) else self.value(node.body if test else node.orelse)
            case ast.UnaryOp(op=op, operand=operand):
                return self._applied(op, operand)
            case ast.BinOp(left=left, op=op, right=right):
                return self._applied(op, left, right)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._applied(op, left, right)
            case ast.Subscript(value=holder, slice=index) if not isinstance(index, ast.Slice):
                given, at = self.value(holder), self.value(index)
                inside = isinstance(given, tuple) and isinstance(at, int) and -len(given) <= at < len(given)
                return cast(Any, given)[at] if inside else _UNKNOWN
            case ast.Call(func=ast.Name(id="isinstance"), args=[_, ast.Name(id="Raised")]):
                return False
            case ast.Call(func=ast.Name(id=name)) if name in self.script.functions:
                return self.script.functions[name]
            case ast.Call(func=function, args=arguments, keywords=[]) if dotted(function) in _FUNCTIONS:
                found = [self.value(argument) for argument in arguments]
                return _UNKNOWN if _any_unknown(found) else _FUNCTIONS[dotted(function)](*found)
        return _UNKNOWN

    def _attribute(self, node: ast.Attribute) -> object:
        if dotted(node) in DTYPES:
            return DTYPES[dotted(node)]
        holder = self.value(node.value)
        if isinstance(holder, Known):
            return holder.attribute(node.attr)
        if not (is_dataclass(holder) or isinstance(holder, torch.device)):
            return _UNKNOWN
        found = getattr(holder, node.attr, _UNKNOWN)
        return _UNKNOWN if callable(found) else found

    def _applied(self, op: ast.AST, *operands: ast.expr) -> object:
        found = [self.value(operand) for operand in operands]
        if type(op) not in _OPERATORS or _any_unknown(found):
            return _UNKNOWN
        return _OPERATORS[type(op)](*found)

    def _both_or_either(self, node: ast.BoolOp) -> object:
        decides = isinstance(node.op, ast.Or)
        found: object = not decides
        unknown = False
        for operand in node.values:
            value = self.value(operand)
            if isinstance(value, Unknown):
                unknown = True
            elif bool(value) == decides and (not unknown or isinstance(value, bool)):
                # An operand that decides, though one before it is unknown: none has an effect.
                return value
            else:
                found = value
        return _UNKNOWN if unknown else found


DTYPES = {str(dtype): dtype for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)}


_STEPS = {kind.__name__ for kind in get_args(Step)}


def _kind(pattern: ast.pattern) -> str:
    """The kind of step that a pattern stands for, whose class may have its module's name before it."""
    return called_name(pattern.cls).removeprefix("history_") if isinstance(pattern, ast.MatchClass) else ""


def _any_unknown(found: Sequence[object]) -> bool:
    return any(isinstance(one, Unknown | Known | ast.AST) for one in found)


def _matches(subject: object, pattern: ast.pattern) -> bool:
    match pattern:
        case ast.MatchValue(value=ast.Constant(value=value)):
            return bool(subject == value)
        case ast.MatchOr(patterns=patterns):
            return any(_matches(subject, one) for one in patterns)
        case ast.MatchAs(pattern=None):
            return True
        case ast.MatchAs(pattern=ast.pattern() as inner):
            return _matches(subject, inner)
    raise TypeError(f"no pattern that is known: {ast.dump(pattern)}")


def _literal(value: object) -> ast.expr | None:
    """An expression of a plain value; None for what has none."""
    if value is None or isinstance(value, bool | int | float | str):
        finite = not isinstance(value, float) or math.isfinite(value)
        return ast.parse(repr(value), mode="eval").body if finite else None
    if isinstance(value, tuple | list):
        items = [_literal(item) for item in value]
        written = [item for item in items if item is not None]
        kind = ast.Tuple if isinstance(value, tuple) else ast.List
        return kind(written, ast.Load()) if len(written) == len(items) else None
    if isinstance(value, torch.dtype):
        return ast.parse(repr(value), mode="eval").body
    return ast.Constant(str(value)) if isinstance(value, torch.device) else None


def is_literal(node: ast.expr) -> bool:
    """Whether an expression is plain data, or a dtype."""
    if isinstance(node, ast.Tuple):
        return all(is_literal(one) for one in node.elts)
    return isinstance(node, ast.Constant) or dotted(node) in DTYPES


def evaluated(node: ast.expr) -> object:
    """What a literal is."""
    return DTYPES.get(dotted(node)) or ast.literal_eval(node)
