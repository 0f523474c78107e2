"""Sends what libraries address to X's own host to the system under test instead: tweepy has no
setting for it. To be imported before the library is used."""

import os
from urllib.parse import urlsplit, urlunsplit

import requests.adapters

_HOSTS = {"api.twitter.com", "api.x.com"}
_system = urlsplit(os.environ["PILLION_URL"])


class _Adapter(requests.adapters.HTTPAdapter):
    def send(self, request, *arguments, **options):
        asked = urlsplit(request.url)
        if asked.hostname in _HOSTS:
            request.url = urlunsplit((_system.scheme, _system.netloc, *asked[2:]))
        return super().send(request, *arguments, **options)


# Sessions mount `HTTPAdapter` by this name when they are made.
requests.sessions.HTTPAdapter = _Adapter
