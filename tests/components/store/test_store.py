"""Law 6: an output without its record does not exist, and a changed field is named."""

import threading
from pathlib import Path

import pytest

from switchpoint.components.launch.task import FailedBefore, task, task_lock_file
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store.lock import Locked, locked
from switchpoint.components.store.opening import check_writable, open_store
from switchpoint.components.store.store import Store


def identity(**config: object) -> Identity:
    return Identity(kind="phase", format=1, config=config)


def test_an_output_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    store, one = Store(tmp_path), identity(seed=0)

    def fail_half_way() -> None:
        with store.output(one) as folder:
            (folder / "half").write_text("")
            raise RuntimeError("full disk")

    with pytest.raises(RuntimeError, match="full disk"):
        fail_half_way()
    assert not store.is_done(one)
    assert list((tmp_path / "phase").iterdir()) == []
    with store.output(one) as folder:
        store.write_record(one, folder, {"tokens": 5})
    assert store.is_done(one)
    record = store.record(one)
    assert record is not None
    assert record["outputs"] == {"tokens": 5}
    assert record["environment"]["versions"]["torch"]


def test_what_lies_there_without_a_record_is_replaced(tmp_path: Path) -> None:
    store, one = Store(tmp_path), identity(seed=0)
    store.local_folder(one).mkdir(parents=True)
    (store.local_folder(one) / "left").write_text("")
    with store.output(one) as folder:
        store.write_record(one, folder, {})
    assert not (store.local_folder(one) / "left").exists()


def test_a_changed_field_is_named_against_the_nearest_output(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for one in (identity(seed=0, horizon=100), identity(seed=7, horizon=999)):
        with store.output(one) as folder:
            store.write_record(one, folder, {})
    both = [identity(seed=0, horizon=100).path, identity(seed=7, horizon=999).path]
    assert store.why(identity(seed=1, horizon=100), both) == ["seed: 0 -> 1"]
    assert store.why(identity(seed=1, horizon=100), both[1:]) == ["horizon: 999 -> 100", "seed: 7 -> 1"]
    assert store.why(identity(seed=0, horizon=100), both) == []
    assert store.why(identity(seed=1, horizon=100), []) == []
    assert store.why(Identity(kind="base", format=1, config={}), both) == []


def test_a_failure_is_kept_until_the_step_is_tried_again(tmp_path: Path) -> None:
    store, one = Store(tmp_path), identity(seed=0)
    with store.output(one) as folder:  # a GB run that is there, and is to be extended
        store.write_record(one, folder, {})

    def fail() -> None:
        with task(store, one):
            raise MemoryError("no memory")

    with pytest.raises(MemoryError):
        fail()
    failure = store.failure(one)
    assert failure is not None
    assert failure["reason"] == "MemoryError: no memory"
    with task(store, one):
        pass
    assert store.failure(one) is None


def test_what_failed_in_another_run_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once in each run of the pipeline, where several tasks need it."""
    store, one = Store(tmp_path), identity(seed=0)
    monkeypatch.setenv("KFP_RUN_ID", "run-a")
    store.write_failure(one, "no memory", "log")
    with pytest.raises(FailedBefore, match="no memory"), task(store, one, retries_failed=False):
        raise AssertionError
    monkeypatch.setenv("KFP_RUN_ID", "run-b")
    with task(store, one, retries_failed=False):
        assert store.failure(one) is None


def test_a_failure_is_written_and_forgotten_with_the_lock_held(tmp_path: Path) -> None:
    """Another task at the same output, ended or waiting, is told by nobody but itself."""
    store, one = Store(tmp_path), identity(seed=0)

    def work() -> None:
        with task(store, one):
            pass

    with locked(task_lock_file(store, one), 0):
        store.write_failure(one, "no memory", "log")
        waiting = threading.Thread(target=work)
        waiting.start()
        waiting.join(timeout=0.5)
        assert store.failure(one) is not None
    waiting.join()
    assert store.failure(one) is None
    with task(store, one):
        store.write_failure(one, "of a task that knew no lock", "log")
    assert store.failure(one) is None


def test_a_failure_is_written_before_the_lock_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, one = Store(tmp_path), identity(seed=0)

    def write_failure(*_: object, **__: object) -> None:
        with locked(task_lock_file(store, one), 0):
            pass

    monkeypatch.setattr(Store, "write_failure", write_failure)
    with pytest.raises(Locked), task(store, one):
        raise MemoryError("no memory")


def test_a_store_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for open_it in (check_writable, open_store):
        with pytest.raises(BadInput, match="the store cannot be"):
            open_it(tmp_path / "file" / "store")


def test_a_lock_has_one_owner_and_is_free_after_it(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with locked(file, 0), pytest.raises(Locked, match="is held by process"), locked(file, 0.2):
        pass
    with locked(file, 0):
        pass


def test_a_record_names_the_image_it_was_made_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, one = Store(tmp_path), identity(seed=0)
    monkeypatch.setenv("SWITCHPOINT_IMAGE_DIGEST", "0f3a")
    with store.output(one) as folder:
        store.write_record(one, folder, {})
    assert (store.record(one) or {})["environment"]["image"] == "0f3a"


def test_outputs_of_an_earlier_version_are_named_and_not_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.output(Identity(kind="blend", format=1, config={})) as folder:
        store.write_record(Identity(kind="blend", format=1, config={}), folder, {})
    assert store.unknown_kinds() == []
    (tmp_path / "gb" / "0123456789abcdef").mkdir(parents=True)
    (tmp_path / "gb" / "0123456789abcdef" / "record.json").write_text("{}")
    assert store.unknown_kinds() == ["gb"]
