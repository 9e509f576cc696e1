# syntax=docker/dockerfile:1.7
# The worker, with its kernels compiled at build: a container decides seconds after its start.
# Wheels are built (and their hashes checked) in a stage of their own, so that no tool for building or testing stays.

FROM python:3.11.15-slim-bookworm AS wheels
WORKDIR /src
COPY requirements.lock ./
RUN pip wheel --no-cache-dir --require-hashes --requirement requirements.lock --wheel-dir /wheels
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY streams streams
COPY connectors connectors
COPY agents agents
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . ./connectors/client

FROM python:3.11.15-slim-bookworm
# Machine code is compiled for this processor, not for the one that builds: it must suit every machine that runs it.
# For ARM: --build-arg CPU_NAME=neoverse-n1 --build-arg CPU_FEATURES=+neon,+crc,+lse
ARG CPU_NAME=x86-64-v3
ARG CPU_FEATURES=+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+bmi,+bmi2,+fma,+lzcnt,+movbe
ENV NUMBA_CPU_NAME=${CPU_NAME} \
    NUMBA_CPU_FEATURES=${CPU_FEATURES} \
    NUMBA_CACHE_DIR=/opt/cognistream/kernels \
    COGNISTREAM_STATE=/var/lib/cognistream \
    COGNISTREAM_HOST=0.0.0.0 \
    PYTHONUNBUFFERED=1

# The cache of kernels knows its sources by their times, and images keep times in whole seconds only.
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-compile --no-index --find-links=/wheels cognistream \
 && find /usr/local/lib/python3.11/site-packages -name '*.py' -exec touch --date=@1700000000 {} + \
 && python -m compileall -q /usr/local/lib/python3.11/site-packages \
 && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin cognistream \
 && install -d -o cognistream -g cognistream /opt/cognistream/kernels /var/lib/cognistream

USER 10001:10001
RUN python -c "import agents.worker, streams.pipeline; from schemas import kernels; list(kernels.warm())"

EXPOSE 9464
VOLUME ["/var/lib/cognistream"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9464/ready', timeout=2)"]
ENTRYPOINT ["cognistream"]
CMD ["worker"]
