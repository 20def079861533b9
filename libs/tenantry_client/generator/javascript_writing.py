"""The client in JavaScript, with its types for TypeScript."""

import json
from collections.abc import Iterable

from openapi_reading import (
    Document,
    Items,
    Mapped,
    Member,
    Named,
    OneOf,
    Operation,
    Plain,
    Type,
    Values,
)

_HEAD = "Generated from the OpenAPI document by generator/generate.py: do not edit."
_PLAIN = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
    "any": "unknown",
}


def operations(document: Document) -> str:
    """Return the module of the operations."""
    groups = sorted(document.operations)
    classes = "".join(
        f"\nclass {_pascal(each)} {{\n"
        "  #send;\n  constructor(send) {\n    this.#send = send;\n  }\n"
        f"{''.join(map(_method, document.operations[each]))}}}\n"
        for each in groups
    )
    attributes = "\n".join(
        f"    this.{_camel(each)} = new {_pascal(each)}(send);" for each in groups
    )
    return f"""/** The operations of the API; see operations.d.ts. {_HEAD} */

const segment = (value) => {{
  const text = String(value);
  if (["", ".", ".."].includes(text)) throw new TypeError(`"${{text}}" is no identifier`);
  return encodeURIComponent(text);
}};
{classes}
export class Api {{
  constructor(send) {{
{attributes}
  }}
}}
"""


def declarations(document: Document) -> str:
    """Return the types of shapes and operations."""
    groups = sorted(document.operations)
    shapes = "".join(
        f"\n{_comment(each.description)}export interface {each.name} {_members(each.members)}\n"
        for _, each in sorted(document.shapes.items())
    )
    classes = "".join(
        f"\nexport interface {_pascal(each)}Operations {{\n"
        f"{''.join(map(_declared, document.operations[each]))}}}\n"
        for each in groups
    )
    attributes = "\n".join(
        f"  readonly {_camel(each)}: {_pascal(each)}Operations;" for each in groups
    )
    return f"""/** The operations of the API, and their bodies. {_HEAD} */

export interface PostOptions {{
  /** By default a new one for each call. */
  idempotencyKey?: string;
}}
{shapes}{classes}
export class Api {{
{attributes}
}}
"""


def _method(operation: Operation) -> str:
    path = operation.path
    for each in operation.segments:
        path = path.replace(f"{{{each}}}", f"${{segment({each})}}")
    sent = [f'method: "{operation.method}"', f"path: `{path}`", f'kind: "{operation.kind}"']
    taken = list(operation.segments)
    if operation.body is not None:
        taken.append("body")
        sent.append("body")
        if operation.body.media_type is not None:
            sent.append(f'mediaType: "{operation.body.media_type}"')
    if operation.query:
        taken.append("query = {}")
        sent.append("query")
    if operation.takes_key:
        taken.append("{ idempotencyKey = crypto.randomUUID() } = {}")
        sent.append("idempotencyKey")
    if operation.repeatable:
        sent.append("repeatable: true")
    return (
        f"\n  {_camel(operation.verb)}({', '.join(taken)}) {{\n"
        f"    return this.#send({{ {', '.join(sent)} }});\n  }}\n"
    )


def _declared(operation: Operation) -> str:
    taken = [f"{each}: string" for each in operation.segments]
    if (body := operation.body) is not None:
        kinds = [] if body.type is None else [_type(body.type)]
        kinds += [] if body.media_type is None else ["Blob | Uint8Array"]
        taken.append(f"body{'' if body.required else '?'}: {' | '.join(kinds)}")
    if operation.query:
        mark = "" if any(each.required for each in operation.query) else "?"
        taken.append(f"query{mark}: {_members(operation.query, '; ')}")
    if operation.takes_key:
        taken.append("options?: PostOptions")
    answer = {"text": "string", "bytes": "Uint8Array"}.get(operation.kind, _type(operation.answer))
    iterated = "AsyncGenerator" if operation.kind == "pages" else "Promise"
    return (
        f"{_comment(operation.description, 2)}"
        f"  {_camel(operation.verb)}({', '.join(taken)}): {iterated}<{answer}>;\n"
    )


def _members(members: Iterable[Member], between: str = "") -> str:
    """Return an object type, of a line for each member unless they have text ``between`` them."""
    found = [
        (each, f"{_key(each.name)}{'' if each.required else '?'}: {_type(each.type)}")
        for each in members
    ]
    if between:
        return f"{{ {between.join(text for _, text in found)} }}"
    rows = "".join(f"{_comment(each.description, 2)}  {text};\n" for each, text in found)
    return f"{{\n{rows}}}"


def _type(of: Type) -> str:
    match of:
        case Plain(name):
            return _PLAIN[name]
        case Values(values):
            return " | ".join(json.dumps(each) for each in values)
        case Items(item):
            return f"Array<{_type(item)}>"
        case Mapped(value):
            return f"Record<string, {_type(value)}>"
        case OneOf(types):
            return " | ".join(_type(each) for each in types)
        case Named(name):
            return name


def _key(name: str) -> str:
    return name if name.isidentifier() else json.dumps(name)


def _comment(text: str, indent: int = 0) -> str:
    if not text:
        return ""
    space = " " * indent
    lines = [line.strip() for line in text.replace("*/", "* /").strip().splitlines()]
    if len(lines) == 1:
        return f"{space}/** {lines[0]} */\n"
    rows = "".join(f"{space} * {line}".rstrip() + "\n" for line in lines)
    return f"{space}/**\n{rows}{space} */\n"


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _pascal(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
