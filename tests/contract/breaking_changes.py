"""What of an OpenAPI document breaks clients of an earlier one: additions do not, removals and renames do.

`python -m tests.contract.breaking_changes OLD NEW` lists them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Schema = dict[str, Any]
LOWEST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
HIGHEST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
MUST_STAY = ("pattern", "format", "const", "uniqueItems", "multipleOf")


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Return what breaks, a line each; none is good."""
    return list(dict.fromkeys(Comparison(old, new).changes()))


class Comparison:
    """Two documents, whose references are followed each in its own."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old, self._new = old, new
        self._compared: set[tuple[str, str, bool]] = set()

    def changes(self) -> Iterator[str]:
        for path, operations in self._old["paths"].items():
            for method, old in operations.items():
                where = f"{method.upper()} {path}"
                new = self._new["paths"].get(path, {}).get(method)
                if new is None:
                    yield f"{where}: removed"
                else:
                    yield from self._operation(where, old, new)
        old_names, new_names = (set(one["components"].get("securitySchemes", {})) for one in (self._old, self._new))
        yield from (f"security scheme {name}: removed" for name in sorted(old_names - new_names))

    def _operation(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        if old["operationId"] != new["operationId"]:
            yield f"{where}: operationId {old['operationId']} became {new['operationId']}"
        yield from self._parameters(where, old, new)
        yield from self._body(f"{where} body", old.get("requestBody"), new.get("requestBody"))
        for status, told in old["responses"].items():
            if status not in new["responses"]:
                yield f"{where}: status {status} removed"
            else:
                yield from self._answer(f"{where} {status}", self._in_old(told), self._in_new(new["responses"][status]))

    def _parameters(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        before = {(one["in"], one["name"]): one for one in map(self._in_old, old.get("parameters", []))}
        after = {(one["in"], one["name"]): one for one in map(self._in_new, new.get("parameters", []))}
        for (place, name), one in before.items():
            if (place, name) not in after:
                yield f"{where}: {place} parameter {name} removed"
            else:
                schemas = one["schema"], after[place, name]["schema"]
                yield from self._schema(f"{where} parameter {name}", *schemas, taken=True)
        for (place, name), one in after.items():
            if one.get("required") and not before.get((place, name), {}).get("required"):
                yield f"{where}: {place} parameter {name} is now required"

    def _body(self, where: str, old: Schema | None, new: Schema | None) -> Iterator[str]:
        if old is None or new is None:
            if old is not None:
                yield f"{where}: removed"
            elif new is not None and new.get("required"):
                yield f"{where}: is now required"
            return
        if new.get("required") and not old.get("required"):
            yield f"{where}: is now required"
        yield from self._contents(where, old, new, taken=True)

    def _answer(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        for name in old.get("headers", {}):
            if name not in new.get("headers", {}):
                yield f"{where}: header {name} removed"
        yield from self._contents(where, old, new, taken=False)

    def _contents(self, where: str, old: Schema, new: Schema, *, taken: bool) -> Iterator[str]:
        for media_type, content in old.get("content", {}).items():
            if media_type not in new.get("content", {}):
                yield f"{where}: {media_type} removed"
            else:
                yield from self._schema(where, content["schema"], new["content"][media_type]["schema"], taken=taken)

    def _schema(self, where: str, old: Schema, new: Schema, *, taken: bool) -> Iterator[str]:
        """Compare what is `taken` from callers, which may not get narrower, or answered, which may not get wider."""
        pair = (old.get("$ref", ""), new.get("$ref", ""), taken)
        if all(pair[:2]):
            if pair in self._compared:
                return
            self._compared.add(pair)
        before, after = self._branches(old, self._in_old), self._branches(new, self._in_new)
        for kind in before.keys() - after.keys() if taken else after.keys() - before.keys():
            if "any" not in (after if taken else before):
                yield f"{where}: {kind} is {'no longer taken' if taken else 'new in the answer'}"
        for kind in before.keys() & after.keys():
            yield from self._branch(where, before[kind], after[kind], taken=taken)

    def _branch(self, where: str, old: Schema, new: Schema, *, taken: bool) -> Iterator[str]:
        for value in old.get("enum", []):
            if "enum" in new and value not in new["enum"]:
                yield f"{where}: value {value!r} removed"
        if taken:
            yield from self._limits(where, old, new)
        yield from self._properties(where, old, new, taken=taken)
        for key in ("items", "additionalProperties"):
            if isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
                yield from self._schema(f"{where}[]", old[key], new[key], taken=taken)

    def _limits(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        if "enum" in new and "enum" not in old:
            yield f"{where}: takes no other values than {new['enum']} any more"
        if new.get("additionalProperties") is False and old.get("additionalProperties", True) is not False:
            yield f"{where}: takes no other fields any more"
        for key in LOWEST:
            if key in new and new[key] > old.get(key, float("-inf")):
                yield f"{where}: {key} was {old.get(key)}, is {new[key]}"
        for key in HIGHEST:
            if key in new and new[key] < old.get(key, float("inf")):
                yield f"{where}: {key} was {old.get(key)}, is {new[key]}"
        for key in MUST_STAY:
            if key in new and new[key] != old.get(key):
                yield f"{where}: {key} was {old.get(key)}, is {new[key]}"

    def _properties(self, where: str, old: Schema, new: Schema, *, taken: bool) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name, told in before.items():
            if name not in after:
                yield f"{where}: field {name} removed"
            else:
                yield from self._schema(f"{where}.{name}", told, after[name], taken=taken)
        earlier, later = set(old.get("required", [])), set(new.get("required", []))
        if taken:
            yield from (f"{where}: field {name} is now required" for name in sorted(later - earlier))
        else:
            gone = (earlier - later) & after.keys()
            yield from (f"{where}: field {name} may now be absent" for name in sorted(gone))

    def _branches(self, schema: Schema, resolve: Any) -> dict[str, Schema]:
        """Return the alternatives of a schema by type; of several objects each has a number."""
        found: dict[str, Schema] = {}
        for branch in self._alternatives(schema, resolve):
            types = branch.get("type", "any")
            for kind in types if isinstance(types, list) else [types]:
                number = sum(known.split(" ")[0] == kind for known in found)
                found[f"{kind} {number + 1}" if number else kind] = branch
        return found

    def _alternatives(self, schema: Schema, resolve: Any) -> Iterator[Schema]:
        schema = resolve(schema)
        inner = schema.get("anyOf") or schema.get("oneOf")
        if not inner:
            yield schema
        for branch in inner or []:
            yield from self._alternatives(branch, resolve)

    def _in_old(self, schema: Schema) -> Schema:
        return _resolved(self._old, schema)

    def _in_new(self, schema: Schema) -> Schema:
        return _resolved(self._new, schema)


def _resolved(document: Schema, schema: Any) -> Schema:
    if not isinstance(schema, dict):  # true: anything
        return {}
    while "$ref" in schema:
        target: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = target
    return schema


if __name__ == "__main__":
    found = breaking_changes(*(json.loads(Path(name).read_text()) for name in sys.argv[1:3]))
    print("\n".join(found))
    sys.exit(bool(found))
