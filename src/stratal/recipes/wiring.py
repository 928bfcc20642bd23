"""Who resolves which kind of ref. `import stratal` runs this; a room is imported when one of its refs is met."""

from stratal.tracking.refs import register_resolver

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


def wire() -> None:
    """Fill the resolver table."""
    for kind, resolver in RESOLVERS.items():
        register_resolver(kind, resolver)


wire()
