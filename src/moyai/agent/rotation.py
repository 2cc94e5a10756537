"""The agent's certificate in time: the next one after two thirds of its life, without a restart and without a gap.

A new key is made for each; the old connections end by themselves, new requests go by the new certificate.
"""

import asyncio
import logging

from moyai.agent.clocks import wall_us
from moyai.agent.control import Control, DecodeError, Denied, Gone, Rejoin, Unreachable
from moyai.agent.identity import About, Identity, NoIdentity
from moyai.model.units import Instant

LOG = logging.getLogger("moyai.agent")
LOOK_S = 10.0
"""How often the wall clock and the file are looked at."""
AGAIN_S = 60.0
SAY_EVERY_S = 3_600.0


class Rotation:
    """Runs until cancelled."""

    def __init__(self, control: Control, identity: Identity) -> None:
        self._control = control
        self._identity = identity
        self._not_before = 0.0
        self._said = ("", 0.0)

    async def run(self) -> None:
        """Look at the certificate, and renew it when it is time."""
        loop = asyncio.get_running_loop()
        while True:
            left_s = (self._identity.about.due_at - wall_us()) / 1_000_000
            await asyncio.sleep(min(LOOK_S, max(0.2, left_s)))
            try:
                self._take_up()
                if wall_us() >= self._identity.about.due_at and loop.time() >= self._not_before:
                    await self._renew()
            except (Unreachable, Denied, Gone, Rejoin, DecodeError, NoIdentity, OSError, ValueError) as error:
                left_us = max(0, self._identity.about.ends_at - wall_us())
                self._not_before = loop.time() + min(AGAIN_S, max(1.0, left_us / 8_000_000))
                self._say(error, left_us)

    def _take_up(self) -> None:
        """Use what a new join wrote beside the running agent."""
        if self._identity.changed():
            self._identity.load()
            self._control.lines.renew()
            LOG.info("the site joined anew; its new certificate is used")

    async def _renew(self) -> None:
        from moyai.trust.ca import check_issued, key_pem, make_request, new_key, read_certificate

        site = self._identity.about.site
        key = await asyncio.to_thread(new_key)
        issued = await self._control.certificate(make_request(key, site))
        certificate, root = issued.certificate.encode(), self._identity.root()
        check_issued(certificate, key, site, read_certificate(root))  # the root stays that of the join
        about = About(site, Instant(wall_us()), issued.ends_at)
        await asyncio.to_thread(self._identity.save, about, key_pem(key), certificate, root)
        self._control.lines.renew()
        LOG.info("the site has its next certificate")

    def _say(self, error: Exception, left_us: int) -> None:
        """One line, again where it is another or after an hour."""
        now = asyncio.get_running_loop().time()
        if self._said[0] == str(error) and now - self._said[1] < SAY_EVERY_S:
            return
        self._said = (str(error), now)
        if left_us:
            LOG.warning("the next certificate can't be had: %s; this one lasts %.0f min", error, left_us / 60_000_000)
        else:
            LOG.error("the site's certificate is over: %s; join again: moyai agent join", error)
