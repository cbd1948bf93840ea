#!/usr/bin/env bash
# JupyterLab on notebooks that outlive the container. Its token is in the environment (JUPYTER_TOKEN), on no command line.
set -euo pipefail

mkdir -p /var/lib/tailrace/notebooks
exec jupyter lab --ip=0.0.0.0 --port=8888 --no-browser --ServerApp.root_dir=/var/lib/tailrace/notebooks
