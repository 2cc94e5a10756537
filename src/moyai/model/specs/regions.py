"""Codes of places by law: ISO 3166-1 alpha-2, with an ISO 3166-2 subdivision where one is named ("JP", "JP-40")."""

import re

from moyai.model.specs.problems import BadValue, quoted

COUNTRIES = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA
    CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA
    GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP
    KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS
    MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS
    RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW
    TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """.split()  # noqa: SIM905  # 249 codes are read more easily so
)
_MEANT = {
    "japan": "JP", "日本": "JP", "日本国": "JP", "jpn": "JP", "nippon": "JP", "tokyo": "JP-13", "東京": "JP-13",
    "hokkaido": "JP-01", "北海道": "JP-01", "osaka": "JP-27", "大阪": "JP-27", "fukuoka": "JP-40", "福岡": "JP-40",
    "uk": "GB", "england": "GB", "usa": "US", "germany": "DE", "france": "FR", "korea": "KR", "taiwan": "TW",
    "singapore": "SG",
}  # fmt: skip
_CODE = re.compile(r"[A-Z]{2}(?:-[A-Z0-9]{1,3})?")
_JAPAN = frozenset(f"JP-{number:02}" for number in range(1, 48))


def parse_region(text: str) -> str:
    """A code of a country or of a part of it. Raises BadValue with the code that was probably meant."""
    if _known(text):
        return text
    meant = _MEANT.get(text.strip().lower(), text.strip().upper().replace("_", "-"))
    hint = (
        f"write {quoted(meant)}" if _known(meant) else "write a country such as 'JP', or a part of it such as 'JP-40'"
    )
    raise BadValue("is no ISO 3166 code", hint)


def _known(code: str) -> bool:
    if not _CODE.fullmatch(code) or code[:2] not in COUNTRIES:
        return False
    return code in _JAPAN if code.startswith("JP-") else True  # of other countries only the form is checked
