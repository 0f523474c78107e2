"""The system under test, and what X's client libraries have no calls for: accounts, apps, and the
person who says yes on the consent page."""

import html.parser
import itertools
import os
import time
import urllib.parse
from dataclasses import dataclass

import requests

URL = os.environ["PILLION_URL"]
PASSWORD = "correct horse battery"
CALLBACK = "http://localhost/back"
# How long and how often `eventually` looks: rate limits count.
PATIENCE_S = 10
PAUSE_S = 0.1

# The OAuth library refuses to send tokens over plain HTTP, even to this machine.
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"

_numbers = itertools.count(1)


@dataclass
class Person:
    """An account with a token for everything."""

    id: str
    username: str
    name: str
    token: str


@dataclass
class App:
    """An app of somebody's, which asks others for access."""

    client_id: str
    client_secret: str


def register(stem, name="A Name"):
    """Makes an account, whose username begins with `stem`, and logs it in."""
    username = f"{stem}_{next(_numbers)}"
    account = {"username": username, "name": name, "password": PASSWORD}
    made = _post("/pillion/v1/accounts", account)
    return Person(made["data"]["id"], username, name, log_in(username))


def log_in(username, scope=None):
    """A token for everything, or for the scopes that are named."""
    login = {"username": username, "password": PASSWORD}
    if scope:
        login["scope"] = scope
    return _post("/pillion/v1/login", login)["access_token"]


def register_app(owner):
    """Makes an app that may send people back to `CALLBACK`."""
    app = {"name": "A client library", "redirect_uris": [CALLBACK]}
    made = _post("/pillion/v1/apps", app, owner.token)["data"]
    return App(made["client_id"], made["client_secret"])


def token_of_app(owner):
    """The token of a new app by itself."""
    app = register_app(owner)
    answer = requests.post(
        URL + "/oauth2/token",
        data={"grant_type": "client_credentials"},
        auth=(app.client_id, app.client_secret),
        timeout=10,
    )
    answer.raise_for_status()
    return answer.json()["access_token"]


def protect(person, protected=True):
    """Shows what a person posts to followers only, or to everybody again."""
    _post("/pillion/v1/account/profile", {"protected": protected}, person.token)


def answer_request(person, follower, answer):
    """Answers who asks a protected account to follow: "accept" or "deny"."""
    _post(f"/pillion/v1/follow-requests/{follower.id}/{answer}", None, person.token)


def eventually(expected, read):
    """What `read` returns, as soon as that is `expected`: services hear of each other's events a
    little later. If it never is, what it returned last."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := read()) != expected and time.monotonic() < deadline:
        time.sleep(PAUSE_S)
    return found


def allow(authorization_url, person):
    """Goes where an app sends a browser, says yes there, and returns where that leads.

    Libraries name X's own host in the address; everything after it is for the system."""
    asked = urllib.parse.urlsplit(authorization_url)
    page = requests.get(URL + asked.path, params=asked.query, timeout=10)
    page.raise_for_status()
    form = _Form()
    form.feed(page.text)
    answer = {**form.fields, "username": person.username, "password": PASSWORD}
    decided = requests.post(
        urllib.parse.urljoin(URL, form.action),
        data={**answer, "decision": "allow"},
        allow_redirects=False,
        timeout=10,
    )
    assert decided.status_code == 303, decided.text
    return decided.headers["location"]


class _Form(html.parser.HTMLParser):
    """The form of a page, with the fields that it keeps for the server."""

    def __init__(self):
        super().__init__()
        self.action = None
        self.fields = {}

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "form":
            self.action = attributes["action"]
        elif tag == "input" and attributes.get("type") == "hidden":
            self.fields[attributes["name"]] = attributes["value"]


def _post(path, body, token=None):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    answer = requests.post(URL + path, json=body, headers=headers, timeout=30)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()
