"""A store in an object store: what is there counts, what is here is a copy."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.plan.run import write_plan
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store import connection, opening, remote
from switchpoint.components.store.opening import open_store, store_at
from switchpoint.components.store.plan_file import load_plan
from switchpoint.components.store.store import Store
from tests.components.conftest import ObjectStore
from tests.conftest import tiny_study
from tests.faulty_proxy import FAULTS, faulty, some
from tests.object_store import QUICK

Machine = Callable[[str], Store]


def identity(**config: object) -> Identity:
    return Identity(kind="blend", format=1, config=config)


@pytest.fixture
def machine(object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Opens the store as a machine that is called so, with a copy of its own."""
    connection.reset()

    def open_it(name: str) -> Store:
        monkeypatch.setenv("SWITCHPOINT_CACHE", str(tmp_path / name))
        opening._remote_store.cache_clear()
        return open_store(f"{object_store.url}/store")

    yield open_it
    connection.reset()
    opening._remote_store.cache_clear()


def test_an_output_of_one_machine_is_there_on_another(machine: Machine, object_store: ObjectStore) -> None:
    here, one = machine("here"), identity(seed=0)
    with here.output(one) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "file.txt").write_text("some text")
        (folder / "all.bin").write_bytes(b"tokens")
        (folder / "empty").write_bytes(b"")
        here.write_record(one, folder, {"tokens": 5})
    there = machine("there")
    assert there.root != here.root
    assert there.is_done(one)
    assert (there.record(one) or {})["outputs"] == {"tokens": 5}
    assert (there.fetch_output(one) / "sub" / "file.txt").read_text() == "some text"
    assert (there.fetch_output(one) / "empty").read_bytes() == b""
    assert not (there.fetch_output(one) / "all.bin").exists()  # read in place
    assert there.token_location(f"{one.path}/all") == f"{object_store.url}/store/{one.path}/all"
    assert here.token_location(f"{one.path}/all") == str(here.fetch_output(one) / "all")


def test_what_is_cut_off_before_its_record_does_not_exist(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    here, one = machine("here"), identity(seed=0)
    uploaded, whole = [], remote.upload

    def upload(file: Path, url: str, *rest: Any) -> None:
        if file.name == "record.json":
            raise ConnectionError("gone")
        uploaded.append(url)
        whole(file, url, *rest)

    monkeypatch.setattr(remote, "upload", upload)

    def write() -> None:
        with here.output(one) as folder:
            (folder / "file.txt").write_text("some text")
            here.write_record(one, folder, {})

    with pytest.raises(ConnectionError):
        write()
    assert uploaded
    assert not here.is_done(one)
    assert not machine("there").is_done(one)
    monkeypatch.setattr(remote, "upload", whole)
    write()
    assert machine("third").is_done(one)


def test_the_truth_is_there_and_not_in_the_copy(machine: Machine, object_store: ObjectStore) -> None:
    here, one = machine("here"), identity(seed=0)
    with here.output(one) as folder:
        here.write_record(one, folder, {})
    object_store.system.rm(f"{object_store.url}/store/{one.path}", recursive=True)
    assert not machine("here").is_done(one)


def test_files_that_change_are_brought_as_they_are_now(machine: Machine) -> None:
    """Also where neither size nor second differ; a failure is seen, and forgotten, everywhere."""
    here, one = machine("here"), identity(seed=0)
    there = machine("there")
    for said in ("first", "other"):
        (here.root / one.path).mkdir(parents=True, exist_ok=True)
        (here.root / one.path / "status.json").write_text(said)
        here.save(here.root / one.path / "status.json")
        assert (there.fetch_current(one, "status.json", "none.json") / "status.json").read_text() == said
    here.write_failure(one, "no memory", "log")
    assert (there.failure(one) or {})["reason"] == "no memory"
    there.forget_failure(one)
    assert here.failure(one) is None
    assert here.why(identity(seed=1), [one.path]) == []
    with here.output(one) as folder:
        here.write_record(one, folder, {})
    assert machine("third").why(identity(seed=1), [one.path]) == ["seed: 0 -> 1"]


def test_faults_are_outlived(
    machine: Machine, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of ten requests fail, in every way: every file comes whole, large ones in parts too."""
    import fsspec
    import s3fs

    machine("here")
    with faulty(s3_endpoint, some(0.3)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        monkeypatch.setitem(fsspec.config.conf, "s3", {**QUICK, "skip_instance_cache": True})
        s3fs.S3FileSystem.clear_instance_cache()
        connection.reset()
        there, one = machine("there"), identity(seed=0)
        content = os.urandom(12 * 2**20)
        with there.output(one) as folder:
            for number in range(6):
                (folder / f"{number}.txt").write_text(str(number) * 1000)
            (folder / "large").write_bytes(content)
            there.write_record(one, folder, {})
        again = machine("third").fetch_output(one)
        assert (again / "large").read_bytes() == content
        assert [(again / f"{number}.txt").read_text() for number in range(6)] == [str(n) * 1000 for n in range(6)]
        assert set(proxy.faults) == set(FAULTS)


def test_a_plan_is_read_where_there_is_nothing_else(machine: Machine, tmp_path: Path) -> None:
    """By its reference alone; `tests/pipelines/test_object_store_run.py` runs every task so."""
    study = tiny_study(tmp_path)
    for source in study["sources"].values():
        source["folder"] = str(tmp_path / source["folder"])
    here = machine("here")
    reference = write_plan(study, here.location, "recipe.yaml")
    assert reference.startswith(f"{here.url}/plans/")
    planned = load_plan(reference)
    there = machine("there")
    assert load_plan(reference).plan.report == planned.plan.report
    assert load_plan(reference).store.root == there.root != here.root
    with pytest.raises(RuntimeError, match="there is no plan"):
        load_plan(f"{here.location}/plans/none.json")


@pytest.mark.parametrize("url", ["s3://me:hunter2@bucket/x", "s3://me@bucket/x"])
def test_credentials_in_an_address_are_refused(url: str) -> None:
    with pytest.raises(BadInput, match="credentials do not belong") as refused:
        store_at(url)
    assert "hunter2" not in str(refused.value)


def test_a_store_that_refuses_says_so(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    with pytest.raises(BadInput, match="no such bucket"):
        open_store("s3://there-is-no-such-bucket/x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    s3fs.S3FileSystem.clear_instance_cache()
    connection.reset()
    with pytest.raises(BadInput, match="the store cannot be read: PermissionError") as refused:
        open_store(f"{object_store.url}/store")
    assert "wrong-secret" not in str(refused.value)
    connection.reset()
