"""Which engine a site has. Each is imported only where it is used: an agent is small."""

from pathlib import Path

from moyai.agent.engines.base import Engine, EngineDown
from moyai.agent.places import Places
from moyai.model.codec import DecodeError, decode
from moyai.model.engine import EngineFile, EngineSettings, RaySettings, SlurmSettings, SshSettings
from moyai.model.site import SiteProfile

ENGINE_FILE = "engine.json"
"""In a site's directory, beside its profile."""
KNOWN = ("host", "ssh", "slurm", "ray")


def read_settings(path: Path) -> EngineSettings | None:
    """The settings in `path`; None where there are none. Raises EngineDown, OSError."""
    try:
        return decode(path.read_bytes(), EngineFile).settings
    except FileNotFoundError:
        return None
    except DecodeError as error:
        raise EngineDown(f"{path} is no file of engine settings: {error}") from None


def make_engine(profile: SiteProfile, settings: EngineSettings | None, places: Places) -> Engine:
    """The engine of a site, not yet opened. Raises EngineDown where its settings don't fit its kind."""
    match profile.engine, settings:
        case "host", None:
            from moyai.agent.engines.host.engine import HostEngine

            return HostEngine(profile, places)
        case "slurm", SlurmSettings():
            from moyai.agent.engines.slurm.engine import SlurmEngine

            return SlurmEngine(profile, settings, places)
        case "ray", RaySettings():
            from moyai.agent.engines.ray.engine import RayEngine

            return RayEngine(profile, settings, places)
        case "ssh", SshSettings():
            try:
                from moyai.agent.engines.ssh.engine import SshEngine
            except ModuleNotFoundError as error:
                raise EngineDown(f"SSH needs {error.name}, which is not here: pip install 'moyai[ssh]'") from None
            return SshEngine(profile, settings, places)
        case _:
            raise EngineDown(f"the site's engine is {profile.engine!r}, and its settings don't say how to reach one")
