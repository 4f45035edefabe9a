"""Ray: a real cluster of two nodes, one of which is lost in the middle.

Slow, for a cluster takes many seconds to begin.
"""

import importlib
import sys
import time
from pathlib import Path

import pytest
from tiny_corpus import sample_tokenizer
from tiny_tasks import PATHS, be_killed, fail, notes, refuse, run

from keras_llm.datasets import encode
from keras_llm.errors import InputError, Interrupted
from keras_llm.executors import TaskError, on_ray
from keras_llm.recipes.corpus_settings import ExecutionSettings

pytest.importorskip("ray")
# That a node is gone; Ray takes its time.
NOTICE_SOON = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_failure_threshold": 3,
}


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def cluster(monkeypatch_module):
    """Two nodes with a core each; the first is the head."""
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch_module.setenv("PYTHONPATH", PATHS)  # of the nodes
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "include_dashboard": False,
            "_system_config": NOTICE_SOON,
        },
    )
    cluster.add_node(num_cpus=1)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def on_cluster(cluster):
    return {"executor": "ray", "ray_address": cluster.address}


@pytest.mark.slow
def test_two_nodes_write_what_one_process_does(tmp_path, on_cluster, capfd):
    alone = run(tmp_path / "alone", workers=1)
    totals = []
    both = run(
        tmp_path / "both", seconds=0.3, progress=totals.append, **on_cluster
    )
    assert both == alone
    assert totals[-1] == 6000
    processes = {
        pid for pids in notes(tmp_path / "both").values() for pid in pids
    }
    assert len(processes) == 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_encoding_on_two_nodes(tmp_path, on_cluster):
    tokenizer = sample_tokenizer(tmp_path)
    corpus, alone = tmp_path / "corpus", tmp_path / "alone"
    encode(corpus, tokenizer, alone)
    out = tmp_path / "there"
    encode(corpus, tokenizer, out, execution=ExecutionSettings(**on_cluster))
    for path in ("manifest.json", "train/00000.bin", "validation/00000.bin"):
        assert (out / path).read_bytes() == (alone / path).read_bytes()


@pytest.mark.slow
def test_workers_limits_the_tasks_at_once(tmp_path, on_cluster):
    start = time.monotonic()
    run(tmp_path, tasks=3, seconds=0.4, workers=1, **on_cluster)
    assert time.monotonic() - start >= 1.2


@pytest.mark.slow
def test_errors_arrive(tmp_path, on_cluster, capfd):
    with pytest.raises(InputError, match="^the text is no text$"):
        run(tmp_path / "a", trouble=refuse, **on_cluster)
    with pytest.raises(TaskError, match="ZeroDivisionError.*task_00002.log"):
        run(tmp_path / "b", trouble=fail, **on_cluster)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_nodes_without_a_module(tmp_path, on_cluster, monkeypatch):
    (tmp_path / "only_here.py").write_text("def trouble(): pass")
    monkeypatch.syspath_prepend(tmp_path)
    trouble = importlib.import_module("only_here").trouble
    with pytest.raises(TaskError, match="cannot run tasks.*'only_here'.*same"):
        run(tmp_path, trouble=trouble, **on_cluster)


@pytest.mark.slow
def test_task_that_is_killed_again_and_again(tmp_path, on_cluster, monkeypatch):
    monkeypatch.setattr(on_ray, "RETRIES", 1)
    with pytest.raises(Interrupted, match="Ray gave up on a task after 1 mo"):
        run(tmp_path, trouble=be_killed, **on_cluster)
    assert len(notes(tmp_path)["00002"]) == 2
    assert len(run(tmp_path, **on_cluster)) == 6


def test_without_ray(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'keras-llm\[ray\]'"):
        run(tmp_path, executor="ray")


def parent(process):
    """The process that started another, if that runs."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return None
    return int(status.rpartition(")")[2].split()[1])


@pytest.mark.slow
def test_lost_node(tmp_path, cluster, on_cluster, capfd):
    """Last: it leaves one node."""
    alone = run(tmp_path / "alone", tasks=8, workers=1)
    added = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    raylet = added.all_processes["raylet"][0].process.pid
    lost = []

    def lose(total):
        started = notes(tmp_path / "rest").values()
        if not lost and any(parent(pids[-1]) == raylet for pids in started):
            lost.append(added)
            cluster.remove_node(added, allow_graceful=False)

    run(tmp_path / "rest", tasks=8, seconds=2, progress=lose, **on_cluster)
    assert lost
    started = notes(tmp_path / "rest").values()
    assert sum(map(len, started)) > 8
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "" or "raylet" in err  # which tells of the machine
    assert run(tmp_path / "rest", tasks=8, **on_cluster) == alone
