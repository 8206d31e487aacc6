"""Texts that a JSON schema names by a format, because it has no words for what is inside them: networks,
whose address must be their first, and files of prices, which are JSON within JSON.

A file of prices is made up from what the API's own document says of it.
"""

import ipaddress
import json
import re

import jsonschema
from hypothesis import strategies as st

# What stands beside the models of a file, and is none.
OTHERS = st.one_of(st.none(), st.integers(), st.text(max_size=8), st.just({}), st.just({"mode": "chat"}))
KINDS = {"null": st.none(), "string": st.text(max_size=8), "boolean": st.booleans(), "integer": st.integers(0, 1_000_000)}


def networks() -> st.SearchStrategy[str]:
    """Networks of both families, by their first address; some are one address alone."""

    def written(address, prefix, alone):
        network = ipaddress.ip_network((address, prefix % (address.max_prefixlen + 1)), strict=False)
        return str(network.network_address) if alone else str(network)

    return st.builds(written, st.ip_addresses(), st.integers(0, 128), st.booleans())


def schema_of_price_files(document: dict) -> dict:
    body = document["paths"]["/prices/update"]["post"]["requestBody"]
    return body["content"]["application/json"]["schema"]["properties"]["text"]["contentSchema"]


def price_files(document: dict) -> st.SearchStrategy[str]:
    """Files of prices of both layouts."""
    schema = schema_of_price_files(document)
    fits = jsonschema.Draft202012Validator(schema).is_valid
    return st.one_of([some_of(layout["not"]) for layout in schema["anyOf"]]).filter(fits).map(json.dumps)


def some_of(has_none: dict) -> st.SearchStrategy[dict]:
    """Objects of which it is not so that they have none such a member, and other members beside."""
    ((name, wanted),) = has_none["patternProperties"].items()
    members = st.dictionaries(names(name), values(wanted["not"]), min_size=1, max_size=3)
    return st.builds(lambda beside, members: {**beside, **members}, st.dictionaries(st.text(max_size=8), OTHERS, max_size=2), members)


def names(pattern: str) -> st.SearchStrategy[str]:
    # A name has no end of line, which `$` would take.
    return st.from_regex(pattern).filter(lambda name: "\n" not in name)


def values(schema: dict) -> st.SearchStrategy:
    """Values of the few sorts of schema that there are in this one."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "not" in schema:
        return some_of(schema["not"])
    if "items" in schema:
        return st.lists(st.just(schema["items"]["const"]), max_size=2)
    kinds = schema.get("type", "object")
    each = [kinds] if isinstance(kinds, str) else kinds
    return st.one_of([of_kind(kind, schema) for kind in each])


def of_kind(kind: str, schema: dict) -> st.SearchStrategy:
    if kind == "number":
        least = schema.get("exclusiveMinimum", schema.get("minimum"))
        return st.floats(least, schema["maximum"], exclude_min="exclusiveMinimum" in schema)
    if kind != "object":
        return KINDS[kind]
    patterns = schema.get("patternProperties", {})

    def member(name: str, own: dict) -> st.SearchStrategy:
        """A member has to be as its name says, and as each pattern says that its name fits."""
        return values({**{word: rule for pattern, more in patterns.items() if re.search(pattern, name) for word, rule in more.items()}, **own})

    known = {name: member(name, own) for name, own in schema.get("properties", {}).items() if own is not False}
    required = {name: known.pop(name) for name in schema.get("required", [])}
    free = [st.dictionaries(names(pattern).filter(lambda name: name not in schema["properties"]), values(more), max_size=2) for pattern, more in patterns.items()]
    whole = st.fixed_dictionaries(required, optional=known)
    for some in free:
        whole = st.builds(lambda some, whole: {**some, **whole}, some, whole)
    return whole
