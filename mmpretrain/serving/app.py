"""The HTTP application.

Every POST takes `application/json`, or `multipart/form-data` whose parts have the names of the fields (lists: the part
repeated). A picture is a data URL (`data:image/png;base64,...`: JPEG, PNG or WebP) or a file of a form; no address is
ever fetched. `model` is the `id` of /v1/models; without one the first that can answer does. Unknown fields are refused.

    POST /v1/embeddings   {"input": TEXT | PICTURE | [TEXT | {"text": TEXT} | {"image": PICTURE}, ...],
                           "encoding_format": "float" | "base64", "model"}
        -> {"object": "list", "model", "data": [{"object": "embedding", "index", "kind": "text" | "image",
            "embedding": [...]}], "usage": {"prompt_tokens", "total_tokens"}}          unit vectors; as OpenAI's route
        a form sends `input` parts: texts, or files.

    POST /v1/classify     {"image": PICTURE, "labels": [TEXT, ...], "templates": ["a picture of {}", ...], "top": 10}
        -> {"model", "kind": "labels", "classes": [{"label", "probability", "score"}, ...]}       the best first
                          {"image": PICTURE, "head": NAME, "text": for heads that read one, "top"}      without labels
        -> {"model", "kind": "head", "head", "several", "classes": [{"label", "probability"}, ...]}

    POST /v1/caption      {"image": PICTURE, "how": "greedy" | "beam" | "sample", "prompt", "most_tokens",
                           "least_tokens", "blocked_ngram", "width", "penalty", "likeness" (beam), "temperature",
                           "top_k", "top_p", "seed" (sample)}
        -> {"model", "how", "caption": TEXT, "captions": [{"caption", "log_probability"}, ...]}   several of a beam

    POST /v1/answer       {"image": PICTURE, "question": TEXT | "questions": [TEXT, ...], "heads": [NAME, ...] (all),
                           "answers": "written" | "listed", "top": 5, and the ways of writing as above}
        -> {"model", "answers": [{"head", "question", "answers": [{"answer", "probability"}, ...]}, ...]}

    POST /v1/search       {"text": TEXT} or {"image": PICTURE}, {"index": NAME, "top": 12}
        -> {"model", "index", "count", "source", "found": [{"place", "score" (cosine), "key", "caption", "split",
            "thumbnail": ADDRESS}, ...]}

    POST /v1/explain      {"image": PICTURE, "text": TEXT, "words": true}
        -> {"model", "maps": [{"word", "score", "png": DATA URL}, ...]}       of the text, and behind it of each word

    GET  /v1/thumbnails/MODEL/INDEX/PLACE   -> a PNG of at most 160 pixels a side
    GET  /v1/models       -> {"object": "list", "data": [{"id", "kind": "run" | "onnx", "folder", "step", "digest",
                              "learned": [OBJECTIVE], "can": ["embeddings", "labels", "classes", "caption", "answer",
                              "search", "explain"], "size", "width", "context", "parameters", "heads": [{"name", "kind",
                              "classes", "several", "reads_text"}], "ways": ["greedy", ...],
                              "indexes": [{"name", "count", "source", "problem"}]}], "limits": {...}}
    GET  /health          -> {"status": "ok" | "stopping", "models": [ID], "waiting": rows}        503 while it stops
    GET  /metrics         -> Prometheus' text format
    GET  /, /FILE         -> the files of `page/`

Every error is {"error": ONE LINE}, with X-Request-Id: 400 no JSON or form, 403 another site's page, 404 no such thing,
or a model that never learned it (then "models" names those that did), 405, 408 the body came too slowly, 409 an index
of other weights, 413 too large, 415, 421 an unknown Host, 422 fields that do not fit, 503 too busy or stopping
(Retry-After), 504 took too long.
"""

import json
import logging
import mimetypes
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError

from mmpretrain.serving import routes
from mmpretrain.serving.bodies import parse
from mmpretrain.serving.gate import Gate
from mmpretrain.serving.metrics import Metrics
from mmpretrain.serving.refusal import Refused
from mmpretrain.serving.served import Served
from mmpretrain.serving.settings import Serving
from mmpretrain.serving.work import Workshop

PAGE = Path(__file__).with_name("page")
JSON = "application/json"
Endpoint = Callable[..., Awaitable[Response]]


class Site:
    """The application with its gate and its workshop.

    Args:
        page: folder of static files.
    """

    def __init__(self, models: Sequence[Served], settings: Serving, log: logging.Logger, page: Path = PAGE) -> None:
        self.metrics = Metrics()
        self.shop = Workshop(models, settings, self.metrics)
        # no pages of documentation: they fetch their scripts from elsewhere
        app = FastAPI(title="mmpretrain", docs_url=None, redoc_url=None, openapi_url=None)
        self.gate = Gate(app, settings, self.metrics, log)
        self._add_errors(app)
        for address, route in routes.POSTS.items():
            app.post(address)(self._post(address, route))
        self._add_reads(app)
        self._add_page(app, page)
        self._add_figures()

    def _post(self, address: str, route: routes.Route) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            request.state.notes["route"] = address
            kind, body = request.headers.get("content-type", ""), await request.body()
            tree = await self.shop.aside(parse, kind, body)
            del body  # pictures stand in the tree by now
            return Response(await route(self.shop, tree), media_type=JSON)

        return endpoint

    def _add_reads(self, app: FastAPI) -> None:
        @app.get("/v1/models")
        async def models(request: Request) -> Response:
            request.state.notes["route"] = "/v1/models"
            return Response(routes.models(self.shop), media_type=JSON)

        @app.get("/v1/thumbnails/{model}/{index}/{place}")
        async def thumbnail(request: Request, model: str, index: str, place: str) -> Response:
            request.state.notes["route"] = "/v1/thumbnails"
            picture = await routes.thumbnail(self.shop, model, index, place)
            return Response(picture, media_type="image/png", headers={"cache-control": "private, max-age=600"})

        @app.get("/health")
        async def health(request: Request) -> Response:
            request.state.notes["route"] = "/health"
            stopping = self.gate.stopping
            told = {
                "status": "stopping" if stopping else "ok",
                "models": list(self.shop.models),
                "waiting": self.shop.batcher.waiting,
                **({"error": "the server stops"} if stopping else {}),
            }
            return Response(json.dumps(told), 503 if stopping else 200, media_type=JSON)

        @app.get("/metrics")
        async def metrics(request: Request) -> Response:
            request.state.notes["route"] = "/metrics"
            return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    def _add_page(self, app: FastAPI, page: Path) -> None:
        """The files that are there now, by their exact addresses: no path of a request reaches the disk."""
        files = {f"/{path.relative_to(page).as_posix()}": path for path in sorted(page.rglob("*")) if path.is_file()}
        files["/"] = page / "index.html"
        for address, path in files.items():
            app.get(address)(self._file(path))

    def _file(self, path: Path) -> Endpoint:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"

        async def endpoint(request: Request) -> Response:
            request.state.notes["route"] = "/"
            return Response(path.read_bytes(), media_type=kind, headers={"cache-control": "no-cache"})

        return endpoint

    def _add_errors(self, app: FastAPI) -> None:
        @app.exception_handler(Refused)
        async def refused(request: Request, error: Refused) -> Response:
            return Response(error.body(), error.status, dict(error.headers), JSON)

        @app.exception_handler(HTTPException)
        @app.exception_handler(404)
        @app.exception_handler(405)
        async def http_error(request: Request, error: Any) -> Response:
            said = "no such address; GET / lists them" if error.status_code == 404 else str(error.detail)
            return Response(Refused(error.status_code, said).body(), error.status_code, error.headers, JSON)

        @app.exception_handler(RequestValidationError)
        async def invalid(request: Request, error: RequestValidationError) -> Response:
            return Response(Refused(422, str(error)).body(), 422, None, JSON)

        @app.exception_handler(Exception)
        async def fault(request: Request, error: Exception) -> Response:
            said = "a fault of the server; its log tells more of the request that X-Request-Id names"
            return Response(Refused(500, said).body(), 500, None, JSON)

    def _add_figures(self) -> None:
        gauges, totals, shop, gate = self.metrics.gauges, self.metrics.totals, self.shop, self.gate
        gauges["waiting_rows"] = ("Rows that wait for the models.", lambda: shop.batcher.waiting)
        gauges["waiting_rows_peak"] = ("The most that ever did.", lambda: shop.batcher.peak)
        gauges["waiting_rows_most"] = ("The most that may.", lambda: shop.settings.queue)
        gauges["working_requests"] = ("Requests that are being answered.", lambda: gate.working)
        gauges["held_bytes"] = ("Bodies of requests in memory.", lambda: gate.held)
        gauges["cache_bytes"] = ("Remembered vectors.", lambda: shop.cache.bytes)
        gauges["cache_vectors"] = ("How many they are.", lambda: len(shop.cache))
        totals["cache_hits_total"] = ("Vectors that were remembered.", lambda: shop.cache.hits)
        totals["cache_misses_total"] = ("Vectors that were not.", lambda: shop.cache.misses)
