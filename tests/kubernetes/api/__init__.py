"""A Kubernetes API server for tests: objects, watches, rights and a kubelet whose containers are local processes.

Nothing of a client is replaced: Spark's, Airflow's and Python's own clients speak HTTP to it, and what they start runs.
It knows the part of Kubernetes that Tailrace uses and refuses the rest in a sentence. Loopback only, Linux only.
"""
