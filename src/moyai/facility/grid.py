"""From energy at a site's feed to yen and carbon. Results are integers, rounded to the nearest."""

from moyai.model.units import J_PER_KWH, MICROS_PER_SECOND

_MG_PER_KG = 1_000_000


def energy_j(power_w: float, duration_us: int) -> int:
    """Energy of a constant draw, in J."""
    return round(power_w * duration_us / MICROS_PER_SECOND)


def electricity_micro_yen(power_w: float, duration_us: int, price_micro_yen_per_kwh: int) -> int:
    """Price of a constant draw, in micro-yen; the energy between is not rounded."""
    return round(power_w * duration_us / MICROS_PER_SECOND / J_PER_KWH * price_micro_yen_per_kwh)


def carbon_mg(power_w: float, duration_us: int, carbon_mg_per_kwh: int) -> int:
    """Carbon dioxide of a constant draw, in mg; the energy between is not rounded."""
    return round(power_w * duration_us / MICROS_PER_SECOND / J_PER_KWH * carbon_mg_per_kwh)


def carbon_micro_yen(mass_mg: int, price_micro_yen_per_kg: int) -> int:
    """What `mass_mg` of carbon dioxide costs at a policy's price of carbon, in micro-yen."""
    return round(mass_mg * price_micro_yen_per_kg / _MG_PER_KG)
