"""Sites that aren't there, as a person writes them for a what-if: like a fleet file, linked to the sites of a log."""

from pydantic import Field

from moyai.model.specs.base import Spec
from moyai.model.specs.fleet import LinkSpec, SiteSpec


class AdditionSpec(Spec):
    """Sites to add, and their links to those that are there already."""

    sites: tuple[SiteSpec, ...] = Field(description="The new sites.", examples=[[{"name": "sendai"}]])
    links: tuple[LinkSpec, ...] = Field(
        default=(),
        description="Their links, to one another and to sites that are there.",
        examples=[[{"between": ["sendai", "tokyo"], "bandwidth": "10Gbit/s", "latency": "3ms"}]],
    )
