# docker build -t angiosynth .                                 on processors
# docker build -t angiosynth --build-arg TORCH_INDEX= .        with CUDA; run it with --gpus all
# docker run --rm angiosynth                                   the demo
# docker run --rm -v "$PWD/mlruns:/home/lab/angiosynth/mlruns" -v "$PWD/scans:/home/lab/angiosynth/data/raw:ro" \
#     -v "$PWD/params.yaml:/home/lab/angiosynth/params.yaml:ro" angiosynth dvc repro report          own scans
# tests/docker_root.py follows this file without Docker.
FROM python:3.11-slim-bookworm

# CPU wheels; empty means PyPI's, which bring CUDA
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Who owns the folders that are mounted: the number that `id -u` says
ARG UID=1000

# Debian keeps one version of a package: a pinned one soon could not be installed
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid ${UID} lab \
    && install -d -o lab -g lab /home/lab/angiosynth

USER lab
WORKDIR /home/lab/angiosynth

# The environment first, so that a changed line of code does not install torch again
COPY --chown=lab:lab requirements.lock ./
RUN python -m venv .venv \
    && .venv/bin/pip install --no-cache-dir -r requirements.lock ${TORCH_INDEX:+--extra-index-url ${TORCH_INDEX}}

COPY --chown=lab:lab . .
# DVC wants a git repository; .venv/installed tells make that the environment is there
RUN .venv/bin/pip install --no-cache-dir --no-deps -e . \
    && touch .venv/installed \
    && mkdir -p mlruns data/raw \
    && git init -q .

ENV PATH=/home/lab/angiosynth/.venv/bin:$PATH
VOLUME ["/home/lab/angiosynth/mlruns", "/home/lab/angiosynth/data"]
HEALTHCHECK --interval=5m --timeout=2m --start-period=1m CMD ["python", "cli.py", "doctor"]
CMD ["make", "demo"]
