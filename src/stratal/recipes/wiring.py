"""Who resolves which kind of ref, and who brings along what a program needs when it is reproduced. `import stratal` runs this;
a room is imported when it is met."""

from stratal.tracking.refs import register_resolver
from stratal.tracking.reproducing.alone import register_replayer, register_teller
from stratal.tracking.reproducing.carrying import register_carrier

RESOLVERS = {
    "run": "stratal.tracking.resolving:resolve_run",
    "experiment": "stratal.tracking.resolving:resolve_experiment",
    "artifact": "stratal.tracking.resolving:resolve_artifact",
    "sha256": "stratal.tracking.resolving:resolve_sha256",
    "dataset": "stratal.data.datasets:resolve_dataset",
    "features": "stratal.features.resolving:resolve_features",
    "study": "stratal.tuning.studies:resolve_study",
    "model": "stratal.registry.resolving:resolve_model",
    "pipeline": "stratal.pipelines.resolving:resolve_pipeline",
}

CARRIERS = {
    "sha256": "stratal.tracking.reproducing.files:carry_files",
    "dataset": "stratal.data.carrying:carry_datasets",
    "study": "stratal.tuning.carrying:carry_studies",
}

REPLAYERS = {
    "step": "stratal.pipelines.replaying:replay_step",
}

TELLERS = {
    "trial": "stratal.tuning.again:ask_again",
}


def wire() -> None:
    """Fill the tables."""
    for kind, resolver in RESOLVERS.items():
        register_resolver(kind, resolver)
    for subject, carrier in CARRIERS.items():
        register_carrier(subject, carrier)
    for kind, replayer in REPLAYERS.items():
        register_replayer(kind, replayer)
    for kind, teller in TELLERS.items():
        register_teller(kind, teller)


wire()
