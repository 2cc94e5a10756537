"""Datasets, and the blobs in which working directories travel."""

import secrets
from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from moyai.control import requests as r
from moyai.control.core import Control, Refused
from moyai.control.state import request_key
from moyai.model.envelope import Record
from moyai.model.ids import BlobId, DatasetName, ProjectName, SiteName, TenantName
from moyai.model.specs.problems import SpecError
from moyai.model.views import BlobView, DatasetView
from moyai.model.workload import DatasetProfile, DatasetText
from moyai.server import clock
from moyai.server.answers import ApiError, answer, of_spec
from moyai.server.blobs import MAX_BYTES, BadBlob, NoRoom
from moyai.server.body import check_length, read_object
from moyai.server.people import DatasetSpec, actor_of, idempotency_key
from moyai.server.schema import BYTES, DATASET, raw
from moyai.server.shell import Shell
from moyai.server.show import dataset_view


def data_routes(shell: Shell) -> APIRouter:
    """The routes of datasets and blobs."""
    routes = APIRouter(tags=["data"])

    @routes.get("/v1/datasets", response_model=list[DatasetView])
    async def datasets() -> Response:
        """Every version of every dataset, and the files of workflows that are there."""

        def look(control: Control) -> tuple[DatasetView, ...]:
            """By name and version."""
            needs = control.indexes.flows.needs
            held = [d for d in control.state.datasets.values() if d.job is None or (d.manifest and needs(d))]
            inorder = sorted(held, key=lambda d: (d.profile.name, d.profile.version))
            return tuple(dataset_view(control, d) for d in inorder)

        return answer(await shell.writer.read(look))

    @routes.post("/v1/datasets", response_model=DatasetView, openapi_extra=DATASET)
    async def register(request: Request) -> Response:
        """Name a dataset that lies at a site; the site's agent hashes and keeps it."""
        try:
            spec = DatasetSpec.from_data(await read_object(request))
        except SpecError as error:
            raise of_spec(error) from None
        tenant, project = TenantName(spec.tenant), ProjectName(spec.project)
        key = idempotency_key(request) or secrets.token_hex(16)
        sealed = shell.texts.seal(tenant, DatasetText(spec.path))
        profile = DatasetProfile(
            DatasetName(spec.name), spec.version, tuple(sorted(spec.residency)), tuple(sorted(spec.purposes))
        )
        wanted = r.RegisterDataset(tenant, project, actor_of(request), key, profile, SiteName(spec.site), sealed.ref)

        def act(control: Control) -> tuple[Sequence[Record], DatasetView]:
            """Register, or find what this key registered."""
            records = control.request(wanted, clock.now())
            held = control.state.datasets.get(control.state.requests[request_key(tenant, project, key)])
            if held is None or held.text != sealed.ref or held.profile.name != profile.name:
                raise Refused(409, f"idempotency key {key!r} was used for another request", "send a new key")
            return records, dataset_view(control, held)

        return answer(await shell.writer.do(act, (sealed,)))

    @routes.put("/v1/blobs/{blob}", response_model=BlobView, openapi_extra=BYTES)
    async def put(blob: str, request: Request) -> Response:
        """Hand over an archive. Its name is the BLAKE3 of its bytes, in hexadecimal."""
        if not shell.blobs.is_name(blob):
            raise ApiError(422, "a blob is named by 64 hexadecimal digits, the BLAKE3 of its bytes")
        check_length(request, MAX_BYTES)
        held = await shell.in_thread(lambda: shell.blobs.path(BlobId(blob)))
        if held is not None and await shell.in_thread(lambda: shell.blobs.touch(BlobId(blob))):
            return answer(BlobView(blob, held.stat().st_size))
        try:
            size = await shell.blobs.put(BlobId(blob), request.stream())
        except BadBlob as error:
            raise ApiError(413 if "most" in str(error) else 422, str(error)) from None
        except NoRoom as error:
            raise ApiError(507, str(error.strerror), "free some space", "no-room") from None
        return answer(BlobView(blob, size))

    @routes.head("/v1/blobs/{blob}", response_class=Response)
    @routes.get("/v1/blobs/{blob}", response_class=Response, responses=raw("The bytes.", {}))
    async def get(blob: str, request: Request) -> Response:
        """An archive that was handed over."""
        path = await shell.in_thread(lambda: shell.blobs.path(BlobId(blob)))
        if path is None:
            raise ApiError(404, f"there is no blob {blob[:64]}")
        size = path.stat().st_size
        if request.method == "HEAD":
            return Response(b"", 200, {"Content-Length": str(size)}, "application/octet-stream")
        return Response(await shell.in_thread(path.read_bytes), 200, None, "application/octet-stream")

    return routes
