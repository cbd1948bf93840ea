#!/usr/bin/env bash
# JupyterLab. Its notebooks are on a volume. Its token comes from the environment (JUPYTER_TOKEN), not the command line.
set -euo pipefail

exec jupyter lab --ip=0.0.0.0 --port=8888 --no-browser --ServerApp.root_dir=/var/lib/notebooks
