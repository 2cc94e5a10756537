"""The checks of each kind of engine. Each module is imported only where it is used."""

from moyai.agent.doctor.check import Check, bad
from moyai.model.engine import EngineSettings, RaySettings, SlurmSettings, SshSettings


def check_engine(engine: str, settings: EngineSettings | None) -> list[Check]:
    """Everything between an agent on this machine and its site's engine."""
    match engine, settings:
        case "host", None:
            from moyai.agent.doctor.host import check_host

            return check_host()
        case "slurm", SlurmSettings():
            from moyai.agent.doctor.slurm import check_slurm

            return check_slurm(settings)
        case "ray", RaySettings():
            from moyai.agent.doctor.ray import check_ray

            return check_ray(settings)
        case "ssh", SshSettings():
            from moyai.agent.doctor.ssh import check_ssh

            return check_ssh(settings)
        case _:
            return [bad("engine", "engine-unsaid", engine=engine)]
