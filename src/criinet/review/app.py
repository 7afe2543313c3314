"""What the server answers: the page's files, pictures, and the few verbs of a review."""

from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal, cast

from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field

from criinet.data.dataset import Case
from criinet.errors import CriinetError, DataError, RunError, StorageError
from criinet.review.disk import stamp
from criinet.review.pictures import as_png, as_thumbnail, decode_mask
from criinet.review.session import OtherRoundError, ReviewSession
from criinet.review.slices import middle_slice
from criinet.review.store import LONGEST_NAME, ConflictError, Effort

STATIC = Path(__file__).parent / "static"
OVERHEAD = 64 * 1024
"""Bytes that an uploaded mask may need beyond one for each pixel of the slices that it holds."""
THUMBNAILS = 4096
STATUS: tuple[tuple[type[CriinetError], int], ...] = (
    (ConflictError, 409),
    (OtherRoundError, 412),
    (StorageError, 507),
    (RunError, 409),
    (DataError, 422),
)
Seconds = Annotated[float, Field(ge=0, le=86400)]
Number = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(max_length=LONGEST_NAME)]


class Body(BaseModel):
    """Base of what the page sends as JSON."""

    model_config = ConfigDict(extra="forbid")


class DecisionBody(Body):
    """A decision without a mask."""

    action: Literal["rejected", "skipped"]
    version: str
    by: Name = ""
    seconds: Seconds = 0.0
    round: Number = 0


class RoundBody(Body):
    """What to do with rounds; ``number`` belongs to "use" alone."""

    action: Literal["start", "cancel", "resume", "discard", "use"]
    number: Number | None = None


class TooLargeError(CriinetError):
    """A body that is longer than the mask of its case can be."""


def create_app(session: ReviewSession) -> FastAPI:
    """Build the app of a session. It checks no token: wrap it in a :class:`Guard`."""
    app = FastAPI(title="criinet review", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=1)
    app.add_exception_handler(CriinetError, _explain)
    app.add_exception_handler(RequestValidationError, _explain_request)
    _add_reading(app, session)
    _add_saving(app, session)
    _add_rounds(app, session)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return app


def _add_reading(app: FastAPI, session: ReviewSession) -> None:
    reading = Lock()

    @lru_cache(maxsize=THUMBNAILS)
    def thumbnail_of(case: Case, _stamp: str) -> bytes:
        with reading:  # One volume in memory at a time, whatever a queue asks for at once.
            scan = session.dataset.read_scan(case)
            return as_thumbnail(middle_slice(scan, session.model.predictor.data))

    @app.get("/api/about")
    def about() -> dict[str, Any]:
        return session.about()

    @app.get("/api/status")
    def status() -> dict[str, Any]:
        return session.status()

    @app.get("/api/cases")
    def cases() -> dict[str, Any]:
        return {"queue": session.queue.number, "cases": session.cases()}

    @app.get("/api/cases/{name}")
    def case(name: str) -> dict[str, Any]:
        return session.detail(name)

    @app.get("/api/cases/{name}/image")
    def image(name: str, slice: Number = 0) -> Response:
        return Response(as_png(session.image(name, slice)), media_type="image/png")

    @app.get("/api/cases/{name}/thumbnail")
    def thumbnail(name: str) -> Response:
        case = session.store.entry(name).case
        return Response(thumbnail_of(case, stamp(case.image)), media_type="image/webp")

    @app.get("/api/cases/{name}/planes/{plane}")
    def plane(name: str, plane: str, slice: Number = 0, round: Number | None = None) -> Response:
        found = session.plane(name, plane, slice, round)
        return Response(found.tobytes(), media_type="application/octet-stream")


def _add_saving(app: FastAPI, session: ReviewSession) -> None:
    @app.put("/api/cases/{name}/mask")
    async def save(
        request: Request,
        name: str,
        action: Literal["accepted", "corrected"],
        version: str,
        by: Name = "",
        seconds: Seconds = 0.0,
        changed: Number = 0,
        round: Number = 0,
        slice: Annotated[tuple[Number, ...], Query()] = (0,),
    ) -> dict[str, Any]:
        if request.headers.get("content-type") != "image/png":
            raise DataError("the mask is not sent as image/png; reload the page.")
        await run_in_threadpool(session.store.require_seen, name, version)  # Of another size, it is another image.
        height, width = await run_in_threadpool(session.require_slices, name, slice)
        body = await read_at_most(request, len(slice) * height * width + OVERHEAD)

        def write() -> dict[str, Any]:
            drawn = decode_mask(body, (len(slice) * height, width)).reshape(-1, height, width)
            effort = Effort(by, seconds, changed, round)
            return session.summary(session.save(name, slice, drawn, action, version, effort))

        return await run_in_threadpool(write)

    @app.post("/api/cases/{name}/decision")
    def decide(name: str, body: DecisionBody) -> dict[str, Any]:
        effort = Effort(body.by, body.seconds, 0, body.round)
        return session.summary(session.store.decide(name, body.action, body.version, effort))


def _add_rounds(app: FastAPI, session: ReviewSession) -> None:
    @app.post("/api/rounds")
    def rounds(body: RoundBody) -> dict[str, Any]:
        if body.action == "start":
            session.retrain()
        elif body.action == "use":
            if body.number is None:
                raise DataError("the number of the round to use is missing; reload the page.")
            session.use_round(body.number)
        else:
            {"cancel": session.rounds.cancel, "resume": session.resume, "discard": session.rounds.discard}[
                body.action
            ]()
        return session.status()


async def read_at_most(request: Request, most: int) -> bytes:
    """Return the body of a request.

    Raises:
        TooLargeError: as soon as it is longer than ``most`` bytes.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise TooLargeError(f"the mask is larger than the {most:,} bytes that its image allows; reload the page.")
    return bytes(body)


async def _explain(_: Request, error: Exception) -> JSONResponse:
    """Answer an error of ours with its sentence."""
    if isinstance(error, TooLargeError):
        return JSONResponse({"error": str(error)}, 413)
    status = next((status for kind, status in STATUS if isinstance(error, kind)), 400)
    return JSONResponse({"error": str(error)}, status)


async def _explain_request(_: Request, error: Exception) -> JSONResponse:
    """Answer a request that does not fit with its first problem, and nothing of what was sent."""
    problem = cast(RequestValidationError, error).errors()[0]
    where = ".".join(str(part) for part in problem["loc"][1:]) or "the request"
    return JSONResponse({"error": f"{where}: {problem['msg'][0].lower()}{problem['msg'][1:]}."}, 422)
