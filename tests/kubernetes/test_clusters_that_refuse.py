"""What can be wrong with a cluster is said in a sentence, and no pod is left."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tailrace.engines.spark.engine import SparkEngine
from tailrace.errors import ClusterRefused, ClusterUnavailable
from tailrace.settings import SparkSettings
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.engines import settings_of, stop


@pytest.mark.parametrize(
    ("changed", "sentences"),
    [
        ({"image": "registry.example/tailrace:tset"}, ["'registry.example/tailrace:tset'", "TAILRACE_SPARK_IMAGE"]),
        ({"namespace": "elsewhere"}, ["'elsewhere'", "TAILRACE_SPARK_NAMESPACE"]),
    ],
    ids=["wrong image", "wrong namespace"],
)
def test_wrong_settings_are_said(cluster, changed, sentences):
    refused(cluster, settings_of(cluster, **changed), sentences)


def test_a_namespace_without_rights_is_said(cluster):
    given = settings_of(cluster)
    conf = {**given.conf, "spark.kubernetes.authenticate.oauthToken": cluster.token_of("nobody")}
    refused(cluster, replace(given, conf=conf), ["does not let Spark work", "deploy/kubernetes"])


def test_executors_that_die_at_their_start_are_said_with_their_last_words(cluster, caplog):
    given = settings_of(cluster)
    conf = {**given.conf, "spark.executor.extraJavaOptions": "-javaagent:/nowhere.jar"}
    refused(
        cluster,
        replace(given, conf=conf),
        ["ended with exit code 1", "JAR manifest missing : /nowhere.jar", "TAILRACE_SPARK_CONF"],
        ClusterUnavailable,
    )
    assert "Its last output" in caplog.text, "the whole of it is in the log"


def refused(
    cluster: Cluster, settings: SparkSettings, sentences: list[str], kind: type[Exception] = ClusterRefused
) -> None:
    engine = SparkEngine(settings)
    try:
        with pytest.raises(kind) as raised:
            _ = engine.session
    finally:
        stop(engine)
    for sentence in sentences:
        assert sentence in str(raised.value)
    cluster.wait(lambda: not cluster.pods(), "no pod is left")
