"""What a good fleet file becomes in the log."""

import json

from moyai.model.codec import decode, encode
from moyai.model.site import Flavor, Link, SiteProfile
from moyai.model.specs.fleet import FleetSpec
from moyai.model.specs.resolve import resolve_fleet

GIB = 2**30
TEXT = """
sites:
  - name: tokyo
    jurisdiction: JP-13
    latitude: 35.68
    longitude: 139.77
    price_yen_per_kwh: 28.5
    carbon_g_per_kwh: 430
    flavors:
      - {name: gpu, count: 2, cpus: 64, memory: 512GiB, accelerators: "h100:8", idle_w: 900, peak_w: 6000}
  - name: fukuoka
    engine: host
    jurisdiction: JP-40
    latitude: -0.000001
    longitude: 130.4
    price_yen_per_kwh: 24
    carbon_g_per_kwh: 380.25
    pue: 1.25
    power_cap_kw: 1.2
    synthetic: true
    flavors:
      - {name: small, count: 3, cpus: 2, memory: 4GiB, idle_w: 70, peak_w: 210, price_yen_per_hour: 0.000001}
links: [{between: [tokyo, fukuoka], bandwidth: 10Gbit/s, latency: 9.5ms, egress_yen_per_gb: 1.5}]
lease: 10s
"""


def test_a_fleet_resolves() -> None:
    sites, links = resolve_fleet(FleetSpec.from_text(TEXT))
    assert sites == (
        SiteProfile(
            name="fukuoka",  # type: ignore[arg-type]
            engine="host",
            jurisdiction="JP-40",
            latitude_microdeg=-1,
            longitude_microdeg=130_400_000,
            flavors=(Flavor("small", 3, 2, 4 * GIB, "", 0, 70, 210, 1),),  # type: ignore[arg-type]
            price_micro_yen_per_kwh=24_000_000,
            carbon_mg_per_kwh=380_250,
            pue_milli=1_250,
            power_cap_w=1_200,
            synthetic=True,
        ),
        SiteProfile(
            name="tokyo",  # type: ignore[arg-type]
            engine="host",
            jurisdiction="JP-13",
            latitude_microdeg=35_680_000,
            longitude_microdeg=139_770_000,
            flavors=(Flavor("gpu", 2, 64, 512 * GIB, "H100", 8, 900, 6_000),),  # type: ignore[arg-type]
            price_micro_yen_per_kwh=28_500_000,
            carbon_mg_per_kwh=430_000,
        ),
    )
    assert links == (Link("fukuoka", "tokyo", 1_250_000_000, 9_500, 1_500_000),)  # type: ignore[arg-type]
    assert all(decode(encode(site), SiteProfile) == site for site in sites)


def test_a_fleet_over_json_is_the_same() -> None:
    spec = FleetSpec.from_text(TEXT)
    assert FleetSpec.from_data(json.loads(json.dumps(spec.to_data()))) == spec
