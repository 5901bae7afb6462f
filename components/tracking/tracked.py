"""A run of MLflow and what it holds already: only what is missing or has changed is sent."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from switchpoint.components.tracking.curve import LAST_OF_A_ROW, Point, curve_points

BATCH_METRICS = 1000
BATCH_PARAMS = BATCH_TAGS = 100
"""The most that MLflow takes in one call."""
MAX_VALUE = 6000
"""The most characters of a param or tag."""

Item = TypeVar("Item")


class TrackedRun:
    """A wrapper of a run as MLflow returned it (`mlflow.entities.Run`)."""

    def __init__(self, client: Any, run: Any) -> None:
        self._client = client
        self.run_id, self.name = str(run.info.run_id), str(run.info.run_name)
        self.artifact_uri, self.start_ms = str(run.info.artifact_uri), int(run.info.start_time)
        self._end = run.info.status, run.info.end_time
        self._params, self._tags, self._metrics = dict(run.data.params), dict(run.data.tags), dict(run.data.metrics)
        datasets = run.inputs.dataset_inputs if run.inputs else []
        self._inputs = {(one.dataset.name, one.dataset.digest) for one in datasets}
        self._logged_tokens: int | None = None

    def rename(self, name: str) -> None:
        if name != self.name:
            self._client.update_run(self.run_id, name=name)
            self.name = name

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags, which may change: a run is nested again if its study was extended."""
        from mlflow.entities import RunTag

        new = {name: value[:MAX_VALUE] for name, value in tags.items() if self._tags.get(name) != value[:MAX_VALUE]}
        for batch in _batches([RunTag(name, value) for name, value in new.items()], BATCH_TAGS):
            self._client.log_batch(self.run_id, tags=batch, synchronous=True)
        self._tags |= new

    def params(self, values: Mapping[str, str]) -> None:
        """Set params, which never change in MLflow: one that is there stays."""
        from mlflow.entities import Param

        new = {name: value[:MAX_VALUE] for name, value in values.items() if name not in self._params}
        for batch in _batches([Param(name, value) for name, value in new.items()], BATCH_PARAMS):
            self._client.log_batch(self.run_id, params=batch, synchronous=True)
        self._params |= new

    def curve(self, rows: Iterable[dict[str, Any]]) -> None:
        """Send the rows of a metrics file that the run does not have yet.

        A step that was trained again has the same values, at another time: it is not sent twice.
        """
        if self._logged_tokens is None:
            self._logged_tokens = max(self._steps(LAST_OF_A_ROW), default=0)
        logged = self._logged_tokens
        points = [point for row in rows if row["tokens"] > logged for point in curve_points(row)]
        for batch in _batches(points, BATCH_METRICS):
            self._send(batch)
            self._logged_tokens = max([self._logged_tokens, *(at.step for at in batch if at.key == LAST_OF_A_ROW)])

    def series(self, points: Iterable[Point]) -> None:
        """Send points that the run does not have yet, by key and step."""
        wanted = list(points)
        there = {key: self._steps(key) for key in {point.key for point in wanted}}
        for batch in _batches([point for point in wanted if point.step not in there[point.key]], BATCH_METRICS):
            self._send(batch)

    def finals(self, points: Iterable[Point]) -> None:
        """Send one value of each key, and not a series."""
        for batch in _batches([one for one in points if self._metrics.get(one.key) != one.value], BATCH_METRICS):
            self._send(batch)

    def _steps(self, key: str) -> set[int]:
        if key not in self._metrics:
            return set()
        return {metric.step for metric in self._client.get_metric_history(self.run_id, key)}

    def _send(self, points: list[Point]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(point.key, point.value, point.time_ms, point.step) for point in points]
        self._client.log_batch(self.run_id, metrics=metrics, synchronous=True)
        self._metrics |= {point.key: point.value for point in points}

    def inputs(self, datasets: Iterable[Any]) -> None:
        """Add datasets. `datasets`: mlflow.entities.DatasetInput; known by name and digest."""
        new = [one for one in datasets if (one.dataset.name, one.dataset.digest) not in self._inputs]
        if new:
            self._client.log_inputs(self.run_id, datasets=new)
            self._inputs |= {(one.dataset.name, one.dataset.digest) for one in new}

    def text(self, content: str, name: str) -> None:
        self._client.log_text(self.run_id, content, name)

    def files(self, folder: Path, name: str) -> None:
        """Send the files of `folder` as the artifacts `name`/..., each once: what is there with the same size stays."""
        there = {Path(one.path).name: one.file_size for one in self._client.list_artifacts(self.run_id, name)}
        for file in sorted(path for path in folder.iterdir() if path.is_file()):
            if there.get(file.name) != file.stat().st_size:
                self._file(file, name)

    def _file(self, file: Path, name: str) -> None:
        place = urlsplit(self.artifact_uri)
        if place.scheme == "file":  # beside the store: a model is large, and a link costs nothing
            to = Path(unquote(place.path)) / name / file.name
            to.parent.mkdir(parents=True, exist_ok=True)
            to.unlink(missing_ok=True)
            with suppress(OSError):  # another file system
                to.hardlink_to(file)
                return
            shutil.copyfile(file, to)
            return
        self._client.log_artifact(self.run_id, str(file), name)

    def end(self, status: str, ended_ms: int) -> None:
        """End the run. `status`: FINISHED, FAILED or KILLED. Without a time the run ended when it began: it did
        nothing.
        """
        end = status, ended_ms or self.start_ms
        if self._end != end:
            self._client.set_terminated(self.run_id, *end)
            self._end = end


def _batches(items: list[Item], size: int) -> Iterator[list[Item]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
