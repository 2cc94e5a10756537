"""One small page for a browser: the sites and the newest jobs, in English or Japanese.

No script, and nothing from elsewhere. The real console comes later; the page says so.
"""

import base64
import hashlib
from collections.abc import Sequence
from html import escape

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from moyai.control.core import Control
from moyai.locale import Language, reason_text, say
from moyai.locale.figures import moment, span, watts
from moyai.model.ids import SiteName
from moyai.model.views import JobView, SiteState
from moyai.server import clock
from moyai.server.answers import ApiError
from moyai.server.shell import Shell
from moyai.server.show import job_view, newest_jobs, site_state, site_status

JOBS = 50
LANGUAGE_COOKIE = "moyai_lang"
_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:72rem;padding:1rem}
h1{margin:.2rem 0}h2{margin:1.5rem 0 .5rem}nav{float:right}.note{opacity:.75}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid color-mix(in srgb,currentColor 20%,transparent);
white-space:nowrap;vertical-align:top}
th{font-size:.8rem;opacity:.75}td:last-child{white-space:normal;min-width:14rem}
.problem{border:2px solid #b00;padding:.5rem .8rem}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def page_routes(shell: Shell) -> list[Route]:
    """The page, and the switch of its language."""

    async def page(request: Request) -> Response:
        """The page."""
        lang = _language(request)
        seen = await shell.writer.read(lambda c: _html(shell, c, lang))
        return Response(seen, 200, _HEADERS, "text/html; charset=utf-8")

    async def language(request: Request) -> Response:
        """Switch the language, and remember it."""
        wanted = request.path_params["lang"]
        if wanted not in ("en", "ja"):
            raise ApiError(404, f"there is no page in {wanted[:20]!r}", "known: en, ja")
        response = RedirectResponse("/", 303)
        response.set_cookie(LANGUAGE_COOKIE, wanted, max_age=365 * 86_400, httponly=True, samesite="strict")
        return response

    return [Route("/", page, methods=["GET"]), Route("/lang/{lang}", language, methods=["GET"])]


def _language(request: Request) -> Language:
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    if chosen in ("en", "ja"):
        return "ja" if chosen == "ja" else "en"
    first = request.headers.get("accept-language", "").strip().lower()
    return "ja" if first.startswith("ja") else "en"


def _html(shell: Shell, control: Control, lang: Language) -> str:
    now = clock.now()
    names, _ = newest_jobs(control, frozenset(), "", JOBS)
    jobs = [job_view(control, control.state.jobs[j], now) for j in names]
    other = "en" if lang == "ja" else "ja"
    problem = shell.writer.problem
    parts = [
        f'<!doctype html><html lang="{lang}"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta http-equiv="refresh" content="5">',
        f"<title>{_say('page.title', lang)}</title><style>{_STYLE}</style></head><body>",
        f'<nav><a href="/lang/{other}" lang="{other}" hreflang="{other}">{_say("page.other-language", lang)}</a></nav>',
        f"<main><h1>{_say('page.title', lang)}</h1><p>{_say('page.lead', lang)}</p>",
        f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else "",
        f"<h2>{_say('head.sites', lang)}</h2>{_sites(shell, control, lang)}",
        f"<h2>{_say('head.jobs', lang)}</h2>",
        _jobs(jobs, lang) if jobs else f"<p>{_say('page.no-jobs', lang)}</p>",
        f'<p class="note">{escape(say("page.events", lang, events=control.state.seq))} · {_say("page.refresh", lang)}',
        f"<br>{_say('page.later', lang)}</p></main></body></html>",
    ]
    return "".join(parts)


def _say(key: str, lang: Language) -> str:
    return escape(say(key, lang))


def _sites(shell: Shell, control: Control, lang: Language) -> str:
    rows: list[Sequence[str]] = []
    for name in sorted(control.state.sites):
        pid, problem = shell.agents.standing(name)
        status = site_status(control, SiteName(name), clock.boot(), pid, problem)
        stands = site_state(control.state.sites[name])
        word = "not-joined" if stands is SiteState.WAITING else stands.value
        used = sum(f.used_cores for f in status.flavors)
        cores = sum(f.count * f.cores for f in status.flavors)
        made_up = f" ({_say('site.synthetic', lang)})" if status.profile.synthetic else ""
        rows.append(
            (
                escape(name),
                _say(f"site.{word}", lang),
                escape(status.profile.jurisdiction) + made_up,
                f"{used} / {cores}",
                escape(watts(status.power_w)),
                str(status.attempts_running),
            )
        )
    return _table(("site", "state", "place", "cores", "power", "jobs"), rows, lang)


def _jobs(jobs: Sequence[JobView], lang: Language) -> str:
    rows = [
        (
            escape(job.job),
            _say(f"job.{job.state}", lang),
            escape(job.site),
            escape(moment(job.submitted_at)),
            escape(span(job.wait_us, lang)),
            escape(span(job.run_us, lang)),
            escape(reason_text(job.reason, lang)) if job.reason else "",
        )
        for job in jobs
    ]
    shown = f'<p class="note">{escape(say("page.shown", lang, jobs=len(jobs)))}</p>'
    return shown + _table(("job", "state", "site", "at", "wait", "run-time", "reason"), rows, lang)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], lang: Language) -> str:
    """A table of cells that are HTML already."""
    head = "".join(f'<th scope="col">{_say(f"head.{h}", lang)}</th>' for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
