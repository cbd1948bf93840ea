"""The pages in Airflow's UI: what data each one collects, how it is shown, and who may see it.

`overview`, `pipeline` and `day` collect, `rendering` shows; only `metadata`, `attempts`, `access`, `app`, `web`,
`views`, `documents` and `plugin` import Airflow.
"""
