"""Airflow's REST API: the few calls that the command line and the demo make."""
