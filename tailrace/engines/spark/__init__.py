"""The engine `spark`: the same work as `local`, on one machine's cores or a cluster's executors."""
