"""Texts that a JSON schema names by a format, because it has no words for what is inside them: networks,
whose address must be their first, and files of prices, which are JSON within JSON.

A file of prices is made up from what the API's own document says of it.
"""

import ipaddress
import json

import jsonschema
from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema


def networks() -> st.SearchStrategy[str]:
    """Networks of both families, by their first address; some are one address alone."""

    def written(address, prefix, alone):
        network = ipaddress.ip_network((address, prefix % (address.max_prefixlen + 1)), strict=False)
        return str(network.network_address) if alone else str(network)

    return st.builds(written, st.ip_addresses(), st.integers(0, 128), st.booleans())


def schema_of_price_files(document: dict) -> dict:
    body = document["paths"]["/prices/update"]["post"]["requestBody"]
    return body["content"]["application/json"]["schema"]["properties"]["text"]["contentSchema"]


def some_of(has_none: dict, others: st.SearchStrategy) -> st.SearchStrategy[dict]:
    """Objects of which it is not so that they have none such a member, and other members beside."""
    ((name, wanted),) = has_none["patternProperties"].items()
    wanted = wanted["not"]
    models = wanted.get("properties", {}).get("models")
    values = from_schema(wanted)
    if models is not None:
        # One object of such members within another.
        values = st.builds(lambda models: {"models": models}, some_of(models["not"], others))
    members = st.dictionaries(from_schema({"type": "string", "pattern": name}), values, min_size=1, max_size=3)
    beside = st.dictionaries(st.text(max_size=8), others, max_size=2)
    return st.builds(lambda beside, members: {**beside, **members}, beside, members)


def price_files(document: dict) -> st.SearchStrategy[str]:
    """Files of prices of both layouts."""
    schema = schema_of_price_files(document)
    others = st.one_of(st.none(), st.integers(), st.text(max_size=8), from_schema({"type": "object", "maxProperties": 2}))
    fits = jsonschema.Draft202012Validator(schema).is_valid
    layouts = [some_of(layout["not"], others) for layout in schema["anyOf"]]
    return st.one_of(layouts).filter(fits).map(json.dumps)
