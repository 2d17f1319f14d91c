"""The question and the answer: asks the API for a prediction, and reads what came as Observation or FailedPoll.

requests stays behind this package and the transport.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from urllib.parse import quote

import requests
from requests.auth import AuthBase

from notifier import __version__
from notifier.model import Api, FailedPoll, Observation, Secret
from notifier.poll.answer import read
from notifier.poll.times import Budget, budget
from notifier.transport import Answer, Transport

__all__ = ["BearerAuth", "Budget", "Poller", "read"]


class BearerAuth(AuthBase):
    """The token as a header. Given as `auth`, it is not replaced by what ~/.netrc says of the host."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the token into the request, and give the request back."""
        request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        return request


class Poller:
    """Asks one account's API for its predictions, over a transport that is shared by all accounts.

    The token goes to the account's `base_url` and nowhere else: no URL from an answer is ever asked for.
    """

    def __init__(self, api: Api, transport: Transport) -> None:
        self.api = api
        self._transport = transport
        url = f"{api.base_url.rstrip('/')}/predictions/"
        headers = {"User-Agent": f"prediction-notifier/{__version__}", "Accept": "application/json"}
        # Preparing costs more than a whole poll may: it is done once, and only the URL differs from poll to poll.
        self._template = requests.Request("GET", url, headers, auth=BearerAuth(api.token)).prepare()
        self._prefix = self._template.url or url

    def ask(self, prediction_id: str, done: Callable[[Answer], None]) -> None:
        """Ask for a prediction; returns at once. `done` gets the answer in the transport's thread: see `submit`."""
        request = self._request(prediction_id)
        self._transport.submit(request, timeout=self.api.timeout, max_body=self.api.max_body, done=done)

    def ask_once(self, prediction_id: str) -> Answer:
        """Ask for a prediction and wait for the answer, at most the account's `timeout`."""
        request = self._request(prediction_id)
        return self._transport.exchange(request, timeout=self.api.timeout, max_body=self.api.max_body)

    def read(self, answer: Answer, prediction_id: str, now: float) -> Observation | FailedPoll:
        """What the answer says, as `read` does, with this account's token taken out wherever it was repeated."""
        return read(answer, prediction_id, now, token=self.api.token)

    @staticmethod
    def budget(answer: Answer) -> Budget | None:
        """What is left of the account's limit by this answer; None where it does not say."""
        return budget(answer.headers) if isinstance(answer, requests.Response) else None

    def _request(self, prediction_id: str) -> requests.PreparedRequest:
        request = copy.copy(self._template)  # shares its headers, which nobody changes
        # Dots too: `..` would be a way out of the path, and with the token.
        request.url = self._prefix + quote(prediction_id, safe="").replace(".", "%2E")
        return request
