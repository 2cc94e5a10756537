"""What people ask about sites: how they stand, drain and resume, and an operator's word that one is dead."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from moyai.control import requests as r
from moyai.control.core import Control
from moyai.model.envelope import Record
from moyai.model.events import Signal
from moyai.model.ids import SiteName
from moyai.model.site import Link
from moyai.model.views import LinkView, SiteStatus
from moyai.server import clock
from moyai.server.answers import answer
from moyai.server.people import actor_of
from moyai.server.shell import Shell
from moyai.server.show import site_status


def site_routes(shell: Shell) -> APIRouter:
    """The routes of sites and links."""
    routes = APIRouter(tags=["sites"])

    def status(control: Control, site: SiteName) -> SiteStatus:
        pid, problem = shell.agents.standing(site)
        return site_status(control, site, clock.boot(), pid, problem)

    async def change(site: str, wanted: r.DrainSite | r.DeclareSiteDead | r.ChangeSignal) -> Response:
        """Change a site, and look at it."""

        def act(control: Control) -> tuple[Sequence[Record], SiteStatus]:
            """Change, and look."""
            records = control.request(wanted, clock.now())
            return records, status(control, SiteName(site))

        return answer(await shell.writer.do(act))

    @routes.get("/v1/sites", response_model=list[SiteStatus])
    async def sites() -> Response:
        """Every site, by name."""
        return answer(await shell.writer.read(lambda c: tuple(status(c, s) for s in sorted(c.state.sites))))

    @routes.get("/v1/links", response_model=list[LinkView])
    async def links() -> Response:
        """Every link between two sites."""
        return answer(await shell.writer.read(lambda c: tuple(link_view(x) for _, x in sorted(c.state.links.items()))))

    @routes.post("/v1/sites/{site}/drain", response_model=SiteStatus)
    async def drain(site: str, request: Request) -> Response:
        """Place nothing new at a site. What runs there goes on."""
        return await change(site, r.DrainSite(actor_of(request), SiteName(site), draining=True))

    @routes.post("/v1/sites/{site}/resume", response_model=SiteStatus)
    async def resume(site: str, request: Request) -> Response:
        """Lift a drain."""
        return await change(site, r.DrainSite(actor_of(request), SiteName(site), draining=False))

    @routes.post("/v1/sites/{site}/dead", response_model=SiteStatus)
    async def dead(site: str, request: Request) -> Response:
        """Give your word that nothing runs at a site any more: its jobs are placed elsewhere at once."""
        answered = await change(site, r.DeclareSiteDead(actor_of(request), SiteName(site)))
        shell.agents.leave(SiteName(site))
        return answered

    @routes.post("/v1/sites/{site}/signals/{signal}", response_model=SiteStatus)
    async def change_signal(
        site: str,
        signal: Signal,
        request: Request,
        value: Annotated[
            int, Query(ge=0, le=2**53, description="price: micro-yen/kWh; carbon: mg/kWh; power-cap: W, 0 for none")
        ],
    ) -> Response:
        """Tell an outside fact that changed: it enters the log, and what waits is planned anew."""
        return await change(site, r.ChangeSignal(actor_of(request), SiteName(site), signal, value))

    return routes


def link_view(link: Link) -> LinkView:
    """A link as the API shows it."""
    return LinkView(link.a, link.b, link.bytes_per_second, link.latency_us, link.egress_micro_yen_per_gb)
