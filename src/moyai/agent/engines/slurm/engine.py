"""The Slurm engine: the batch engine over a Slurm cluster."""

from moyai.agent.engines.batch.engine import BatchEngine
from moyai.agent.engines.slurm.cluster import SlurmCluster
from moyai.agent.places import Places
from moyai.model.engine import SlurmSettings
from moyai.model.site import SiteProfile


class SlurmEngine(BatchEngine):
    """Runs attempts as Slurm jobs."""

    def __init__(self, profile: SiteProfile, settings: SlurmSettings, places: Places) -> None:
        cluster = SlurmCluster(profile, settings, places)
        super().__init__(profile, places, cluster, settings.guard, settings.poll_us)
