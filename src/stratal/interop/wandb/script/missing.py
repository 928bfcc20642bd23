"""What W&B has and we do not, each with what to write instead."""

from typing import NoReturn

from stratal.interop.wandb.script.settings import Error

INSTEAD = {
    "sweep": "say it as a study: st.study(NAME, SPACE, minimize=METRIC).optimize(objective, trials=40, workers=2)",
    "agent": "a study's workers are its agents: study.optimize(objective, trials=40, workers=2)",
    "controller": "a study's sampler and stopper decide: st.study(NAME, SPACE, minimize=METRIC)",
    "Object3D": "save the file: run.save('mesh.glb')",
    "Molecule": "save the file: run.save('molecule.pdb')",
    "box3d": "save the file: run.save('points.ply')",
    "Graph": "the code of a model is captured; its modules: run.log({'model': str(model)})",
    "Bokeh": "log the page: run.log({'plot': wandb.Html(html)})",
    "Classes": "log the names as a table: run.log({'classes': wandb.Table(columns=['id', 'name'], data=rows)})",
    "EvalTable": "log a Table; or evaluate by slices: st.evaluate(...)",
    "JoinedTable": "join the frames first, and log the result as a Table",
    "PartitionedTable": "join the parts first, and log the result as a Table",
    "ArtifactTTL": "leave the line out: nothing is deleted by age; stratal delete and stratal gc do it",
    "plot": "log a figure of matplotlib or plotly: run.log({'roc': figure}); the numbers behind it: run.log({'roc': wandb.Table(...)})",
    "plot_table": "log a figure of matplotlib or plotly: run.log({'chart': figure})",
    "sklearn": "watch the estimator: st.active_run().watch(estimator), or st.autolog('sklearn')",
    "keras": "pass our callback: model.fit(..., callbacks=[st.callback('keras')])",
    "xgboost": "pass our callback: callbacks=[st.callback('xgboost')]",
    "lightgbm": "pass our callback: callbacks=[st.callback('lightgbm')]",
    "tensorboard": "import what was written: stratal import tensorboard FOLDER",
    "restore": "open the file of another run: st.get('artifact:RUN/PATH').path()",
    "require": "leave the line out",
    "termsetup": "leave the line out",
    "attach": "go on with the run: wandb.init(id=ID, resume='must')",
    "util": "make an id with secrets.token_hex(4), instead of wandb.util.generate_id()",
    "errors": "catch wandb.Error",
}


def absent(name: str) -> NoReturn:
    """Raise for a name that W&B may have."""
    if name in INSTEAD:
        raise Error(f"wandb.{name} is not there", hint=INSTEAD[name])
    raise AttributeError(f"stratal.interop.wandb has no {name!r}; docs/migrate.md lists what it has")


def refuse(argument: str, instead: str) -> NoReturn:
    """Raise for an argument that cannot be honoured."""
    raise Error(f"{argument} cannot be honoured", hint=instead)
