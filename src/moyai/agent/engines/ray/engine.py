"""The Ray engine: attempts run as jobs of a Ray cluster, each rank of them under a guard."""

from moyai.agent.engines.batch.engine import BatchEngine
from moyai.agent.engines.ray.cluster import RayCluster
from moyai.agent.places import Places
from moyai.model.engine import RaySettings
from moyai.model.site import SiteProfile


class RayEngine(BatchEngine):
    """Runs attempts on a Ray cluster."""

    def __init__(self, profile: SiteProfile, settings: RaySettings, places: Places) -> None:
        cluster = RayCluster(profile, settings, places)
        super().__init__(profile, places, cluster, settings.guard, settings.poll_us)
