# docker build -t angiosynth .
# docker run --rm -v "$PWD/mlruns:/home/lab/angiosynth/mlruns" angiosynth            the demo
# docker run --rm -v "$PWD/scans:/home/lab/angiosynth/data/raw:ro" ... angiosynth dvc repro report
FROM python:3.11-slim

# CPU wheels; for a GPU: --build-arg TORCH_INDEX=
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

RUN apt-get update \
    && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home lab

USER lab
WORKDIR /home/lab/angiosynth

# The environment first, so that a changed line of code does not install torch again
COPY --chown=lab requirements.lock ./
RUN python -m venv .venv \
    && .venv/bin/pip install --no-cache-dir -r requirements.lock ${TORCH_INDEX:+--extra-index-url ${TORCH_INDEX}}

COPY --chown=lab . .
# DVC wants a git repository; .venv/installed tells make that the environment is there
RUN .venv/bin/pip install --no-cache-dir --no-deps -e . \
    && touch .venv/installed \
    && mkdir -p mlruns data/raw \
    && git init -q .

ENV PATH=/home/lab/angiosynth/.venv/bin:$PATH
VOLUME ["/home/lab/angiosynth/mlruns", "/home/lab/angiosynth/data"]
CMD ["make", "demo"]
