"""What schemathesis has to know beside the document: how to make up the texts that it names by a format,
and not to revoke the tokens it works with, or it would go on as nobody, and find nothing.
"""

import json
import os
import pathlib

import schemathesis

import forms

OWN_TOKENS = os.environ["CONDUIT_OWN_TOKENS"].split()
DOCUMENT = json.loads(pathlib.Path("openapi.json").read_text())

schemathesis.openapi.format("cidr", forms.networks())
schemathesis.openapi.format("price-file", forms.price_files(DOCUMENT))


@schemathesis.hook
def filter_case(context, case):
    revokes = case.operation.path.startswith("/tokens/") and case.method.upper() == "DELETE"
    return not (revokes and str((case.path_parameters or {}).get("token")) in OWN_TOKENS)
