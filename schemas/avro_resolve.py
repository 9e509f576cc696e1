"""Which of a reader's types takes what a writer wrote: schema resolution, as far as it needs no data.

The rules are those of the Avro 1.12 specification, "Schema Resolution", and agree with fastavro where the text is
silent: records, enums and fixed match by unqualified name or by an alias of the reader; a reader's union takes the
first branch that matches.
"""

from __future__ import annotations

from .avro_schema import NAMED, Node, PlanError, Schema

PROMOTIONS = {
    "int": ("int", "long", "float", "double"),
    "long": ("long", "float", "double"),
    "float": ("float", "double"),
    "string": ("string", "bytes"),
    "bytes": ("bytes", "string"),
}
SAME_ENCODING = (("int", "long"), ("string", "bytes"))
"""Writer's and reader's types whose values are encoded alike; bytes need not be a string."""


class Resolution:
    """A writer's and a reader's schema, held against each other."""

    def __init__(self, writer: Schema, reader: Schema) -> None:
        self.writer = writer
        self.reader = reader
        self._checked: set[tuple[str, str]] = set()

    def matches(self, writer: Node, reader: Node) -> bool:
        """Whether a value of `writer`, which is no union, may be read as `reader`, which is none either."""
        kind, other = writer["type"], reader["type"]
        if kind in NAMED and kind == other:
            fits = kind != "fixed" or writer["size"] == reader["size"]
            return fits and _same_name(writer, reader)
        if kind in ("array", "map") and kind == other:
            part = "items" if kind == "array" else "values"
            return self.takes(writer[part], reader[part])
        return other in PROMOTIONS.get(kind, (kind,)) and kind not in NAMED

    def takes(self, writer: object, reader: object) -> bool:
        """Whether at least one branch of `writer` has a match in `reader`: what does not, fails when it is met."""
        return any(self.branch(branch, reader) is not None for branch in self.writer.branches(writer))

    def branch(self, writer: Node, reader: object) -> Node | None:
        """The first branch of `reader` (itself, when it is no union) that takes `writer`, which is no union."""
        for branch in self.reader.branches(reader):
            if self.matches(writer, branch):
                return branch
        return None

    def check(self, writer: object, reader: object, where: str) -> None:
        """PlanError when no value of `writer` at all could be read as `reader`, here or deeper down."""
        if not self.takes(writer, reader):
            kinds = [" or ".join(node["type"] for node in nodes) for nodes in self._branches(writer, reader)]
            raise PlanError(f"field {where or 'root'}: written as {kinds[0]}, which cannot be read as {kinds[1]}")
        for node in self.writer.branches(writer):
            target = self.branch(node, reader)
            if target is not None:
                self._check_parts(node, target, where)

    def _branches(self, writer: object, reader: object) -> tuple[list[Node], list[Node]]:
        return self.writer.branches(writer), self.reader.branches(reader)

    def _check_parts(self, writer: Node, reader: Node, where: str) -> None:
        if writer["type"] in ("array", "map"):
            part = "items" if writer["type"] == "array" else "values"
            self.check(writer[part], reader[part], f"{where}[]")
        elif writer["type"] == "record" and (writer["name"], reader["name"]) not in self._checked:
            self._checked.add((writer["name"], reader["name"]))
            self._check_fields(writer, reader, where)

    def _check_fields(self, writer: Node, reader: Node, where: str) -> None:
        written = self.fields(writer, reader)
        for field in reader["fields"]:
            name = f"{where}.{field['name']}" if where else field["name"]
            if field["name"] in written:
                self.check(written[field["name"]], field["type"], name)
            elif "default" not in field:
                raise PlanError(f"field {name}: the writer does not write it, and the reader has no default for it")

    def fields(self, writer: Node, reader: Node) -> dict[str, object]:
        """Type that the writer writes for each field of the reader that it has, under the reader's name."""
        found: dict[str, object] = {}
        for field in writer["fields"]:
            name = self.reads(field["name"], reader)
            if name is not None and name not in found:
                found[name] = field["type"]
        return found

    def reads(self, name: str, reader: Node) -> str | None:
        """The reader's name of the writer's field `name`: its own first, then an alias."""
        for field in reader["fields"]:
            if field["name"] == name:
                return name
        aliased = [field["name"] for field in reader["fields"] if name in field.get("aliases", ())]
        return aliased[-1] if aliased else None

    def same_bytes(self, writer: object, reader: object, inside: tuple[tuple[str, str], ...] = ()) -> bool:
        """Whether what `writer` wrote is, byte by byte, what `reader` would have written for the same value."""
        one, two = self.writer.node(writer), self.reader.node(reader)
        kind = one["type"]
        if kind != two["type"]:
            return (kind, two["type"]) in SAME_ENCODING
        if kind in NAMED:
            pair = (one["name"], two["name"])
            return pair in inside or (_same_name(one, two) and self._same_named(one, two, (*inside, pair)))
        if kind == "union":
            return len(one["branches"]) <= len(two["branches"]) and all(
                self.same_bytes(a, b, inside) for a, b in zip(one["branches"], two["branches"], strict=False)
            )
        part = {"array": "items", "map": "values"}.get(kind)
        return part is None or self.same_bytes(one[part], two[part], inside)

    def _same_named(self, one: Node, two: Node, inside: tuple[tuple[str, str], ...]) -> bool:
        if one["type"] == "fixed":
            return bool(one["size"] == two["size"])
        if one["type"] == "enum":
            return bool(two["symbols"][: len(one["symbols"])] == one["symbols"])
        return len(one["fields"]) == len(two["fields"]) and all(
            self.reads(a["name"], two) == b["name"] and self.same_bytes(a["type"], b["type"], inside)
            for a, b in zip(one["fields"], two["fields"], strict=True)
        )


def _same_name(writer: Node, reader: Node) -> bool:
    bare = writer["name"].rsplit(".", 1)[-1]
    aliases = reader.get("aliases", ())
    return bare == reader["name"].rsplit(".", 1)[-1] or writer["name"] in aliases or bare in aliases
