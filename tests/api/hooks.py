"""Keeps schemathesis from revoking the tokens it works with: it would go on as nobody, and find nothing."""

import os

import schemathesis

OWN_TOKENS = os.environ["CONDUIT_OWN_TOKENS"].split()


@schemathesis.hook
def filter_case(context, case):
    revokes = case.operation.path.startswith("/tokens/") and case.method.upper() == "DELETE"
    return not (revokes and str((case.path_parameters or {}).get("token")) in OWN_TOKENS)
