"""A client of MLflow's protocol by hand: what the real one would never send, too."""

import httpx

API = "/api/2.0/mlflow/"


class Wire:
    """Speaks JSON to one server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=30, verify=False)  # reading authorities that nobody asks takes 20 ms

    def post(self, path: str, /, **fields: object) -> httpx.Response:
        return self.http.post(API + path, json=fields)

    def get(self, path: str, /, **fields: object) -> httpx.Response:
        return self.http.get(API + path, params=fields)

    def ok(self, path: str, /, **fields: object) -> dict:
        """Post, and give what was answered."""
        answer = self.post(path, **fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def read(self, path: str, /, **fields: object) -> dict:
        """Get, and give what was answered."""
        answer = self.get(path, **fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, path: str, /, **fields: object) -> tuple[int, str]:
        """Post what is refused, and give status and code."""
        answer = self.post(path, **fields)
        return answer.status_code, answer.json()["error_code"]

    def experiment(self, name: str = "e") -> str:
        return self.ok("experiments/create", name=name)["experiment_id"]

    def run(self, experiment: str = "0", /, **fields: object) -> str:
        return self.ok("runs/create", experiment_id=experiment, **fields)["run"]["info"]["run_id"]
