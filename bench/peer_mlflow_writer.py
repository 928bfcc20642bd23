"""One MLflow process of many (FOLDER SECONDS BATCH): says that it is ready, waits for a line, logs batches, says how many points."""

import json
import logging
import sys
import time

logging.disable(logging.CRITICAL)
from mlflow import MlflowClient
from mlflow.entities import Metric

folder, seconds, batch = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
if seconds == 0:
    client.create_experiment("bench")
    sys.exit()
run = client.create_run(client.get_experiment_by_name("bench").experiment_id)
print("ready", flush=True)
sys.stdin.readline()
end, done = time.perf_counter() + seconds, 0
while time.perf_counter() < end:
    client.log_batch(run.info.run_id, metrics=[Metric("m", step * 0.5, 0, step) for step in range(done, done + batch)])
    done += batch
print(json.dumps(done), flush=True)
