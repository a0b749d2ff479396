"""The few calls to the GitHub REST API that posting a report needs: find the pull request, one comment, one check."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.errors import BadCall

ATTEMPTS = 4  # of a call that the server could not answer
MOST_PAGES = 50  # of a hundred comments each
TIMEOUT = 30  # seconds
BUSY = (429, 500, 502, 503, 504)
CONCLUSIONS = {0: "success", 1: "failure", 2: "failure", 3: "neutral"}  # of an exit code


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to wherever it points."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Forge:
    """One repository. `author` is the account whose comments are ours to edit: nobody else's are ever touched."""

    api: str  # "https://api.github.com"
    repository: str  # "owner/name"
    token: str
    author: str = "github-actions[bot]"
    sleep: Callable[[float], None] = time.sleep

    def pull_requests(self, owner: str, branch: str, sha: str) -> list[int]:
        """Numbers of the open pull requests from owner's branch whose head is still this commit."""
        query = urllib.parse.urlencode({"state": "open", "head": f"{owner}:{branch}", "per_page": 100})
        found = self._call("GET", f"/pulls?{query}")
        return [int(pull["number"]) for pull in found if pull["head"]["sha"] == sha]

    def comment(self, number: int, body: str, marker: str) -> str:
        """Put the body into the comment of ours that begins with the marker, or into a new one; what was done."""
        for found in self._comments(number):
            if found["user"]["login"] == self.author and str(found["body"]).startswith(marker):
                if found["body"] == body:
                    return "unchanged"
                self._call("PATCH", f"/issues/comments/{int(found['id'])}", {"body": body})
                return "edited"
        self._call("POST", f"/issues/{number}/comments", {"body": body})
        return "created"

    def check(self, name: str, sha: str, exit_code: int, *, title: str, summary: str) -> None:
        """A finished check on a commit; cannot tell is neutral."""
        output = {"title": title, "summary": summary}
        conclusion = CONCLUSIONS.get(exit_code, "failure")
        facts = {"name": name, "head_sha": sha, "status": "completed", "conclusion": conclusion, "output": output}
        self._call("POST", "/check-runs", facts)

    def _comments(self, number: int) -> Iterator[Any]:
        for page in range(1, MOST_PAGES + 1):
            found = self._call("GET", f"/issues/{number}/comments?per_page=100&page={page}")
            yield from found
            if len(found) < 100:
                return

    def _call(self, method: str, path: str, body: object = None) -> Any:
        """The answer as JSON. Raises BadCall with the server's words; a busy server is asked again."""
        place = f"{self.api.rstrip('/')}/repos/{self.repository}{path}"
        data = None if body is None else json.dumps(body).encode()
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
            "Content-Type": "application/json",
            "User-Agent": "zeroulp",
        }
        request = urllib.request.Request(place, data=data, headers=headers, method=method)
        opener = urllib.request.build_opener(_NoRedirect)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with opener.open(request, timeout=TIMEOUT) as answer:
                    return json.loads(answer.read())
            except urllib.error.HTTPError as error:
                if error.code not in BUSY or attempt == ATTEMPTS or (method == "POST" and error.code != 429):
                    words = f"{error.code} {_words(error)}"
                    raise BadCall(f"{method} {path.partition('?')[0]}: the server answers {words}") from None
            except (OSError, http.client.HTTPException) as error:
                if attempt == ATTEMPTS or method == "POST":
                    raise BadCall(f"{method} {path.partition('?')[0]}: no answer from {self.api} ({error})") from None
            except ValueError:
                raise BadCall(f"{method} {path.partition('?')[0]}: the answer is not JSON") from None
            self.sleep(2.0**attempt)
        raise AssertionError("the last attempt returns or raises")


def _words(error: urllib.error.HTTPError) -> str:
    """The message in an error's JSON body, or the reason of its status line."""
    try:
        return str(json.loads(error.read())["message"])
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return str(error.reason)
