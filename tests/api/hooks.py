"""What schemathesis has to know beyond the document, because no schema can say it: that a time to come is
meant, that a client makes up a new idempotency key for each request, and which token is its own.
"""

import itertools
import os
import re

import schemathesis

NUMBERS = itertools.count(1)
OWN_TOKENS = os.environ["CONDUIT_OWN_TOKENS"].split()
KEY = re.compile(r"[!-~]{1,255}")
TIME = re.compile(r"\d{4}(-\d\d-\d\dT.*)", re.DOTALL)


@schemathesis.hook
def before_call(context, case, kwargs):
    headers = case.headers or {}
    key = headers.get("Idempotency-Key")
    if isinstance(key, str) and KEY.fullmatch(key):
        case.headers["Idempotency-Key"] = f"{next(NUMBERS)}-{key}"[:255]
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("expires_at"), str):
        case.body = {**body, "expires_at": TIME.sub(r"2096\1", body["expires_at"])}


@schemathesis.hook
def filter_case(context, case):
    # It would go on as nobody.
    revokes = case.operation.path.startswith("/tokens/") and case.method.upper() == "DELETE"
    return not (revokes and str((case.path_parameters or {}).get("token")) in OWN_TOKENS)
