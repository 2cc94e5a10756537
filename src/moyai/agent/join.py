"""An agent's first step: by a token it proves its leave, meets the right CA, and gets a certificate for its own key.

The token holds the fingerprint of the CA: the root is fetched from whoever answers, and counts only where it is that
one. From then on nothing is sent to anybody but a control plane of this CA.
"""

import os
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moyai.agent.clocks import wall_us
from moyai.agent.control import STANDBY
from moyai.agent.identity import About, Identity, bare_context
from moyai.agent.lines import check_address, words
from moyai.agent.places import Places
from moyai.model.codec import DecodeError, decode, encode
from moyai.model.identity import Issued, JoinRequest
from moyai.model.site import SiteProfile
from moyai.model.units import Instant
from moyai.model.views import ErrorAnswer, ErrorView
from moyai.trust.ca import (
    BadRequest,
    check_issued,
    fingerprint,
    key_pem,
    make_request,
    new_key,
    read_certificate,
    read_key,
    read_token,
)
from moyai.trust.io.private import LooseFile, read_private, write_private

if TYPE_CHECKING:
    import httpx
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

ANSWER_S, CONNECT_S = 20.0, 10.0
ROOT_BYTES = 16_384


class NotJoined(Exception):
    """The site did not join. `code` is a word for programs."""

    def __init__(self, code: str, message: str, hint: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.status = status


def join(addresses: Sequence[str], token: str, profile: SiteProfile, directory: Path) -> About:
    """Join as the site of `profile`, and keep the certificate in `directory`. Raises NotJoined, OSError.

    It may be called again with the same token after any failure: the key is kept until there is an answer.
    """
    try:
        secret, wanted = read_token(token)
    except BadRequest as error:
        raise NotJoined("bad-token", f"--token: {error}") from None
    for address in addresses:
        try:
            check_address(address)
        except ValueError as error:
            raise NotJoined("bad-address", str(error)) from None
        if not address.startswith("https:"):
            raise NotJoined("bad-address", f"--control {address!r}: one joins over https://HOST:PORT")
    places = Places(directory)
    places.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    places.identity.mkdir(mode=0o700, exist_ok=True)
    identity = Identity(places.identity)
    try:
        key = _key(identity)
    except (LooseFile, BadRequest) as error:
        raise NotJoined("bad-key", f"{identity.pending}: {error}", "delete it, and join with a new token") from None
    asked = JoinRequest(secret, make_request(key, profile.name).decode(), profile)
    issued = _ask_any(addresses, wanted, asked)
    root = issued.authority.encode()
    try:
        if fingerprint(read_certificate(root)) != wanted:
            raise BadRequest("the root that came is not the token's")
        check_issued(issued.certificate.encode(), key, profile.name, read_certificate(root))
    except BadRequest as error:
        raise NotJoined("bad-answer", f"the control plane's answer can't be used: {error}") from None
    about = About(profile.name, Instant(wall_us()), issued.ends_at)
    identity.save(about, key_pem(key), issued.certificate.encode(), root)
    write_private(places.declared, encode(profile))
    identity.pending.unlink(missing_ok=True)
    return about


def _key(identity: Identity) -> "EllipticCurvePrivateKey":
    """The key of a try that was cut short, or a new one, kept first. Raises LooseFile, BadRequest, OSError."""
    if identity.pending.exists():
        return read_key(read_private(identity.pending))
    key = new_key()
    write_private(identity.pending, key_pem(key))
    return key


def _ask_any(addresses: Sequence[str], wanted: str, asked: JoinRequest) -> Issued:
    """Ask one address after the other until one answers for good. Raises NotJoined."""
    problem = NotJoined("bad-address", "no address of a control plane was given", "add --control https://HOST:PORT")
    for address in addresses:
        try:
            return _ask(address, _root(address, wanted), asked)
        except NotJoined as error:
            if error.code not in ("unreachable", STANDBY):
                raise
            problem = error
    raise problem


def _root(address: str, wanted: str) -> bytes:
    """The CA's root from `address`, which is the one with this fingerprint. Raises NotJoined."""
    response = _send(bare_context(), "GET", f"{address.rstrip('/')}/v1/root.pem", None)
    try:
        found = fingerprint(read_certificate(response.content[:ROOT_BYTES]))
    except BadRequest:
        raise NotJoined("bad-answer", f"{address} is no control plane: it has no root certificate to show") from None
    if found != wanted:
        hint = "check the address; the token is of another control plane, or somebody stands between"
        raise NotJoined("wrong-authority", f"{address} is of another CA than the token", hint)
    return response.content[:ROOT_BYTES]


def _ask(address: str, root: bytes, asked: JoinRequest) -> Issued:
    context = bare_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=root.decode("ascii"))
    response = _send(context, "POST", f"{address.rstrip('/')}/v1/join", encode(asked))
    try:
        return decode(response.content, Issued)
    except DecodeError as error:
        raise NotJoined("bad-answer", f"{address}: its answer can't be read: {error}") from None


def _send(context: ssl.SSLContext, method: str, url: str, data: bytes | None) -> "httpx.Response":
    """One request, by a connection of its own. Raises NotJoined."""
    import httpx

    headers: Mapping[str, str] = {"Content-Type": "application/json"} if data is not None else {}
    timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
    try:
        with httpx.Client(verify=context, trust_env=False, timeout=timeout) as client:
            response = client.request(method, url, content=data, headers=headers)
    except (httpx.HTTPError, ssl.SSLError) as error:
        raise NotJoined(
            "unreachable", f"{url}: {words(error)}", "is it the HOST:PORT of `moyai up --agents`?"
        ) from None
    if response.status_code == 200:
        return response
    view = _view(response)
    raise NotJoined(view.code, view.message, view.hint, response.status_code)


def _view(response: "httpx.Response") -> ErrorView:
    try:
        return decode(response.content, ErrorAnswer).error
    except DecodeError:
        said = f"answers {response.status_code} where a control plane would not"
        return ErrorView("bad-answer", f"{response.url}: {said}")


def default_directory(site: str) -> Path:
    """Where the agent of a site keeps everything, unless it is told."""
    home = Path(os.environ.get("MOYAI_DIR") or Path.home() / ".moyai").expanduser()
    return home / "agents" / site
