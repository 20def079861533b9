"""The Python client: the shapes as TypedDicts, and the operations for threads and for asyncio."""

import keyword
import textwrap
from collections.abc import Iterable

from openapi_reading import (
    Document,
    Items,
    Mapped,
    Named,
    OneOf,
    Operation,
    Plain,
    Shape,
    Type,
    Values,
)

_HEAD = "Generated from the OpenAPI document by generator/generate.py: do not edit."
_WIDTH = 100
_PLAIN = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
    "any": "Any",
}


def models(document: Document) -> str:
    """Return the module of the shapes."""
    head = f'''"""The bodies of requests and answers.

{_HEAD}
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict
'''
    # A type checker takes a class before it is defined, but no call.
    shapes = sorted(document.shapes.values(), key=lambda each: (_is_class(each), each.name))
    return head + "".join(f"\n\n{_shape(each)}\n" for each in shapes)


def operations(document: Document, *, is_async: bool) -> str:
    """Return the module of the operations, of one of both clients."""
    iterator = "AsyncIterator" if is_async else "Iterator"
    sender = "AsyncSender" if is_async else "Sender"
    groups = sorted(document.operations)
    head = f'''"""The operations of the API, a class for each group of them.

{_HEAD}
"""

import builtins
from collections.abc import {iterator}
from typing import Any, Literal

from tenantry_client import exchange, models
from tenantry_client.exchange import Request, {sender}, segment


class _Group:
    def __init__(self, sender: {sender}) -> None:
        self._sender = sender
'''
    classes = (_group(name, document.operations[name], is_async) for name in groups)
    attributes = "\n".join(f"        self.{each} = {_class(each)}(sender)" for each in groups)
    root = f'''

class Api:
    """The groups of operations."""

    def __init__(self, sender: {sender}) -> None:
{attributes}
'''
    return head + "".join(classes) + root


def _shape(shape: Shape) -> str:
    """Return a TypedDict: as a class, unless a name in it is none that Python takes."""
    members = [
        (each.name, _type(each.type) if each.required else f"NotRequired[{_type(each.type)}]")
        for each in shape.members
    ]
    description = _docstring(shape.description, 4)
    if not _is_class(shape):
        rows = "".join(f'        "{name}": {_quoted(of)},\n' for name, of in members)
        comment = "".join(f"# {line}\n" for line in _wrapped(shape.description, 2))
        return f'{comment}{shape.name} = TypedDict(\n    "{shape.name}",\n    {{\n{rows}    }},\n)'
    rows = "\n".join(f"    {name}: {of}" for name, of in members) or "    pass"
    between = "\n" if description else ""
    return f"class {shape.name}(TypedDict):\n{description}{between}{rows}"


def _is_class(shape: Shape) -> bool:
    """Whether a class can have attributes of these names."""
    names = [each.name for each in shape.members]
    return not any(not name.isidentifier() or keyword.iskeyword(name) for name in names)


def _quoted(annotation: str) -> str:
    return "'" + annotation + "'"


def _type(of: Type, prefix: str = "") -> str:
    """Return an annotation. Names in the modules of operations have a ``prefix``."""
    match of:
        case Plain(name):
            return _PLAIN[name]
        case Values(values):
            return f"Literal[{', '.join(map(_literal, values))}]"
        case Items(item):
            return f"{'builtins.' if prefix else ''}list[{_type(item, prefix)}]"
        case Mapped(value):
            return f"dict[str, {_type(value, prefix)}]"
        case OneOf(types):
            found = [_type(each, prefix) for each in types]
            return "Any" if "Any" in found else " | ".join(found)
        case Named(name):
            return prefix + name


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _group(name: str, operations: Iterable[Operation], is_async: bool) -> str:
    methods = "\n".join(_method(each, is_async) for each in operations)
    return f"\n\nclass {_class(name)}(_Group):\n{methods}"


def _class(group: str) -> str:
    return "".join(word.capitalize() for word in group.split("_"))


def _method(operation: Operation, is_async: bool) -> str:
    answer = _type(operation.answer, "models.")
    returned = {"text": "str", "bytes": "bytes"}.get(operation.kind, answer)
    if operation.kind == "pages":
        returned = f"{'AsyncIterator' if is_async else 'Iterator'}[{returned}]"
    begins = "async def" if is_async and operation.kind != "pages" else "def"
    parameters = _parameters(operation)
    head = f"    {begins} {_name(operation.verb)}({', '.join(parameters)}) -> {returned}:"
    if len(head) > _WIDTH:
        rows = "".join(f"        {each},\n" for each in parameters)
        head = f"    {begins} {_name(operation.verb)}(\n{rows}    ) -> {returned}:"
    lines = "".join(f"        {line}\n" for line in _work(operation, returned, is_async))
    return f"{head}\n{_docstring(operation.description, 8)}{lines}"


def _parameters(operation: Operation) -> list[str]:
    found = ["self", *(f"{each}: str" for each in operation.segments)]
    if (body := operation.body) is not None:
        kinds = [_type(body.type, "models.")] if body.type is not None else []
        kinds += ["bytes"] if body.media_type is not None else []
        found.append(f"body: {' | '.join(kinds)}" + ("" if body.required else " | None = None"))
    named = [
        f"{_name(each.name)}: {_type(each.type, 'models.')}"
        + ("" if each.required else " | None = None")
        for each in operation.query
    ]
    if operation.takes_key:
        named.append("idempotency_key: str | None = None")
    return [*found, *(["*", *named] if named else [])]


def _work(operation: Operation, returned: str, is_async: bool) -> list[str]:
    if operation.kind == "pages":
        first, *rest = _request(operation, "lambda cursor: ")
        return ["return self._sender.pages(", *(f"    {line}" for line in (first, *rest)), ")"]
    reading = {
        "text": ["return response.content.decode()"],
        "bytes": ["return response.content"],
    }.get(operation.kind)
    return [
        *_request(operation, "request = "),
        f"response = {'await ' if is_async else ''}self._sender.send(request)",
        *(
            reading
            or [f"answer: {returned} = exchange.{operation.kind}(response)", "return answer"]
        ),
    ]


def _request(operation: Operation, before: str = "") -> list[str]:
    path = operation.path
    for each in operation.segments:
        path = path.replace(f"{{{each}}}", f"{{segment({each})}}")
    arguments = [f'{"f" if operation.segments else ""}"{path}"']
    pairs = [f'"{each.name}": {_name(each.name)}' for each in operation.query]
    if operation.kind == "pages":
        pairs.append('"cursor": cursor')
    if operation.takes_key:
        arguments.append("key=idempotency_key")
    elif operation.repeatable:
        arguments.append("repeatable=True")
    if pairs:
        arguments.append(f"query={{{', '.join(pairs)}}}")
    if operation.body is not None:
        arguments.append("body=body")
        if operation.body.media_type is not None:
            arguments.append(f'media_type="{operation.body.media_type}"')
    if operation.takes_key:
        return _call(f"{before}exchange.post", arguments)
    return _call(f"{before}Request", [f'"{operation.method}"', *arguments])


def _call(function: str, arguments: list[str], indent: int = 8) -> list[str]:
    """Return a call: in one line if it fits, else with a line for each argument."""
    line = f"{function}({', '.join(arguments)})"
    if indent + len(line) <= _WIDTH:
        return [line]
    return [f"{function}(", *(f"    {each}," for each in arguments), ")"]


def _name(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) else name


def _docstring(text: str, indent: int) -> str:
    """Return the lines of a docstring, to stand before what follows; none for no text."""
    lines = _wrapped(text, indent + 6)
    if not lines:
        return ""
    space = " " * indent
    if len(lines) == 1:
        return f'{space}"""{lines[0]}"""\n'
    rows = "\n".join(f"{space}{line}".rstrip() for line in lines[1:])
    return f'{space}"""{lines[0]}\n{rows}\n{space}"""\n'


def _wrapped(text: str, indent: int) -> list[str]:
    found: list[str] = []
    for paragraph in text.replace("\\", "\\\\").split("\n\n"):
        found += ["", *textwrap.wrap(" ".join(paragraph.split()), _WIDTH - indent)]
    return found[1:] if len(found) > 1 else []
