"""A site whose engine is Ray: a real agent process beside a real cluster."""

from pathlib import Path

from agent.site import Site
from engines.ray.clusters import RayCluster
from moyai.model.codec import encode
from moyai.model.engine import EngineFile, RaySettings
from moyai.model.ids import FlavorName, SiteName
from moyai.model.site import Flavor, SiteProfile


class RaySite(Site):
    """One agent's directory and process."""

    def __init__(self, root: Path, name: str, control: str, settings: RaySettings, nodes: int = 2) -> None:
        super().__init__(root, name, control)
        flavor = Flavor(FlavorName("cpu"), nodes, 2, 1 << 30, "NPU", 1, peak_w=100)
        profile = SiteProfile(SiteName(name), "ray", "JP", 0, 0, (flavor,), 0, 0)
        self.profile.write_bytes(encode(profile))
        (self.dir / "engine.json").write_bytes(encode(EngineFile(ray=settings)))

    def alive(self) -> bool:
        """Whether the agent runs."""
        return self.process is not None and self.process.poll() is None

    def log_has(self, words: str) -> bool:
        """Whether the agent told its operator so."""
        path = self.dir / "agent.log"
        return path.exists() and words in path.read_text()

    def supervisor(self) -> int:
        raise ValueError("Ray has its own")


def settings(cluster: RayCluster) -> RaySettings:
    """How the agent reaches it."""
    return RaySettings(cluster.address, str(cluster.token), (("NPU", "npu"),), 200_000)
