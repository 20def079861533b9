"""What an application does with supabase-py, on two databases: ONE and OTHER have url, anon_key.

Prints which checks hold.
"""

import json
import os
from collections.abc import Callable

from supabase import AuthApiError, Client, ClientOptions, create_client

checks: dict[str, object] = {}


def opened(name: str) -> Client:
    found = json.loads(os.environ[name])
    return create_client(
        found["url"], found["anon_key"], options=ClientOptions(auto_refresh_token=False)
    )


def check(name: str, holds: bool, found: object) -> None:
    checks[name] = True if holds else str(found)


def refused(ask: Callable[[], object]) -> object:
    try:
        return ask()
    except AuthApiError as error:
        return error.code


one, other = opened("ONE"), opened("OTHER")
ann = {"email": f"bob-{os.getpid()}@example.com", "password": "correct horse"}
made = one.auth.sign_up({**ann, "options": {"data": {"name": "Bob"}}})
check("sign-up", made.session is not None and made.user is not None, made)
found = refused(lambda: one.auth.sign_in_with_password({**ann, "password": "wrong horse"}))
check("wrong password", found == "invalid_credentials", found)
signed_in = one.auth.sign_in_with_password(ann)
check("sign-in", signed_in.user.email == ann["email"], signed_in)
user = one.auth.get_user().user
check("user", user.id == made.user.id and user.user_metadata["name"] == "Bob", user)
changed = one.auth.update_user({"password": "battery staple"})
check("change", changed.user.id == user.id, changed)
rows = one.table("notes").insert({"note": "mine"}).execute().data
check("insert", rows[0]["owner"] == user.id, rows)
seen = one.table("notes").select("note, tags(tag)", count="exact").like("note", "m%").execute()
check("filter, embed and count", seen.count == 1, seen)
called = one.rpc("whoami").execute().data
check("rpc", called == user.id, called)
refreshed = one.auth.refresh_session()
check("refresh", refreshed.session.refresh_token != signed_in.session.refresh_token, refreshed)
found = refused(lambda: other.auth.get_user(refreshed.session.access_token))
check("another database refuses its token", found == "bad_jwt", found)
one.auth.sign_out()
found = refused(lambda: one.auth.refresh_session(refreshed.session.refresh_token))
check("the session has ended", found == "refresh_token_not_found", found)
print(json.dumps(checks))
