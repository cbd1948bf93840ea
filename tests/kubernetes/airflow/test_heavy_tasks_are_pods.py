"""Heavy tasks as pods of a cluster: the same results, the same errors, and nothing left behind."""

from __future__ import annotations

import datetime as dt
import os
import signal
import threading

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tailrace import settings
from tailrace.spec import registry
from tailrace.wiring import Wiring
from tests.kubernetes.cluster import IMAGE

TRAINED = dt.date(2013, 2, 12)
NEXT = dt.date(2013, 2, 13)
WITHOUT_CHAMPION = dt.date(2013, 2, 5)
SCORE = "tailrace.dev/stage=score"
TRAIN, PREDICT = "train__flight_delay", "predict__flight_delay"


@pytest.fixture(scope="module")
def champion(installation):
    """A model trained, judged and promoted by Airflow, the heavy tasks in pods."""
    return installation.run(TRAIN, TRAINED, trials=2)


@pytest.fixture(autouse=True)
def nothing_left_for_the_next_test(installation):
    yield
    installation.cluster.clear()


def running_pod(installation):
    """The name of the pod of `score` once it runs."""

    def one():
        found = installation.cluster.pods(SCORE)
        return [pod["metadata"]["name"] for pod in found if pod["status"]["phase"] == "Running"]

    return installation.cluster.wait(one, "a pod of score runs")[0]


def phases(installation):
    return [pod["status"]["phase"] for pod in installation.cluster.pods()]


def when_running(installation, act):
    """Do something to the next pod of `score` as soon as it runs, beside the test. The pod waits for it."""
    installation.cluster.hold_next_pod(SCORE)
    thread = threading.Thread(target=lambda: act(running_pod(installation)))
    thread.start()
    return thread


def published(installation, day=TRAINED):
    lake = Wiring(settings.load(installation.environment)).lake
    return lake.days(registry.get("flight_delay").predictions_table).get(day)


def test_a_training_hands_its_run_to_the_tasks_after_it(installation, champion):
    assert champion.states == {"train": "success", "evaluate": "success", "promote": "success"}
    assert champion.pods_created == 2
    services = Wiring(settings.load(installation.environment))
    assert champion.returned["train"] == services.tracker.versions("flight_delay")[0].training_run
    assert not installation.cluster.pods()
    assert not installation.cluster.refused("airflow-worker"), "the role of deploy/kubernetes is enough"


def test_a_prediction_in_pods_is_that_of_the_tasks_own_process(installation, champion, monkeypatch):
    in_pods = installation.run(PREDICT, TRAINED)
    first = published(installation)
    assert in_pods.states == {"score": "success", "audit": "success", "publish": "success"}
    assert (in_pods.pods_created, first.rows) == (1, 60)
    monkeypatch.setenv("TAILRACE_TASKS", "process")
    in_process = installation.run(PREDICT, TRAINED)
    assert in_process.states == in_pods.states
    assert in_process.pods_created == 0
    assert published(installation).version == first.version, "the same bytes make no commit"


def test_bad_data_is_not_retried_and_the_log_ends_with_the_sentence(installation, champion, capfd):
    ended = installation.run(PREDICT, WITHOUT_CHAMPION)
    assert ended.states["score"] == "failed"
    assert ended.pods_created == 1
    log = capfd.readouterr().out
    assert "NoChampion: flight_delay: no model was champion on 2013-02-05. The first one took effect on" in log
    assert "[base] logs: flight_delay: no model was champion on 2013-02-05." in log, "the pod's log is in the task's"
    assert not installation.cluster.pods()


def test_a_vanished_pod_fails_the_task_and_the_retry_is_clean(installation, champion, capfd):
    vanishing = when_running(installation, installation.cluster.vanish)
    ended = installation.run(PREDICT, NEXT)
    vanishing.join()
    assert ended.states == {"score": "success", "audit": "success", "publish": "success"}
    assert ended.pods_created == 2
    assert ended.tries["score"] == 2
    assert "is gone before its result was read: deleted, or lost with its node" in capfd.readouterr().out
    assert published(installation, NEXT).rows == 60
    assert not installation.cluster.pods()


def test_after_a_killed_worker_the_next_try_takes_up_the_same_pod(installation, champion):
    before = installation.created()
    installation.cluster.hold_next_pod(SCORE)
    worker = installation.worker(PREDICT, NEXT)
    pod = running_pod(installation)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    assert running_pod(installation) == pod, "the pod outlives the worker"
    # The next try must find the pod at work, however fast the pod is.
    resuming = threading.Timer(1, installation.cluster.kill, [pod, "SIGCONT"])
    resuming.start()
    ended = installation.next_try(PREDICT, "score")
    resuming.join()
    assert ended.states["score"] == "success"
    assert installation.created() - before == 1
    assert not installation.cluster.pods()


def test_the_result_of_a_pod_that_finished_unseen_is_taken(installation, champion, monkeypatch):
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

    defer = KubernetesPodOperator.invoke_defer_method

    def fail_once_the_pod_has_finished(*args, **kwargs):
        monkeypatch.setattr(KubernetesPodOperator, "invoke_defer_method", defer)
        installation.cluster.wait(lambda: phases(installation) == ["Succeeded"], "the pod has finished")
        raise ConnectionResetError("Airflow's API server went away")

    monkeypatch.setattr(KubernetesPodOperator, "invoke_defer_method", fail_once_the_pod_has_finished)
    ended = installation.run(PREDICT, NEXT)
    assert (ended.states["publish"], ended.tries["score"], ended.pods_created) == ("success", 2, 1)
    installation.cluster.wait(lambda: not installation.cluster.pods(), "the pod is deleted")


def test_a_pod_without_enough_memory_names_the_setting_to_raise(installation, champion, capfd):
    killing = when_running(installation, installation.cluster.out_of_memory)
    ended = installation.run(PREDICT, NEXT)
    killing.join()
    assert (ended.states["score"], ended.pods_created) == ("failed", 1)
    assert "Raise TAILRACE_POD_MEMORY" in capfd.readouterr().out
    assert not installation.cluster.pods()


def test_a_task_that_takes_too_long_leaves_no_pod(installation, champion, capfd):
    installation.cluster.hold_next_pod(SCORE)
    ended = installation.run(PREDICT, NEXT, score={"execution_timeout": dt.timedelta(seconds=2), "retries": 0})
    assert ended.states["score"] == "failed"
    assert "its pod was still running at the task's execution timeout" in capfd.readouterr().out
    installation.cluster.wait(lambda: not installation.cluster.pods(), "the pod is deleted")


def test_a_killed_task_deletes_its_pod(installation, champion, monkeypatch, capfd):
    """Airflow ends a task's process with SIGTERM; here it comes when the pod runs and is not yet waited for."""
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

    running = []

    def killed(*args, **kwargs):
        running.append(running_pod(installation))
        os.kill(os.getpid(), signal.SIGTERM)
        raise AirflowFailException("The task is being ended.")

    monkeypatch.setattr(KubernetesPodOperator, "invoke_defer_method", killed)
    installation.cluster.hold_next_pod(SCORE)
    ended = installation.run(PREDICT, NEXT)
    errors = [line for line in capfd.readouterr().out.splitlines() if "Error" in line or "Exception" in line]
    assert (ended.states["score"], ended.tries["score"]) == ("failed", 1), errors
    assert len(running) == 1
    installation.cluster.wait(lambda: not installation.cluster.pods(), "the pod is deleted")


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("TAILRACE_SPARK_IMAGE", "registry.example/tailrce:test", "its image cannot be pulled (ImagePullBackOff"),
        (
            "TAILRACE_POD_NAMESPACE",
            "elsewhere",
            "Airflow may not run pods in the namespace 'elsewhere': pods is forbid",
        ),
        (
            "AIRFLOW_CONN_KUBERNETES_DEFAULT",
            '{"conn_type": "kubernetes", "extra": {"kube_config_path": "/nowhere"}}',
            "the connection 'kubernetes_default' leads to no cluster",
        ),
    ],
    ids=["image", "rights", "connection"],
)
def test_what_the_cluster_will_never_run_is_refused_once(installation, monkeypatch, capfd, variable, value, sentence):
    monkeypatch.setenv(variable, value)
    ended = installation.run(PREDICT, NEXT)
    assert (ended.states["score"], ended.tries["score"]) == ("failed", 1)
    log = capfd.readouterr().out
    assert "ClusterRefused: score of flight_delay for 2013-02-13: " + sentence in log
    assert not installation.cluster.pods()


def test_the_pod_of_the_engine_spark_is_the_driver_and_its_executors_are_pods(installation, champion, monkeypatch):
    monkeypatch.setenv("TAILRACE_SPARK_HISTORY", "http://spark.example:18080")
    cluster = installation.cluster
    installation.configure(
        TAILRACE_ENGINE="spark",
        TAILRACE_SPARK_MASTER=cluster.master,
        TAILRACE_SPARK_IMAGE=IMAGE,
        TAILRACE_SPARK_SERVICE_ACCOUNT="tailrace-driver",
        TAILRACE_SPARK_POD_TEMPLATE="/opt/tailrace/pod-templates/executor.yaml",
        TAILRACE_SPARK_EXECUTORS="1",
        TAILRACE_SPARK_EXECUTOR_MEMORY="512m",
        TAILRACE_SPARK_DRIVER_MEMORY="512m",
        TAILRACE_SPARK_CONF='{"spark.kubernetes.executor.request.cores": "0.5"}',
    )
    owners = []

    def look(driver):
        cluster.kill(driver, "SIGCONT")
        executor = cluster.wait(cluster.executors, "an executor runs")[0]["metadata"]
        owners.append((executor["ownerReferences"][0]["name"], driver))
        cluster.kill(executor["name"], "SIGCONT")

    cluster.hold_next_pod("spark-role=executor")
    looking = when_running(installation, look)
    ended = installation.run(PREDICT, NEXT)
    looking.join()
    assert ended.states == {"score": "success", "audit": "success", "publish": "success"}
    assert [owner for owner, _ in owners] == [driver for _, driver in owners] != []
    assert ended.spark["score"].startswith("http://spark.example:18080/history/spark-"), "the pod said which it was"
    assert ended.spark["audit"] is None
    assert published(installation, NEXT).rows == 60
    cluster.wait(lambda: not cluster.pods(), "the driver's pod and its executors are gone")
