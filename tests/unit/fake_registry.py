# SPDX-License-Identifier: Apache-2.0
"""
A registry of a few lines, for what a real one cannot be made to do: fail as told.

The real one is in tests/integration/test_registry.py.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestServer


class FakeRegistry:
    """
    Keeps subjects in memory; answers what ``faults`` says first, one a call.

    Attributes:
        subjects: The texts of each subject, oldest first; an id is shared by equal texts.
        rules: The compatibility of subjects that have one.
        faults: Responses to give instead of an answer, by method and start of the path.
        normalizes: Compares schemas without white space and order of keys.
        compatible: What it says when asked whether a schema may follow.
        seen: Method, path and headers of each call.
    """

    def __init__(self):
        self.subjects: dict[str, list[str]] = {}
        self.rules: dict[str, str] = {}
        self.faults: list[tuple[str, str, web.Response]] = []
        self.normalizes = True
        self.compatible = True
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.ids: list[str] = []

    def fail(self, method, path, status, *, code=None, body=None, times=1):
        """
        Answer the next calls with a status.
        """
        text = json.dumps({"error_code": code or status}) if body is None else body
        for _ in range(times):
            self.faults.append((method, path, web.Response(status=status, text=text)))

    def id_of(self, text):
        """
        Give the id of a text, a new one for a new text.
        """
        if text not in self.ids:
            self.ids.append(text)
        return self.ids.index(text) + 1

    @asynccontextmanager
    async def running(self):
        """
        Serve on a loopback port; gives the base URL.
        """
        app = web.Application()
        app.router.add_route("*", "/base/{path:.*}", self._answer)
        async with TestServer(app) as server:
            yield str(server.make_url("/base"))

    async def _answer(self, request):
        path = "/" + request.match_info["path"]
        self.seen.append((request.method, path, dict(request.headers)))
        for fault in self.faults:
            if fault[0] == request.method and path.startswith(fault[1]):
                self.faults.remove(fault)
                return fault[2]
        body = await request.json() if request.can_read_body else None
        return self._route(request.method, path.strip("/").split("/"), body)

    def _route(self, method, parts, body):
        match parts:
            case ["subjects"]:
                return web.json_response(sorted(self.subjects))
            case ["subjects", name, *rest]:
                return self._subject(method, name, rest, body)
            case ["compatibility", "subjects", name, "versions"] if name in self.subjects:
                answer = {"is_compatible": self.compatible}
                return web.json_response(answer | ({} if self.compatible else {"messages": ["no"]}))
            case ["schemas", "ids", number] if int(number) <= len(self.ids):
                return web.json_response({"schema": self.ids[int(number) - 1]})
            case ["config", name] if method == "PUT" or name in self.rules:
                self.rules[name] = body["compatibility"] if body else self.rules[name]
                return web.json_response({"compatibilityLevel": self.rules[name]})
        return missing(40401)

    def _subject(self, method, name, rest, body):
        if method == "POST" and rest == ["versions"]:
            texts = self.subjects.setdefault(name, [])
            if body["schema"] not in texts:
                texts.append(body["schema"])
            return web.json_response({"id": self.id_of(body["schema"])})
        if name not in self.subjects:
            return missing(40401)
        versions = [self._version(name, *each) for each in enumerate(self.subjects[name], 1)]
        match rest:
            case ["versions"]:
                return web.json_response([each["version"] for each in versions])
            case ["versions", number]:
                return web.json_response(versions[int(number) - 1])
        same = [each for each in versions if self._same(each["schema"], body["schema"])]
        return web.json_response(same[0]) if same else missing(40403)

    def _version(self, name, number, text):
        return {"subject": name, "version": number, "id": self.id_of(text), "schema": text}

    def _same(self, one, two):
        return json.loads(one) == json.loads(two) if self.normalizes else one == two


def missing(code):
    """
    Say 404 as a registry does.
    """
    return web.json_response({"error_code": code, "message": "not found"}, status=404)
