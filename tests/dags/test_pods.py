"""One setting makes the heavy tasks pods; everything else of the DAGs stays as it is."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import yaml
from airflow.sdk.exceptions import AirflowException, AirflowRescheduleException, AirflowTaskTimeout
from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException

from tailrace import errors, settings
from tailrace.lineage import run_tags, xcom_keys
from tailrace.operations import stage_result_file
from tailrace.orchestration import task_results
from tailrace.orchestration.dags import pipeline_dags
from tailrace.orchestration.pods import pod_failure, pod_run
from tailrace.orchestration.pods.stage_pod import StagePod
from tailrace.orchestration.stage_task import no_links
from tailrace.settings import PodSettings
from tailrace.tracking.memory import MemoryTracker
from tailrace.wiring import Wiring
from tests.kubernetes.cluster import DRIVER_TEMPLATE

PODS = {
    "TAILRACE_TASKS": "pods",
    "TAILRACE_SPARK_IMAGE": "registry.example/tailrace:1",
    "TAILRACE_SPARK_NAMESPACE": "ml",
}
HEAVY = {"train", "evaluate", "score"}


@pytest.fixture
def in_pods(monkeypatch):
    for name, value in PODS.items():
        monkeypatch.setenv(name, value)


def tasks():
    return {task.task_id: task for dag in pipeline_dags("flight_delay", "") for task in dag.tasks}


def shape(task):
    return {
        "before": task.upstream_task_ids,
        "after": task.downstream_task_ids,
        "outlets": task.outlets,
        "pool": task.pool,
        "timeout": task.execution_timeout,
        "retries": (task.retries, task.retry_delay, task.retry_policy is None),
        "trigger_rule": task.trigger_rule,
        "doc": task.doc_md,
    }


def test_only_the_heavy_tasks_change_and_only_in_where_they_run(monkeypatch):
    in_process = tasks()
    for name, value in PODS.items():
        monkeypatch.setenv(name, value)
    pods = tasks()
    assert {name: shape(task) for name, task in pods.items()} == {
        name: shape(task) for name, task in in_process.items()
    }
    assert {name for name, task in pods.items() if task.task_type == "StagePod"} == HEAVY
    assert not {name for name, task in in_process.items() if task.task_type == "StagePod"}


def test_without_the_provider_the_dag_says_which_extra_it_needs(in_pods, hide):
    hide("airflow.providers.cncf.kubernetes")
    with pytest.raises(errors.NotInstalled, match=r"cncf-kubernetes, .*'tailrace\[kubernetes\]'"):
        tasks()


def test_parsing_imports_no_kubernetes(in_pods):
    code = (
        "import sys, airflow.sdk\n"
        "from tailrace.orchestration.dags import pipeline_dags\n"
        "made = pipeline_dags('flight_delay', '')\n"
        "(score,) = [task for dag in made for task in dag.tasks if task.task_id == 'score']\n"
        "assert score.task_type == 'StagePod'\n"
        "sys.exit(' '.join(n for n in sys.modules if n.split('.')[0].startswith('kubernetes')) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-300:]


def context(**params):
    params = {"day": None, **params}
    return {
        "dag_run": SimpleNamespace(
            partition_key=None if "first_day" in params else "2013-03-10",
            conf={},
            logical_date=None,
            dag_id="predict__flight_delay",
            run_id="backfill 1",
        ),
        "dag": SimpleNamespace(params=params),
        "params": params,
    }


@pytest.mark.parametrize(
    ("stage", "params", "more"),
    [
        ("score", {"model": "as-of"}, ["--model", "as-of"]),
        (
            "score",
            {"model": "as-of", "engine": "spark", "force": True},
            ["--engine", "spark", "--model", "as-of", "--force"],
        ),
        ("train", {"trials": 5, "dry_run": True}, ["--trials", "5", "--dry-run"]),
        ("evaluate", {"trials": 5, "force": True, "dry_run": True}, ["--run", "r1"]),
    ],
)
def test_a_pod_runs_what_was_requested_of_the_options_its_stage_takes(in_pods, stage, params, more):
    task = tasks()[stage]
    task.training_run = "r1" if stage == "evaluate" else None
    *command, flag, requested, last = task.arguments(context(reason="say 'why'; $HOME", **params))
    assert command == [
        *("tailrace", "run", stage, "flight_delay", "--date", "2013-03-10"),
        *("--run-id", "predict__flight_delay/backfill 1", *more),
    ]
    assert (flag, last) == ("--request", "--json")
    assert json.loads(requested)["reason"] == "say 'why'; $HOME"


def test_a_pod_scores_a_range_and_must_hand_back_every_day(in_pods, monkeypatch):
    task, kept = tasks()["score"], {}
    asked = context(first_day="2013-03-08", day="2013-03-10", model="as-of")
    asked["ti"] = SimpleNamespace(xcom_push=lambda key, value: kept.update({key: value}))
    assert task.arguments(asked)[4:8] == ["--date", "2013-03-08", "--to", "2013-03-10"]
    rows = [{"pipeline": "flight_delay", "day": f"2013-03-{day:02}", "already": ""} for day in (8, 9, 10)]
    assert task._returned(asked, rows) == {"days": ["2013-03-08", "2013-03-09", "2013-03-10"], "own": [], "already": []}
    assert kept[xcom_keys.RESULT] == rows
    with pytest.raises(errors.ClusterRefused, match="handed back 2 results for 3 days"):
        task._returned(asked, rows[:2])


def configured(**fields):
    return PodSettings(image="registry.example/tailrace:1", namespace="ml", **fields)


def test_the_pod_is_the_librarys_template_with_image_and_command():
    template = yaml.safe_load(DRIVER_TEMPLATE.read_text())
    pod = pod_run.manifest(configured(), ["tailrace", "run"])
    container, before = pod["spec"]["containers"][0], template["spec"]["containers"][0]
    assert container["image"] == "registry.example/tailrace:1"
    assert container["args"] == ["tailrace", "run", "--result", "/dev/termination-log"]
    assert [variable["name"] for variable in container["env"]].count("TAILRACE_SPARK_DRIVER_POD") == 1
    for kept in ("securityContext", "resources", "envFrom", "volumeMounts"):
        assert container[kept] == before[kept]
    assert {**pod["spec"], "containers": []} == {**template["spec"], "containers": []}


def test_a_plain_template_gets_the_addresses_that_executors_need(tmp_path):
    (tmp_path / "pod.yaml").write_text("spec: {containers: [{terminationMessagePath: /tmp/said}]}")
    settings = PodSettings(
        image="i", namespace="ml", template=tmp_path / "pod.yaml", memory="6Gi", service_account="me"
    )
    pod = pod_run.manifest(settings, ["tailrace"])
    assert pod["spec"]["serviceAccountName"] == "me"
    assert pod["spec"]["containers"][0] == {
        "name": "base",
        "image": "i",
        "args": ["tailrace", "--result", "/tmp/said"],
        "terminationMessagePath": "/tmp/said",
        "env": [
            {"name": "TAILRACE_SPARK_DRIVER_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "TAILRACE_SPARK_DRIVER_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "resources": {"requests": {"memory": "6Gi"}, "limits": {"memory": "6Gi"}},
    }


@pytest.mark.parametrize("text", ["", "spec: {containers: []}", "a: [", "spec: {containers: [driver]}"])
def test_a_template_that_is_no_pod_is_refused(tmp_path, text):
    (tmp_path / "pod.yaml").write_text(text)
    with pytest.raises(errors.ClusterRefused, match="TAILRACE_POD_TEMPLATE"):
        pod_run.manifest(PodSettings(template=tmp_path / "pod.yaml"), [])


def pod(phase="Failed", reason=None, conditions=(), limit="4Gi", **state):
    status = [
        k8s.V1ContainerStatus(
            name="base", image="i", image_id="", ready=False, restart_count=0, state=k8s.V1ContainerState(**state)
        )
    ]
    resources = k8s.V1ResourceRequirements(limits={"memory": limit})
    return k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(name="score-1"),
        spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="base", resources=resources)]),
        status=k8s.V1PodStatus(
            phase=phase, reason=reason, conditions=list(conditions), container_statuses=status if state else None
        ),
    )


waits = k8s.V1ContainerStateWaiting


def ended(code, reason="Error", message=None):
    return k8s.V1ContainerStateTerminated(exit_code=code, reason=reason, message=message)


def condition(type_, status, reason=None, message=None):
    return k8s.V1PodCondition(type=type_, status=status, reason=reason, message=message)


def written(tmp_path, error):
    stage_result_file.write_error(tmp_path / "said", error)
    return (tmp_path / "said").read_text()


@pytest.mark.parametrize(
    ("given", "expected", "said"),
    [
        (pod(terminated=ended(137, "OOMKilled")), errors.OutOfMemory, "limited to 4Gi. Raise TAILRACE_POD_MEMORY"),
        (pod(terminated=ended(137)), errors.OutOfMemory, "exit code 137, Error"),
        (pod(terminated=ended(137), reason="Evicted"), errors.ClusterUnavailable, "stopped by the cluster (Evicted)"),
        (
            pod(terminated=ended(137), conditions=[condition("DisruptionTarget", "True", "PreemptionByScheduler")]),
            errors.ClusterUnavailable,
            "PreemptionByScheduler",
        ),
        (pod(terminated=ended(143)), errors.ClusterUnavailable, "exit code 143"),
        (pod(terminated=ended(139)), AirflowException, "exit code 139 (Error) and no message"),
        (pod(terminated=ended(1, message="Segmentation fault")), AirflowException, "exit code 1 (Error)"),
        (
            pod("Pending", waiting=waits(reason="ErrImagePull", message="not found")),
            errors.ClusterRefused,
            "its image cannot be pulled (ErrImagePull: not found). Check TAILRACE_POD_IMAGE",
        ),
        (
            pod("Pending", waiting=waits(reason="InvalidImageName")),
            errors.ClusterRefused,
            "its image cannot be pulled (InvalidImageName: )",
        ),
        (
            pod(
                "Pending",
                waiting=waits(reason="ImagePullBackOff", message='Back-off pulling "i"'),
            ),
            errors.ClusterUnavailable,
            "whether the registry is down or the name is wrong, so a retry pulls again. Check TAILRACE_POD_IMAGE",
        ),
        (
            pod("Pending", waiting=waits(reason="ErrImagePull", message="503 Service Unavailable")),
            errors.ClusterUnavailable,
            "its image could not be pulled (ErrImagePull: 503 Service Unavailable)",
        ),
        (
            pod("Pending", waiting=waits(reason="CreateContainerConfigError", message="no map")),
            errors.ClusterRefused,
            "configuration that is not there (CreateContainerConfigError: no map)",
        ),
        (
            pod("Pending", conditions=[condition("PodScheduled", "False", message="0/3 nodes: Insufficient memory.")]),
            errors.ClusterUnavailable,
            "given no node in time (0/3 nodes: Insufficient memory)",
        ),
        (pod("Running", running=k8s.V1ContainerStateRunning()), AirflowTaskTimeout, "execution timeout"),
    ],
)
def test_how_a_pod_ended_becomes_a_sentence(given, expected, said):
    error = pod_failure.error(given, "score of x for 2013-03-10", {"status": "timeout"}, AirflowException("?"))
    assert type(error) is expected
    assert str(error).startswith("score of x for 2013-03-10: ")
    assert said in str(error)


def test_of_a_pod_that_was_only_asked_for_nothing_more_is_known():
    failure = AirflowException("The task is being ended.")
    asked = k8s.V1Pod(metadata=k8s.V1ObjectMeta(name="score-1"))
    assert pod_failure.error(asked, "score of x for 2013-03-10", {}, failure) is failure


def test_the_error_of_the_stage_comes_before_how_its_pod_ended(tmp_path):
    message = written(tmp_path, errors.LakeUnavailable("The lake does not answer."))
    error = pod_failure.error(pod(terminated=ended(1, message=message)), "score", {}, AirflowException("?"))
    assert isinstance(error, errors.LakeUnavailable)
    assert str(error) == "The lake does not answer."


def test_an_error_of_a_library_is_retried_as_in_the_tasks_own_process(tmp_path):
    from tailrace.orchestration.dags import RETRIES

    message = written(tmp_path, KeyError("plan"))
    error = pod_failure.error(pod(terminated=ended(1, message=message)), "score", {}, AirflowException("?"))
    assert RETRIES.evaluate(error, try_number=1, max_tries=3).action.name == "DEFAULT"


def test_a_pod_without_a_result_is_no_success():
    with pytest.raises(errors.ClusterUnavailable, match="handed back no result"):
        pod_failure.result(pod("Succeeded", terminated=ended(0)), "train of x for 2013-03-10")


def test_wrong_and_missing_settings_of_pods_are_said_at_once(tmp_path):
    with pytest.raises(errors.SettingsError) as raised:
        settings.load(
            {
                "TAILRACE_TASKS": "pods",
                "TAILRACE_POD_TEMPLATE": str(tmp_path / "none.yaml"),
                "TAILRACE_POD_MEMORY": "4g",
                "TAILRACE_POD_START_SECONDS": "soon",
                "TAILRACE_POD_IMAG": "i",
            }
        )
    assert len(raised.value.problems) == 6
    assert "Did you mean 'TAILRACE_POD_IMAGE'?" in str(raised.value)
    with pytest.raises(errors.SettingsError, match="TAILRACE_TASKS is 'pod'; it must be 'process' or 'pods'"):
        settings.load({"TAILRACE_TASKS": "pod"})


def test_a_pods_settings_default_to_those_of_the_executors():
    pods = settings.load({**PODS, "TAILRACE_POD_NAMESPACE": "airflow-tasks"}).pods
    assert (pods.image, pods.namespace) == ("registry.example/tailrace:1", "airflow-tasks")


def test_a_result_without_the_field_is_of_another_version():
    task = StagePod(task_id="train", pipeline="churn", returns=lambda rows: rows[0]["run_id"], links=no_links)
    given = context() | {"ti": SimpleNamespace(xcom_push=lambda key, value: None)}
    with pytest.raises(errors.ClusterRefused, match=r"train of churn.*no 'run_id' \(but 'model'\).*TAILRACE_POD_IMAGE"):
        task._returned(given, [{"model": "m"}])


@pytest.mark.parametrize("ends", ["with a result", "with an error"])
def test_a_task_links_to_the_spark_application_of_its_pod_however_that_ends(in_pods, monkeypatch, tmp_path, ends):
    monkeypatch.setenv("TAILRACE_SPARK_HISTORY", "http://spark.example:18080")
    kept = {}
    asked = context(model="as-of") | {"ti": SimpleNamespace(xcom_push=lambda key, value: kept.update({key: value}))}
    rows = [{"pipeline": "flight_delay", "day": "2013-03-10", "already": ""}]
    if ends == "with a result":
        stage_result_file.write_result(tmp_path / "said", rows, "spark-1")
    else:
        stage_result_file.write_error(tmp_path / "said", errors.JobFailed("It failed."), "spark-1")
    finished = pod(terminated=ended(int(ends == "with an error"), message=(tmp_path / "said").read_text()))
    running = pod_run.PodRun.__new__(pod_run.PodRun)
    running._what, running._operator = "score", SimpleNamespace(pod=finished)
    failure = AirflowException("?") if ends == "with an error" else None
    task = tasks()["score"]
    expected = pytest.raises(errors.JobFailed, match=r"It failed\.") if failure else nullcontext()
    with expected:
        task._linked(asked, running, lambda: running._end(failure, {}))
    assert kept == {xcom_keys.LINK + task_results.SPARK: "http://spark.example:18080/history/spark-1/"}


def test_the_connection_says_where_the_cluster_is_whatever_kubeconfig_says(monkeypatch, tmp_path):
    """KubernetesPodOperator gives the trigger both, and its hook then refuses them."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no such file"))
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": "/cluster.yaml"}}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))
    run = pod_run.PodRun(
        context(),
        stage="score",
        pipeline="x",
        day=dt.date(2013, 3, 10),
        arguments=[],
        execution_timeout=None,
        pods=configured(),
    )
    run._operator.convert_config_file_to_dict()
    assert run._operator._config_dict is None


def quota(requested, limited):
    said = (
        f"pods is forbidden: exceeded quota: team, requested: {requested}, used: limits.memory=9Gi, limited: {limited}"
    )
    error = ApiException(status=403, reason="Forbidden")
    error.body = json.dumps({"message": said})
    return error


def refused_by(error):
    run = pod_run.PodRun.__new__(pod_run.PodRun)
    run._what, run._pods = "score of x for 2013-03-10", configured()
    with run._cluster_errors():
        raise error


def test_a_pod_that_is_larger_than_the_whole_quota_is_refused():
    with pytest.raises(errors.ClusterRefused, match="more than the whole quota"):
        refused_by(quota("limits.memory=12Gi,pods=1", "limits.memory=10240Mi,pods=40"))
    with pytest.raises(errors.QuotaUsedUp, match="exceeded quota: team"):
        refused_by(quota("limits.memory=8Gi,pods=1", "limits.memory=10240Mi,pods=40"))


@pytest.mark.parametrize("hours", [None, 11, 13])
def test_a_task_waits_for_its_teams_quota_without_using_up_a_try(in_pods, hours):
    task, now = tasks()["score"], dt.datetime.now(dt.UTC)
    first = now - dt.timedelta(hours=hours) if hours else None
    given = context() | {"ti": SimpleNamespace(get_first_reschedule_date=lambda context: first, xcom_push=print)}
    run = pod_run.PodRun.__new__(pod_run.PodRun)
    run.spark_application = ""

    def full():
        raise errors.QuotaUsedUp("exceeded quota")

    with pytest.raises(errors.QuotaUsedUp if hours == 13 else AirflowRescheduleException) as raised:
        task._ended(given, run, full)
    if hours != 13:
        assert now < raised.value.reschedule_date < now + dt.timedelta(minutes=3)


def test_the_training_run_of_a_driver_that_died_is_closed_when_its_fate_is_known(in_pods, monkeypatch, tmp_path):
    tracker = MemoryTracker(tmp_path)
    lost = tracker.start_run("flight_delay", "lost", {run_tags.HOST: "train-1"})
    monkeypatch.setattr(Wiring, "tracker", tracker)
    task, given = tasks()["train"], context() | {"ti": SimpleNamespace(xcom_push=lambda key, value: None)}
    run = pod_run.PodRun.__new__(pod_run.PodRun)
    run._what, run._operator, run.spark_application = "train of x", SimpleNamespace(pod=None), ""
    with pytest.raises(errors.ClusterUnavailable, match="its pod train-1 is gone"):
        task._ended(given, run, lambda: run._end(None, {"name": "train-1"}))
    assert tracker.run(lost).status == "killed"
    assert "its pod train-1 is gone" in tracker.run(lost).tags["tailrace.closed_because"]
