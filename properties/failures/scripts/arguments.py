"""Works out in a script what every call of a function gives it."""

import ast
from dataclasses import dataclass

from properties.failures.scripts.folding import Known, evaluated, is_literal
from properties.failures.scripts.syntax import called_name, dotted, functions, is_stored, loaded, walk


def settle_arguments(tree: ast.Module, known: Known) -> None:
    """Note parameters that every call gives the same literal, and functions that return one.

    Drop parameters that are not read.
    """
    uses = _uses(tree)
    for function, own in functions(tree):
        body = function.body[0]
        if len(function.body) == 1 and isinstance(body, ast.Return) and isinstance(body.value, ast.Constant):
            if own[:1] == ("self",) and function.decorator_list:
                known.attributes[function.name] = body.value.value
            elif not own[:1] and not function.decorator_list:
                known.functions[function.name] = body.value.value
        calls = _calls_of(uses, function, own, known)
        if calls is None:
            continue
        for parameter in calls.parameters:
            given = [calls.argument(call, parameter) for call in calls.found]
            first = given[0]
            alike = len({one and ast.dump(one) for one in given}) == 1
            if first is not None and is_literal(first) and alike:
                known.arguments[function.name, parameter] = evaluated(first)
        read = loaded(function)
        unread = [name for name in calls.parameters if name not in read]
        for call in calls.found:
            call.args = [one for one, name in zip(call.args, calls.positional, strict=False) if name not in unread]
            call.keywords = [one for one in call.keywords if one.arg not in unread]
        for name in unread:
            _drop_parameter(function.args, name)


def _drop_parameter(arguments: ast.arguments, name: str) -> None:
    for index, argument in enumerate(arguments.kwonlyargs):
        if argument.arg == name:
            del arguments.kwonlyargs[index], arguments.kw_defaults[index]
            return
    names = [argument.arg for argument in arguments.args]
    index = names.index(name)
    from_end = len(names) - index
    if from_end <= len(arguments.defaults):
        del arguments.defaults[len(arguments.defaults) - from_end]
    del arguments.args[index]


@dataclass(frozen=True)
class _Calls:
    """Every call of a function, which nothing but calls mentions."""

    function: ast.FunctionDef
    found: list[ast.Call]
    positional: list[str]

    @property
    def parameters(self) -> list[str]:
        return [*self.positional, *(argument.arg for argument in self.function.args.kwonlyargs)]

    def argument(self, call: ast.Call, parameter: str) -> ast.expr | None:
        """What a call gives a parameter, its default included."""
        arguments = self.function.args
        defaults: dict[str, ast.expr | None] = dict(
            zip(reversed(self.positional), reversed(arguments.defaults), strict=False)
        )
        defaults |= {one.arg: default for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)}
        if parameter in self.positional and self.positional.index(parameter) < len(call.args):
            return call.args[self.positional.index(parameter)]
        return next((one.value for one in call.keywords if one.arg == parameter), defaults.get(parameter))


# By name: where it is mentioned, by what it is an attribute of, and the call where it is called.
_Uses = dict[str, list[tuple[str | None, ast.Call | None]]]


def _uses(tree: ast.Module) -> _Uses:
    found: _Uses = {}
    for node in tree.body:
        in_trial = isinstance(node, ast.ClassDef) and node.name == "Trial"
        parts = walk(node)
        calls = {id(part.func): part for part in parts if isinstance(part, ast.Call)}
        for part in parts:
            if isinstance(part, ast.Name | ast.Attribute) and not is_stored(part):
                holder = dotted(part.value) if isinstance(part, ast.Attribute) else None
                holder = "trial" if holder == "self" and in_trial else holder
                found.setdefault(called_name(part), []).append((holder, calls.get(id(part))))
    return found


def _calls_of(uses: _Uses, function: ast.FunctionDef, own: tuple[str, ...], known: Known) -> _Calls | None:
    """The calls of a function of the script, or a method of its trial; None where there may be others."""
    arguments = function.args
    is_method = bool(arguments.args) and arguments.args[0].arg == "self"
    # A class is called by its own name, and other methods by that of an object of it.
    name = "Trial" if function.name == "__init__" else function.name
    holder = "trial" if is_method and name != "Trial" else None
    is_known = own[:1] == ("self",) and (known.alone or name == "Trial")
    if arguments.vararg or arguments.kwarg or (is_method and not is_known):
        return None
    calls = [call for by, call in uses.get(name, []) if by == holder]
    whole = [call for call in calls if call and _is_whole(call)]
    if not calls or len(whole) != len(calls):
        return None
    return _Calls(function, whole, [argument.arg for argument in arguments.args][int(is_method) :])


def _is_whole(call: ast.Call) -> bool:
    """Whether a call says what it gives to which parameter."""
    return not any(isinstance(one, ast.Starred) for one in call.args) and all(one.arg for one in call.keywords)
