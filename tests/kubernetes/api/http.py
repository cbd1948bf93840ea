"""The HTTP face: Kubernetes' own addresses for clients, `/testing/...` for the tests that steer the cluster."""

from __future__ import annotations

import asyncio
import collections
import json
import signal
from collections.abc import Awaitable, Callable

import yaml
from aiohttp import web

from .control import ControlPlane
from .kinds import KINDS, Object, Refused
from .kubelet import Kubelet
from .patches import patched
from .requests import Wanted, switched_on, wanted
from .rights import ADMIN, Rights
from .selectors import selects
from .store import Change, Store

Handler = Callable[[web.Request, Wanted], Awaitable[web.StreamResponse]]


class Api:
    def __init__(self, store: Store, control: ControlPlane, kubelet: Kubelet, rights: Rights) -> None:
        self._store = store
        self._control = control
        self._kubelet = kubelet
        self._rights = rights
        self._requests: collections.Counter[tuple[str, str, str, int]] = collections.Counter()
        self._handlers: dict[str, Handler] = {
            "get": self._get,
            "list": self._list,
            "watch": self._watch,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/version", _version)
        app.router.add_get("/testing/requests", self._told_requests)
        app.router.add_get("/testing/tokens/{namespace}/{account}", self._told_token)
        app.router.add_post("/testing/pods/{namespace}/{name}/{action}", self._steer_pod)
        app.router.add_post("/testing/hold-next-pod", self._hold_next_pod)
        app.router.add_post("/testing/forget-history", self._forget_history)
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        user, asked = "", None
        try:
            user = self._rights.user_of(request.headers.get("Authorization"))
            asked = wanted(request.method, request.path, request.query)
            self._rights.check(user, asked.verb, asked.qualified, asked.namespace, asked.name)
            self._record(user, asked, 200)
            return await self._handlers[asked.verb](request, asked)
        except Refused as refused:
            if asked and refused.code in (401, 403):
                self._record(user, asked, refused.code)
            return web.json_response(refused.body(), status=refused.code)

    def _record(self, user: str, asked: Wanted, code: int) -> None:
        self._requests[user, asked.verb, asked.qualified, code] += 1

    async def _get(self, request: web.Request, asked: Wanted) -> web.StreamResponse:
        obj = self._store.get(asked.resource, _home(asked), asked.name)
        if asked.subresource == "log":
            return await self._log(request, obj)
        return web.json_response(obj)

    async def _list(self, request: web.Request, asked: Wanted) -> web.StreamResponse:
        kind = KINDS[asked.resource]
        return web.json_response(
            {
                "kind": kind.name + "List",
                "apiVersion": kind.api_version,
                "metadata": {"resourceVersion": str(self._store.version)},
                "items": self._selected(request, asked),
            }
        )

    async def _create(self, request: web.Request, asked: Wanted) -> web.StreamResponse:
        obj = await _body(request)
        return web.json_response(self._control.create(asked.resource, _home(asked), obj), status=201)

    async def _update(self, request: web.Request, asked: Wanted) -> web.StreamResponse:
        body = await _body(request)
        return web.json_response(self._store.update(asked.resource, _home(asked), asked.name, lambda _: body))

    async def _patch(self, request: web.Request, asked: Wanted) -> web.StreamResponse:
        content_type, text = request.content_type, await request.text()
        applied = content_type == "application/apply-patch+yaml"
        if applied and self._store.find(asked.resource, _home(asked), asked.name) is None:
            created = self._control.create(asked.resource, _home(asked), yaml.safe_load(text))
            return web.json_response(created, status=201)
        updated = self._store.update(
            asked.resource, _home(asked), asked.name, lambda obj: patched(obj, content_type, text)
        )
        return web.json_response(updated)

    async def _delete(self, request: web.Request, asked: Wanted) -> web.StreamResponse:
        grace = await _grace(request)
        return web.json_response(self._control.delete(asked.resource, _home(asked), asked.name, grace))

    async def _delete_collection(self, request: web.Request, asked: Wanted) -> web.StreamResponse:
        grace = await _grace(request)
        items = self._selected(request, asked)
        for obj in items:
            self._control.delete(asked.resource, obj["metadata"].get("namespace", ""), obj["metadata"]["name"], grace)
        kind = KINDS[asked.resource]
        return web.json_response({"kind": kind.name + "List", "apiVersion": kind.api_version, "items": items})

    def _selected(self, request: web.Request, asked: Wanted) -> list[Object]:
        labels, fields = request.query.get("labelSelector"), request.query.get("fieldSelector")
        return [obj for obj in self._store.all(asked.resource, asked.namespace) if selects(labels, fields, obj)]

    async def _watch(self, request: web.Request, asked: Wanted) -> web.StreamResponse:
        def chosen(obj: Object) -> bool:
            query = request.query
            return (
                (not asked.namespace or obj["metadata"].get("namespace") == asked.namespace)
                and (not asked.name or obj["metadata"]["name"] == asked.name)
                and selects(query.get("labelSelector"), query.get("fieldSelector"), obj)
            )

        stream = _EventStream(request)
        version = int(request.query.get("resourceVersion") or 0)
        ends = asyncio.get_running_loop().time() + float(request.query.get("timeoutSeconds", 3600))
        await stream.open()
        if version == 0:
            version = self._store.version
            for obj in filter(chosen, self._store.all(asked.resource, asked.namespace)):
                await stream.send("ADDED", obj)
        while (left := ends - asyncio.get_running_loop().time()) > 0 and stream.is_open():
            try:
                changes = self._store.changes(asked.resource, version)
            except Refused as expired:
                await stream.send("ERROR", expired.body())
                break
            for change in changes:
                version = change.version
                if type_ := _seen_as(change, chosen):
                    await stream.send(type_, change.after)
            if not changes:
                await self._store.changed(min(left, 1))  # a closed websocket is noticed within a second
        return await stream.close()

    async def _log(self, request: web.Request, pod: Object) -> web.StreamResponse:
        timed = switched_on(request.query, "timestamps")
        tail = request.query.get("tailLines")
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        seen = max(0, len(self._kubelet.log(pod)) - int(tail)) if tail else 0
        follow = switched_on(request.query, "follow")
        while len(self._kubelet.log(pod)) > seen or (follow and await self._kubelet.more_log(pod, seen)):
            time, line = self._kubelet.log(pod)[seen]
            seen += 1
            await response.write(f"{time} {line}\n".encode() if timed else f"{line}\n".encode())
        await response.write_eof()
        return response

    # ---- for tests

    async def _told_requests(self, request: web.Request) -> web.Response:
        self._check_admin(request)
        rows = [
            {"user": user, "verb": verb, "resource": resource, "code": code, "count": count}
            for (user, verb, resource, code), count in self._requests.items()
        ]
        return web.json_response(rows)

    async def _told_token(self, request: web.Request) -> web.Response:
        self._check_admin(request)
        return web.json_response(self._rights.token_of(request.match_info["namespace"], request.match_info["account"]))

    async def _steer_pod(self, request: web.Request) -> web.Response:
        self._check_admin(request)
        namespace, name, action = (request.match_info[key] for key in ("namespace", "name", "action"))
        try:
            pod = self._store.get("pods", namespace, name)
            if action == "vanish":
                self._control.delete("pods", namespace, name, grace=0)
            elif action == "oom":
                self._kubelet.kill(pod, signal.SIGKILL, oom=True)
            else:
                self._kubelet.kill(pod, signal.Signals[action])
        except Refused as refused:
            return web.json_response(refused.body(), status=refused.code)
        return web.json_response(pod)

    async def _hold_next_pod(self, request: web.Request) -> web.Response:
        self._check_admin(request)
        self._kubelet.hold_next(request.query["labelSelector"])
        return web.json_response({})

    async def _forget_history(self, request: web.Request) -> web.Response:
        self._check_admin(request)
        self._store.forget_history()
        return web.json_response({})

    def _check_admin(self, request: web.Request) -> None:
        if self._rights.user_of(request.headers.get("Authorization")) != ADMIN:
            raise web.HTTPForbidden


class _EventStream:
    """A watch's answer: JSON lines, or websocket messages for a client that asks to upgrade, as Spark's does."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        upgrade = request.headers.get("Upgrade", "").lower() == "websocket"
        self._socket = web.WebSocketResponse(heartbeat=20) if upgrade else None
        self._lines = web.StreamResponse(headers={"Content-Type": "application/json"})
        self._reader: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await (self._socket or self._lines).prepare(self._request)
        if self._socket is not None:
            self._reader = asyncio.create_task(self._read())

    def is_open(self) -> bool:
        return self._reader is None or not self._reader.done()

    async def send(self, type_: str, obj: Object) -> None:
        text = json.dumps({"type": type_, "object": obj})
        if self._socket is not None:
            await self._socket.send_str(text)
        else:
            await self._lines.write(text.encode() + b"\n")

    async def close(self) -> web.StreamResponse:
        if self._socket is None:
            return self._lines
        if self._reader:
            self._reader.cancel()
        await self._socket.close()
        return self._socket

    async def _read(self) -> None:
        assert self._socket is not None
        async for _ in self._socket:
            pass


def _seen_as(change: Change, chosen: Callable[[Object], bool]) -> str | None:
    """The event type for a watcher of a selection: an object that leaves the selection is deleted to it."""
    before = change.before is not None and chosen(change.before)
    after = change.type != "DELETED" and chosen(change.after)
    if before:
        return "MODIFIED" if after else "DELETED"
    return "ADDED" if after else None


def _home(asked: Wanted) -> str:
    """The namespace an object is stored under; cluster-wide objects have none."""
    return asked.namespace if KINDS[asked.resource].namespaced else ""


async def _body(request: web.Request) -> Object:
    text = await request.text()
    try:
        body = json.loads(text)
    except ValueError as error:
        raise Refused(400, f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused(400, "the body is no object")
    return body


async def _grace(request: web.Request) -> float | None:
    """gracePeriodSeconds of the query or of DeleteOptions; None where the client gives none."""
    given = request.query.get("gracePeriodSeconds")
    if given is None and request.can_read_body and (text := await request.text()):
        given = json.loads(text).get("gracePeriodSeconds")
    return None if given is None else float(given)


async def _version(_: web.Request) -> web.Response:
    return web.json_response({"major": "1", "minor": "34", "gitVersion": "v1.34.0-test", "platform": "linux/amd64"})
